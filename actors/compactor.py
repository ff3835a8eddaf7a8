"""Automatic compaction, etcd's `api/v3compactor`: which revision to compact to, and when.

Every member keeps watching the revision, so that whoever leads next goes on where the last leader
was; only the leader proposes.
"""

from collections import deque
from typing import Protocol

PERIOD_S_MAX = 3600.0
"""Longer periods compact every hour, too (etcd's getCompactInterval)."""
RETRY_DIVISOR = 10
"""The revision is noted, and a failed compaction tried again, so often in that time."""
REVISION_INTERVAL_S = 300.0
"""How often the revision mode compacts (etcd's revInterval)."""


class Compactor(Protocol):
    """What the applier asks now and then."""

    def tick(self, now: float, revision: int, compacted: int, *, leading: bool) -> int:
        """The revision to compact to, 0 for none.

        Args:
            now: monotonic seconds.
            revision: the newest revision.
            compacted: the compact revision.
            leading: whether this member may compact.
        """


class Periodic:
    """Keeps the history of the last `period_s` seconds: compacts every period, or every hour, to
    what was the newest revision a period before."""

    def __init__(self, period_s: float, now: float) -> None:
        self._period_s = period_s
        self._interval_s = min(period_s, PERIOD_S_MAX)
        self._note_s = self._interval_s / RETRY_DIVISOR
        self._noted: deque[int] = deque(maxlen=round(period_s / self._note_s) + 1)
        self._next_note = now
        self._next_compaction = now + period_s
        self._asked = 0  # the revision last asked for, until it was compacted
        self._asked_at = 0.0

    def tick(self, now: float, revision: int, compacted: int, *, leading: bool) -> int:
        """See Compactor. A compaction that did not happen is asked for again."""
        if now < self._next_note:
            return 0
        self._next_note = now + self._note_s
        target = self._noted[0] if self._noted else 0
        self._noted.append(revision)
        if 0 < self._asked <= compacted:
            self._next_compaction, self._asked = self._asked_at + self._interval_s, 0
        if not leading or now < self._next_compaction or target <= compacted:
            return 0
        self._asked, self._asked_at = target, now
        return target


class Revisions:
    """Keeps the last `count` revisions."""

    def __init__(self, count: int, now: float) -> None:
        self._count = count
        self._next = now + REVISION_INTERVAL_S

    def tick(self, now: float, revision: int, compacted: int, *, leading: bool) -> int:
        """See Compactor."""
        if now < self._next:
            return 0
        self._next = now + REVISION_INTERVAL_S
        target = revision - self._count
        return target if leading and target > compacted else 0


def make(mode: str, retention: float, now: float) -> Compactor | None:
    """The compactor of a configuration: `retention` in seconds for "periodic", in revisions for
    "revision"; None for 0."""
    if not retention:
        return None
    return Periodic(retention, now) if mode == "periodic" else Revisions(int(retention), now)
