#!/bin/sh
# rocksdict 0.3.29: the options that a database is opened with count the first time only.
#
# `Rdict(path, options)` of a database that exists takes the column family's options from the file that
# lies beside it: block cache, write buffer, triggers of compactions, compression. Nothing tells so.
#
# Opened with a write buffer and a block cache of 32, then 64, then 16 MiB:
#
#     options    write buffer  block cache
#     32 MiB     32            32
#     64 MiB     32            8
#     16 MiB     32            8
#
# Expected: 64 and 64, then 16 and 16. (The cache is not even the one of the first time: an object of
# one's own cannot be in a file, and in its place is rocksdict's, of 8 MiB.) A service that is started
# again with a larger cache thus has a small one. What works is to give the options twice,
# `Rdict(path, options, {"default": options})`: 64 and 64.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet rocksdict==0.3.29
"$folder/venv/bin/python" - "$folder/db" <<'PYTHON'
import glob
import re
import sys

from rocksdict import BlockBasedOptions, Cache, Options, Rdict

MIB = 1 << 20


def sizes(mib, twice=False):
    """MiB of the write buffer and of the block cache, when opened with so many for both."""
    table = BlockBasedOptions()
    table.set_block_cache(Cache(mib * MIB))
    options = Options(raw_mode=True)
    options.set_block_based_table_factory(table)
    options.set_write_buffer_size(mib * MIB)
    db = Rdict(sys.argv[1], options, {"default": options} if twice else None)
    cache = int(db.property_value("rocksdb.block-cache-capacity"))
    with open(max(glob.glob(f"{sys.argv[1]}/OPTIONS-*"))) as in_force:
        buffer = int(re.search(r"^  write_buffer_size=(\d+)", in_force.read(), re.M)[1])
    db.close()
    return buffer // MIB, cache // MIB


found = [sizes(32), sizes(64), sizes(16), sizes(64, twice=True)]
for each in found:
    print("write buffer {}, block cache {}".format(*each))
sys.exit(found != [(32, 32), (32, 8), (32, 8), (64, 64)])
PYTHON
