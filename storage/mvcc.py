"""Reading versions: the newest of a key, any in the past, ranges of either, and history.

How a version at a revision is found: from the newest record of its generation (KV, or DEAD once it
was deleted) go back along the farthest pointer that does not lead past the revision. Each older
version stands in the chunk of its revision, or in KEPT when that chunk was compacted.
"""

import heapq
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

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
    pack_key_values,
    range_head,
    read_header,
    replaced_revision,
    without_value,
)
from .sliced import (
    ITEMS,
    Sliced,
    discard,
    in_parts,
    joined_and_freed,
    length,
    ready,
    shortened,
    sort,
)

Result = tuple[Any, ...]
"""A request's result in the order in which it travels (docs/protocol.md), or a WireError."""

_RANGE_DEFAULTS = (b"", 0, 0, 0, 0, 0, 0, 0, 0, 0)
_SORT_FIELDS = ("", "version", "create_revision", "mod_revision")
"""sort_target -> field of Header; 0 is the key, 4 the value."""
_SORT_KEY, _SORT_VALUE = 0, 4
_SORT_NONE, _SORT_ASCEND, _SORT_DESCEND = 0, 1, 2
_LIMIT_MAX = 2**62
_VISITS = 4096
_LOOKUPS = 64
_CHUNKS = 16
"""Keys of a slice that reads the past, versions that it looks for, and chunks of history: 5 ms, as
the others."""

