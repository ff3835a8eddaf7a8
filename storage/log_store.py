"""The raft log and the hard state: the database of the WAL writer (format: package docstring)."""

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from struct import Struct

from . import log_mark
from .errors import (
    CorruptionError,
    EntriesCompactedError,
    EntriesUnavailableError,
    StorageError,
)
from .log_mark import LogMark
from .rocks import LOG_ROOM_BYTES, WriteBatch, open_log
from .torn_log import SYNCED, SYNCED_KEY

LogEntry = tuple[int, int, int, bytes]
"""(term, index, type, data): `data` is opaque."""

_KEY = Struct(">cQ")  # prefix, index
_ENTRY_HEAD = Struct(">BQ")  # type, term; the data follows
_HARD_STATE = Struct(">QQQ")  # term, vote, commit
_START = Struct(">QQ")  # index, term
_ENTRY_PREFIX = b"e"
_HARD_STATE_KEY = b"mhard_state"
_START_KEY = b"mstart"
_ID_KEY = b"mid"
_PEERS_KEY = b"mpeers"
_ID = Struct(">Q")


def _entry_key(index: int) -> bytes:
    return _KEY.pack(_ENTRY_PREFIX, index)


def _check_contiguous(entries: Sequence[LogEntry], start: int, last: int) -> None:
    """The first entry replaces or follows one that is there; the others follow it."""
    first = entries[0][1]
    if not start < first <= last + 1:
        raise StorageError(
            f"log entry {first} does not join the log ({start}, {last}]: entries were lost "
            "between the core and the log, or the log of another member was opened"
        )
    for offset, entry in enumerate(entries):
        if entry[1] != first + offset:
            raise StorageError(f"log entry {entry[1]} follows {first + offset - 1}")


def _check_range(lo: int, hi: int, start: int, last: int) -> None:
    if lo <= start:
        raise EntriesCompactedError(f"log entry {lo} asked for, the log begins at {start + 1}")
    if hi > last + 1:
        raise EntriesUnavailableError(f"log entry {hi - 1} asked for, the log ends at {last}")


def _check_compact(index: int, last: int) -> None:
    if index > last:
        raise StorageError(f"compaction to {index}, but the log ends at {last}")


