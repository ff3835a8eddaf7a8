"""Keeps a client's watches alive: creates them, resumes them, reports what was received.

A watch is always in one of these states:

- SEEKING: it is on no node; it goes to the next one that is connected, until its time is up.
- CREATING: a node was asked and has not answered.
- ACTIVE: a node sends it events.
- PAUSED: its reader is slow, so it is on no node until the reader has caught up.
- ENDED: canceled, or ended by an error that its reader was given.

`next` is the first revision that it has not been told of; a node says every few seconds how far
that is, also when nothing happens. Whatever breaks, the watch is created again from
there, under a new id, so that what may still come under the old one is passed over.
"""

from collections.abc import Callable, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any, Protocol

from ..config import limits
from ..transport import errors as wire
from ..transport import watches as protocol
from ..transport.requests import size
from . import errors
from ._decode import header
from ._dispatch import AVOID_S, Dispatcher
from ._io import Future, Loop
from ._lane import Lane
from ._link import Call, Link, MalformedError, Reply
from .types import ResponseHeader
from .watch import WatchEvent, WatchResponse, WatchSpec, event

ACK_BYTES = limits.WATCH_WINDOW_BYTES // 4
ACK_MESSAGES = limits.WATCH_WINDOW_MESSAGES // 4
"""What was received without saying so, at most: then it is said, before the node would stall."""
ANSWER_S = 3.0
"""A node that does not answer for so long is as good as gone."""
RETRY_S_MIN = 0.02
RETRY_S_MAX = 0.5
PAUSE_BYTES = 4 << 20
RESUME_BYTES = PAUSE_BYTES // 2
"""Unread events of one watch at which it pauses, and at which it goes on."""
EVENT_BYTES = 500
"""What an event costs in memory beyond its key and value."""
RESUMED = {
    error.text: error
    for error in (
        wire.NO_LEADER, wire.WATCH_SILENT, wire.WATCH_DROPPED, wire.INVALID_AUTH_TOKEN
    )
}  # fmt: skip
"""Reasons for which a node ends a watch that goes on elsewhere."""


_HOPELESS = (
    errors.InvalidRequestError,
    errors.UnsupportedError,
    errors.PermissionDeniedError,
    errors.WrongPasswordError,
)
"""What a node refuses a watch for that no other one would take, either."""


class State(Enum):
    """See the module."""

    SEEKING = auto()
    CREATING = auto()
    ACTIVE = auto()
    PAUSED = auto()
    ENDED = auto()


class Sink(Protocol):
    """Where a watch's responses go."""

    def created(self, header: ResponseHeader) -> None:
        """The watch was created for the first time; it will tell of everything after the header's
        revision."""

    def put(self, response: WatchResponse, size: int) -> int:
        """One more response of about `size` bytes; returns the bytes that are not read yet."""

    def end(self, error: errors.SampanError) -> None:
        """Nothing comes any more."""


class Watch:
    """One watch, as the engine has it."""

    def __init__(self, spec: WatchSpec, sink: Sink, timeout_s: float) -> None:
        self.spec = spec
        self.sink = sink
        self.timeout_s = timeout_s
        self.state = State.SEEKING
        self.next = spec.start_revision
        self.progress_wanted = False
        self.was_created = False
        self.id = 0
        self.lane: WatchLane | None = None
        self.parts: list[WatchEvent] = []  # of a response that came in fragments
        self.parts_bytes = 0
        self.attempt = 0
        self.error: errors.SampanError | None = None
        self.deadline: Any = None  # a timer


class WatchLane(Lane):
    """A connection, the watches on it, and the queue of their requests."""

    def __init__(self, link: Link) -> None:
        super().__init__(protocol.KIND_WATCH, link)
        self.at = link
        self.watches: dict[int, Watch] = {}
        self.reported_bytes = 0
        self.unreported_messages = 0

    def put_back(self, calls: Sequence[Call]) -> None:
        """They did not leave, or were refused: whether to try again, and where, is not decided by
        their place in a queue."""
        for call in calls:
            lost = errors.ConnectionLostError(wire.UNAVAILABLE, "sampan: connection lost")
            call.future.set_exception(call.error or lost)

    def forget(self) -> None:
        """The connection broke: begin anew."""
        self.queue.clear()
        self.size = self.reported_bytes = self.unreported_messages = 0
        self.watches = {}


