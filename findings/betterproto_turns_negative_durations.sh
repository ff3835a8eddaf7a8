#!/bin/sh
# betterproto 1.2.5 and 2.0.0b7 (Python 3.11): a negative duration that is not of whole seconds is written a
# second longer: less than nothing becomes more than nothing. Its JSON is right.
#
# Expected: the duration that was given, after writing and reading, as with protobuf, in whose durations
# seconds and nanoseconds have the same sign:
#
#     timedelta           by bytes        by JSON
#     -1 ms               +999 ms         -1 ms
#     -500 ms             +500 ms         -500 ms
#     -2 s                -2 s            -2 s
#     -1999.995 ms        -999.995 ms     -1999.995 ms       a Duration of -1 s and 5000 ns
#
# The seconds are rounded towards zero, the nanoseconds are those above the next lower second. A clock's
# offset, or the time that is left where none is, comes as one of the other sign, without an error.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/durations.py" <<'PYTHON'
import sys
from dataclasses import dataclass
from datetime import timedelta

import betterproto


@dataclass
class Clock(betterproto.Message):
    offset: timedelta = betterproto.message_field(1)


changed = False
for sent_us, seen_us in (-1_000, 999_000), (-500_000, 500_000), (-2_000_000,) * 2, (-1_999_995, -999_995):
    sent = timedelta(microseconds=sent_us)
    clock = Clock(offset=sent)
    by_bytes = Clock().parse(bytes(clock)).offset / timedelta(microseconds=1)
    by_json = Clock().from_json(clock.to_json()).offset
    print(f"{sent_us} us: by bytes {by_bytes:.0f}, by JSON {by_json / timedelta(microseconds=1):.0f}")
    changed |= round(by_bytes) != seen_us or by_json != sent
sys.exit(changed)
PYTHON
for version in 1.2.5 2.0.0b7; do
    python3 -m venv "$folder/$version"
    "$folder/$version/bin/pip" install --quiet "betterproto==$version"
    echo "betterproto $version"
    "$folder/$version/bin/python" "$folder/durations.py"
done
