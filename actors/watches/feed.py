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

from collections.abc import Callable
from typing import Any

from ...config import limits
from ...storage.records import Event, is_deletion, pack_key_value, replaced_revision
from ...storage.state_store import StateStore
from ...transport.codec import pack, pack_array
from ...transport.watches import EVENT_DELETE, EVENT_PUT
from .ranges import Range, RangeMap

FedEvent = tuple[int, bytes, int, bytes, bytes | None]

EVENT_OVERHEAD_BYTES = 200
"""What an event costs in memory beyond its keys and values."""


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

    @property
    def busy(self) -> bool:
        """Whether `tell` has anything to do: somebody watches, or waits for history."""
        return len(self._interests) > 0 or self._wanted is not None

    def take(self, message: Any, state: StateStore) -> None:
        """One message of the node."""
        kind, *rest = message
        if kind == "request":
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
        """Tell the node what is new, then answer its question about what is old."""
        if self._position < state.revision and not self._gap:
            self._tell_new(state)
        if self._gap and self._unseen_bytes <= limits.WATCH_FEED_BYTES // 2:
            self._tell_gap(state)
        if self._wanted is not None:
            first, self._wanted = self._wanted, None
            self._tell_old(state, first)

    def _tell_new(self, state: StateStore) -> None:
        while self._position < state.revision:
            if self._unseen_bytes > limits.WATCH_FEED_BYTES:
                self._gap = True
                return
            events = state.history(self._position + 1)
            self._position = events[-1][0]
            fed, size = self._fed(events, state)
            self._unseen_bytes += size
            self._emit(("live", self._position, fed, size))

    def _tell_gap(self, state: StateStore) -> None:
        self._gap = False
        self._position = state.revision
        self._emit(("gap", self._position))

    def _tell_old(self, state: StateStore, first: int) -> None:
        if first < state.compact_revision:
            self._emit(("compacted", first, state.compact_revision))
            return
        # What was there before an event may be anywhere in history: each costs up to a chunk.
        chunks = 1 if self._with_prev else limits.WATCH_STEP_CHUNKS
        events = state.history(first, chunks)
        revision = events[-1][0] if events else state.revision
        self._emit(("history", first, revision, self._fed(events, state)[0]))

    def _fed(self, events: list[Event], state: StateStore) -> tuple[list[FedEvent], int]:
        """Those of the events that are watched, packed, and about how many bytes they are."""
        fed: list[FedEvent] = []
        size = 0
        watched = [
            (event, any(interest.with_prev for interest in found))
            for event in events
            if (found := list(self._interests.at(event[1])))
        ]
        # In the order of history, of which each chunk is read once: a range may be deleted at once.
        asking = sorted(
            (number for number, (_, asks) in enumerate(watched) if asks),
            key=lambda number: replaced_revision(watched[number][0]),
        )
        before = {number: state.previous(watched[number][0]) for number in asking}
        for number, (event, asks) in enumerate(watched):
            revision, key, record = event
            if is_deletion(event):
                kind, kv = EVENT_DELETE, pack((key, 0, revision, 0, 0, b""))
            else:
                kind, kv = EVENT_PUT, pack_key_value(key, record)
            plain, with_prev = pack_array((pack(kind), kv)), None
            if asks:
                previous = before[number]
                with_prev = (
                    plain if previous is None else pack_array((pack(kind), kv, pack(previous)))
                )
            fed.append((revision, key, kind, plain, with_prev))
            size += EVENT_OVERHEAD_BYTES + len(plain) + len(with_prev or b"")
        return fed, size

    def on_install(self, state: StateStore) -> None:
        """A snapshot has replaced the state: what happened between is in its history."""
        if self.busy:
            self._tell_gap(state)
