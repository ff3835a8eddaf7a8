#!/bin/sh
# rocksdict 0.3.29: items(), keys() and values() end at an error as they end at the end.
#
# A database has k00 to k99, of which k10 to k89 were deleted. An iterator that may pass over no more
# than 20 deleted keys (set_max_skippable_internal_keys, for reads that shall not take long) cannot go on
# after k09: RocksDB's iterator is then invalid, and its status says why.
#
# Expected: an error from `for`, as from a file or a cursor that cannot be read further.
#
#     db.keys()                                  20 keys
#     db.keys(read_opt=options)                  10 keys, no error
#     db.iter(options), moved by hand            10 keys; status() raises "Result incomplete: Too many
#                                                internal keys skipped."
#
# Of the iterators only the one moved by hand has a status() to ask. The others leave out what follows
# for any error: blocks whose checksum is wrong, too. Whoever copies a damaged database by items() has a
# shorter one, and a good conscience.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder/db" <<'PYTHON'
import sys

from rocksdict import Options, Rdict, ReadOptions

db = Rdict(sys.argv[1], Options(raw_mode=True))
for number in range(100):
    db[b"k%02d" % number] = b""
for number in range(10, 90):
    del db[b"k%02d" % number]
options = ReadOptions()
options.set_max_skippable_internal_keys(20)
position = db.iter(options)
position.seek_to_first()
by_hand, said = 0, "nothing"
while position.valid():
    by_hand += 1
    position.next()
try:
    position.status()
except Exception as error:  # rocksdict's errors have no type of their own
    said = str(error)
every, bounded = len(list(db.keys())), len(list(db.keys(read_opt=options)))
can_be_asked = hasattr(db.keys(), "status")
print(f"all {every}, bounded {bounded}, by hand {by_hand} and then: {said}")
expected = (20, 10, 10, "Result incomplete: Too many internal keys skipped.", False)
sys.exit((every, bounded, by_hand, said, can_be_asked) != expected)
PYTHON