Live: TypeAlias = tuple[bytes, bytes | Header | None]
"""A key and its record at a revision, the newest header of the generation that existed then, or
None when there was none."""
_Found: TypeAlias = tuple[int, bool, list[Pair]]


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

    def _versions_at(
        self, revision: int, live: list[tuple[bytes, bytes | Header]]
    ) -> Sliced[list[bytes]]:
        """The records at `revision` of what `_live_at` found there.

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
            for number, (older, position) in enumerate(todo, 1):
                record = self._existing(older, live[position][0])
                if older <= revision:
                    records[position] = record
                else:
                    further.append((_older(read_header(record), revision), position))
                if not number % _LOOKUPS:
                    yield
            todo = further
        return records

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

    def _live_at(
        self, revision: int, key: bytes, range_end: bytes, limit: int = 0
    ) -> Sliced[list[tuple[bytes, bytes | Header]]]:
        """The first `limit` (0: all) keys of an etcd range that existed at `revision`, in order,
        each with its record or with the newest header of its generation."""
        alive = _alive_at(revision, self.overlay.scan(*keys.range_bounds(key, range_end)))
        dead = _dead_at(revision, self.overlay.scan(*keys.dead_bounds(key, range_end)))
        return _found(heapq.merge(alive, dead, key=_first), limit)

    # -- ranges --------------------------------------------------------------------------------

    def range_one(self, key: bytes) -> Result:
        """A range of one key now, without any option."""
        record = self.current(key)
        kvs = [] if record is None else [key_value(key, record)]
        return (0, self.revision, len(kvs), False, kvs)

    def range(self, request: tuple[Any, ...]) -> Sliced[Result]:
        """Execute a checked range request."""
        result = yield from self._range(request)
        if isinstance(result, errors.WireError):
            return result
        count, more, found = result
        kvs = yield from in_parts(found, _key_values)
        yield from discard(found)
        return (0, self.revision, count, more, kvs)

    def packed_range(self, request: tuple[Any, ...]) -> Sliced[Sequence[bytes]]:
        """The result of `range` as it travels, in few parts, of what is there at the first step."""
        revision = self.revision
        if len(request) > 2 and request[2] and not any(request[3:]):  # all of a range, as it is now
            start, end = keys.range_bounds(*request[1:3])
            if start >= end:
                return (range_head(revision, 0, False, 0),)
            count, packed = yield from self.range_cache.read(start, end)
            return range_head(revision, count, False, count), packed
        result = yield from self._until_compacted(self._range(request), request)
        if isinstance(result, errors.WireError):
            return (pack(result),)
        count, more, found = result
        kvs = yield from in_parts(found, pack_key_values)
        yield from discard(found)
        head = range_head(revision, count, more, len(kvs))
        return head, (yield from joined_and_freed(kvs))

    def _until_compacted(
        self, work: Sliced[_Found | errors.WireError], request: tuple[Any, ...]
    ) -> Sliced[_Found | errors.WireError]:
        """`work`, as long as what it reads is there."""
        while True:
            try:
                next(work)
            except StopIteration as end:
                result: _Found | errors.WireError = end.value
                return result
            yield
            refusal = self.check_revision(request[4] if len(request) > 4 else 0)
            if refusal is not None:
                return refusal

    def _range(self, request: tuple[Any, ...]) -> Sliced[_Found | errors.WireError]:
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
            return ((yield from self._count(past, key, range_end)), False, [])
        limit = min(limit, _LIMIT_MAX)
        sorts = order != _SORT_NONE and (target, order) != (_SORT_KEY, _SORT_ASCEND)
        everything = sorts or any(filters)
        fetch = limit + 1 if limit and not everything else 0
        counts = fetch > 0 and not flags & RANGE_NO_COUNT
        counting = self._count(past, key, range_end) if counts else None
        if past:
            found = yield from self._past(past, key, range_end, fetch)
        else:
            found = yield from self._current(key, range_end, fetch)
        count = len(found)
        if any(filters):
            found = yield from in_parts(found, partial(_filtered, filters=filters))
        if target != _SORT_KEY or order == _SORT_DESCEND:
            found = yield from _sorted(found, target, order, limit and limit + 1)
        more = 0 < limit < len(found)
        if more:
            found = yield from shortened(found, limit)
        if flags & RANGE_NO_COUNT:
            count = len(found)
        elif counting is not None and count == fetch:  # there may be more
            count = yield from counting
        if flags & RANGE_KEYS_ONLY:
            found = yield from in_parts(found, _without_values)
        return (count, more, found)

    def check_revision(self, revision: int) -> errors.WireError | None:
        """Whether `revision` (0: the newest) can be read."""
        if revision > self.revision:
            return errors.FUTURE_REVISION
        if 0 < revision < self.compact_revision:
            return errors.COMPACTED
        return None

    def _count(self, past: int, key: bytes, range_end: bytes) -> Sliced[int]:
        """How many keys of a range there are now, or were at `past`."""
        if past:
            return length(self._live_at(past, key, range_end))
        if not range_end:
            return ready(int(self.current(key) is not None))
        start, end = keys.range_bounds(key, range_end)
        return self.overlay.count_sliced(start, end) if start < end else ready(0)

    def current_pairs(self, key: bytes, range_end: bytes) -> Sliced[list[Pair]]:
        """The keys of a range now, as they are stored, and their records."""
        return self._current(key, range_end, 0)

    def past_pairs(self, revision: int, key: bytes, range_end: bytes) -> Sliced[list[Pair]]:
        """Likewise at a revision that may be read."""
        return self._past(revision, key, range_end, 0)

    def _one(self, key: bytes) -> list[Pair]:
        record = self.current(key)
        return [] if record is None else [(keys.KV + key, record)]

    def _current(self, key: bytes, range_end: bytes, fetch: int) -> Sliced[list[Pair]]:
        """The first `fetch` (0: all) of `current_pairs`."""
        if not range_end:
            return ready(self._one(key))
        start, end = keys.range_bounds(key, range_end)
        return self.overlay.pairs_sliced(start, end, fetch) if start < end else ready([])

    def _past(self, revision: int, key: bytes, range_end: bytes, fetch: int) -> Sliced[list[Pair]]:
        """The first `fetch` (0: all) keys of a range at `revision`."""
        live = yield from self._live_at(revision, key, range_end, fetch)
        records = yield from self._versions_at(revision, live)
        return [(keys.KV + name, record) for (name, _), record in zip(live, records, strict=True)]

    # -- history -------------------------------------------------------------------------------

    def history(self, first_revision: int, chunks_max: int = 16) -> Sliced[list[Event]]:
        """Events in order from `first_revision` on: all up to the newest revision, or those of
        about `chunks_max` chunks. Never a part of a revision; empty at the end.

        Costs next to nothing for who follows. Below `compact_revision` events are missing: ask
        `check_revision` first.
        """
        if self.recent and self.recent[0][0] <= first_revision:
            return _from(self.recent, first_revision)
        if self._before and self._before[0][0] <= first_revision:
            return _from(self._before, first_revision) + self.recent
        db, recent = self.overlay.db, list(self.recent)  # as both are now
        before = db.last(keys.chunk_key(0, 0), keys.chunk_key(first_revision, 0))
        start = before[0] if before else keys.chunk_key(0, 0)
        events: list[Event] = []
        for number, (stored, chunk) in enumerate(db.scan(start, keys.after_prefix(keys.EVENTS))):
            if number >= chunks_max and keys.parse_chunk_key(stored)[1] == 0:
                break  # a chunk with a sub goes on with the revision before it
            events += decode_chunk(chunk)
            if number and not number % _CHUNKS:
                yield
        else:
            events += recent
        return _from(events, first_revision)

    def saved(self) -> None:
        """The chunks of `recent` are in the database now."""
        self._before, self.recent = self.recent, []

    def saved_sliced(self) -> Sliced[None]:
        """Likewise, of very many, which are not kept in memory."""
        self._before, events, self.recent = [], self.recent, []
        while events:
            del events[-ITEMS:]
            yield

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


def _first(pair: Live) -> bytes:
    return pair[0]


def _find(events: Sequence[Event], revision: int, key: bytes) -> bytes | None:
    """The record of `key` among events in order of revision."""
    for position in range(bisect_left(events, (revision,)), len(events)):
        event = events[position]
        if event[0] != revision:
            return None
        if event[1] == key:
            return event[2]
    return None


def _from(events: list[Event], revision: int) -> list[Event]:
    return events[bisect_left(events, (revision,)) :]


def _alive_at(revision: int, scan: Iterator[Pair]) -> Iterator[Live]:
    """The keys that exist now: those that did at `revision`."""
    for stored, record in scan:
        head = read_header(record)
        if head.create_revision > revision:
            yield stored[1:], None
        else:
            yield stored[1:], record if head.mod_revision <= revision else head


def _dead_at(revision: int, scan: Iterator[Pair]) -> Iterator[Live]:
    """The generations that were deleted by now: those that existed at `revision`."""
    for dead, raw in scan:
        name, deleted = keys.parse_dead_key(dead)
        head = read_header(raw)
        yield name, head if head.create_revision <= revision < deleted else None


def _found(visited: Iterator[Live], limit: int) -> Sliced[list[tuple[bytes, bytes | Header]]]:
    """The first `limit` (0: all) that existed."""
    found: list[tuple[bytes, bytes | Header]] = []
    for number, (name, newest) in enumerate(visited, 1):
        if newest is not None:
            found.append((name, newest))
            if len(found) == limit:
                break
        if not number % _VISITS:
            yield
    return found


def _key_values(found: Sequence[Pair]) -> list[KeyValue]:
    return [key_value(stored[1:], record) for stored, record in found]


def _without_values(found: Sequence[Pair]) -> list[Pair]:
    return [(stored, without_value(record)) for stored, record in found]


def _filtered(found: Sequence[Pair], filters: Sequence[int]) -> list[Pair]:
    """etcd's four revision filters, 0 for none."""
    min_mod, max_mod, min_create, max_create = filters

    def passes(head: Header) -> bool:
        mod, create = head.mod_revision, head.create_revision
        return min_mod <= mod <= (max_mod or mod) and min_create <= create <= (max_create or create)

    return [pair for pair in found if passes(read_header(pair[1]))]


def _sorted(found: list[Pair], target: int, order: int, fetch: int) -> Sliced[list[Pair]]:
    """The first `fetch` (0: all) of etcd's sort, ascending when only a target is asked for."""

    def sort_key(pair: Pair) -> Any:
        if target == _SORT_KEY:
            return pair[0]
        if target == _SORT_VALUE:
            return pair[1][HEADER_SIZE:]
        return getattr(read_header(pair[1]), _SORT_FIELDS[target])

    by = yield from in_parts(found, lambda part: list(map(sort_key, part)))
    down = order == _SORT_DESCEND
    positions = yield from sort(range(len(found)), by.__getitem__, reverse=down, limit=fetch)
    ordered = yield from in_parts(positions, lambda part: [found[position] for position in part])
    for done in (by, positions, found):
        yield from discard(done)
    return ordered
