"""What a node keeps on disk: the format, and what is true after a crash.

A data directory (data_dir.py) holds two RocksDB databases, each opened by one owner only, and
snapshots (snapshot_store.py). A database has one column family; the first byte of a key tells what
it is (rocks.py says why). Numbers in keys are big-endian, so that the order of bytes is theirs.

Log database (log_store.py, owner: the WAL writer)
--------------------------------------------------
    "e" index:u64        type:u8 term:u64 data     a raft entry; data is opaque
    "mhard_state"        term:u64 vote:u64 commit:u64
    "mstart"             index:u64 term:u64        the entry before the first one kept
    "msynced"            number:u64 durable:u64    first in each batch: its number, and that of the
                                                   last one that was durable by then
    "mid"                id:u64                    the log's own, random; stands in log-mark, too

- `save` is one atomic batch; it is durable when a later `sync` returned, and so is all before it.
- After a crash the log holds all that was synced and possibly a prefix of what was saved since.
  What of the latter is torn is cut off RocksDB's own log (torn_log.py); other damage refuses to
  open, and so does a log that is not the one that was there, or is older (log_mark.py).

State database (state_store.py, owner: the applier)
---------------------------------------------------
    "k" key                         record          newest version of a key that exists
    "e" revision:u64 sub:u32        [event, …]      history: a chunk of at most 128 events or about
                                                    64 KiB, under its first event's revision and
                                                    number within that revision
    "d" escaped key, revision:u64   header          the last version of a key deleted at revision
    "o" revision:u64 key            record          a version that compaction must not lose
    "l" lease:u64                   [ttl_s, index of the entry that renewed it last]
    "n" lease:u64 key               nothing         the lease holds the key
    "s" session:u64             [used, floor, [[sequence, answer], …], user]
    "msessions"                     uses:u64        counts all uses of sessions, and the sessions
    "u" user                    [hash of the password, [role, …]]
    "r" role                    [[kind, key, range_end], …]: 0 read, 1 write, 2 both
    "mauth"                         [enabled, auth revision]
    "malarms"                       [[member, kind], …]: 1 NOSPACE, 2 CORRUPT
    "mapplied"       index:u64 term:u64 revision:u64 compact_revision:u64 history_crc:u32
    "mconfiguration"                [conf state, members]
    "mcompacted"     revision:u64   compaction has removed all it could up to here
    "mredo-" number:u64             [key, value or nil, …]: of a commit in slices, what it writes
    "mredo"                         nothing        all of it is in such chunks

    record   prev:u64 skip_1:u64 skip_2:u64, then in msgpack, each in its longest form, without the
             array's head: create mod version lease value
    header   a record whose value is empty
    event    [revision, key, record], of a deletion [revision, key, mod:u64 of what was deleted]
    escaped  every 0x00 as 0x00 0xff, then 0x00 0x01

Values of 16 KiB and more, most of them chunks, are in RocksDB's blob files beside its tables
(rocks.py).

Brackets are msgpack arrays. A put writes two values: the record under "k", and the record again in
the chunk of its revision. `prev`, `skip_1` and `skip_2` (records.py) lead from a version to earlier
ones; a read in the past starts at "k" or "d" and follows them through the chunks (mvcc.py).

- All that an entry changed but its chunks, and its index in "mapplied", are in one batch
  (overlay.py); what is too much for one is there twice meanwhile, and finished by the next start
  (redo.py). RocksDB keeps no log of it: after a crash the state is that of the last flush, at an
  index that it knows, and the raft log is applied again from there. The log must not be compacted
  past the index that `flush` returned.
- Chunks are written before what else their entries changed. Those that begin after the revision in
  "mapplied" are dropped when the database is opened; they come again with their entries.
- Applying depends on nothing but the state and the entry. Members at the same applied index have
  equal records, revisions, answers and hashes; where chunks end, and how much of the history below
  the compact revision is gone yet, is each member's own affair (compaction.py).
- The newest version at the compact revision stays readable as long as reads may ask for it: in
  "k", or in "o" from when it is replaced.
"""
