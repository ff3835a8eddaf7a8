"""The only place that knows rocksdict: opening the two databases, every option with its reason.

Both databases have one column family and keep their kinds of keys apart by prefixes:

- `flush` of rocksdict writes out one family only, even under atomic flush. With several, the
  applied index could reach the disk without the data it stands for.
- A put into one family costs 3.3 µs where the same put into several cost 4.8 (measured).
- No handles, which would keep a closed database open.

rocksdict raises plain `Exception` with RocksDB's text; `Database` turns that into `StorageError`.
"""

import errno
import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import cast

from rocksdict import (
    AccessType,
    BlockBasedOptions,
    BottommostLevelCompaction,
    Cache,
    Checkpoint,
    CompactOptions,
    DbClosedError,
    DBCompressionType,
    DBRecoveryMode,
    Options,
    Rdict,
    ReadOptions,
    WriteBatch,
    WriteOptions,
)

from . import log_mark, torn_log
from .errors import CorruptionError, StorageError
from .sliced import FIRST_SLICE_BYTES, ITEMS, SLICE_BYTES, Sliced, finish

__all__ = ["Database", "WriteBatch", "open_log", "open_state"]

MIB = 1 << 20

LOG_WRITE_BUFFER_BYTES = 64 * MIB
"""Each switch of memtable and log file costs one fsync 5 to 20 ms (measured); at 64 MiB it is
past the 99th percentile, at 4 MiB it is the 99th percentile."""

STATE_WRITE_BUFFER_BYTES = 32 * MIB
"""Inserting into a memtable costs a third less in 16 MiB than in 64 (fewer cache misses); each
flush and compaction costs the other processor more the smaller it is."""
STATE_BLOCK_CACHE_BYTES = 128 * MIB

BACKGROUND_WRITE_BYTES = 256 * 1024
"""What a flush or a compaction hands to the disk at a time, past the page cache. Left in the cache,
its 32 MiB were written out by whichever fsync of the log came next, on every node of the disk: 50
to 270 ms, now about 20 (three nodes, 30,000 puts a second; 30 to 55 with the default of 1 MiB).
With 64 KiB compactions take longer, and fsyncs are hardly faster."""

BLOB_BYTES_MIN = 16 * 1024
"""Values as large go into files of their own (RocksDB's blobs), which compactions need not rewrite.
They are mostly chunks of history, which are never overwritten. Most records are smaller and
stay where a range finds them side by side."""

L0_SLOWDOWN_FILES, L0_STOP_FILES = 24, 40
"""Flushed files that wait for their compaction until writes slow down, and until they stop."""
L0_FILES_WHILE_COMPACTING = 1_000
"""Both, while everything is compacted: at 32 MiB each that is half an hour of 20 MB/s."""

UNCACHE = "1000"
"""How hard to look in the block cache for what was in a file that is deleted: nearly all of it.
Otherwise it stays until the cache is full, 128 MiB of which a small store needs two."""

BLOB_GARBAGE_MAX, BLOB_GARBAGE_MIN = 0.5, 0.25
"""Shares of garbage in these files at which they begin to be rewritten, and no longer are."""


def _takes_direct_io(folder: Path) -> bool:
    """Whether files in the folder, made when missing, can be written past the page cache; some
    file systems refuse."""
    flag = getattr(os, "O_DIRECT", 0)
    probe = folder / "direct-io-probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(probe, os.O_CREAT | os.O_WRONLY | flag, 0o600))
        probe.unlink()
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise StorageError(f"cannot write in {folder}: {error.strerror}") from error
        probe.unlink(missing_ok=True)  # refused, but made
        return False
    return flag != 0