class Engine:
    """All watches of one client. It belongs to the loop's thread, as its dispatcher does."""

    def __init__(self, loop: Loop, dispatcher: Dispatcher) -> None:
        self._loop = loop
        self._dispatcher = dispatcher
        self._lanes = {link: WatchLane(link) for link in dispatcher.links}
        self._watches: set[Watch] = set()
        self._waiting: set[Watch] = set()  # SEEKING while nothing is connected
        self._last_id = 0
        self._keeping_alive = False
        for lane in self._lanes.values():
            dispatcher.add_lane(lane)
        dispatcher.watches = self

    @property
    def has_watches(self) -> bool:
        """Whether there are any."""
        return bool(self._watches)

    # -- what readers ask for

    def start(self, watch: Watch) -> None:
        """Take on a new watch, unless it was canceled before it got here."""
        if watch.state is State.ENDED:
            return
        if self._dispatcher.refusal is not None:
            watch.state = State.ENDED
            watch.sink.end(self._dispatcher.refusal.copy())
            return
        self._watches.add(watch)
        self._seek(watch)
        if not self._keeping_alive:
            self._keeping_alive = True
            self._loop.call_at(self._loop.time() + limits.WATCH_KEEPALIVE_S, self._keep_alive)

    def cancel(self, watch: Watch) -> None:
        """Nobody reads it any more."""
        if watch.state is not State.ENDED:
            self._leave(watch)
            self._finish(watch)

    def request_progress(self, watch: Watch) -> None:
        """Have it tell how far it is as soon as it is up to date."""
        watch.progress_wanted = True
        if watch.state is State.ACTIVE and watch.lane is not None:
            self._tell(watch.lane, ("progress",))

    def drained(self, watch: Watch) -> None:
        """Its reader has read enough to go on."""
        if watch.state is State.PAUSED:
            self._seek(watch)

    # -- finding a node

    def _seek(self, watch: Watch) -> None:
        """Go to a node that is connected, or wait for one."""
        watch.state = State.SEEKING
        watch.lane = None
        watch.parts, watch.parts_bytes = [], 0
        if watch.deadline is None:
            when = self._loop.time() + watch.timeout_s
            watch.deadline = self._loop.call_at(when, partial(self._out_of_time, watch))
        link = self._dispatcher.routes.pick_for_watch()
        if link is None:
            self._waiting.add(watch)
        else:
            self._create(watch, self._lanes[link])

    def _create(self, watch: Watch, lane: WatchLane) -> None:
        self._last_id += 1
        watch.id, watch.lane, watch.state = self._last_id, lane, State.CREATING
        lane.watches[watch.id] = watch
        key, range_end, _, flags = watch.spec
        request = ("create", key, range_end, watch.next, flags, watch.id)
        self._ask(lane, request, Created(self, watch))

    def _ask(self, lane: WatchLane, request: tuple[Any, ...], answer: Future) -> None:
        self._dispatcher.queue(lane, answer, request, 64 + size(request), ANSWER_S)

    def _tell(self, lane: WatchLane, request: tuple[Any, ...], attempt: int = 0) -> None:
        self._ask(lane, request, Told(partial(self._tell_again, lane, request, attempt)))

    def _tell_again(self, lane: WatchLane, request: tuple[Any, ...], attempt: int) -> None:
        """The node was too busy: say it later, unless the connection has gone, and with it
        everything that there was to say about it."""
        connection = lane.watches

        def again() -> None:
            if lane.watches is connection and self._dispatcher.refusal is None:
                self._tell(lane, request, attempt + 1)

        self._loop.call_at(self._loop.time() + min(RETRY_S_MIN * 2**attempt, RETRY_S_MAX), again)

    def _leave(self, watch: Watch) -> None:
        """Take it from where it is, and tell the node."""
        self._waiting.discard(watch)
        if watch.lane is not None and watch.lane.watches.pop(watch.id, None) is not None:
            self._tell(watch.lane, ("cancel", watch.id))
        watch.lane = None

    def _finish(self, watch: Watch) -> None:
        watch.state = State.ENDED
        self._watches.discard(watch)
        self._stop_clock(watch)

    @staticmethod
    def _stop_clock(watch: Watch) -> None:
        if watch.deadline is not None:
            watch.deadline.cancel()
            watch.deadline = None

    def _fail(self, watch: Watch, error: errors.SampanError) -> None:
        self._finish(watch)
        watch.sink.end(error)

    def _out_of_time(self, watch: Watch) -> None:
        watch.deadline = None
        self._leave(watch)
        text = f"no node took the watch within {watch.timeout_s:g} s"
        self._fail(watch, watch.error or self._dispatcher.routes.unreachable(text))

    # -- what nodes answer

    def on_created(self, watch: Watch, head: ResponseHeader) -> None:
        """The node has the watch; everything after its revision will come, if that is what is
        wanted."""
        watch.state = State.ACTIVE
        watch.attempt, watch.error = 0, None
        watch.next = watch.next or head.revision + 1
        self._stop_clock(watch)
        if not watch.was_created:
            watch.was_created = True
            watch.sink.created(head)
        if watch.progress_wanted:
            self.request_progress(watch)

    def on_refused(self, watch: Watch, error: BaseException) -> None:
        """The node did not take the watch, or did not answer, or it cannot travel."""
        if not isinstance(error, errors.SampanError):
            error = errors.InvalidRequestError(wire.INVALID_ARGUMENT, f"sampan: no watch: {error}")
        hopeless = isinstance(error, _HOPELESS)
        if isinstance(error, errors.UnknownUserError):
            hopeless = not self._dispatcher.logs_in
        if hopeless:
            if watch.lane is not None:
                del watch.lane.watches[watch.id]
            self._fail(watch, error)
        else:
            self._leave(watch)
            self._retry(watch, error)

    def _retry(self, watch: Watch, error: errors.SampanError) -> None:
        watch.state, watch.error = State.SEEKING, error
        delay = min(RETRY_S_MIN * 2**watch.attempt, RETRY_S_MAX)
        watch.attempt += 1
        attempt = watch.attempt
        if watch.deadline is None:
            when = self._loop.time() + watch.timeout_s
            watch.deadline = self._loop.call_at(when, partial(self._out_of_time, watch))

        def again() -> None:
            if watch.state is State.SEEKING and watch.attempt == attempt:
                self._seek(watch)

        self._loop.call_at(self._loop.time() + delay, again)

    def on_acknowledged(self, lane: WatchLane, watches: int, told: int) -> None:
        """The node has so many watches of this connection, and sent all their events up to
        `told`: what is before may be compacted without a loss to them."""
        active = [watch for watch in lane.watches.values() if watch.state is State.ACTIVE]
        if watches == 0:
            self._move(lane, active)
            return
        for watch in active:
            if not watch.parts:
                watch.next = max(watch.next, told + 1)

    def on_unacknowledged(self, lane: WatchLane) -> None:
        """The node does not answer, though its connection stands: go elsewhere."""
        lane.at.avoid_until = self._loop.time() + AVOID_S
        for watch in list(lane.watches.values()):
            self._leave(watch)
            self._seek(watch)

    def _move(self, lane: WatchLane, watches: list[Watch]) -> None:
        for watch in watches:
            lane.watches.pop(watch.id, None)
            self._seek(watch)

    # -- what the dispatcher tells

    def on_change(self) -> None:
        """There may be a node to go to."""
        waiting, self._waiting = self._waiting, set()
        for watch in waiting:
            self._seek(watch)

    def on_lost(self, link: Link) -> None:
        """What was there is resumed elsewhere."""
        lane = self._lanes[link]
        watches = [w for w in lane.watches.values() if w.lane is lane]
        lane.forget()
        self._move(lane, watches)

    def on_wrong_password(self, error: errors.SampanError) -> None:
        """There is no node to go to."""
        waiting, self._waiting = self._waiting, set()
        for watch in waiting:
            self._fail(watch, error.copy())

    def close(self, error: errors.SampanError) -> None:
        """The client is closed."""
        for watch in list(self._watches):
            self._fail(watch, error.copy())

    def on_push(self, link: Link, reply: Reply, responses: Any) -> None:
        """Responses of watches on a connection.

        Raises:
            MalformedError: they have not the shape that the protocol gives them.
        """
        lane = self._lanes[link]
        revision = 0
        lane.unreported_messages += 1
        if (
            link.received_bytes - lane.reported_bytes >= ACK_BYTES
            or lane.unreported_messages >= ACK_MESSAGES
        ):
            self._acknowledge(lane)
        try:
            for kind, watch_id, revision, *rest in responses:
                watch = lane.watches.get(watch_id)
                if watch_id == protocol.EVERY_WATCH:
                    for each in list(lane.watches.values()):
                        self._progress(each, reply, revision, asked=True)
                elif watch is None:
                    continue  # it was resumed elsewhere, or canceled
                elif kind == protocol.PROGRESS:
                    self._progress(watch, reply, revision, asked=False)
                elif kind == protocol.EVENTS:
                    self._events(watch, reply, revision, *rest)
                else:
                    self._canceled(watch, header(reply, revision), *rest)
        except (TypeError, ValueError, IndexError) as error:
            raise MalformedError(f"not watch responses: {error}") from error
        self._dispatcher.history.saw(revision)

    # -- responses

    def _events(
        self, watch: Watch, reply: Reply, revision: int, more: bool, packed: tuple[Any, ...]
    ) -> None:
        for each in packed:
            watch.parts.append(event(each))
            watch.parts_bytes += EVENT_BYTES + len(each[1][0]) + len(each[1][5])
        if more:
            return
        events, taken = watch.parts, watch.parts_bytes
        watch.parts, watch.parts_bytes = [], 0
        watch.next = events[-1].kv.mod_revision + 1
        unread = watch.sink.put(WatchResponse(header(reply, revision), events), taken)
        if unread > PAUSE_BYTES:
            self._leave(watch)
            watch.state = State.PAUSED

    def _progress(self, watch: Watch, reply: Reply, revision: int, *, asked: bool) -> None:
        if watch.state is not State.ACTIVE or (asked and not watch.progress_wanted):
            return
        watch.progress_wanted = watch.progress_wanted and not asked
        watch.next = max(watch.next, revision + 1)
        watch.sink.put(WatchResponse(header(reply, revision), []), EVENT_BYTES)

    def _canceled(
        self, watch: Watch, head: ResponseHeader, compact_revision: int, reason: str
    ) -> None:
        if watch.lane is not None:
            del watch.lane.watches[watch.id]
        if compact_revision:
            self._fail(watch, errors.WatchCompactedError(reason, compact_revision, head))
        elif reason in RESUMED:
            if watch.lane is not None and reason == wire.NO_LEADER.text:
                watch.lane.at.avoid_until = self._loop.time() + AVOID_S
            self._retry(watch, errors.from_wire(RESUMED[reason]))
        else:
            self._fail(watch, errors.WatchCanceledError(wire.CANCELLED, reason))

    # -- what the node wants to hear

    def _acknowledge(self, lane: WatchLane) -> None:
        """Every message says what was received; this one says nothing else."""
        lane.reported_bytes = lane.at.received_bytes
        lane.unreported_messages = 0
        self._ask(lane, ("ack",), Acknowledged(self, lane))

    def _keep_alive(self) -> None:
        self._keeping_alive = bool(self._watches) and self._dispatcher.refusal is None
        if self._keeping_alive:
            for lane in self._lanes.values():
                if lane.watches and lane.at.ready:
                    self._acknowledge(lane)
            self._loop.call_at(self._loop.time() + limits.WATCH_KEEPALIVE_S, self._keep_alive)


