"""The raft log as the core sees it: in memory, the same window as the log database holds.

etcd's MemoryStorage with a bound in bytes. Entries enter when they are handed to the WAL writer and
leave when the log is compacted, here and on disk at the same index.
"""

from collections.abc import Iterable, Sequence

from ..config.limits import LogLimits
from ..raft import (
    ConfState,
    Entry,
    ErrCompacted,
    ErrSnapshotTemporarilyUnavailable,
    ErrUnavailable,
    HardState,
    Snapshot,
    Status,
)
from .actor import Impossible


def needed_after(status: Status, heard: Iterable[int]) -> int:
    """The index after which a leader's followers need the log, one that is sent a snapshot from
    there on. One that has fallen silent needs nothing, or it would for ever."""
    found = [status.progress[peer] for peer in heard if peer in status.progress]
    return min((p.pending_snapshot or p.match for p in found), default=2**63)


def is_sending(status: Status, heard: Iterable[int], start_index: int) -> bool:
    """Whether a follower that answers needs a snapshot, which is made, sent or installed."""
    progress = [status.progress[p] for p in heard if p in status.progress]
    return any(each.pending_snapshot or each.match < start_index for each in progress)


class LogTail:
    """Implements the core's Storage.

    Invariant: `_entries[i].index == start[0] + 1 + i`.
    """

    def __init__(
        self,
        hard_state: HardState,
        conf_state: ConfState,
        start: tuple[int, int],
        entries: Sequence[Entry],
    ) -> None:
        self._hard_state = hard_state
        self._conf_state = conf_state
        self.start_index, self.start_term = start
        self._entries: list[Entry] = []
        self.bytes = 0
        self.snapshot_made: Snapshot | None = None
        self.snapshot_wanted = False
        self.configured_at = 0
        """The index of the last change of the members: a snapshot of before it is refused by who
        was added."""
        self.append(entries)

    def __len__(self) -> int:
        return len(self._entries)

    # -- Storage

    def initial_state(self) -> tuple[HardState, ConfState]:
        """What the disk held at start."""
        return self._hard_state, self._conf_state

    def first_index(self) -> int:
        """Index of the first entry that is or would be here."""
        return self.start_index + 1

    def last_index(self) -> int:
        """Index of the last entry, or of the start when there is none."""
        return self.start_index + len(self._entries)

    def term(self, i: int) -> int:
        """Term of entry `i`; raises ErrCompacted or ErrUnavailable."""
        offset = i - self.start_index
        if offset < 0:
            raise ErrCompacted
        if offset == 0:
            return self.start_term
        if offset > len(self._entries):
            raise ErrUnavailable
        return self._entries[offset - 1].term

    def entries(self, lo: int, hi: int, max_size: int) -> list[Entry]:
        """Entries [lo, hi), at least one, then as many as fit in `max_size` bytes."""
        if lo <= self.start_index:
            raise ErrCompacted
        if hi > self.last_index() + 1:
            raise Impossible(f"entries [{lo}, {hi}) wanted, the last is {self.last_index()}")
        found = self._entries[lo - self.start_index - 1 : hi - self.start_index - 1]
        size = 0
        for n, entry in enumerate(found):
            size += len(entry.data) + 16
            if n and size > max_size:
                return found[:n]
        return found

    def snapshot(self) -> Snapshot:
        """The newest snapshot from which a follower can go on; asks for one when there is none."""
        made = self.snapshot_made
        oldest = max(self.start_index, self.configured_at)
        if made is not None and made.metadata.index >= oldest:
            return made
        self.snapshot_wanted = True
        raise ErrSnapshotTemporarilyUnavailable

    def exceeds(self, bounds: LogLimits, share: int) -> bool:
        """Whether it is larger than `share` times what it should be."""
        return (
            len(self._entries) > share * bounds.entries_max or self.bytes > share * bounds.bytes_max
        )

    # -- what the actor does to it

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries, replacing a suffix that they contradict."""
        if not entries:
            return
        keep = entries[0].index - self.start_index - 1
        if not 0 <= keep <= len(self._entries):
            raise Impossible(
                f"append at {entries[0].index}, the log is [{self.first_index()}, "
                f"{self.last_index()}]: was a part of it lost?"
            )
        for entry in self._entries[keep:]:
            self.bytes -= len(entry.data)
        self._entries[keep:] = entries
        for entry in entries:
            self.bytes += len(entry.data)

    def compact(self, index: int) -> None:
        """Forget entries up to and including `index`."""
        self.start_term = self.term(index)
        drop = index - self.start_index
        for entry in self._entries[:drop]:
            self.bytes -= len(entry.data)
        del self._entries[:drop]
        self.start_index = index

    def reset(self, index: int, term: int) -> None:
        """Begin anew after an installed snapshot."""
        self._entries = []
        self.bytes = 0
        self.start_index, self.start_term = index, term

    def compactable(self, limit: int, keep_entries: int, keep_bytes: int) -> int:
        """The index up to which to compact: at most `limit`, leaving the newest entries that are
        within both bounds."""
        kept_bytes = 0
        for kept, entry in enumerate(reversed(self._entries)):
            kept_bytes += len(entry.data)
            if kept >= keep_entries or kept_bytes > keep_bytes:
                return min(limit, entry.index)
        return self.start_index
