#!/bin/sh
# rocksdict 0.3.29 (RocksDB): wide columns in a database with a time to live lose four bytes, and live.
#
# A database with a time to live keeps the time behind each value, and takes it off when it is read. It
# does neither for put_entity and get_entity, and each of the two is taken for the other's:
#
#     stored               read with        is
#     plain  b'hello'      get              b'hello'
#     plain  b'hello'      get_entity       b'hello' and four bytes of time
#     entity b'hello'      get_entity       b'hello'
#     entity b'hello'      get, items()     b'h'
#
# (The entity's b'hello' is in its default column, the one that stands for a value.) After the time to
# live and a compaction of everything the plain one is gone and the entity is there, whatever its age.
#
# Expected: the same as without a time to live, or a refusal: nothing is raised, and both are of RocksDB's
# own and combine everywhere else.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder/db" <<'PYTHON'
import sys
import time

from rocksdict import AccessType, BottommostLevelCompaction, CompactOptions, Options, Rdict

TTL_S = 5
db = Rdict(sys.argv[1], Options(raw_mode=True), access_type=AccessType.with_ttl(TTL_S))
db[b"plain"] = b"hello"
db.put_entity(b"entity", [b"", b"language"], [b"hello", b"en"])
(_, plain), = db.get_entity(b"plain")
entity = db.get_entity(b"entity")
by_get, by_items = db.get(b"entity"), dict(db.items())
time.sleep(TTL_S + 2)
everything = CompactOptions()
everything.set_bottommost_level_compaction(BottommostLevelCompaction.force())
db.flush()
db.compact_range(None, None, everything)
after = list(db.keys())
print(f"entity by get_entity {entity}, by get {by_get}; by items {by_items}")
print(f"plain by get_entity {plain}; left after the time to live {after}")
db.close()
sys.exit(
    entity != [(b"", b"hello"), (b"language", b"en")]
    or by_get != b"h"
    or by_items != {b"plain": b"hello", b"entity": b"h"}
    or (plain[:-4], len(plain)) != (b"hello", 9)
    or after != [b"entity"]
)
PYTHON
