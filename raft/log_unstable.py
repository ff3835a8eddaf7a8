"""The part of the log that storage does not hold yet.

Source: etcd-io/raft, log_unstable.go.
"""

from .config import Logger
from .errors import RaftPanic
from .types import Entry, Snapshot


class Unstable:
    """Entries and perhaps a snapshot on their way to storage.

    `entries[i]` has index `offset + i`. What is before `offset_in_progress`, and the snapshot if
    `snapshot_in_progress`, was handed out for writing and is not handed out again. All of it stays
    here until the write is confirmed, so that reads never depend on how far the write got.

    `last` is the index of the last entry, or of what is before the first: storage ends there, or
    the snapshot does.

    Invariant: offset <= offset_in_progress <= offset + len(entries) == last + 1.
    """

    __slots__ = (
        "_logger", "entries", "last", "offset", "offset_in_progress", "snapshot",
        "snapshot_in_progress",
    )  # fmt: skip

    def __init__(self, offset: int, logger: Logger) -> None:
        self.snapshot: Snapshot | None = None
        self.entries: list[Entry] = []
        self.offset = offset
        self.last = offset - 1
        self.snapshot_in_progress = False
        self.offset_in_progress = offset
        self._logger = logger

    def maybe_first_index(self) -> int | None:
        """The first index, if a snapshot determines it."""
        return self.snapshot.metadata.index + 1 if self.snapshot else None

    def maybe_term(self, index: int) -> int | None:
        """The term of the entry at `index`, if it is here."""
        at = index - self.offset
        if at < 0:
            if self.snapshot and self.snapshot.metadata.index == index:
                return self.snapshot.metadata.term
            return None
        return self.entries[at].term if at < len(self.entries) else None

    def next_entries(self) -> list[Entry]:
        """The entries not yet handed out for writing, as a list of its own."""
        return self.entries[self.offset_in_progress - self.offset :]

    def next_snapshot(self) -> Snapshot | None:
        """The snapshot, unless it was handed out already."""
        return None if self.snapshot_in_progress else self.snapshot

    def accept_in_progress(self) -> None:
        """Everything here is now being written."""
        self.offset_in_progress = self.last + 1
        self.snapshot_in_progress = self.snapshot is not None

    def stable_to(self, index: int, term: int) -> None:
        """Entries up to (index, term) are durable and no write under way can replace them."""
        have = self.maybe_term(index)
        if have is None:
            self._logger.info("entry at index %d missing from unstable log; ignoring", index)
            return
        if index < self.offset:
            self._logger.info("entry at index %d matched unstable snapshot; ignoring", index)
            return
        if have != term:
            # Part of the log was replaced while its earlier version was being written.
            self._logger.info(
                "entry at (index,term)=(%d,%d) mismatched with entry at (%d,%d) in unstable log; "
                "ignoring",
                index, term, index, have,
            )  # fmt: skip
            return
        del self.entries[: index + 1 - self.offset]
        self.offset = index + 1
        if self.offset_in_progress <= index:
            self.offset_in_progress = index + 1

    def stable_snap_to(self, index: int) -> None:
        """The snapshot at `index` is durable."""
        if self.snapshot and self.snapshot.metadata.index == index:
            self.snapshot = None
            self.snapshot_in_progress = False

    def restore(self, snapshot: Snapshot) -> None:
        """Replace everything by a snapshot."""
        self.last = snapshot.metadata.index
        self.offset = self.offset_in_progress = self.last + 1
        self.entries = []
        self.snapshot = snapshot
        self.snapshot_in_progress = False

    def truncate_and_append(self, entries: list[Entry]) -> None:
        """Append, replacing whatever is at or after the first of `entries`."""
        start = entries[0].index
        at = start - self.offset
        self.last = start + len(entries) - 1
        if at == len(self.entries):
            self.entries += entries
        elif at <= 0:
            self._logger.info("replace the unstable entries from index %d", start)
            self.entries = entries[:]
            self.offset = start
            self.offset_in_progress = start
        else:
            self._logger.info("truncate the unstable entries before index %d", start)
            self._check_bounds(self.offset, start)
            self.entries[at:] = entries
            self.offset_in_progress = min(self.offset_in_progress, start)

    def slice(self, lo: int, hi: int) -> list[Entry]:
        """Entries [lo, hi), all of which must be here (RaftPanic)."""
        self._check_bounds(lo, hi)
        return self.entries[lo - self.offset : hi - self.offset]

    def _check_bounds(self, lo: int, hi: int) -> None:
        if lo > hi:
            raise RaftPanic(f"invalid unstable.slice {lo} > {hi}")
        upper = self.offset + len(self.entries)
        if lo < self.offset or hi > upper:
            raise RaftPanic(f"unstable.slice[{lo},{hi}) out of bound [{self.offset},{upper}]")