def _common_options(path: Path, *, create: bool = True) -> Options:
    options = Options(raw_mode=True)  # keys and values are bytes as they are; never pickle
    options.create_if_missing(create)
    options.set_paranoid_checks(True)  # corruption found anywhere stops writes
    options.set_max_background_jobs(2)  # one flush and one compaction: small machines, 3 nodes
    options.set_keep_log_file_num(2)  # RocksDB's own text log, kept for post-mortems
    options.set_max_log_file_size(4 * MIB)
    options.set_stats_dump_period_sec(0)  # statistics nobody reads cost wake-ups
    options.set_stats_persist_period_sec(0)
    options.set_max_open_files(512)  # well below the usual limit of 1024 descriptors
    options.set_max_manifest_file_size(4 * MIB)  # small start-up reads after hours of flushes
    options.set_level_compaction_dynamic_level_bytes(True)  # bounds space amplification to ~1.1
    options.set_writable_file_max_buffer_size(BACKGROUND_WRITE_BYTES)
    options.set_use_direct_io_for_flush_and_compaction(_takes_direct_io(path))
    options.set_compaction_readahead_size(MIB)  # past the page cache nobody else reads ahead
    return options


LOG_ROOM_BYTES = 4 * MIB
"""How far ahead, about, RocksDB's log file has its size. An fsync of a file that has grown writes
its inode, too, or commits the file system's journal: a quarter of its time without a journal."""


def open_log(path: Path, *, create: bool, read_only: bool = False) -> tuple["Database", str]:
    """The raft log's database, whose log files have their size before their records; and what had
    to be cut off after kill -9 or a power failure, if anything. (Recycled log files would have
    their size, too, but need a recovery mode that cannot tell a torn tail from a lost middle.)
    With `read_only` that is cut off all the same, and nothing else changes.

    Raises StorageError; CorruptionError also when it is not there and not to be created.
    """
    if not create and not (path / "CURRENT").exists():
        raise CorruptionError(f"the raft log in {path} is gone; {log_mark.REMEDY}")
    repaired = torn_log.cut_holes(path)

    def opened() -> Database:
        options = _log_options(path, create=create)
        return Database(path, options, log_writes=True, read_only=read_only)

    try:
        database = opened()
    except CorruptionError:
        repaired = torn_log.cut_torn(path)
        if not repaired:
            raise
        database = opened()
    if not read_only:
        database.make_room()
    return database, repaired


