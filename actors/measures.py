"""What actors count of themselves, for `/metrics`: cheap enough to be always on.

A count is an addition a turn, a duration a look into a table of bounds. Nothing is measured for
each request; who asks works out what they mean (`docs/operations.md` has the names).
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from typing import Any


class Histogram:
    """Durations, counted in buckets whose bounds double, as etcd's."""

    def __init__(self, first_s: float, buckets: int) -> None:
        self._bounds = [first_s * 2**i for i in range(buckets)]
        self._counts = [0] * (buckets + 1)
        self._sum_s = 0.0

    def observe(self, seconds: float) -> None:
        """Count one."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum_s += seconds

    def told(self) -> tuple[float, float, list[int]]:
        """(first bound in seconds, sum of all in seconds, how many in each bucket, the last of
        which has no bound)."""
        return self._bounds[0], self._sum_s, list(self._counts)


class Load:
    """What a host notes of an actor's turns."""

    def __init__(self) -> None:
        self.turns = 0
        self.busy_s = 0.0
        self.longest_s = 0.0
        self.queue_longest = 0
        """Messages that waited when a turn began. Both since the last time somebody asked."""
        self.messages: Counter[str] = Counter()
        """By channel."""
        self.process: Callable[[], tuple[int, float, int]] = lambda: (0, 0.0, 0)
        """(number, seconds of processor time, bytes of memory) of the process that it runs in, with
        all threads; a host puts its own here."""

    def note(self, seconds: float, waiting: int) -> None:
        """A turn is over, at whose beginning so many messages waited."""
        self.turns += 1
        self.busy_s += seconds
        self.longest_s = max(self.longest_s, seconds)
        self.queue_longest = max(self.queue_longest, waiting)

    def told(self) -> dict[str, Any]:
        """As it travels on statusrc."""
        longest_s, self.longest_s = self.longest_s, 0.0
        queue_longest, self.queue_longest = self.queue_longest, 0
        return {
            "turns": self.turns,
            "busy_s": self.busy_s,
            "longest_s": longest_s,
            "queue_longest": queue_longest,
            "process": self.process(),
            "messages": dict(self.messages),
        }
