"""Which request travels when, where, and how often: batching, routing, retries, deadlines.

Requests queue in one `Lane` for each kind. At the end of the loop's turn every lane puts what it
holds into as few messages as the limits allow. Rules that this file owns:

1. A call is answered once: by a result, an error that ends it, or its deadline.
2. A write that was handed to a connection is never sent again, unless the node said "not applied",
   or its message has a number in a session: then the whole message is, with the same number.
3. Reads, and calls that certainly were not applied, are tried again until the deadline.
4. A queued call belongs to no connection: what waits while there is none was not applied.
"""

import os
import random
import weakref
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from heapq import heappop, heappush
from typing import Any, Protocol

from ..config import addresses, limits
from ..transport import errors as wire
from ..transport.errors import Outcome, WireError
from ..transport.names import Names
from ..transport.requests import (
    KIND_INSPECT,
    KIND_MAINTENANCE,
    KIND_READ,
    KIND_SERIALIZABLE,
    KIND_WRITE,
)
from . import _log, errors
from ._history import History
from ._io import Future, SocketLoop, Unwatched
from ._lane import Lane, packable
from ._link import (
    Call,
    Keys,
    Link,
    MalformedError,
    Message,
    Reply,
    deadline_of,
    is_message_error,
    wire_error,
)
from ._login import Login, Token
from ._routes import HOLD_S, PROBE_S, Routes
from ._session import NOTHING, Opening, Session
from ._timeouts import DEFAULT_TIMEOUT_S

RETRY_S_MIN = 0.02
RETRY_S_MAX = 0.5
_new_call = tuple.__new__  # half the cost of calling a NamedTuple
AVOID_S = 1.0
"""How long an endpoint that refused or did not answer is passed over: about an election."""
ANSWER_SHARE = 0.95
"""Share of a call's time that the node gets, so that its verdict beats the caller's deadline."""
ATTEMPT_SHARE = 0.5
ATTEMPT_S_MIN = 1.0
"""Likewise of a write that may be sent again, while more than a second is left: what a node knows
nothing of, because it was lost on its way to the leader, gets another attempt."""


class Watches(Protocol):
    """What a dispatcher tells the watches (`watch_engine.py`, which short commands do not load)."""

    def on_change(self) -> None:
        """A link can be used that could not before, maybe."""

    def on_lost(self, link: Link) -> None:
        """A link broke."""

    def on_push(self, link: Link, reply: Reply, responses: Any) -> None:
        """A message that nobody asked for."""

    def on_wrong_password(self, error: errors.SampanError) -> None:
        """No node can be used, because of the client's name or password."""

    def close(self, error: errors.SampanError) -> None:
        """The client is closed."""


