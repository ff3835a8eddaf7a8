"""Ranges that are read again and again, kept as they travel.

Reading 10,000 keys from RocksDB takes 3 ms when each was written once and ten times that when each
has been overwritten lately, since an iterator passes every version in memory and in each file of
level 0. Whoever lists a range usually lists it again, with few changes between: a range that was
read twice is kept, packed, and what changed in it since is looked up when it is read the next time.
"""

from bisect import bisect_left
from collections.abc import Iterable

from .overlay import Overlay
from .records import pack_key_value, pack_key_values
from .sliced import Sliced, discard, in_parts, joined_and_freed

Bounds = tuple[bytes, bytes]
"""First KV key in and first one out."""

RANGES_MAX = 16
BYTES_MAX = 32 << 20
"""Of all ranges that are kept; one that takes more than a quarter of it is not."""
KEYS_MIN = 64
"""Fewer are read as fast from RocksDB."""
REBUILD_SHARE = 4
"""When more than one key in so many was written since, all are read anew."""
IDLE_COMMITS_MAX = 100
"""Commits that a range is kept without being read: each has to look for what it changes there."""
_KEY_OVERHEAD = 150  # of a key and its value, as Python objects


class _Range:
    __slots__ = ("bytes", "idle_commits", "keys", "packed", "stale")

    def __init__(self, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        self.keys: list[bytes] = []
        self.packed: list[bytes] = []  # the KeyValue of each
        for stored, record in pairs:
            self.keys.append(stored)
            self.packed.append(pack_key_value(stored[1:], record))
        self.bytes = sum(map(len, self.packed)) + len(self.keys) * _KEY_OVERHEAD
        self.stale: set[bytes] = set()  # written since
        self.idle_commits = 0

    def set(self, stored: bytes, record: bytes | None) -> None:
        """What `stored` is now; None when it was deleted."""
        position = bisect_left(self.keys, stored)
        if self.keys[position : position + 1] == [stored]:
            self.bytes -= len(self.packed[position]) + _KEY_OVERHEAD
            del self.keys[position], self.packed[position]
        if record is not None:
            packed = pack_key_value(stored[1:], record)
            self.keys.insert(position, stored)
            self.packed.insert(position, packed)
            self.bytes += len(packed) + _KEY_OVERHEAD


class RangeCache:
    """The ranges of one state that were read lately. All that is written to it must go through the
    overlay, and `committing` be called before each of its commits."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        # None: read once. In order of their last use.
        self._ranges: dict[Bounds, _Range | None] = {}

    def read(self, start: bytes, end: bytes) -> Sliced[tuple[int, bytes]]:
        """How many KeyValues there are of `start` <= KV key < `end` at the first step, and they,
        packed, in order."""
        bounds = (start, end)
        seen = bounds in self._ranges
        kept = self._ranges.pop(bounds, None)
        if kept is not None and self._bring_up_to_date(kept, bounds):
            kept.idle_commits = 0
            self._keep(bounds, kept)
            return len(kept.packed), b"".join(kept.packed)
        reading = self._overlay.pairs_sliced(start, end)
        try:
            next(reading)
        except StopIteration as done:
            found = _Range(done.value)
            if len(found.keys) >= KEYS_MIN:
                self._keep(bounds, found if seen else None)
            return len(found.packed), b"".join(found.packed)
        yield  # what takes more than a slice is too large to be kept
        pairs = yield from reading
        packed = yield from in_parts(pairs, pack_key_values)
        yield from discard(pairs)
        return len(packed), (yield from joined_and_freed(packed))

    def _bring_up_to_date(self, kept: _Range, bounds: Bounds) -> bool:
        """False when so much changed that reading it anew is as fast."""
        kept.stale.update(self._overlay.written(*bounds))
        if len(kept.stale) * REBUILD_SHARE > len(kept.keys):
            return False
        for stored in kept.stale:
            kept.set(stored, self._overlay.get(stored))
        kept.stale.clear()
        return True

    def _keep(self, bounds: Bounds, kept: _Range | None) -> None:
        if kept is not None and kept.bytes > BYTES_MAX // 4:
            return
        self._ranges[bounds] = kept
        while len(self._ranges) > RANGES_MAX or self._size() > BYTES_MAX:
            del self._ranges[next(iter(self._ranges))]

    def _size(self) -> int:
        return sum(kept.bytes for kept in self._ranges.values() if kept is not None)

    def committing_much(self) -> None:
        """Likewise, and it is so much that all is forgotten."""
        self._ranges.clear()

    def committing(self) -> None:
        """What was written is about to leave the overlay."""
        for bounds, kept in self._ranges.items():
            if kept is None:
                continue
            kept.idle_commits += 1
            kept.stale.update(self._overlay.written(*bounds))
            changes_fast = len(kept.stale) * REBUILD_SHARE > len(kept.keys)
            if changes_fast or kept.idle_commits > IDLE_COMMITS_MAX:
                self._ranges[bounds] = None
