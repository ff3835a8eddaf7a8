"""Slows writes down while a follower takes a snapshot, so that the log lasts until it is in.

What comes after the snapshot must stay in the leader's log, in memory and on disk, and both have a
bound. If writes filled it first, the follower would need another snapshot, and never catch up. So
when a third of the bound is taken the snapshot travels without rests (`snapshot_pace.py`). From
half on, what is left of it is given out over LAST_S, of which there is always some left: writes
become slower, the longer the snapshot takes, and do not stop. What this member's own clients ask
its node proposes again later; what other members have forwarded waits here.
"""

from collections import deque
from collections.abc import Iterator

from ..config.limits import LogLimits
from ..raft import Message
from .log_tail import LogTail

LAST_S = 10.0
"""In such a time writes take two thirds of the room that is left."""
FREE = 0.5
"""Of the bound: as long as so much room is left, nothing is slowed down."""
HURRY = 2 / 3
"""Likewise: with more room left than this a snapshot takes its time."""


class Throttle:
    """Admits a leader's proposals."""

    def __init__(self, bounds: LogLimits) -> None:
        self._bounds = bounds
        self._next_at = 0.0
        self.is_on = False
        """A follower is taking a snapshot."""
        self._hurries = False
        # Bounded by what the members that forwarded it hold for their clients.
        self._forwarded: deque[Message] = deque()

    def admits(self, size: int, tail: LogTail, now: float) -> bool:
        """Whether an entry of `size` bytes may be proposed now; it counts if so."""
        if not self.is_on:
            return True
        room = self._room(tail)
        if room > FREE:
            return True
        taken = max(size / self._bounds.held_bytes_max, 1 / self._bounds.held_entries_max)
        if now < self._next_at or room <= taken:
            return False
        self._next_at = now + LAST_S * taken / room
        return True

    def _room(self, tail: LogTail) -> float:
        """What is left, as a part of the bound."""
        bounds = self._bounds
        return 1 - max(tail.bytes / bounds.held_bytes_max, len(tail) / bounds.held_entries_max)

    def hurry(self, tail: LogTail) -> bool | None:
        """Whether snapshots must not take their time; None when that is what it was."""
        before, self._hurries = self._hurries, self.is_on and self._room(tail) <= HURRY
        return self._hurries if self._hurries != before else None

    @property
    def wake_at(self) -> float | None:
        """When to look at what waits here."""
        return self._next_at if self._forwarded else None

    def holds(self, forwarded: Message, tail: LogTail, now: float) -> bool:
        """Whether a proposal of another member has to wait; then `released` gives it back."""
        if not self._forwarded and self.admits(_size(forwarded), tail, now):
            return False
        self._forwarded.append(forwarded)
        return True

    def released(self, tail: LogTail, now: float) -> Iterator[Message]:
        """Those that may be proposed now; the caller does that with each at once."""
        while self._forwarded and self.admits(_size(self._forwarded[0]), tail, now):
            yield self._forwarded.popleft()


def _size(proposal: Message) -> int:
    return sum(len(entry.data) for entry in proposal.entries)
