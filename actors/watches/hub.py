"""The node's side of watches: hands events out to whoever watches their keys.

A watch is synced and gets new events as the applier tells of them, or it is unsynced and gets those
of history, read step by step by the applier (`feed.py`, which has the messages). One step
serves all that wait at or after its first revision, and the next step goes on where it ended, so
that many share what is read and nobody waits for longer than one pass over history. A watch whose
client leaves too much unread stalls: what it misses it reads from history when there is room again.

Everything the applier says is handled in order, at most WATCH_TURN_PAIRS in a turn. `revision` is
how far that has come: every synced watch has got, or was queued, all its events up to there.
"""

import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ...config import limits
from ...transport import errors
from ...transport.errors import WireError
from ...transport.requests import check_request
from ...transport.watches import EVERY_WATCH, PREV_KV, REQUIRE_LEADER, WATCH_CHECKS
from ..actor import Impossible
from ..asked import asking
from .connection import ENDED, STALLED, SYNCED, UNSYNCED, Connection, Watcher
from .feed import FedEvent
from .ranges import Range, RangeMap

_CREATE_DEFAULTS = (b"", 0, 0, 0)
SWEEP_S = 1.0
"""How often all connections are looked at."""


class Request(NamedTuple):
    """A client's message that waits for the applier to know its ranges."""

    asked: Any
    client: bytes
    window: list[int]
    requests: list[Any]


class Work:
    """Events to hand out, those before `position` are done; up to `through` there are no others.
    In the middle of a revision `found` has those that are done of it."""

    __slots__ = ("events", "first", "found", "position", "size", "through")

    def __init__(self, first: int, through: int, events: list[FedEvent], size: int) -> None:
        self.first = first
        self.through = through
        self.events = events
        self.size = size
        self.position = 0
        self.found: dict[Watcher, tuple[int, list[bytes]]] = {}