class Dispatcher:
    """All connections of one client and all its calls. It belongs to its loop's thread.

    Attributes:
        endpoints: in ZeroMQ's form, each once.
        links: the connections to them.
        routes: which of them a request takes.
        history: the revisions that they told of.
        lanes: where calls queue, by kind.
        refusal: why no call is taken any more, None while they are.
        forked: this is a copy in a child process.
        flushing: its loop is about to send what was queued.
        on_close: what to call when it is closed.
        watches: whom pushes are for, once there is a watch.
    """

    def __init__(
        self,
        loop: SocketLoop,
        endpoints: Iterable[str],
        *,
        exactly_once: bool = True,
        user: str = "",
        password: str = "",
        token: str = "",
        keys: Keys | None = None,
    ) -> None:
        self.endpoints = self.check_endpoints(endpoints)
        self.refusal: errors.SampanError | None = None
        self.forked = False
        self._loop = loop
        self.on_close: set[Callable[[], object]] = set()
        names = Names(self._name_known)
        self._login = Login(loop, user, password, self._on_wrong_password) if user else None
        who = Token(token) if token and not user else self._login
        self.links = [
            Link(loop, names, at, self, credentials=who, keys=keys) for at in self.endpoints
        ]
        self.routes = Routes(loop, self.links, self._probe, self._on_change)
        self.history = History(self._verify, loop.time)
        self._pinned: dict[tuple[str, str], Lane] = {}
        # A lane of their own: some questions must be alone in their message.
        self._probes = {link: Lane(KIND_MAINTENANCE, link) for link in self.links}
        self.lanes = {
            kind: Lane(kind)
            for kind in (KIND_WRITE, KIND_READ, KIND_SERIALIZABLE, KIND_MAINTENANCE, KIND_INSPECT)
        }
        self.watches: Watches | None = None
        self._writes = self.lanes[KIND_WRITE]
        self._session = Session() if exactly_once else None
        self._opening = Lane(KIND_WRITE)
        self._all_lanes = [*self.lanes.values(), self._opening, *self._probes.values()]
        self._again: list[Message] = []  # numbered writes that wait to be sent again
        self.flushing = False
        self._one_by_one = True  # the last message had one call
        self._retries: list[tuple[float, int, Lane, Call]] = []
        self._retry_count = 0
        self._sweep_at = float("inf")
        self._sweeping: Any = None
        _in_this_process.add(self)

    @property
    def logs_in(self) -> bool:
        """Whether there are a name and a password for nodes that ask."""
        return self._login is not None

    def start(self) -> None:
        """Begin to connect, in the loop's thread."""
        self.routes.start()

    def close(self, reason: str = "sampan: the client is closed") -> None:
        """End every call and every connection."""
        refusal = errors.ClientClosedError(wire.UNAVAILABLE, reason)
        self._close(refusal, errors.ConnectionLostError(wire.UNAVAILABLE, reason))

    def _close(self, refusal: errors.SampanError, lost: errors.SampanError) -> None:
        """Refuse what was not sent, and what comes, with the one, end what was with the other."""
        if self.refusal is not None:
            return
        self.refusal = refusal
        for call in list(self.on_close):
            call()
        if self.watches is not None:
            self.watches.close(self.refusal)
        for link in self.links:
            for message in link.close():
                self.abandon(message, lost)
        for message in self._again:
            self._end(message, lost)
        waiting = [each for lane in self._all_lanes for each in lane.queue]
        for each in waiting + [retry[3] for retry in self._retries]:
            if not each.future.done():
                each.future.set_exception((each.error or self.refusal).copy())
        if self._sweeping is not None:
            self._sweeping.cancel()

    def _name_known(self) -> None:
        """In a thread of its own: what an endpoint's name means is known, or that it is not."""
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self.routes.dial)

    def fail(self, error: BaseException) -> None:
        """A bug: whoever waits learns of it, and so does whoever calls later."""
        self.close(f"sampan: the client failed: {error!r}")

    @staticmethod
    def check_endpoints(endpoints: Iterable[str]) -> list[str]:
        """Each endpoint once, as ZeroMQ takes it; beside a node that may be a socket file.

        Raises:
            ValueError: none, or one that is not `host:port`.
        """
        found = [] if isinstance(endpoints, str) else list(endpoints)
        if not found:
            raise ValueError("a client needs a list of at least one endpoint")
        return list(dict.fromkeys(map(addresses.dialled, found)))

    # ---- sending --------------------------------------------------------------------------------

    def pinned_lane(self, endpoint: str, kind: str) -> Lane:
        """Where requests of a kind, maintenance or inspect, for one of the endpoints queue.

        Raises:
            ValueError: not one of the client's endpoints.
        """
        address = addresses.dialled(endpoint)
        lane = self._pinned.get((address, kind))
        if lane is None:
            link = next((link for link in self.links if link.endpoint == address), None)
            if link is None:
                raise ValueError(f"{endpoint} is not one of {', '.join(self.endpoints)}")
            new = Lane(kind, link)
            lane = self._pinned.setdefault((address, kind), new)
            if lane is new:  # another thread may have been faster
                self.add_lane(lane)
        return lane

    def add_lane(self, lane: Lane) -> None:
        """Send what will queue there, too."""
        self._all_lanes.append(lane)

    def queue(
        self,
        lane: Lane,
        future: Future,
        request: tuple[Any, ...],
        size: int,
        timeout_s: float,
        *,
        lone: bool = False,
    ) -> None:
        """Queue one request; the future gets `(Reply, result)`, or the error that ended it.

        Args:
            lane: one of `lanes`, or a `pinned_lane`.
            future: who waits.
            request: as it travels.
            size: about how many bytes it takes there.
            timeout_s: until its deadline.
            lone: with nothing under way it is sent at once, as long as one goes after the other:
                there is nothing that it could share a message with.
        """
        if self.refusal is not None:
            future.set_exception(self.refusal.copy())
            return
        if size > limits.REQUEST_BYTES_MAX:
            future.set_exception(errors.from_wire(wire.REQUEST_TOO_LARGE))
            return
        deadline = self._loop.time() + timeout_s
        lane.queue.append(_new_call(Call, (future, request, size, deadline, 0, None)))
        lane.size += size
        if not self.flushing:
            if lone and self._one_by_one and not any(link.inflight for link in self.links):
                self._flush()
            else:
                self.flushing = True
                self._loop.call_soon(self._flush)
        if deadline < self._sweep_at:
            self.arm(deadline)

    def _flush(self) -> None:
        self.flushing = False
        if self.refusal is not None:
            return
        if self._again:
            self._send_again()
        for lane in self._all_lanes:
            if lane.queue and self.routes.hopeless(lane.link):
                self._give_up(lane)
            while lane.queue:
                link = lane.link or self.routes.pick(lane.kind)
                if link is None or not link.ready or not link.has_room():
                    break
                if lane is self._writes and not self._may_number():
                    break
                calls, size = lane.take()
                self._one_by_one = len(calls) == 1
                try:
                    sent = not calls or self._send(link, lane, calls, size)
                except (TypeError, ValueError, OverflowError):
                    lane.put_back(packable(calls))
                    continue
                if not sent:
                    lane.put_back(calls)
                    break

    def _on_wrong_password(self, error: errors.SampanError) -> None:
        """What waits for a connection does not get one, unless another node knows better."""
        if self.refusal is None and not any(link.ready for link in self.links):
            for lane in self._all_lanes:
                lane.fail(error)
            if self.watches is not None:
                self.watches.on_wrong_password(error)

    def _give_up(self, lane: Lane) -> None:
        """There is nobody to wait for."""
        lane.fail(self.routes.unreachable("not sent", lane.link))

    def _send(self, link: Link, lane: Lane, calls: list[Call], size: int) -> bool:
        expires, floor = max(map(deadline_of, calls)), self.history.newest
        session = self._session if lane is self._writes else None
        if session is None:
            return self._hand_over(link, Message(lane, calls, size, expires, floor=floor))
        message = Message(lane, calls, size, expires, session, session.number(), 1, 0.0, floor)
        sent = False
        try:
            sent = self._hand_over(link, message)
        finally:
            if not sent:
                session.settle(message.sequence)
        return sent

    def _hand_over(self, link: Link, message: Message) -> bool:
        left_s = message.expires - self._loop.time()
        again = message.session is not None and left_s > ATTEMPT_S_MIN
        share = ATTEMPT_SHARE if again else ANSWER_SHARE
        # What has no time left is not sent: the sweep, which is due, ends it.
        return left_s > 0 and link.send(message, max(1, int(left_s * 1000 * share)))

    def _may_number(self) -> bool:
        """Whether a new message of writes may be sent; opens the session that it needs."""
        session = self._session
        if session is None:
            return True
        if not session.id and not session.opening:
            self.open_session(session)
        return session.id != 0 and not session.full

    def open_session(self, session: Session) -> None:
        """Have a session opened."""
        session.opening = True
        request = ("session_open", random.getrandbits(64))
        opening, timeout_s = Opening(session, self._opened), DEFAULT_TIMEOUT_S * ATTEMPT_SHARE
        self.queue(self._opening, opening, request, 0, timeout_s)

    def _opened(self, is_open: bool) -> None:
        session = self._session
        if session is not None and isinstance(session.error, errors.AuthenticationError):
            self._writes.fail(session.error)
        if is_open:
            self.flush_soon()
        elif self.refusal is None:
            self._loop.call_at(self._loop.time() + PROBE_S, self.flush_soon)

    def _send_again(self) -> None:
        now = self._loop.time()
        waiting, self._again = self._again, []
        for message in waiting:
            link = self.routes.pick(KIND_WRITE) if message.due <= now else None
            if link is None or not link.ready or not link.has_room():
                self._again.append(message)
                continue
            calls = [c._replace(request=NOTHING) if c.future.done() else c for c in message.calls]
            next_one = message._replace(calls=calls, attempt=message.attempt + 1)
            if not self._hand_over(link, next_one):
                self._again.append(message)

    def flush_soon(self) -> None:
        """Send what waits, at the end of the loop's turn."""
        if not self.flushing:
            self.flushing = True
            self._loop.call_soon(self._flush)

    # ---- what links tell ------------------------------------------------------------------------

    def on_connected(self, link: Link) -> None:
        """Ask who it is, if there is a choice, and send what waits."""
        self.routes.on_connected(link)
        self._on_change()

    def _on_change(self) -> None:
        """There may be a way for what waits for one."""
        if self.refusal is None:
            if self.watches is not None:
                self.watches.on_change()
            self.flush_soon()

    def _probe(self, link: Link) -> None:
        """Ask a node who it is and whom it follows."""
        self.queue(self._probes[link], Unwatched(), ("status",), 0, AVOID_S)

    def on_reply(self, link: Link, message: Message, reply: Reply, results: Any) -> None:
        """Hand each call its result, in order."""
        self.routes.on_reply(link)
        calls = message.calls
        if type(results) is not tuple or not results:
            raise MalformedError(f"expected {len(calls)} results, got {str(results)[:80]}")
        if is_message_error(results):
            error = wire_error(results)
            if message.session is not None and self._attempt_failed(link, message, error):
                return
            results = (message.known_of(error),) * len(calls)
        if len(results) != len(calls):
            raise MalformedError(f"expected {len(calls)} results, got {str(results)[:80]}")
        if past := self.history.went_back(message.lane.kind, message.floor, results):
            self._went_back(past)
            return
        failed: list[tuple[Call, WireError]] = []
        for call, result in zip(calls, results, strict=True):
            future = call.future
            if future.done():
                continue
            if type(result) is tuple and result and result[0] == 0:
                future.set_result((reply, result))
            else:
                failed.append((call, wire_error(result)))
        message.settle()
        for call, error in failed:
            self._failed(link, message.lane, call, error)
        if self._flush_wanted():
            self.flush_soon()

    def on_met(self, link: Link) -> None:
        """It is known who is at the other end."""
        self.routes.on_met(link)

    def _verify(self) -> None:
        """Have a linearizable read answered, which the history judges."""
        self.queue(self.lanes[KIND_READ], Unwatched(), ("alarm_list",), 0, DEFAULT_TIMEOUT_S)

    def _went_back(self, revision: int) -> None:
        text = (
            f"sampan: the cluster is at revision {revision}, and was at {self.history.newest} "
            "before: it was put back to an older copy; forget what was read, and make a new client"
        )
        _log.warning("%s", text)
        error = errors.RevisionsWentBackError(wire.DATA_LOSS, text)
        self._close(error, error)

    def on_lost(self, link: Link, messages: list[Message], error: errors.SampanError) -> None:
        """Writes under way that have no number are unknown now; everything else goes elsewhere."""
        self.routes.on_lost(link)
        for message in messages:
            if isinstance(error, errors.OtherClusterError) and message.lane.link is link:
                self._end(message, error)
            else:
                self.abandon(message, error)
        if self.watches is not None:
            self.watches.on_lost(link)
        self.flush_soon()

    def on_push(self, link: Link, reply: Reply, responses: Any) -> None:
        """Hand on what watches brought."""
        if self.watches is not None:
            self.watches.on_push(link, reply, responses)

    def _flush_wanted(self) -> bool:
        return bool(self._again) or any(lane.queue for lane in self._all_lanes)

    def abandon(self, message: Message, error: errors.SampanError) -> None:
        """No answer will come to a message that was sent."""
        if message.lane.kind != KIND_WRITE:
            message.lane.put_back([call._replace(error=error) for call in message.calls])
        elif message.session is not None and self.refusal is None:
            self._put_again(message, error, 0.0)
        else:
            self._end(message, error)

    def _end(self, message: Message, error: errors.SampanError) -> None:
        for call in message.calls:
            if not call.future.done():
                call.future.set_exception(error.copy())

    # ---- failures and time ----------------------------------------------------------------------

    def _failed(self, link: Link, lane: Lane, call: Call, error: WireError) -> None:
        exception = errors.from_wire(error)
        unknown_here = self.logs_in and isinstance(exception, errors.UnknownUserError)
        if not (unknown_here or lane.sends_again(error)):
            call.future.set_exception(exception)
            return
        if isinstance(call.future, Opening):
            call.future.session.error = exception
        due = min(self._retry_at(link, error, call.attempt), call.deadline)
        self._retry_count += 1
        retry = call._replace(attempt=call.attempt + 1, error=exception)
        heappush(self._retries, (due, self._retry_count, lane, retry))
        self.arm(due)

    def _retry_at(self, link: Link, error: WireError, attempt: int) -> float:
        """When to try again; until then, and a little longer, others than `link` come first."""
        now = self._loop.time()
        if error.text != wire.LEADER_FAILED.text:
            link.avoid_until = now + AVOID_S
        if error.text == wire.STOPPED.text:
            link.avoid_until = now + 2 * HOLD_S  # it stays so, until it is a new connection
            self.routes.lose_leader(link)
        delay_s: float = min(RETRY_S_MIN * 2**attempt, RETRY_S_MAX)
        return now + delay_s * random.uniform(0.5, 1)

    def _attempt_failed(self, link: Link, message: Message, error: WireError) -> bool:
        """Whether the error of a whole numbered message has been dealt with: it is sent again.
        Otherwise it is for the callers."""
        if error.text == wire.SESSION_EXPIRED.text:
            if self._session is message.session:
                self._session = Session()
            if message.attempt == 1:  # so it was not applied
                message.lane.put_back(message.calls)
                self.flush_soon()
            return message.attempt == 1
        if message.attempt == 1 and error.outcome == Outcome.NOT_APPLIED:
            return False
        unknown_here = self.logs_in and isinstance(errors.from_wire(error), errors.UnknownUserError)
        if not unknown_here and not errors.worth_retrying(KIND_READ, error):
            return False
        due = self._retry_at(link, error, message.attempt - 1)
        self._put_again(message, errors.from_wire(error), due)
        self.arm(due)
        return True

    def _put_again(self, message: Message, error: errors.SampanError, due: float) -> None:
        calls = [call._replace(error=error) for call in message.calls]
        self._again.append(message._replace(calls=calls, due=due))

    def arm(self, when: float) -> None:
        """Look after what is due, at `when` or before."""
        if when < self._sweep_at:
            if self._sweeping is not None:
                self._sweeping.cancel()
            self._sweep_at = when
            self._sweeping = self._loop.call_at(when, self._sweep)

    def _sweep(self) -> None:
        """One timer for everything: due retries, then all that ran out of time."""
        now = self._loop.time()
        while self._retries and self._retries[0][0] <= now:
            _, _, lane, call = heappop(self._retries)
            lane.put_back([call])
        next_deadlines = [retry[0] for retry in self._retries[:1]]
        for lane in self._all_lanes:
            next_deadlines += self._expire(lane, lane.queue, now, sent=False)
            lane.prune(now)
        for message in self._again:
            next_deadlines += self._expire(message.lane, message.calls, now, sent=True)
            if message.due > now:
                next_deadlines.append(message.due)
        self._again = [message for message in self._again if not message.settle_unwanted()]
        for link in self.links:
            for message_id, message in list(link.inflight.items()):
                next_deadlines += self._expire(message.lane, message.calls, now, sent=True)
                if message.expires <= now:
                    message.settle()
                    link.forget(message_id)
                    link.avoid_until = now + AVOID_S
        self._sweeping = None
        self._sweep_at = float("inf")
        if next_deadlines:
            self.arm(min(next_deadlines))
        self.flush_soon()

    def _expire(self, lane: Lane, calls: Sequence[Call], now: float, *, sent: bool) -> list[float]:
        """End those past their deadline; returns the next one, if there is any."""
        waiting = [call for call in calls if not call.future.done()]
        for call in waiting:
            if call.deadline <= now:
                call.future.set_exception(self.timeout(lane, call.error, sent=sent))
        later = [call.deadline for call in waiting if call.deadline > now]
        return [min(later)] if later else []

    def timeout(
        self, lane: Lane, error: errors.SampanError | None = None, *, sent: bool
    ) -> errors.SampanError:
        """What is known of a call at its deadline: of a write that was sent, nothing. `error` is
        what it met before."""
        if sent and lane.kind == KIND_WRITE:
            if isinstance(error, errors.UnknownOutcomeError):
                return error.copy()
            text = "sampan: no answer by the deadline; the write may or may not happen"
            return errors.RequestTimeoutError(wire.DEADLINE_EXCEEDED, text)
        if error is not None:
            return error.copy()
        if sent:
            return self.routes.unanswered(lane.link)
        session = self._session if lane is self._writes else None
        if session is not None and isinstance(session.error, errors.NotAppliedError):
            return session.error.copy()
        what = "not sent by its deadline"
        met = any(link.cluster_id for link in self.links)
        if met and session is not None and session.error is not None:
            what += ", as no session could be opened: do clients reach a majority of nodes here?"
        return self.routes.unreachable(what, lane.link)


_in_this_process: "weakref.WeakSet[Dispatcher]" = weakref.WeakSet()


def _forked() -> None:
    """ZeroMQ's threads and connections stay with the parent: its clients are of no use here."""
    for dispatcher in _in_this_process:
        dispatcher.forked = True
        dispatcher.refusal = errors.ClientClosedError(
            wire.FAILED_PRECONDITION,
            "sampan: this client was made before the fork; make a new one in the child process",
        )


os.register_at_fork(after_in_child=_forked)
