"""A set of keys, as the union of ranges (etcd's `unifiedRangePermissions`)."""

from bisect import bisect_right
from collections.abc import Iterable

Range = tuple[bytes, bytes]
"""(key, range_end) as etcd has it: no end is the one key, a zero byte every key from `key` on."""

OPEN_END = b"\x00"


def is_valid(key: bytes, range_end: bytes) -> bool:
    """Whether there is a key in the range, as etcd's isValidPermissionRange."""
    return bool(key) and (range_end in (b"", OPEN_END) or key < range_end)


def bounds(key: bytes, range_end: bytes) -> tuple[bytes, bytes | None]:
    """First key in and first key out, None where there is none that is out."""
    if not range_end:
        return key, key + b"\x00"
    return key, None if range_end == OPEN_END else range_end


class KeySet:
    """The keys of some ranges together. Ranges that meet are one: who may read two halves may read
    the whole."""

    def __init__(self, ranges: Iterable[Range]) -> None:
        self._starts: list[bytes] = []
        self._ends: list[bytes | None] = []
        for start, end in sorted((bounds(*each) for each in ranges), key=lambda each: each[0]):
            if end is not None and end <= start:
                continue
            last = self._ends[-1] if self._ends else b""
            if self._starts and (last is None or start <= last):
                if last is not None and (end is None or end > last):
                    self._ends[-1] = end
            else:
                self._starts.append(start)
                self._ends.append(end)

    def has(self, key: bytes) -> bool:
        """Whether a key is among them."""
        at = bisect_right(self._starts, key) - 1
        if at < 0:
            return False
        end = self._ends[at]
        return end is None or key < end

    def covers(self, key: bytes, range_end: bytes = b"") -> bool:
        """Whether every key of a range is among them. A range without keys counts as its first one:
        it tells nothing, but whoever has no right must not be able to ask."""
        if not range_end:
            return self.has(key)
        start, end = bounds(key, range_end)
        at = bisect_right(self._starts, start) - 1
        if at < 0:
            return False
        last = self._ends[at]
        if last is None:
            return True
        return start < last and end is not None and end <= last
