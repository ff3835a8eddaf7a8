"""Reading versions: the newest of a key, any in the past, ranges of either, and history.

How a version at a revision is found: from the newest record of its generation (KV, or DEAD once it
was deleted) go back along the farthest pointer that does not lead past the revision. Each older
version stands in the chunk of its revision, or in KEPT when that chunk was compacted.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

from ..transport import errors
from ..transport.codec import pack
from ..transport.requests import RANGE_COUNT_ONLY, RANGE_KEYS_ONLY, RANGE_NO_COUNT
from . import keys
from .errors import CorruptionError
from .overlay import Overlay, Pair
from .range_cache import RangeCache
from .records import (
    HEADER_SIZE,
    Event,
    Header,
    KeyValue,
    decode_chunk,
    key_value,
    pack_key_value,
    pack_range,
    read_header,
    replaced_revision,
    without_value,
)

Result = tuple[Any, ...]
"""A request's result in the order in which it travels (docs/protocol.md), or a WireError."""

_RANGE_DEFAULTS = (b"", 0, 0, 0, 0, 0, 0, 0, 0, 0)
_SORT_FIELDS = ("", "version", "create_revision", "mod_revision")
"""sort_target -> field of Header; 0 is the key, 4 the value."""
_SORT_KEY, _SORT_VALUE = 0, 4
_SORT_NONE, _SORT_ASCEND, _SORT_DESCEND = 0, 1, 2
_LIMIT_MAX = 2**62


