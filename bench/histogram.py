"""A log-bucket latency histogram: constant memory, relative error below 1 %, mergeable.

The buckets follow HdrHistogram: values below `_LINEAR` nanoseconds have a bucket each; above, every
power of two is cut into `_SUB` equal buckets, so a bucket is at most 1/64 of its values wide and
its middle is at most 1/128 (0.8 %) away from any of them.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

_SUB_BITS = 6
_SUB = 1 << _SUB_BITS
_LINEAR = _SUB << 1


def bucket_of(nanoseconds: int) -> int:
    """The bucket that holds a latency; negative ones count as zero."""
    if nanoseconds < _LINEAR:
        return max(nanoseconds, 0)
    shift = nanoseconds.bit_length() - _SUB_BITS - 1
    return (shift << _SUB_BITS) + (nanoseconds >> shift)


def bucket_middle(bucket: int) -> int:
    """The latency in nanoseconds that stands for everything in a bucket."""
    if bucket < _LINEAR:
        return bucket
    shift = (bucket >> _SUB_BITS) - 1
    low = (bucket - (shift << _SUB_BITS)) << shift
    return low + (1 << shift >> 1)


class Histogram:
    """Latencies in nanoseconds. `max_ns` and the mean are exact, percentiles within 1 %."""

    def __init__(self) -> None:
        self._counts: Counter[int] = Counter()
        self._sum_ns = 0
        self.max_ns = 0

    def add(self, nanoseconds: int) -> None:
        """Count one latency."""
        self._counts[bucket_of(nanoseconds)] += 1
        self._sum_ns += nanoseconds
        if nanoseconds > self.max_ns:  # noqa: PLR1730  # max() is a call more in the hot path
            self.max_ns = nanoseconds

    @classmethod
    def of(cls, latencies: Iterable[int]) -> "Histogram":
        """One that counts all of these nanoseconds."""
        histogram = cls()
        for nanoseconds in latencies:
            histogram.add(nanoseconds)
        return histogram

    def merge(self, other: "Histogram") -> None:
        """Count everything that `other` counted, too."""
        self._counts.update(other._counts)
        self._sum_ns += other._sum_ns
        self.max_ns = max(self.max_ns, other.max_ns)

    @property
    def count(self) -> int:
        """How many latencies were counted."""
        return self._counts.total()

    @property
    def mean_ns(self) -> float:
        """The exact mean, 0 of nothing."""
        return self._sum_ns / self.count if self._counts else 0.0

    def percentile(self, percent: float) -> int:
        """The latency in nanoseconds that `percent` (0 to 100) of all do not exceed; 0 of nothing.

        Raises:
            ValueError: when `percent` is outside 0 to 100.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile is between 0 and 100, not {percent}")
        wanted = percent / 100 * self.count
        seen = 0
        for bucket, count in sorted(self._counts.items()):
            seen += count
            if seen >= wanted:
                return min(bucket_middle(bucket), self.max_ns)
        return 0

    def buckets(self) -> Iterator[tuple[int, int]]:
        """Each bucket's middle in nanoseconds with its count, in rising order."""
        for bucket, count in sorted(self._counts.items()):
            yield bucket_middle(bucket), count

    def to_json(self) -> dict[str, object]:
        """The whole histogram as JSON values, for `from_json`."""
        counts = {str(bucket): count for bucket, count in sorted(self._counts.items())}
        return {"counts": counts, "sum_ns": self._sum_ns, "max_ns": self.max_ns}

    @classmethod
    def from_json(cls, data: Mapping[str, object]) -> "Histogram":
        """The histogram that `to_json` wrote.

        Raises:
            ValueError: when `data` is not what `to_json` writes.
        """
        histogram = cls()
        match data:
            case {"counts": dict() as counts, "sum_ns": int() as sum_ns, "max_ns": int() as top}:
                histogram._counts = Counter({int(bucket): int(n) for bucket, n in counts.items()})
                histogram._sum_ns, histogram.max_ns = sum_ns, top
                return histogram
            case _:
                raise ValueError(f"not a histogram: {str(data)[:100]!r}")
