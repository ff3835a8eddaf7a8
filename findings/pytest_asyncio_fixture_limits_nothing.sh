#!/bin/sh
# pytest-asyncio 1.5.0 (pytest 9.2.0, Python 3.11): `async with` around the yield of a fixture is not around
# the test. A timeout there limits nothing, and passes; a TaskGroup's failure does not end the test.
#
# Expected: what surrounds the yield surrounds the test, as with a fixture's plain `with`, with contextlib,
# and with the fixtures of anyio's plugin; or an error, if it cannot be so.
#
#     fixture                                             test                  outcome
#     async with asyncio.timeout(0.2): yield              sleeps for 1 s        passed
#     async with asyncio.TaskGroup() as group: yield,     sleeps for 1 s        passed, to its end; the
#         with a task that fails at once                                        fixture's teardown an error
#
# Setup, test and teardown are a task each. What the two cancel is the task in which they were entered, and
# that is over. So a test that waits for an answer of the failed task waits for ever, and the timeout that
# was meant to end it does not. What works: both in the test itself.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet pytest==9.2.0 pytest-asyncio==1.5.0
cat > "$folder/test_limits.py" <<'PYTHON'
import asyncio

import pytest
import pytest_asyncio


@pytest_asyncio.fixture
async def limited():
    async with asyncio.timeout(0.2):
        yield


@pytest_asyncio.fixture
async def served():
    async def serve():
        raise OSError("the port is taken")

    async with asyncio.TaskGroup() as group:
        group.create_task(serve())
        yield


@pytest.mark.asyncio
async def test_in_the_fixture(limited):
    await asyncio.sleep(1)


@pytest.mark.asyncio
async def test_group_in_the_fixture(served):
    await asyncio.sleep(1)


@pytest.mark.asyncio
async def test_in_the_test():
    async with asyncio.timeout(0.2):
        await asyncio.sleep(1)
PYTHON
cd "$folder"
out=$("$folder/venv/bin/python" -m pytest -p no:cacheprovider -rA test_limits.py 2>&1) || true
printf '%s\n' "$out" | sed -n '/short test summary/,$p'
for line in "PASSED test_limits.py::test_in_the_fixture" "PASSED test_limits.py::test_group_in_the_fixture" \
    "ERROR test_limits.py::test_group_in_the_fixture" "FAILED test_limits.py::test_in_the_test"; do
    printf '%s\n' "$out" | grep -q "^$line" || exit 1
done
