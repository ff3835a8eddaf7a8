"""The applier's side of watches: tells the node of events in watched ranges, new ones and old.

Nothing happens here while nobody watches. Events leave packed as clients get them, so that the
node, and any number of watches, need not look into them.

What travels, applier to node (`eventc`):

- `("taken", request_id, revision, compact_revision)`: the ranges of a request are watched from
  `revision + 1` on.
- `("live", revision, [event, …], bytes)`: all events in watched ranges after the last one of these,
  up to `revision`. The node answers `("seen", bytes)` when it has handed them out.
- `("gap", revision)`: as "live", but the events have to be read from history.
- `("history", first, revision, [event, …])`: those from `first` up to `revision`.
- `("compacted", first, compact_revision)`: instead, when `first` is below what is kept.

An event is `(revision, key, type, packed, packed with prev_kv or None)`.
"""

from collections.abc import Callable, Sequence
from typing import Any

from ...config import limits
from ...storage.records import (
    Event,
    KeyValue,
    is_deletion,
    pack_key_value,
    replaced_revision,
)
from ...storage.sliced import Sliced, in_parts, sort
from ...storage.state_store import StateStore
from ...transport.codec import pack, pack_array
from ...transport.watches import EVENT_DELETE, EVENT_PUT
from .ranges import Range, RangeMap

FedEvent = tuple[int, bytes, int, bytes, bytes | None]

EVENT_OVERHEAD_BYTES = 200
"""What an event costs in memory beyond its keys and values."""


PREVIOUS_A_SLICE = 256
"""Events for which what was there before is looked for: 1 ms, and more where each is in a chunk of
history of its own."""


class Interest:
    """How many watch a range, and how many of them want what was there before."""

    __slots__ = ("watches", "with_prev")

    def __init__(self) -> None:
        self.watches = self.with_prev = 0


