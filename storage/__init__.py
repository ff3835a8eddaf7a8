"""What a node keeps on disk: the format, and what is true after a crash.

A data directory (data_dir.py) holds two RocksDB databases, each opened by one owner only, and
snapshots. All integers are big-endian, so that the order of bytes is the order of numbers.

Log database (log_store.py, owner: the WAL writer)
--------------------------------------------------
    "e" index:u64        type:u8 term:u64 data     a raft entry; data is opaque
    "mhard_state"        term:u64 vote:u64 commit:u64
    "mstart"             index:u64 term:u64        the entry before the first one kept

- `save` is one atomic batch; it is durable when a later `sync` returned, and so is all before it.
- After a crash the log holds all that was synced and possibly a prefix of what was saved since.
  A torn tail of RocksDB's own log is cut off; damage anywhere else refuses to open.
"""