class LogStore:
    """The log (start, last] on disk. One owner; `sync` may run in a thread beside the others."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._mark_path = path.with_name(f"{path.name}-mark")
        mark = log_mark.read(self._mark_path)
        self._db, self.repaired = open_log(path, create=mark is None, read_only=read_only)
        """What was cut off after kill -9 or a power failure, empty when nothing was."""
        self._roomless_bytes = 0  # written since the log file was given room
        # Numbers of writes: the last one, and the last one that is known to be durable.
        raw = self._db.get(SYNCED_KEY)
        self._written = self._synced = SYNCED.unpack(raw)[0] if raw else 0
        raw = self._db.get(_HARD_STATE_KEY)
        self._hard_state: tuple[int, int, int] = _HARD_STATE.unpack(raw) if raw else (0, 0, 0)
        raw = self._db.get(_START_KEY)
        self._start: tuple[int, int] = _START.unpack(raw) if raw else (0, 0)
        newest = self._db.last(_entry_key(self._start[0] + 1), _entry_key(2**64 - 1))
        self._last = _KEY.unpack(newest[0])[1] if newest else self._start[0]
        self._durable = self._hard_state
        try:
            self._identify(mark, read_only=read_only)
        except StorageError:
            self._db.close()
            raise

    def _identify(self, mark: LogMark | None, *, read_only: bool) -> None:
        """Make sure that this is the log that was here, or leave a mark by which it will be."""
        raw = self._db.get(_ID_KEY)
        self._id: int = _ID.unpack(raw)[0] if raw else 0
        if mark is not None:
            found = LogMark(self._id, *self._hard_state)
            log_mark.check(self._db.path, mark, found)
        elif not self._id and not read_only:
            self._id = secrets.randbits(64) or 1
            batch = self._batch()
            batch.put(_ID_KEY, _ID.pack(self._id))
            self._write(batch)
            self.sync()
        self._marked = None if mark is None else (mark.term, mark.vote, mark.commit)
        if read_only:
            self._marked = self._durable
        self.mark()

    @classmethod
    def open(cls, path: Path) -> "LogStore":
        """Open the log in the directory `path`, created when missing. Raises StorageError."""
        return cls(path)

    @classmethod
    def inspect(cls, path: Path) -> "LogStore":
        """Open a copy of a log (inspection.py), to be read only: all that `open` refuses is
        refused. Raises StorageError."""
        return cls(path, read_only=True)

    def hard_state(self) -> tuple[int, int, int]:
        """(term, vote, commit), zeros in a new log."""
        return self._hard_state

    @property
    def start(self) -> tuple[int, int]:
        """(index, term) of the entry just before the first: compacted, or in a snapshot."""
        return self._start

    @property
    def first_index(self) -> int:
        """Index of the first entry that is kept or will be."""
        return self._start[0] + 1

    @property
    def last_index(self) -> int:
        """Index of the last entry, `first_index - 1` when there is none."""
        return self._last

    def entries(self, lo: int, hi: int) -> Iterator[LogEntry]:
        """The entries `lo` <= index < `hi`.

        Raises EntriesCompactedError, EntriesUnavailableError, CorruptionError.
        """
        _check_range(lo, hi, self._start[0], self._last)
        return self._read(lo, hi)

    def _read(self, lo: int, hi: int) -> Iterator[LogEntry]:
        expected = lo
        for key, value in self._db.scan(_entry_key(lo), _entry_key(hi)):
            index = _KEY.unpack(key)[1]
            if index != expected:
                break
            kind, term = _ENTRY_HEAD.unpack_from(value)
            yield term, index, kind, value[_ENTRY_HEAD.size :]
            expected += 1
        if expected < hi:
            raise CorruptionError(
                f"log entry {expected} is missing in ({self._start[0]}, {self._last}]"
            )

    def save(self, entries: Sequence[LogEntry], hard_state: tuple[int, int, int] | None) -> None:
        """Write both or nothing; durable after the next `sync`.

        Entries that the log has already are replaced, and what follows them goes (raft's
        conflicting suffix). Raises StorageError on a gap and on entries at or before `start`.
        """
        batch = self._batch()
        if entries:
            _check_contiguous(entries, self._start[0], self._last)
            first = entries[0][1]
            if first <= self._last:
                batch.delete_range(_entry_key(first), _entry_key(self._last + 1))
            for term, index, kind, data in entries:
                batch.put(_entry_key(index), _ENTRY_HEAD.pack(kind, term) + data)
        if hard_state is not None:
            batch.put(_HARD_STATE_KEY, _HARD_STATE.pack(*hard_state))
        self._write(batch)
        if entries:
            self._last = entries[-1][1]
        if hard_state is not None:
            self._hard_state = hard_state

    def peers(self) -> bytes:
        """What `note_peers` was last given; empty before."""
        return self._db.get(_PEERS_KEY) or b""

    def note_peers(self, known: bytes) -> None:
        """Keep what this member knows of its peers (opaque). Not durable before the next `sync`."""
        batch = self._batch()
        batch.put(_PEERS_KEY, known)
        self._write(batch)

    def _batch(self) -> WriteBatch:
        """An empty batch but for what tells, after a power failure, which writes before it were
        durable (torn_log.py)."""
        batch = self._db.batch()
        batch.put(SYNCED_KEY, SYNCED.pack(self._written + 1, self._synced))
        return batch

    def _write(self, batch: WriteBatch) -> None:
        self._roomless_bytes += batch.size_in_bytes()
        self._db.write(batch)
        self._written += 1
        if self._roomless_bytes >= LOG_ROOM_BYTES:
            self._db.make_room()
            self._roomless_bytes = 0

    def sync(self) -> None:
        """Make durable what was saved before; raises StorageError, which is final."""
        written, hard_state = self._written, self._hard_state
        self._db.sync()
        self._synced, self._durable = written, hard_state

    @property
    def is_marked(self) -> bool:
        """Whether `mark` would change nothing."""
        return self._marked == self._durable

    def mark(self) -> None:
        """Note beside the log what is durable in it; may run in a thread beside the others.

        Raises StorageError.
        """
        if self.is_marked:
            return
        durable = self._durable
        log_mark.write(self._mark_path, LogMark(self._id, *durable))
        self._marked = durable

    def compact(self, index: int, term: int) -> None:
        """Forget the entries up to `index`, whose term is `term`; nothing when they are gone.

        Not durable before the next `sync`: a crash may bring the entries back.
        """
        if index <= self._start[0]:
            return
        _check_compact(index, self._last)
        self._move_start(index, term, index)

    def reset(self, index: int, term: int) -> None:
        """Forget all entries: a snapshot at `index` was installed and the log starts after it."""
        self._move_start(index, term, max(self._last, index))
        self._last = index

    def _move_start(self, index: int, term: int, gone: int) -> None:
        batch = self._batch()
        batch.delete_range(_entry_key(self.first_index), _entry_key(gone + 1))
        batch.put(_START_KEY, _START.pack(index, term))
        self._write(batch)
        self._start = (index, term)

    def size_bytes(self) -> int:
        """Bytes on disk. Stays below twice the entries kept plus 300 MiB however much is written:
        RocksDB's log goes with each flush, and a flush leaves compacted entries out."""
        return self._db.size_bytes()

    def close(self) -> None:
        """Close the database; what was not synced may be lost."""
        self.mark()
        self._db.close()