class Versions:
    """All versions of all keys that the overlay holds, by key and revision."""

    def __init__(self, overlay: Overlay) -> None:
        self.overlay = overlay
        self.range_cache = RangeCache(overlay)
        self.revision = 1
        """The newest revision. An empty store is at 1, as etcd's."""
        self.compact_revision = 0
        """Reads below it are refused; 0 before the first compaction."""
        self.recent: list[Event] = []
        """Events whose chunks are not in the database yet: whole revisions, between requests."""
        self._before: list[Event] = []  # those just before `recent`, for watches that follow
        # (first revision, last revision, events) of the chunk read last: neighbours are often next
        self._chunk: tuple[int, int, Sequence[Event]] = (1, 0, ())
        oldest = overlay.db.pairs(keys.chunk_key(0, 0), keys.after_prefix(keys.EVENTS), 1)
        self.chunks_begin = keys.parse_chunk_key(oldest[0][0])[0] if oldest else 0
        """A revision before which no chunk begins. Searching there would pass all that compaction
        deleted."""

    def current(self, key: bytes) -> bytes | None:
        """The newest record of `key`, None when it does not exist now."""
        return self.overlay.get_again(keys.KV + key)

    def record_at(self, revision: int, key: bytes) -> bytes | None:
        """The record that a put of `key` at exactly `revision` made; None when there was none or
        compaction removed it."""
        if self.recent and revision >= self.recent[0][0]:
            return _find(self.recent, revision, key)
        if revision <= self.compact_revision:
            kept = self.overlay.get(keys.kept_key(revision, key))
            if kept is not None:
                return kept
        return self._find_in_chunks(revision, key)

    def _find_in_chunks(self, revision: int, key: bytes) -> bytes | None:
        if revision < self.chunks_begin:
            return None
        first, last, events = self._chunk
        if first < revision < last:
            return _find(events, revision, key)
        sub = keys.SUB_MAX
        while True:
            found = self.overlay.db.last(keys.chunk_key(0, 0), keys.chunk_key(revision, sub))
            if found is None:
                return None
            first, sub = keys.parse_chunk_key(found[0])
            events = decode_chunk(found[1])
            self._chunk = (first, events[-1][0], events)
            record = _find(events, revision, key)
            if record is not None or first < revision or sub == 0:
                return record
            sub -= 1  # the revision began in an earlier chunk

    def version_at(self, revision: int, key: bytes, head: Header) -> bytes:
        """The record of `key` at `revision`, in the generation whose newest version `head` is
        and which existed then."""
        while (older := _older(head, revision)) > revision:
            head = read_header(self._existing(older, key))
        return self._existing(older, key)

    def _versions_at(self, revision: int, live: list[tuple[bytes, bytes | Header]]) -> list[bytes]:
        """The records at `revision` of what `live_at` found there.

        All go back together, one pointer at a time and in the order of revisions, so that each
        chunk is read once for all keys in it.
        """
        records = [b"" if isinstance(newest, Header) else newest for _, newest in live]
        todo = [
            (_older(newest, revision), position)
            for position, (_, newest) in enumerate(live)
            if isinstance(newest, Header)
        ]
        while todo:
            todo.sort()
            further = []
            for older, position in todo:
                record = self._existing(older, live[position][0])
                if older <= revision:
                    records[position] = record
                else:
                    further.append((_older(read_header(record), revision), position))
            todo = further
        return records

    def _dead_at(
        self, revision: int, key: bytes, range_end: bytes, page: int
    ) -> Iterator[tuple[bytes, Header]]:
        """The generations in a range that existed at `revision` and were deleted since."""
        for dead, raw in self._paged(*keys.dead_bounds(key, range_end), page):
            name, deleted = keys.parse_dead_key(dead)
            head = read_header(raw)
            if head.create_revision <= revision < deleted:
                yield name, head

    def _alive_at(
        self, revision: int, key: bytes, range_end: bytes, page: int
    ) -> Iterator[tuple[bytes, bytes | Header]]:
        """The keys of a range that exist now and did at `revision`."""
        for stored, record in self._paged(*keys.range_bounds(key, range_end), page):
            head = read_header(record)
            if head.create_revision <= revision:
                yield stored[1:], record if head.mod_revision <= revision else head

    def _paged(self, start: bytes, end: bytes, page: int) -> Iterator[tuple[bytes, bytes]]:
        """The pairs from `start` to `end`, read `page` (0: all) at a time as they are asked for."""
        while start < end:
            pairs = self.overlay.pairs(start, end, page)
            yield from pairs
            if not page or len(pairs) < page:
                return
            start = pairs[-1][0] + b"\x00"

    def forget_chunks(self, last_revision: int) -> None:
        """The chunks up to one that ends in `last_revision` are gone."""
        self.chunks_begin = last_revision
        self._chunk = (1, 0, ())

    def _existing(self, revision: int, key: bytes) -> bytes:
        record = self.record_at(revision, key)
        if record is None:
            raise CorruptionError(
                f"the version of {key!r} at revision {revision} is missing; the store is at "
                f"revision {self.revision}, compacted to {self.compact_revision}"
            )
        return record

    def live_at(
        self, revision: int, key: bytes, range_end: bytes, limit: int = 0
    ) -> list[tuple[bytes, bytes | Header]]:
        """The first `limit` (0: all) keys of an etcd range that existed at `revision`, in order,
        each with its record or with the newest header of its generation."""
        alive = self._alive_at(revision, key, range_end, limit)
        dead: Iterator[tuple[bytes, bytes | Header]] = self._dead_at(
            revision, key, range_end, limit
        )
        return list(islice(heapq.merge(alive, dead, key=_first), limit or None))

    # -- ranges --------------------------------------------------------------------------------

    def range(self, request: tuple[Any, ...]) -> Result:
        """Execute a checked range request."""
        result = self._range(request)
        if isinstance(result, errors.WireError):
            return result
        count, more, found = result
        return (0, self.revision, count, more, [key_value(k[1:], record) for k, record in found])

    def packed_range(self, request: tuple[Any, ...]) -> bytes:
        """The result of `range` as it travels."""
        if len(request) > 2 and request[2] and not any(request[3:]):  # all of a range, as it is now
            start, end = keys.range_bounds(*request[1:3])
            kvs = self.range_cache.read(start, end) if start < end else []
            return pack_range(self.revision, len(kvs), False, kvs)
        result = self._range(request)
        if isinstance(result, errors.WireError):
            return pack(result)
        count, more, found = result
        kvs = [pack_key_value(stored[1:], record) for stored, record in found]
        return pack_range(self.revision, count, more, kvs)

    def _range(self, request: tuple[Any, ...]) -> tuple[int, bool, list[Pair]] | errors.WireError:
        """Count, whether there is more, and what was found, as KV keys with their records; etcd's
        `executeRange` in etcdserver/txn."""
        key = request[1]
        options = request[2:] + _RANGE_DEFAULTS[len(request) - 2 :]
        range_end, limit, revision, flags, target, order, *filters = options
        refusal = self.check_revision(revision)
        if refusal is not None:
            return refusal
        past = revision if 0 < revision < self.revision else 0
        if flags & RANGE_COUNT_ONLY:
            return (self._count(past, key, range_end), False, [])
        limit = min(limit, _LIMIT_MAX)
        sorts = order != _SORT_NONE and (target, order) != (_SORT_KEY, _SORT_ASCEND)
        everything = sorts or any(filters)
        fetch = limit + 1 if limit and not everything else 0
        if past:
            found = self._past(past, key, range_end, fetch)
        else:
            found = self.current_pairs(key, range_end, fetch)
        count = len(found)
        found = _sorted(_filtered(found, filters), target, order)
        more = 0 < limit < len(found)
        if more:
            del found[limit:]
        if flags & RANGE_NO_COUNT:
            count = len(found)
        elif fetch and count == fetch:  # there may be more
            count = self._count(past, key, range_end)
        if flags & RANGE_KEYS_ONLY:
            found = [(stored, without_value(record)) for stored, record in found]
        return (count, more, found)

    def check_revision(self, revision: int) -> errors.WireError | None:
        """Whether `revision` (0: the newest) can be read."""
        if revision > self.revision:
            return errors.FUTURE_REVISION
        if 0 < revision < self.compact_revision:
            return errors.COMPACTED
        return None

    def _count(self, past: int, key: bytes, range_end: bytes) -> int:
        if past:
            return len(self.live_at(past, key, range_end))
        if not range_end:
            return int(self.current(key) is not None)
        start, end = keys.range_bounds(key, range_end)
        return self.overlay.count(start, end) if start < end else 0

    def current_pairs(self, key: bytes, range_end: bytes, fetch: int = 0) -> list[Pair]:
        """The first `fetch` (0: all) keys of a range now, as they are stored, and their records."""
        if not range_end:
            record = self.current(key)
            return [] if record is None else [(keys.KV + key, record)]
        start, end = keys.range_bounds(key, range_end)
        return self.overlay.pairs(start, end, fetch) if start < end else []

    def _past(self, revision: int, key: bytes, range_end: bytes, fetch: int) -> list[Pair]:
        """The first `fetch` (0: all) keys of a range at `revision`."""
        live = self.live_at(revision, key, range_end, fetch)
        records = self._versions_at(revision, live)
        return [(keys.KV + name, record) for (name, _), record in zip(live, records, strict=True)]

    # -- history -------------------------------------------------------------------------------

    def history(self, first_revision: int, chunks_max: int = 16) -> list[Event]:
        """Events in order from `first_revision` on: all up to the newest revision, or those of
        about `chunks_max` chunks. Never a part of a revision; empty at the end.

        Costs next to nothing for who follows. Below `compact_revision` events are missing: ask
        `check_revision` first.
        """
        if self.recent and self.recent[0][0] <= first_revision:
            return list(_from(self.recent, first_revision))
        if self._before and self._before[0][0] <= first_revision:
            return [*_from(self._before, first_revision), *self.recent]
        db = self.overlay.db
        before = db.last(keys.chunk_key(0, 0), keys.chunk_key(first_revision, 0))
        start = before[0] if before else keys.chunk_key(0, 0)
        events: list[Event] = []
        for number, (stored, chunk) in enumerate(db.scan(start, keys.after_prefix(keys.EVENTS))):
            if number >= chunks_max and keys.parse_chunk_key(stored)[1] == 0:
                break  # a chunk with a sub goes on with the revision before it
            events += decode_chunk(chunk)
        else:
            events += self.recent
        return list(_from(events, first_revision))

    def saved(self) -> None:
        """The chunks of `recent` are in the database now."""
        self._before, self.recent = self.recent, []

    def previous(self, event: Event) -> KeyValue | None:
        """What the event's key was just before it, None when it was absent or compacted."""
        if event[0] <= self.compact_revision:
            return None  # whether or not the version before it is still there
        replaced, key = replaced_revision(event), event[1]
        old = self.record_at(replaced, key) if replaced else None
        return None if old is None else key_value(key, old)


