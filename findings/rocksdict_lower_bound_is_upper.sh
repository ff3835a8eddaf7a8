#!/bin/sh
# rocksdict 0.3.29 (Python 3.11, Linux): ReadOptions.set_iterate_lower_bound sets the upper bound.
# Its own upper bound, set before, is lost.
#
# Expected: RocksDB's iterate_lower_bound, below which an iterator does not go. Of k0 to k5, raw:
#
#     lower bound k2                      k0 k1
#     lower bound k2, read backwards      k1 k0
#     upper bound k4, then lower bound k2 k0 k1
#     lower bound k2, then upper bound k4 k0 k1 k2 k3
#
# The keys that were asked for, k2 and what follows, are those that are left out. Nothing is raised.
# What works is to seek, and to look at the key when going backwards.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys

from rocksdict import Options, Rdict, ReadOptions

db = Rdict(f"{sys.argv[1]}/db", Options(raw_mode=True))
for number in range(6):
    db[b"k%d" % number] = b""


def keys(*bounds, backwards=False):
    options = ReadOptions()
    for name, key in bounds:
        getattr(options, f"set_iterate_{name}_bound")(key)
    return b" ".join(db.keys(backwards=backwards, read_opt=options)).decode()


lower, upper = ("lower", b"k2"), ("upper", b"k4")
found = {
    "lower": keys(lower),
    "lower, backwards": keys(lower, backwards=True),
    "upper, then lower": keys(upper, lower),
    "lower, then upper": keys(lower, upper),
}
for name, each in found.items():
    print(f"{name}: {each}")
db.close()
sys.exit(list(found.values()) != ["k0 k1", "k1 k0", "k0 k1", "k0 k1 k2 k3"])
PYTHON
