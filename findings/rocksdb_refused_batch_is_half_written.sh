#!/bin/sh
# rocksdict 0.3.29 (RocksDB): a batch that is refused is written in part, and wholly when the database
# is opened again; and one put that is refused is the last of the whole database.
#
# A column family is dropped while somebody still has it, as when two threads share a database. A batch
# then puts x and z into the default family and y into the dropped one, in the order x, y, z.
#
# Expected: the batch is refused, and as batches are atomic, none of it is there; other writes go on.
#
#     the batch                  Invalid argument: Invalid column family specified in write batch
#     what is there              x
#     another put, of d          the same error, though it has to do with no family; so all that follow
#     what is there, reopened    x z
#
# The batch is in the log before it is applied, so each of the two takes it up to where it can: memory up
# to y, recovery past it. Whoever takes the error for "nothing was written" is wrong twice. A plain put
# by the dropped family's handle stops all writes likewise, where a get by it still answers.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder/db" <<'PYTHON'
import sys

from rocksdict import Options, Rdict, WriteBatch

REFUSED = "Invalid argument: Invalid column family specified in write batch"


def opened():
    return Rdict(sys.argv[1], Options(raw_mode=True))


def refusal(call, *args):
    try:
        call(*args)
    except Exception as error:  # rocksdict's errors have no type of their own
        return str(error)
    return "taken"


def keys(db):
    return b" ".join(db.keys()).decode()


db = opened()
db.create_column_family("family", Options(raw_mode=True))
family = db.get_column_family_handle("family")
db.drop_column_family("family")
batch = WriteBatch(raw_mode=True)
batch.put(b"x", b"")
batch.put(b"y", b"", family)
batch.put(b"z", b"")
found = [refusal(db.write, batch), keys(db), refusal(db.put, b"d", b"")]
del family, batch
refusal(db.close)  # says the same, and closes
db = opened()
found += [keys(db), refusal(db.put, b"d", b"")]
db.close()
print("\n".join(found))
sys.exit(found != [REFUSED, "x", REFUSED, "x z", "taken"])
PYTHON