class WatchHub:
    """All watches of the clients of this node.

    `tell` takes messages for the applier, `push` bodies for a client, `reply` results for a message
    it was given, as `take` got it.
    """

    def __init__(
        self,
        tell: Callable[[Any], None],
        push: Callable[[bytes, bytes], None],
        reply: Callable[[Any, list[Any]], None],
        refusal: Callable[[Any, Any], WireError | None] = lambda asked, request: None,
        *,
        of_client_max: int = 0,
        progress_s: float = limits.WATCH_PROGRESS_S,
    ) -> None:
        """`refusal` tells why a message may not create a watch, when it is about to;
        `of_client_max` is how many a user or connection may have, 0 for as many as it likes;
        `progress_s` how often quiet ones that asked for it are told how far they are."""
        self._tell = tell
        self._push = push
        self._reply = reply
        self._refusal = refusal
        self._of_client_max = of_client_max
        self._progress_s = progress_s
        self._of_client: Counter[str | bytes] = Counter()  # where there is a bound
        self.revision = 0
        self.watchers = 0
        self._key_bytes = 0  # of their ranges
        self._now = 0.0
        self._connections: dict[bytes, Connection] = {}
        self._ranges: RangeMap[dict[Watcher, None]] = RangeMap()
        self._unsynced: dict[Watcher, None] = {}
        self._requests: dict[int, Request] = {}
        self._last_request = 0
        self._todo: deque[Any] = deque()  # what the applier said and is not done yet
        self._reading = False  # a step of history was asked for and is not done yet
        self._cursor = 0  # the revision at which the last step ended
        self._read_at = 0.0  # not before
        self._changed: dict[Connection, None] = {}  # those that have something to send
        self._stalled: set[Connection] = set()
        # Those that asked how far they are and have not been told.
        self._progress_wanted: set[Connection] = set()
        self._sweep_at = self._progress_at = 0.0
        self._leader_at = math.inf  # when there was a leader; until the first look there is one

    # -- what clients say

    def take(self, asked: Any, client: bytes, requests: Any, window: list[int]) -> None:
        """A message of kind "watch": answered when the applier knows of the ranges in it, so that
        no event after the answer is missed."""
        self._last_request += 1
        checked = [check_request(request, WATCH_CHECKS) or request for request in requests]
        self._requests[self._last_request] = Request(asked, client, window, checked)
        ranges = [_interest(*_create(request)) for request in checked if request[0] == "create"]
        self._tell(("request", self._last_request, ranges))

    def _on_taken(self, request_id: int, revision: int, _compact_revision: int) -> None:
        asked, client, window, requests = self._requests.pop(request_id)
        if not self.watchers:
            self.revision = revision  # nobody was told of what happened before
        connection = self._connections.get(client) or Connection(client)
        connection.heard(window, self._now)
        self._unstall(connection)
        results = [self._execute(asked, connection, request, revision) for request in requests]
        if connection.watchers:
            self._connections[client] = connection
        if connection in self._changed:
            self._send(connection)  # what happened before comes before the answer
        self._reply(asked, results)
        if connection in self._progress_wanted:
            self._tell_progress()
            if connection in self._changed:
                self._send(connection)  # a watch that the next message creates is not meant

    def _execute(
        self, asked: Any, connection: Connection, request: Any, revision: int
    ) -> tuple[Any, ...]:
        if type(request) is WireError:
            return request
        if request[0] == "create":
            return self._create(asked, connection, request, revision)
        if request[0] == "cancel":
            watcher = connection.watchers.get(request[1])
            if watcher is None:
                return errors.WATCH_NOT_FOUND
            self._end(watcher)
        elif request[0] == "progress":
            self._progress_wanted.add(connection)
        elif request[0] == "ack":
            return (0, revision, len(connection.watchers), self._told(connection))
        return (0, revision, len(connection.watchers))

    def _create(
        self, asked: Any, connection: Connection, request: Any, revision: int
    ) -> tuple[int, int, int] | WireError:
        range_, start, flags, watch_id = _create(request)
        refusal = self._refusal(asked, request) or self._no_room(asked, connection, flags, watch_id)
        if refusal is not None:
            self._tell(("forget", [_interest(range_, start, flags, watch_id)]))
            return refusal
        watch_id = watch_id or connection.new_id()
        watcher = Watcher(connection, watch_id, range_, start or revision + 1, flags)
        watcher.asked = asked
        self.watchers += 1
        if self._of_client_max:
            self._of_client[asking(asked)] += 1
        self._key_bytes += sum(map(len, range_))
        connection.watchers[watch_id] = watcher
        watchers = self._ranges.get(range_)
        if watchers is None:
            watchers = {}
            self._ranges.put(range_, watchers)
        watchers[watcher] = None
        self._unsync(watcher, watcher.next)
        return (0, revision, watch_id)

    def _no_room(
        self, asked: Any, connection: Connection, flags: int, watch_id: int
    ) -> WireError | None:
        if watch_id and watch_id in connection.watchers:
            return errors.WATCH_EXISTS
        if self.watchers >= limits.WATCHES_MAX or self._key_bytes >= limits.WATCH_KEY_BYTES_MAX:
            return errors.TOO_MANY_REQUESTS
        if self._of_client_max and self._of_client[asking(asked)] >= self._of_client_max:
            return errors.TOO_MANY_REQUESTS
        return errors.NO_LEADER if flags & REQUIRE_LEADER and self._leaderless else None

    def _end(self, watcher: Watcher) -> None:
        connection = watcher.connection
        del connection.watchers[watcher.id]
        connection.stalled.discard(watcher)
        self._unsynced.pop(watcher, None)
        watcher.state = ENDED
        self.watchers -= 1
        if self._of_client_max:
            self._forget_one(asking(watcher.asked))
        self._key_bytes -= sum(map(len, watcher.range))
        watchers = self._ranges.get(watcher.range)
        if watchers is None:
            raise Impossible(f"watch {watcher.id} of {watcher.range!r} was in no table")
        del watchers[watcher]
        if not watchers:
            self._ranges.remove(watcher.range)
        self._tell(("forget", [(*watcher.range, watcher.prev_kv)]))

    def _forget_one(self, client: str | bytes) -> None:
        self._of_client[client] -= 1
        if not self._of_client[client]:
            del self._of_client[client]

    def _cancel(self, watcher: Watcher, reason: str, compact_revision: int = 0) -> None:
        self._end(watcher)
        watcher.connection.add_canceled(watcher, self.revision, compact_revision, reason)
        self._changed[watcher.connection] = None

    def recheck(self, refusal: Callable[[Any, bytes, bytes], WireError | None]) -> None:
        """Rights have changed: end the watches that may not go on. They get nothing of what is not
        handed out yet."""
        for connection in list(self._connections.values()):
            for watcher in list(connection.watchers.values()):
                refused = refusal(watcher.asked, *watcher.range)
                if refused is not None:
                    self._cancel(watcher, refused.text)

    def drop(self, client: bytes, error: WireError) -> None:
        """End all watches of a client."""
        connection = self._connections.pop(client, None)
        if connection is not None:
            self._stalled.discard(connection)
            self._progress_wanted.discard(connection)
            for watcher in list(connection.watchers.values()):
                self._cancel(watcher, error.text)

    # -- what the applier says

    def on_event(self, message: Any) -> None:
        """A message of the applier."""
        self._todo.append(message)

    @property
    def busy(self) -> bool:
        """Whether `work` has anything to do."""
        return bool(self._todo or self._unsynced or self._progress_wanted)

    @property
    def wake_at(self) -> float | None:
        """When `work` is to be called though nothing has come."""
        if self._todo:
            return self._now
        return self._read_at if self._unsynced and not self._reading else None

    def work(self, now: float) -> None:
        """Do what the applier's messages ask for, for one turn, and send what came of it."""
        self._now = now
        pairs = 0
        while self._todo and pairs < limits.WATCH_TURN_PAIRS:
            message = self._todo[0]
            if type(message) is not Work:
                message = self._todo[0] = self._begin(message)
            if type(message) is Work:
                pairs += self._hand_out(message)
                if message.position < len(message.events):
                    continue
                self._finish(message)
            self._todo.popleft()
        self._maybe_read()
        self._tell_progress()
        self._send_all()

    def _send(self, connection: Connection) -> None:
        del self._changed[connection]
        for body in connection.take():
            self._push(connection.client, body)

    def _send_all(self) -> None:
        for connection in list(self._changed):
            self._send(connection)

    def _begin(self, message: Any) -> Work | None:
        kind, *rest = message
        if kind == "live":
            through, events, size = rest
            return Work(0, through, events, size)
        if kind == "history":
            first, through, events = rest
            return Work(first, through, events, 0)
        if kind == "taken":
            self._on_taken(*rest)
        elif kind == "compacted":
            self._on_compacted(*rest)
        else:
            self._on_gap(*rest)
        return None

    def _hand_out(self, work: Work) -> int:
        """Hand out the next whole revisions, or do a part of one; returns how many pairs of event
        and watch it saw."""
        found = work.found
        events, position, pairs = work.events, work.position, 0
        state = UNSYNCED if work.first else SYNCED
        begin, last = work.first, work.through
        while position < len(events):
            revision, key, kind, plain, with_prev = events[position]
            if pairs > limits.WATCH_TURN_PAIRS:
                last = events[position - 1][0]
                if revision == last:
                    work.position = position
                    return pairs
                break
            for watchers in self._ranges.at(key):
                pairs += len(watchers)
                for watcher in watchers:
                    if (
                        watcher.state != state
                        or not begin <= watcher.next <= revision
                        or watcher.unwanted[kind]
                    ):
                        continue
                    event = plain if not watcher.prev_kv or with_prev is None else with_prev
                    if watcher in found:
                        found[watcher][1].append(event)
                    else:
                        found[watcher] = (revision, [event])
            position += 1
        work.position, work.found = position, {}
        self._add(found, max(last, self.revision))
        self._advance(work, last)
        return pairs

    def _add(self, found: dict[Watcher, tuple[int, list[bytes]]], revision: int) -> None:
        for watcher, (first, events) in found.items():
            connection = watcher.connection
            if watcher.state == ENDED:
                continue  # in the middle of the revision
            if connection.full:
                self._stall(watcher, first)
            else:
                connection.add_events(watcher, revision, events)
                watcher.quiet = False
                self._changed[connection] = None

    def _advance(self, work: Work, last: int) -> None:
        """All events of the work up to revision `last` have been handed out."""
        if not work.first:
            self.revision = max(self.revision, last)
            return
        for watcher in list(self._unsynced):
            if work.first <= watcher.next <= last:
                watcher.next = last + 1
                if last >= self.revision:
                    watcher.state = SYNCED
                    del self._unsynced[watcher]
        work.first = self._cursor = last + 1

    def _finish(self, work: Work) -> None:
        if work.size:
            self._tell(("seen", work.size))
        if work.first:
            self._reading = False
            self._read_at = self._now + limits.WATCH_PAUSE_S

    # -- watches that are not synced

    def _unsync(self, watcher: Watcher, first: int) -> None:
        """Have it read history from `first` on, if that is history already."""
        watcher.next = first
        if first <= self.revision:
            watcher.state = UNSYNCED
            self._unsynced[watcher] = None
        else:
            watcher.state = SYNCED

    def _stall(self, watcher: Watcher, first: int) -> None:
        watcher.next = first
        watcher.state = STALLED
        self._unsynced.pop(watcher, None)
        watcher.connection.stalled.add(watcher)
        self._stalled.add(watcher.connection)

    def _unstall(self, connection: Connection) -> None:
        if connection.stalled and connection.has_room:
            for watcher in connection.stalled:
                self._unsync(watcher, watcher.next)
            connection.stalled.clear()
        if not connection.stalled:
            self._stalled.discard(connection)

    def _on_gap(self, revision: int) -> None:
        """What happened since `self.revision` has to be read from history."""
        told, self.revision = self.revision, max(self.revision, revision)
        for connection in self._connections.values():
            for watcher in connection.watchers.values():
                if watcher.state == SYNCED:
                    self._unsync(watcher, max(watcher.next, told + 1))

    def _on_compacted(self, _first: int, compact_revision: int) -> None:
        for connection in list(self._connections.values()):
            for watcher in list(connection.watchers.values()):
                if watcher.state != SYNCED and watcher.next < compact_revision:
                    self._cancel(watcher, errors.COMPACTED.text, compact_revision)
        self._reading = False

    def _maybe_read(self) -> None:
        """Ask for the next step of history: from the first revision at or after the end of the last
        one that somebody waits for, else from the first of all."""
        if self._reading or not self._unsynced or self._now < self._read_at:
            return
        wanted = [watcher.next for watcher in self._unsynced]
        first = min((n for n in wanted if n >= self._cursor), default=0) or min(wanted)
        self._reading = True
        self._tell(("history", first))

    # -- the clock

    @property
    def _leaderless(self) -> bool:
        return self._now - self._leader_at > limits.WATCH_NO_LEADER_S

    @property
    def _in_a_revision(self) -> bool:
        return bool(self._todo) and type(self._todo[0]) is Work and bool(self._todo[0].found)

    def on_timer(self, now: float, leader: int) -> None:
        """Let go of clients that went away, and tell others how far they are."""
        self._now = now
        if leader or self._leader_at == math.inf:
            self._leader_at = now
        if not self._in_a_revision:  # of which it would get a part
            for connection in list(self._stalled):
                self._unstall(connection)
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            self._sweep()
        if now >= self._progress_at:
            self._progress_at = now + self._progress_s
            self._notify_progress()
        self._send_all()

    def _sweep(self) -> None:
        for client, connection in list(self._connections.items()):
            if self._now - connection.heard_at > limits.WATCH_SILENCE_S:
                self.drop(client, errors.WATCH_SILENT)
            elif self._leaderless:
                for watcher in list(connection.watchers.values()):
                    if watcher.require_leader:
                        self._cancel(watcher, errors.NO_LEADER.text)

    def _told(self, connection: Connection) -> int:
        """How far all of its watches have been told, as far as they have begun."""
        behind = [watcher for watcher in self._unsynced if watcher.connection is connection]
        waiting = [watcher.next - 1 for watcher in (*behind, *connection.stalled)]
        return min(waiting, default=self.revision)

    def _up_to_date(self, watcher: Watcher) -> bool:
        """Whether the watch has had everything up to `revision`, and has begun by then."""
        return watcher.state == SYNCED and watcher.next <= self.revision + 1

    def _tell_progress(self) -> None:
        for connection in list(self._progress_wanted):
            if all(map(self._up_to_date, connection.watchers.values())):
                self._progress_wanted.discard(connection)
                connection.add_progress(EVERY_WATCH, self.revision)
                self._changed[connection] = None

    def _notify_progress(self) -> None:
        for connection in self._connections.values():
            for watcher in connection.watchers.values():
                if watcher.progress_notify:
                    if watcher.quiet and self._up_to_date(watcher):
                        connection.add_progress(watcher.id, self.revision)
                        self._changed[connection] = None
                    watcher.quiet = True


def _create(request: tuple[Any, ...]) -> tuple[Range, int, int, int]:
    """(range, start revision, flags, watch id) of a create request. No key is the first of all."""
    options = request[2:] + _CREATE_DEFAULTS[len(request) - 2 :]
    range_end, start, flags, watch_id = options
    return (request[1] or b"\x00", range_end), start, flags, watch_id


def _interest(range_: Range, _start: int, flags: int, _id: int) -> tuple[bytes, bytes, bool]:
    return (*range_, bool(flags & PREV_KV))
