#!/bin/sh
# rocksdict 0.3.29 (Python 3.11, Linux): a Snapshot looks keys up as of when it was taken, but goes
# through them as they are now.
#
# Expected: as of RocksDB's own snapshots, both show the same. Of k0 to k3, with k0 changed, k1
# deleted and k9 added after the snapshot, in both of its modes:
#
#     k0 b'old', k1 b'old', k9 is not there
#     items [(b'k0', b'new'), (b'k2', b'old'), (b'k3', b'old'), (b'k9', b'new')]
#     iter, keys, backwards: the same keys as items
#
# What holds the past still while it is gone through is an iterator of the database itself,
# `Rdict.iter()`, made when the snapshot would have been taken: the script shows that, too.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

from rocksdict import Options, Rdict

BEFORE = [(b"k0", b"old"), (b"k1", b"old"), (b"k2", b"old"), (b"k3", b"old")]
NOW = [(b"k0", b"new"), (b"k2", b"old"), (b"k3", b"old"), (b"k9", b"new")]


def pairs(position):
    found = []
    while position.valid():
        found.append((position.key(), position.value()))
        position.next()
    return found


as_seen = True
for raw in (True, False):
    db = Rdict(f"{sys.argv[1]}/{raw}", Options(raw_mode=raw))
    for key, value in BEFORE:
        db[key] = value
    snapshot, position = db.snapshot(), db.iter()
    position.seek_to_first()
    db[b"k0"] = b"new"
    del db[b"k1"]
    db[b"k9"] = b"new"

    looked_up = [(key, snapshot[key]) for key, _ in BEFORE]
    by_iterator = snapshot.iter()
    by_iterator.seek_to_first()
    gone_through = {
        "items": list(snapshot.items()),
        "iter": pairs(by_iterator),
        "keys": [(key, dict(NOW).get(key)) for key in snapshot.keys()],
        "backwards": [(k, dict(NOW).get(k)) for k in snapshot.keys(backwards=True)][::-1],
    }
    print("raw" if raw else "typed", "looked up:", looked_up)
    print("gone through:", gone_through["items"])
    as_seen &= looked_up == BEFORE and all(each == NOW for each in gone_through.values())
    as_seen &= pairs(position) == BEFORE
    del snapshot, position, by_iterator
    db.close()
sys.exit(not as_seen)
PYTHON