def _older(head: Header, revision: int) -> int:
    """Where to go next from a version on the way back to `revision`."""
    if head.mod_revision <= revision:
        return head.mod_revision
    if head.skip_2 > revision:
        return head.skip_2
    return head.skip_1 if head.skip_1 > revision else head.prev


def _first(pair: tuple[bytes, bytes | Header]) -> bytes:
    return pair[0]


def _find(events: Sequence[Event], revision: int, key: bytes) -> bytes | None:
    """The record of `key` among events in order of revision."""
    for event in _from(events, revision):
        if event[0] != revision:
            return None
        if event[1] == key:
            return event[2]
    return None


def _from(events: Sequence[Event], revision: int) -> Iterator[Event]:
    for position in range(bisect_left(events, (revision,)), len(events)):
        yield events[position]


def _filtered(found: list[Pair], filters: Sequence[int]) -> list[Pair]:
    """etcd's four revision filters, 0 for none."""
    if not any(filters):
        return found
    min_mod, max_mod, min_create, max_create = filters

    def passes(head: Header) -> bool:
        mod, create = head.mod_revision, head.create_revision
        return min_mod <= mod <= (max_mod or mod) and min_create <= create <= (max_create or create)

    return [pair for pair in found if passes(read_header(pair[1]))]


def _sorted(found: list[Pair], target: int, order: int) -> list[Pair]:
    """etcd's sort: by key when nothing is asked, ascending when only a target is."""
    if target == _SORT_KEY and order != _SORT_DESCEND:
        return found  # as RocksDB keeps them

    def sort_key(pair: Pair) -> Any:
        if target == _SORT_KEY:
            return pair[0]
        if target == _SORT_VALUE:
            return pair[1][HEADER_SIZE:]
        return getattr(read_header(pair[1]), _SORT_FIELDS[target])

    found.sort(key=sort_key, reverse=order == _SORT_DESCEND)
    return found
