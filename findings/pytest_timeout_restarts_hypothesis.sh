#!/bin/sh
# pytest-timeout 2.4.0 with hypothesis 6.170.17 (pytest 9.2.0, Linux): the timeout of a test that hangs in
# one example does not end it: the example is run again, and others like it, now without a timeout.
#
# Expected: the test ends when its time is over, as every other does, and says so.
#
# The timeout is `pytest.fail` raised by a signal, and a failure is what hypothesis looks for: it runs the
# example again and tries simpler ones. The timer was for one signal. Of a test that has a second, and
# sleeps for three in every example (one that waits for a lock would wait for ever):
#
#     without hypothesis     1.0 s   Failed: Timeout (>1.0s) from pytest-timeout
#     with it                19 s, 7 examples (more or fewer by chance), of which one is timed out;
#                            FlakyFailure: Failed on the first call but did not on a subsequent one
#
# The deadline of hypothesis does not help: it is looked at when an example is over. What works is the
# other method, `--timeout-method=thread`, which ends the whole process.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest==9.2.0 pytest-timeout==2.4.0 hypothesis==6.170.17
cat > "$folder/test_slow.py" <<'PYTHON'
import time

from hypothesis import given, settings, strategies as st


def test_plain():
    time.sleep(3)


@settings(database=None, deadline=None)
@given(st.integers())
def test_examples(number):
    print("example")
    time.sleep(3)
PYTHON
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import subprocess
import sys
import time


def run(test):
    begun = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout=1"]
    command += ["--timeout-method=signal", "-rA", f"test_slow.py::{test}"]
    out = subprocess.run(command, capture_output=True, text=True, timeout=300).stdout
    return time.monotonic() - begun, out


plain_s, plain = run("test_plain")
examples_s, examples = run("test_examples")
timers = examples.count("Failed: Timeout (>1.0s)")
print(f"plain: {plain_s:.1f} s; with hypothesis: {examples_s:.1f} s,")
print(f"{examples.count(chr(10) + 'example')} examples, FlakyFailure: {'FlakyFailure' in examples}")
assert "Failed: Timeout (>1.0s)" in plain and timers, (plain, examples)
sys.exit(not (examples.count("\nexample") >= 3 and "FlakyFailure" in examples))
PYTHON
