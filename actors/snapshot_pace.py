"""How fast snapshots leave, so that clients hardly notice it.

A chunk is read, hashed and packed by who moves all messages; in a fused node everything else waits
meanwhile. So after each there is a rest, REST times as long as that took. Where the processors are
wanted by others as well it takes longer, as it waits for them itself, and the rest grows with it.

Nothing rests when the log, which has to hold all that comes after the snapshot, gets full: rather
slower writes for a while than writes that wait for a snapshot (`throttle.py`).
"""

from ..config import limits

REST = 20
"""A twentieth of the leader's time. The rest of it, sockets and answers, takes half as much again;
a free processor needs 0.4 ms for a chunk, so that leaves 30 MB/s."""
REST_S_MAX = limits.SNAPSHOT_CHUNK_BYTES / limits.SNAPSHOT_BYTES_PER_S_MIN
"""However long a chunk took, snapshots are to arrive."""
LATE_S = 0.1
"""What a bound on bytes has left unused so lately may be used still: a timer comes late."""


class Pace:
    """Of all streams of a node together; not faster than `bytes_per_s` unless that is 0."""

    def __init__(self, bytes_per_s: int) -> None:
        self._bytes_per_s = bytes_per_s
        self._paid_at = 0.0  # what has left was allowed by then
        self._rested_at = 0.0
        self.hurries = False
        """Whether to do without rests."""

    @property
    def due_at(self) -> float:
        """When the next chunk may leave."""
        return self._paid_at if self.hurries else max(self._paid_at, self._rested_at)

    def sent(self, size: int, began: float, ended: float) -> None:
        """A chunk of `size` bytes has taken from `began` to `ended`."""
        self._rested_at = ended + min(REST * (ended - began), REST_S_MAX)
        if self._bytes_per_s:
            self._paid_at = max(self._paid_at, began - LATE_S) + size / self._bytes_per_s
