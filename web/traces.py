"""The ways of writes that are kept to be looked at: those of the last minute, and the slowest."""

from collections import deque
from heapq import heappush, heappushpop
from time import monotonic
from typing import Any

from ..client.trace import Trace

LAST_S, LAST_MAX = 60.0, 120
"""Kept for so long, and so many: one a second from a page, one in two from sampling."""
SLOWEST_MAX = 16

Parts = list[tuple[str, float]]
"""(what a write waited for, seconds)."""


class Traces:
    """What one node's pages keep."""

    def __init__(self) -> None:
        self._last: deque[tuple[Trace, Parts]] = deque(maxlen=LAST_MAX)
        self._slowest: list[tuple[float, int, Trace]] = []  # a heap
        self._entries: deque[int] = deque(maxlen=LAST_MAX)  # whose way is kept already

    def keep(self, trace: Trace) -> bool:
        """Keep one; False when it is there already, or not all of it was remembered."""
        if not trace.took_s or trace.entry in self._entries:
            return False
        self._entries.append(trace.entry)
        self._last.append((trace, trace.parts()))
        item = (trace.took_s, trace.entry, trace)
        if len(self._slowest) < SLOWEST_MAX:
            heappush(self._slowest, item)
        else:
            heappushpop(self._slowest, item)
        return True

    def find(self, revision: int) -> Trace | None:
        """The one that was kept for this revision."""
        kept = [*(trace for trace, _ in self._last), *(trace for *_, trace in self._slowest)]
        return next((trace for trace in kept if trace.revision == revision), None)

    def told(self) -> dict[str, Any]:
        """What is said of all: each in a few numbers, and what the last ones waited for on
        average."""
        now = monotonic()
        while self._last and now - self._last[0][0].began > LAST_S:
            self._last.popleft()
        slowest = sorted(self._slowest, reverse=True)
        return {
            "last": [_brief(trace, now) for trace, _ in reversed(self._last)],
            "slowest": [_brief(trace, now) for *_, trace in slowest],
            "parts": self._parts(),
        }

    def _parts(self) -> Parts:
        """(what the writes waited for, seconds on average)."""
        sums: dict[str, float] = {}
        for _, parts in self._last:
            for text, seconds in parts:
                sums[text] = sums.get(text, 0.0) + seconds
        return [(text, seconds / len(self._last)) for text, seconds in sums.items()]


def _brief(trace: Trace, now: float) -> tuple[int, int, float, float]:
    """(revision, member that took it, seconds that it took, seconds ago)."""
    return trace.revision, trace.member_id, round(trace.took_s, 6), round(now - trace.began, 2)
