"""Slows writes down while a follower takes a snapshot, so that the log lasts until it is in.

What comes after the snapshot must stay in the leader's log, in memory and on disk, and both have a
bound. If writes filled it first, the follower would need another snapshot, and never catch up. So
from half of the bound on, what is left of it is given out over LAST_S, of which there is always
some left: writes become slower, the longer the snapshot takes, and do not stop.
"""

from ..config.limits import LogLimits
from .log_tail import LogTail

LAST_S = 10.0
"""In such a time writes take two thirds of the room that is left."""
FREE = 0.5
"""Of the bound: as long as so much room is left, nothing is slowed down."""


class Throttle:
    """Admits a leader's proposals."""

    def __init__(self, bounds: LogLimits) -> None:
        self._bounds = bounds
        self._next_at = 0.0
        self.is_on = False
        """A follower is taking a snapshot."""

    def admits(self, size: int, tail: LogTail, now: float) -> bool:
        """Whether an entry of `size` bytes may be proposed now; it counts if so."""
        if not self.is_on:
            return True
        bytes_max, entries_max = self._bounds.held_bytes_max, self._bounds.held_entries_max
        room = 1 - max(tail.bytes / bytes_max, len(tail) / entries_max)
        if room > FREE:
            return True
        taken = max(size / bytes_max, 1 / entries_max)
        if now < self._next_at or room <= taken:
            return False
        self._next_at = now + LAST_S * taken / room
        return True