def engine_of(loop: Loop, dispatcher: Dispatcher) -> Engine:
    """The engine of a client, made for its first watch."""
    engine = dispatcher.watches
    return engine if isinstance(engine, Engine) else Engine(loop, dispatcher)


class Told:
    """The future of a request whose answer tells nothing."""

    def __init__(self, again: Callable[[], None]) -> None:
        self._again = again

    def done(self) -> bool:
        """Never."""
        return False

    def set_result(self, result: Any, /) -> None:
        """As expected."""

    def set_exception(self, exception: BaseException, /) -> None:
        """The node refused; or the watch is gone already, or its connection is."""
        if isinstance(exception, errors.NotAppliedError):
            self._again()


class Created:
    """The future of a create request."""

    def __init__(self, engine: Engine, watch: Watch) -> None:
        self._engine = engine
        self._watch = watch
        self._id = watch.id

    def done(self) -> bool:
        """Whether the watch has gone elsewhere, or has its answer."""
        return self._watch.state is not State.CREATING or self._watch.id != self._id

    def set_result(self, result: Any, /) -> None:
        """The node has the watch."""
        if not self.done():
            reply, answer = result
            self._engine.on_created(self._watch, header(reply, answer[1]))

    def set_exception(self, exception: BaseException, /) -> None:
        """The node refused, or did not answer."""
        if not self.done():
            self._engine.on_refused(self._watch, exception)


class Acknowledged:
    """The future of an acknowledgement."""

    def __init__(self, engine: Engine, lane: WatchLane) -> None:
        self._engine = engine
        self._lane = lane

    def done(self) -> bool:
        """Never."""
        return False

    def set_result(self, result: Any, /) -> None:
        """How many watches the node knows on this connection, and how far they were told; a node
        of an older version does not say that."""
        _, _, watches, *told = result[1]
        self._engine.on_acknowledged(self._lane, watches, told[0] if told else 0)

    def set_exception(self, exception: BaseException, /) -> None:
        """Silence; when the connection broke, that is known already."""
        if isinstance(exception, errors.ReadTimeoutError):
            self._engine.on_unacknowledged(self._lane)