def _log_options(path: Path, *, create: bool) -> Options:
    options = _common_options(path, create=create)
    # A torn tail is a write that was never acknowledged; anything else must stop the node.
    options.set_wal_recovery_mode(DBRecoveryMode.tolerate_corrupted_tail_records())
    options.set_write_buffer_size(LOG_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(3)  # writes go on while one is flushed
    options.set_compression_type(DBCompressionType.none())  # entries live for seconds
    options.set_bytes_per_sync(MIB)  # without direct I/O: flushes trickle to disk
    options.set_target_file_size_base(64 * MIB)
    return options


def open_state(path: Path, *, read_only: bool = False) -> "Database":
    """The state database: no RocksDB log, because the raft log is its log."""
    options = _common_options(path)
    options.set_write_buffer_size(STATE_WRITE_BUFFER_BYTES)
    options.set_max_write_buffer_number(3)  # applying goes on while one is flushed
    # Half as many compactions of what is rewritten most; gets pass the files by their filters.
    options.set_level_zero_file_num_compaction_trigger(8)
    options.set_level_zero_slowdown_writes_trigger(L0_SLOWDOWN_FILES)
    options.set_level_zero_stop_writes_trigger(L0_STOP_FILES)
    # LZ4 halves text, but not in level 0: a flush that compresses costs every put 0.3 µs, for files
    # that the next compaction rewrites.
    lz4 = DBCompressionType.lz4()
    options.set_compression_per_level([DBCompressionType.none(), *[lz4] * 6])
    options.set_enable_blob_files(True)
    options.set_min_blob_size(BLOB_BYTES_MIN)
    options.set_blob_compression_type(lz4)
    # When garbage is collected (`Database.collect`), wherever it is.
    options.set_blob_gc_age_cutoff(1.0)
    options.set_blob_gc_force_threshold(BLOB_GARBAGE_MIN)
    options.set_blob_compaction_readahead_size(MIB)
    options.set_bytes_per_sync(MIB)  # as the log's
    options.set_target_file_size_base(64 * MIB)
    table = BlockBasedOptions()
    # A put looks for the key's current record; bloom filters answer for new keys without a search.
    # In the memtable they cost each put more than they spare new keys.
    table.set_bloom_filter(10, False)  # 10 bits a key, full filters: 1 % false positives
    table.set_block_cache(Cache(STATE_BLOCK_CACHE_BYTES))
    table.set_cache_index_and_filter_blocks(True)  # inside the same bound on memory
    table.set_pin_l0_filter_and_index_blocks_in_cache(True)  # the ones every put asks
    table.set_block_size(8192)  # ranges read neighbours; half the index of 4 KiB
    options.set_block_based_table_factory(table)
    return Database(path, options, log_writes=False, read_only=read_only)


@contextmanager
def _storage_errors(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _typed(doing, path, error) from error


def _typed(doing: str, path: Path, error: Exception) -> StorageError:
    """RocksDB's text is all that rocksdict tells. No restart mends what is damaged or gone."""
    lost = ("Corruption:", "No such file or directory")
    kind = CorruptionError if any(text in str(error) for text in lost) else StorageError
    return kind(f"{doing} {path}: {error}")


PAGE_PAIRS = 128
PAIR_BYTES = 300
"""What a pair counts for besides its value: 3,000 small ones take as long as one MiB."""


class Database:
    """One open RocksDB database. `write` may run in one thread while `sync` or `flush` run in
    another; both let other threads go on."""

    def __init__(
        self, path: Path, options: Options, *, log_writes: bool, read_only: bool = False
    ) -> None:
        self.path = path
        self._log_file = Path()
        self._collecting = False
        self._compacting = False
        self._stopped = False
        with _storage_errors("cannot open", path):
            # Of a database that exists, rocksdict would otherwise take the options that lie beside
            # it, in which there is neither the cache nor the filters.
            access = AccessType.read_only(False) if read_only else AccessType.read_write()
            self._db = Rdict(str(path), options, {"default": options}, access)
            if not read_only:  # rocksdict's Options have no method for it
                self._db.set_options({"uncache_aggressiveness": UNCACHE})
        self._write_options = WriteOptions()
        self._write_options.sync = False  # write(sync) would hold the GIL during the fsync
        # Batches are sorted: each key is looked for from where the one before it went.
        self._write_options.memtable_insert_hint_per_batch = True
        # A property, whatever the stub says.
        self._write_options.disable_wal = not log_writes  # type: ignore[method-assign,assignment]

    @staticmethod
    def batch() -> WriteBatch:
        """An empty write batch, to be used once."""
        return WriteBatch(raw_mode=True)

    def write(self, batch: WriteBatch) -> None:
        """Write all of `batch` or nothing; durable after the next `sync` or `flush`."""
        try:
            self._db.write(batch, self._write_options)
        except Exception as error:
            raise _typed("cannot write to", self.path, error) from error

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None when there is none."""
        try:
            value: bytes | None = self._db.get(key)
        except Exception as error:
            raise _typed("cannot read", self.path, error) from error
        return value

    def _items(self, start: bytes, end: bytes) -> tuple[Iterator[tuple[bytes, bytes]], ReadOptions]:
        """The pairs from `start` to `end`, as they are now; and the options, which must live as
        long: RocksDB's iterator looks at the bound where they keep it."""
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        with _storage_errors("cannot read", self.path):
            items = self._db.items(from_key=start, read_opt=options)
        return cast("Iterator[tuple[bytes, bytes]]", items), options

    def scan(self, start: bytes, end: bytes) -> Iterator[tuple[bytes, bytes]]:
        """The pairs with `start` <= key < `end` in order, as they are now."""
        return self._scan(start, *self._items(start, end))

    def _scan(
        self, start: bytes, items: Iterator[tuple[bytes, bytes]], options: ReadOptions
    ) -> Iterator[tuple[bytes, bytes]]:
        last = start
        with _storage_errors("cannot read", self.path):
            for pair in items:
                yield pair
                last = pair[0]
            self._check_end_of_scan(last, options)

    def pairs(self, start: bytes, end: bytes, limit: int = 0) -> list[tuple[bytes, bytes]]:
        """The first `limit` pairs (0: all) with `start` <= key < `end`."""
        return finish(self.pairs_sliced(start, end, limit))

    def pairs_sliced(
        self, start: bytes, end: bytes, limit: int = 0
    ) -> Sliced[list[tuple[bytes, bytes]]]:
        """`pairs`, as they are now. The first slice is larger: few reads need another."""
        return self._pairs(start, limit, *self._items(start, end))

    def _pairs(
        self,
        start: bytes,
        limit: int,
        items: Iterator[tuple[bytes, bytes]],
        options: ReadOptions,
    ) -> Sliced[list[tuple[bytes, bytes]]]:
        found: list[tuple[bytes, bytes]] = []
        room = FIRST_SLICE_BYTES
        with _storage_errors("cannot read", self.path):
            while True:
                wanted = min(PAGE_PAIRS, limit - len(found)) if limit else PAGE_PAIRS
                page = list(islice(items, wanted))
                found += page
                if len(page) < PAGE_PAIRS:
                    break
                room -= sum([len(value) for _, value in page]) + PAGE_PAIRS * PAIR_BYTES
                if room <= 0:
                    yield
                    room = SLICE_BYTES
            if not limit or len(found) < limit:
                self._check_end_of_scan(found[-1][0] if found else start, options)
        return found

    def count_sliced(self, start: bytes, end: bytes) -> Sliced[int]:
        """How many keys there are now with `start` <= key < `end`."""
        options = ReadOptions()
        options.set_iterate_upper_bound(end)
        with _storage_errors("cannot read", self.path):
            stored = cast("Iterator[bytes]", self._db.keys(from_key=start, read_opt=options))
        return self._count(start, stored, options)

    def _count(self, start: bytes, stored: Iterator[bytes], options: ReadOptions) -> Sliced[int]:
        number, last = 0, start
        with _storage_errors("cannot read", self.path):
            # Counted without a step of Python for each.
            while tail := deque(enumerate(islice(stored, ITEMS), number + 1), maxlen=1):
                before, (number, last) = number, tail[0]
                if number - before < ITEMS:
                    break
                yield
            self._check_end_of_scan(last, options)
        return number

    def _check_end_of_scan(self, last: bytes, options: ReadOptions) -> None:
        """rocksdict's iterators end at a damaged block as at the end of the data; only
        `status` tells them apart, so a second iterator is put where the first one stopped."""
        position = self._db.iter(options)
        position.seek(last)
        if position.valid() and position.key() == last:
            position.next()
        position.status()

    def last(self, start: bytes, end: bytes) -> tuple[bytes, bytes] | None:
        """The last pair with `start` <= key <= `end`."""
        with _storage_errors("cannot read", self.path):
            position = self._db.iter()
            position.seek_for_prev(end)
            position.status()
            # No lower bound in the options: rocksdict's set_iterate_lower_bound sets the upper one.
            if not position.valid() or position.key() < start:
                return None
            return position.key(), position.value()

    def make_room(self) -> None:
        """Let RocksDB's log file have its size before its records, for another LOG_ROOM_BYTES.

        To be called when so much was written, by whoever writes: then the newest file is the one
        that is written. RocksDB has allocated it already, writes on where it stopped, and gives a
        file that it closes the size of what is in it.
        """
        newest = max(self.path.glob("[0-9]*.log"), key=torn_log.age, default=None)
        if newest is None:
            return
        ahead = 1 if newest == self._log_file else 2
        self._log_file = newest
        with _storage_errors("cannot enlarge the log of", self.path):
            os.truncate(newest, newest.stat().st_size + ahead * LOG_ROOM_BYTES)

    def sync(self) -> None:
        """Make every write that returned before this call durable by the database's own log."""
        try:
            self._db.flush_wal(True)
        except Exception as error:
            raise _typed("cannot sync", self.path, error) from error

    def flush(self) -> None:
        """Write everything in memory to table files and fsync them."""
        with _storage_errors("cannot flush", self.path):
            self._db.flush(True)

    def checkpoint(self, path: Path) -> None:
        """A copy of the database as it is now in the new directory `path`, by hard links."""
        with _storage_errors("cannot checkpoint to", path):
            Checkpoint(self._db).create_checkpoint(str(path))

    def size_bytes(self) -> int:
        """Bytes of all files of the database."""
        total = 0
        for file in self.path.iterdir():
            try:
                total += file.stat().st_size
            except FileNotFoundError:
                continue  # RocksDB deletes files as it goes
        return total

    def memory_bytes(self) -> int:
        """Bytes of what only memory holds so far."""
        with _storage_errors("cannot read", self.path):
            return int(self._db.property_int_value("rocksdb.cur-size-all-mem-tables") or 0)

    def compact(self) -> None:
        """Rewrite all files without what was deleted; other threads go on."""
        options = CompactOptions()
        options.set_bottommost_level_compaction(BottommostLevelCompaction.force())
        with _storage_errors("cannot compact", self.path):
            self._compacting = True
            # No other compaction runs beside this one, so that flushed files pile up in level 0: it
            # must not slow down those who write, which lets no other thread run.
            self._set_l0_triggers(L0_FILES_WHILE_COMPACTING, L0_FILES_WHILE_COMPACTING)
            self._collect_blobs(True)
            try:
                self._db.compact_range(None, None, options)
            finally:
                self._collect_blobs(False)
                self._set_l0_triggers(L0_SLOWDOWN_FILES, L0_STOP_FILES)
                self._compacting = False

    def _set_l0_triggers(self, slowdown: int, stop: int) -> None:
        triggers = {"level0_slowdown_writes_trigger": slowdown, "level0_stop_writes_trigger": stop}
        self._db.set_options({name: str(files) for name, files in triggers.items()})

    def collect(self) -> None:
        """Let large values' files be rewritten while there is much garbage in them. To be called
        now and then.

        RocksDB could decide that, too, but then each compaction moves the values in the oldest
        files that it comes across, garbage or not: that took back all that these files save.
        """
        with _storage_errors("cannot collect garbage in", self.path):
            size = self._db.property_int_value("rocksdb.live-blob-file-size") or 0
            garbage = self._db.property_int_value("rocksdb.live-blob-file-garbage-size") or 0
            bound = BLOB_GARBAGE_MIN if self._collecting else BLOB_GARBAGE_MAX
            wanted = garbage > bound * size
            if wanted != self._collecting and not self._compacting:
                self._collect_blobs(wanted)

    def _collect_blobs(self, wanted: bool) -> None:
        self._db.set_options({"enable_blob_garbage_collection": "true" if wanted else "false"})
        self._collecting = wanted

    def stop_background(self) -> None:
        """Cut compactions and flushes short, `compact` as well; nothing but `close` may follow."""
        self._stopped = True
        with _storage_errors("cannot stop compacting", self.path):
            self._db.cancel_all_background(False)

    def close(self) -> None:
        """Close for good; further calls raise. Closing twice does nothing."""
        with _storage_errors("cannot close", self.path), suppress(DbClosedError):
            try:
                self._db.close()
            except Exception as error:
                # What it says of its own flush then, though that happens, and it is closed.
                if not (self._stopped and str(error).startswith("Shutdown in progress")):
                    raise
