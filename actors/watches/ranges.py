"""Which of many key ranges hold a key.

Single keys and prefixes, which nearly all watches are of, are found by one look into a table for
each length of prefix in use, however many there are; other ranges are gone through one by one.
"""

from collections.abc import Iterator
from typing import Generic, TypeVar

from ...transport.watches import prefix_end

V = TypeVar("V")
Range = tuple[bytes, bytes]
"""(key, range end) as etcd has them: an empty end means the one key, a zero byte all keys from
`key` on."""


class RangeMap(Generic[V]):
    """One value for each range."""

    def __init__(self) -> None:
        self._values: dict[Range, V] = {}
        self._keys: dict[bytes, V] = {}
        self._prefixes: dict[int, dict[bytes, V]] = {}
        self._others: dict[Range, V] = {}

    def __len__(self) -> int:
        return len(self._values)

    def get(self, range_: Range) -> V | None:
        """The value of exactly this range."""
        return self._values.get(range_)

    def put(self, range_: Range, value: V) -> None:
        """Set the value of a range."""
        key, end = range_
        self._values[range_] = value
        if not end:
            self._keys[key] = value
        elif end == prefix_end(key) and key.rstrip(b"\xff"):
            self._prefixes.setdefault(len(key), {})[key] = value
        else:
            self._others[range_] = value

    def remove(self, range_: Range) -> None:
        """Forget a range that is there."""
        key, _ = range_
        del self._values[range_]
        if self._others.pop(range_, None) is not None:
            return
        if not range_[1]:
            del self._keys[key]
            return
        of_length = self._prefixes[len(key)]
        del of_length[key]
        if not of_length:
            del self._prefixes[len(key)]

    def at(self, key: bytes) -> Iterator[V]:
        """The values of all ranges that hold `key`."""
        if key in self._keys:
            yield self._keys[key]
        for length, prefixes in self._prefixes.items():
            if (found := prefixes.get(key[:length])) is not None:
                yield found
        for (start, end), value in self._others.items():
            if start <= key and (end == b"\x00" or key < end):
                yield value
