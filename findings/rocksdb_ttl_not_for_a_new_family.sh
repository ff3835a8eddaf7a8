#!/bin/sh
# rocksdict 0.3.29 (RocksDB): what is in a column family made while a database with a time to live is open
# lives for ever; until the database is opened again, when it is gone at the next compaction.
#
# The database is opened with a time to live of a second. A family that was there before and one that is
# made now get a key each; after the time to live both are flushed and compacted as a whole:
#
#                               old     new
#     the same session          gone    there
#     opened again, compacted   gone    gone
#
# Expected: gone and gone, or there and there. `create_column_family` of such a database takes no time to
# live, and RocksDB then has "for ever" where one thinks of the database's; the next opening gives all
# families the same. A test that makes its families sees nothing expire, a service that is started
# again loses what it never lost before.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder/db" <<'PYTHON'
import sys
import time

from rocksdict import AccessType, BottommostLevelCompaction, CompactOptions, Options, Rdict

TTL_S = 1
EVERYTHING = CompactOptions()
EVERYTHING.set_bottommost_level_compaction(BottommostLevelCompaction.force())


def opened():
    options = Options(raw_mode=True)
    return Rdict(sys.argv[1], options, access_type=AccessType.with_ttl(TTL_S))


def left(db, *names):
    """What a compaction of everything leaves of each family."""
    found = []
    for name in names:
        family = db.get_column_family(name)
        family.flush()
        family.compact_range(None, None, EVERYTHING)
        found.append(list(family.keys()))
        family.close()
    return found


db = opened()
db.create_column_family("old", Options(raw_mode=True)).close()
db.close()

db = opened()
db.create_column_family("new", Options(raw_mode=True)).close()
for name in ("old", "new"):
    family = db.get_column_family(name)
    family[b"key"] = b""
    family.close()
time.sleep(TTL_S + 2)
first = left(db, "old", "new")
db.close()

db = opened()
again = left(db, "old", "new")
db.close()
print(f"the same session: old {first[0]}, new {first[1]}; opened again: old {again[0]}, new {again[1]}")
sys.exit((first, again) != ([[], [b"key"]], [[], []]))
PYTHON
