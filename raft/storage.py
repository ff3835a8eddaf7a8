"""What raft needs from durable storage, and a twin of it in memory.

Source: etcd-io/raft, storage.go.
"""

from collections.abc import Sequence
from copy import deepcopy
from typing import Protocol

from .errors import ErrCompacted, ErrSnapOutOfDate, ErrUnavailable, RaftPanic
from .types import ConfState, Entry, HardState, Snapshot, SnapshotMetadata, limit_size


class Storage(Protocol):
    """Read access to the stable part of the log. Raft itself never writes.

    Anything else than the errors named here is fatal to the node that raft runs in.
    """

    def initial_state(self) -> tuple[HardState, ConfState]:
        """The saved hard state, and the configuration at the snapshot or as last applied."""
        ...

    def entries(self, lo: int, hi: int, max_size: int) -> list[Entry]:
        """Entries [lo, hi), as many as fit into `max_size` encoded bytes but at least one.

        The caller owns the list. Raises ErrCompacted or ErrUnavailable.
        """
        ...

    def term(self, i: int) -> int:
        """The term of entry `i`, valid on [first_index - 1, last_index].

        Raises ErrCompacted or ErrUnavailable outside of it.
        """
        ...

    def last_index(self) -> int:
        """The index of the last entry, or of the snapshot if there is none."""
        ...

    def first_index(self) -> int:
        """The index of the first entry that may be read; earlier ones are in the snapshot."""
        ...

    def snapshot(self) -> Snapshot:
        """The newest snapshot; ErrSnapshotTemporarilyUnavailable to be asked again later."""
        ...


class MemoryStorage:
    """A `Storage` in memory, for tests and for keeping the tail of a log on disk at hand."""

    def __init__(self) -> None:
        self._hard_state = HardState()
        self._snapshot = Snapshot()
        # _entries[i] has index _entries[0].index + i; the first one is a dummy that keeps the
        # term of the entry before the log.
        self._entries = [Entry()]

    def initial_state(self) -> tuple[HardState, ConfState]:
        """See Storage."""
        return self._hard_state, self._snapshot.metadata.conf_state

    def set_hard_state(self, hs: HardState) -> None:
        """Save the hard state."""
        self._hard_state = hs

    def entries(self, lo: int, hi: int, max_size: int) -> list[Entry]:
        """See Storage; RaftPanic if `hi` is beyond the last entry."""
        offset = self._entries[0].index
        if lo <= offset:
            raise ErrCompacted
        if hi > self.last_index() + 1:
            raise RaftPanic(f"entries' hi({hi}) is out of bound lastindex({self.last_index()})")
        if len(self._entries) == 1:
            raise ErrUnavailable
        return limit_size(self._entries[lo - offset : hi - offset], max_size)

    def term(self, i: int) -> int:
        """See Storage."""
        at = i - self._entries[0].index
        if at < 0:
            raise ErrCompacted
        if at >= len(self._entries):
            raise ErrUnavailable
        return self._entries[at].term

    def last_index(self) -> int:
        """See Storage."""
        return self._entries[0].index + len(self._entries) - 1

    def first_index(self) -> int:
        """See Storage."""
        return self._entries[0].index + 1

    def snapshot(self) -> Snapshot:
        """See Storage."""
        return self._snapshot

    def apply_snapshot(self, s: Snapshot) -> None:
        """Replace everything by the snapshot; ErrSnapOutOfDate if there is one as new.

        Index 0 on an empty storage seeds the configuration only.
        """
        have = self._snapshot.metadata.index
        if have and have >= s.metadata.index:
            raise ErrSnapOutOfDate
        self._snapshot = s
        self._entries = [Entry(s.metadata.term, s.metadata.index)]

    def create_snapshot(self, i: int, cs: ConfState | None, data: bytes) -> Snapshot:
        """Make and keep a snapshot at `i`; `cs` is needed if the configuration has changed since.

        Raises ErrSnapOutOfDate, or RaftPanic if `i` is beyond the last entry.
        """
        if i <= self._snapshot.metadata.index:
            raise ErrSnapOutOfDate
        if i > self.last_index():
            raise RaftPanic(f"snapshot {i} is out of bound lastindex({self.last_index()})")
        conf_state = deepcopy(cs) if cs is not None else self._snapshot.metadata.conf_state
        self._snapshot = Snapshot(data, SnapshotMetadata(conf_state, i, self.term(i)))
        return self._snapshot

    def compact(self, compact_index: int) -> None:
        """Drop the entries up to `compact_index`; ErrCompacted if they are gone already.

        Do not compact beyond what is applied. RaftPanic if there is no such entry.
        """
        at = compact_index - self._entries[0].index
        if at <= 0:
            raise ErrCompacted
        if compact_index > self.last_index():
            raise RaftPanic(
                f"compact {compact_index} is out of bound lastindex({self.last_index()})"
            )
        dummy = Entry(self._entries[at].term, compact_index)
        self._entries = [dummy, *self._entries[at + 1 :]]

    def append(self, entries: Sequence[Entry]) -> None:
        """Write entries, replacing any at or after the first of them; RaftPanic on a gap."""
        if not entries:
            return
        first = self.first_index()
        if entries[-1].index < first:
            return
        fresh = list(entries[max(first - entries[0].index, 0) :])
        offset = fresh[0].index - self._entries[0].index
        if offset > len(self._entries):
            raise RaftPanic(
                f"missing log entry [last: {self.last_index()}, append at: {fresh[0].index}]"
            )
        self._entries[offset:] = fresh