class WatchFeed:
    """Reads the state for the watches of this node."""

    def __init__(self, emit: Callable[[Any], None]) -> None:
        self._emit = emit
        self._interests: RangeMap[Interest] = RangeMap()
        self._with_prev = 0
        self._position = 0  # the last revision the node was told of
        self._unseen_bytes = 0
        self._gap = False  # the node has not taken enough of what it was told
        self._wanted: int | None = None  # the revision from which history was asked for
        self._telling: Sliced[None] | None = None
        self._deferred: list[Any] = []  # messages that came meanwhile

    @property
    def busy(self) -> bool:
        """Whether `tell` has anything to do: somebody watches, or waits for history."""
        return len(self._interests) > 0 or self._wanted is not None or self.telling

    @property
    def telling(self) -> bool:
        """Whether `tell` is not over."""
        return self._telling is not None

    def take(self, message: Any, state: StateStore) -> None:
        """One message of the node. What it watches does not change while it is being told: it
        would have a part of that."""
        kind, *rest = message
        if self.telling and kind in ("request", "forget"):
            self._deferred.append(message)
        elif kind == "request":
            request_id, ranges = rest
            if ranges and not len(self._interests):
                self._position, self._gap = state.revision, False
            for key, range_end, prev_kv in ranges:
                self._add((key, range_end), prev_kv)
            self._emit(("taken", request_id, state.revision, state.compact_revision))
        elif kind == "forget":
            for key, range_end, prev_kv in rest[0]:
                self._remove((key, range_end), prev_kv)
        elif kind == "seen":
            self._unseen_bytes -= rest[0]
        else:
            self._wanted = rest[0]

    def _add(self, range_: Range, prev_kv: bool) -> None:
        interest = self._interests.get(range_)
        if interest is None:
            interest = Interest()
            self._interests.put(range_, interest)
        interest.watches += 1
        interest.with_prev += prev_kv
        self._with_prev += prev_kv

    def _remove(self, range_: Range, prev_kv: bool) -> None:
        interest = self._interests.get(range_)
        if interest is None:
            raise KeyError(f"nobody watches {range_!r}")
        interest.watches -= 1
        interest.with_prev -= prev_kv
        self._with_prev -= prev_kv
        if not interest.watches:
            self._interests.remove(range_)

    def tell(self, state: StateStore) -> None:
        """Tell the node what is new, then answer its question about what is old; if that is much, a
        slice of it, and the next one when called again. Entries may be applied meanwhile."""
        if self._telling is None:
            self._telling = self._tell(state)
        try:
            next(self._telling)
        except StopIteration:
            self._stop_telling(state)

    def _stop_telling(self, state: StateStore) -> None:
        self._telling = None
        deferred, self._deferred = self._deferred, []
        for message in deferred:
            self.take(message, state)

    def drop_work(self) -> None:
        """The state is about to be closed."""
        self._telling = None

    def _tell(self, state: StateStore) -> Sliced[None]:
        if self._position < state.revision and not self._gap:
            yield from self._tell_new(state)
        if self._gap and self._unseen_bytes <= limits.WATCH_FEED_BYTES // 2:
            self._tell_gap(state)
        if self._wanted is not None:
            yield from self._tell_old(state, self._wanted)
            self._wanted = None  # not before: an installed snapshot may cut it short

    def _tell_new(self, state: StateStore) -> Sliced[None]:
        while self._position < state.revision:
            if self._unseen_bytes > limits.WATCH_FEED_BYTES:
                self._gap = True
                return
            events = yield from state.history_sliced(self._position + 1)
            through = events[-1][0]
            fed, size = yield from self._fed(events, state)
            self._position = through
            self._unseen_bytes += size
            self._emit(("live", through, fed, size))

    def _tell_gap(self, state: StateStore) -> None:
        self._gap = False
        self._position = state.revision
        self._emit(("gap", self._position))

    def _tell_old(self, state: StateStore, first: int) -> Sliced[None]:
        if first < state.compact_revision:
            self._emit(("compacted", first, state.compact_revision))
            return
        # What was there before an event may be anywhere in history: each costs up to a chunk.
        chunks = 1 if self._with_prev else limits.WATCH_STEP_CHUNKS
        newest = state.revision
        events = yield from state.history_sliced(first, chunks)
        revision = events[-1][0] if events else newest
        fed, _ = yield from self._fed(events, state)
        self._emit(("history", first, revision, fed))

    def _fed(self, events: list[Event], state: StateStore) -> Sliced[tuple[list[FedEvent], int]]:
        """Those of the events that are watched, packed, and about how many bytes they are."""
        watched = yield from in_parts(events, self._watched)
        before = (yield from _before(watched, state)) if self._with_prev else {}

        def pack_part(part: Sequence[int]) -> list[FedEvent]:
            return [_pack(*watched[number], before.get(number)) for number in part]

        def sizes(part: Sequence[FedEvent]) -> list[int]:
            return [sum(EVENT_OVERHEAD_BYTES + len(e[3]) + len(e[4] or b"") for e in part)]

        fed = yield from in_parts(range(len(watched)), pack_part)
        return fed, sum((yield from in_parts(fed, sizes)))

    def _watched(self, events: Sequence[Event]) -> list[tuple[Event, bool]]:
        """Those that somebody watches, and whether somebody asks for what was before."""
        return [
            (event, any(interest.with_prev for interest in found))
            for event in events
            if (found := list(self._interests.at(event[1])))
        ]

    def on_install(self, state: StateStore) -> None:
        """A snapshot has replaced the state: what happened between is in its history."""
        self._stop_telling(state)
        if self.busy:
            self._tell_gap(state)


def _before(
    watched: list[tuple[Event, bool]], state: StateStore
) -> Sliced[dict[int, KeyValue | None]]:
    """By their numbers, what there was before the events for which somebody asks that. In the order
    of history, of which each chunk is read once: a range may be deleted at once."""
    asking = [number for number, (_, asks) in enumerate(watched) if asks]
    asking = yield from sort(asking, lambda number: replaced_revision(watched[number][0]))
    before: dict[int, KeyValue | None] = {}
    for done, number in enumerate(asking, 1):
        before[number] = state.previous(watched[number][0])
        if not done % PREVIOUS_A_SLICE:
            yield
    return before


def _pack(event: Event, asks: bool, previous: KeyValue | None) -> FedEvent:
    revision, key, record = event
    if is_deletion(event):
        kind, kv = EVENT_DELETE, pack((key, 0, revision, 0, 0, b""))
    else:
        kind, kv = EVENT_PUT, pack_key_value(key, record)
    plain, with_prev = pack_array((pack(kind), kv)), None
    if asks:
        with_prev = plain if previous is None else pack_array((pack(kind), kv, pack(previous)))
    return revision, key, kind, plain, with_prev
