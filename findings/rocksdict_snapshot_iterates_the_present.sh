#!/bin/sh
# rocksdict 0.3.29: iterating a snapshot shows the database as it is now, silently.
#
# `db.snapshot()` is documented as a view of one moment. `snapshot[key]` is one; `items()`, `keys()`,
# `values()` and `iter()` of the same snapshot read what was written since.
#
# Seen:      by key b'old'; by items [(b'a', b'new')]
# Expected:  by key b'old'; by items [(b'a', b'old')]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder/db" <<'PYTHON'
import sys

from rocksdict import Options, Rdict

db = Rdict(sys.argv[1], Options(raw_mode=True))
db[b"a"] = b"old"
snapshot = db.snapshot()
db[b"a"] = b"new"
by_key, by_items = snapshot[b"a"], list(snapshot.items())
print(f"by key {by_key}; by items {by_items}")
sys.exit((by_key, by_items) != (b"old", [(b"a", b"new")]))
PYTHON
