"""Which request travels when, where, and how often: batching, routing, retries, deadlines.

Requests queue in one `Lane` for each kind. At the end of the loop's turn every lane puts what it
holds into as few messages as the limits allow. Rules that this file owns:

1. A call is answered once: by a result, an error that ends it, or its deadline.
2. A write that was handed to a connection is never sent again, unless the node said "not applied".
3. Reads, and calls that certainly were not applied, are tried again until the deadline.
4. A queued call belongs to no connection: what waits while there is none was not applied.
"""

import os
import random
import weakref
from collections import deque
from collections.abc import Sequence
from heapq import heappop, heappush
from typing import Any

from ..config import limits
from ..transport import codec, sockets
from ..transport import endpoints as addresses
from ..transport import errors as wire
from ..transport.errors import Outcome, WireError
from ..transport.requests import (
    KIND_INSPECT,
    KIND_MAINTENANCE,
    KIND_READ,
    KIND_SERIALIZABLE,
    KIND_WRITE,
)
from . import errors
from ._io import Future, Loop
from ._link import Call, Link, MalformedError, Message, Reply, is_message_error, wire_error

TIMEOUT_S_MAX = 365 * 24 * 3600.0
MESSAGE_REQUESTS_MAX = 1_000
MESSAGE_BYTES_MAX = 1 << 20
"""Both well inside the protocol's own (10,000 and 2 MiB), so that estimates may be rough."""
DEFAULT_TIMEOUT_S = 7.0
"""A node's own request timeout (5 s and two election timeouts), as etcd's."""
RETRY_S_MIN = 0.02
RETRY_S_MAX = 0.5
_new_call = tuple.__new__  # half the cost of calling a NamedTuple
AVOID_S = 1.0
"""How long an endpoint that refused or did not answer is passed over: about an election."""
HOLD_S = 3.0
"""How long, at most, after the leader's connection broke, nothing is sent to nodes that believe in
that leader still: they would forward a write to it, and nobody could tell what became of it. They
notice within two election timeouts."""
PROBE_S = 0.1
"""How often they are asked meanwhile."""
ANSWER_SHARE = 0.95
"""Share of a call's time that the node gets, so that its verdict beats the caller's deadline."""


class Lane:
    """Calls of one kind that wait to be sent; `link` pins them to one endpoint."""

    def __init__(self, kind: str, link: Link | None = None) -> None:
        self.kind = kind
        self.link = link
        self.queue: deque[Call] = deque()
        self.size = 0

    def take(self) -> tuple[list[Call], int]:
        """The next message's calls, without those whose callers no longer wait; and its bytes."""
        queue = self.queue
        if len(queue) <= MESSAGE_REQUESTS_MAX and self.size <= MESSAGE_BYTES_MAX:
            calls, size = [call for call in queue if not call.future.done()], self.size
            queue.clear()
            self.size = 0
            return calls, size
        calls, size = [], 0
        while queue and len(calls) < MESSAGE_REQUESTS_MAX:
            call = queue[0]
            if calls and size + call.size > MESSAGE_BYTES_MAX:
                break
            queue.popleft()
            self.size -= call.size
            if not call.future.done():
                calls.append(call)
                size += call.size
        return calls, size

    def prune(self, now: float) -> None:
        """Drop calls that have their answer or are past their deadline."""
        waiting = [c for c in self.queue if c.deadline > now and not c.future.done()]
        self.queue = deque(waiting)
        self.size = sum(call.size for call in waiting)

    def put_back(self, calls: Sequence[Call]) -> None:
        """Calls that did not leave after all go first next time."""
        waiting = [call for call in calls if not call.future.done()]
        self.queue.extendleft(reversed(waiting))
        self.size += sum(call.size for call in waiting)


class Dispatcher:
    """All connections of one client and all its calls. It belongs to its loop's thread.

    Attributes:
        endpoints: in ZeroMQ's form, each once.
        lanes: where calls queue, by kind.
        refusal: why no call is taken any more, None while they are.
        forked: this is a copy in a child process.
    """

    def __init__(self, loop: Loop, endpoints: Sequence[str]) -> None:
        self.endpoints = self.check_endpoints(endpoints)
        self.refusal: errors.ClientClosedError | None = None
        self.forked = False
        self._loop = loop
        self._context = sockets.context()
        self._links = [Link(loop, self._context, each, self) for each in self.endpoints]
        self._pinned = {
            (link.endpoint, KIND_MAINTENANCE): Lane(KIND_MAINTENANCE, link) for link in self._links
        }
        random.shuffle(self._links)  # clients spread over the nodes
        self._home: Link | None = None
        self._leader_id = 0
        self._leader_term = 0
        self._lost_leader: Link | None = None
        self._lost_leader_id = 0
        self._hold_until = 0.0
        self.lanes = {
            kind: Lane(kind)
            for kind in (KIND_WRITE, KIND_READ, KIND_SERIALIZABLE, KIND_MAINTENANCE, KIND_INSPECT)
        }
        self._flushing = False
        self._retries: list[tuple[float, int, Lane, Call]] = []
        self._retry_count = 0
        self._sweep_at = float("inf")
        self._sweeping: Any = None
        _in_this_process.add(self)

    def start(self) -> None:
        """Begin to connect, in the loop's thread."""
        for link in self._links:
            link.open()

    def close(self, reason: str = "sampan: the client is closed") -> None:
        """End every call and every connection."""
        if self.refusal is not None:
            return
        self.refusal = errors.ClientClosedError(wire.UNAVAILABLE, reason)
        lost = errors.ConnectionLostError(wire.UNAVAILABLE, reason)
        for link in self._links:
            for message in link.close():
                self._abandon(message, lost)
        waiting = [call for lane in self._all_lanes() for call in lane.queue]
        for call in waiting + [retry[3] for retry in self._retries]:
            if not call.future.done():
                call.future.set_exception(call.error or _copy(self.refusal))
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._context.destroy(linger=0)

    @staticmethod
    def check_endpoints(endpoints: Sequence[str]) -> list[str]:
        """Each endpoint once, as ZeroMQ takes it.

        Raises:
            ValueError: none, or one that is not `host:port`.
        """
        if isinstance(endpoints, str) or not endpoints:
            raise ValueError("a client needs a list of at least one endpoint")
        return list(dict.fromkeys(addresses.tcp(endpoint) for endpoint in endpoints))

    # ---- sending --------------------------------------------------------------------------------

    def pinned_lane(self, endpoint: str, kind: str) -> Lane:
        """Where requests of a kind, maintenance or inspect, for one of the endpoints queue.

        Raises:
            ValueError: not one of the client's endpoints.
        """
        address = addresses.tcp(endpoint)
        lane = self._pinned.get((address, kind))
        if lane is None:
            link = next((link for link in self._links if link.endpoint == address), None)
            if link is None:
                raise ValueError(f"{endpoint} is not one of {', '.join(self.endpoints)}")
            lane = self._pinned.setdefault((address, kind), Lane(kind, link))
        return lane

    def queue(
        self, lane: Lane, future: Future, request: tuple[Any, ...], size: int, timeout_s: float
    ) -> None:
        """Queue one request; the future gets `(Reply, result)`, or the error that ended it.

        Args:
            lane: one of `lanes`, or a `pinned_lane`.
            future: who waits.
            request: as it travels.
            size: about how many bytes it takes there.
            timeout_s: until its deadline.
        """
        if self.refusal is not None:
            future.set_exception(_copy(self.refusal))
            return
        if size > limits.REQUEST_BYTES_MAX:
            future.set_exception(errors.from_wire(wire.REQUEST_TOO_LARGE))
            return
        deadline = self._loop.time() + timeout_s
        lane.queue.append(_new_call(Call, (future, request, size, deadline, 0, None)))
        lane.size += size
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        if deadline < self._sweep_at:
            self._arm(deadline)

    def _all_lanes(self) -> list[Lane]:
        return [*self.lanes.values(), *self._pinned.values()]

    def _flush(self) -> None:
        self._flushing = False
        if self.refusal is not None:
            return
        for lane in self._all_lanes():
            while lane.queue:
                link = lane.link or self._pick(lane.kind)
                if link is None or not link.ready or not link.has_room():
                    break
                calls, size = lane.take()
                try:
                    sent = not calls or self._send(link, lane, calls, size)
                except (TypeError, ValueError, OverflowError):
                    lane.put_back(_packable(calls))
                    continue
                if not sent:
                    lane.put_back(calls)
                    break

    def _send(self, link: Link, lane: Lane, calls: list[Call], size: int) -> bool:
        expires = max([call.deadline for call in calls])
        left_ms = (expires - self._loop.time()) * 1000 * ANSWER_SHARE
        return link.send(Message(lane, calls, size, expires), max(1, int(left_ms)))

    def _pick(self, kind: str) -> Link | None:
        """The leader for what only it can answer; otherwise stay where the last call went."""
        now = self._loop.time()
        usable = [link for link in self._links if link.ready]
        usable = [link for link in usable if link.avoid_until <= now] or usable
        if kind in (KIND_WRITE, KIND_READ):
            if now < self._hold_until:
                usable = [link for link in usable if link.leader_id != self._lost_leader_id]
            for link in usable:
                if link.member_id == self._leader_id != 0:
                    return link
        if not usable:
            return None
        if self._home not in usable:
            self._home = usable[0]
        return self._home

    def _flush_soon(self) -> None:
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    # ---- what links tell ------------------------------------------------------------------------

    def on_connected(self, link: Link) -> None:
        """Ask who it is, if there is a choice, and send what waits."""
        if link is self._lost_leader:
            self._hold_until = 0.0
        if len(self._links) > 1:
            self._probe(link)
        self._flush_soon()

    def _probe(self, link: Link) -> None:
        """Ask a node who it is and whom it follows."""
        lane = self._pinned[link.endpoint, KIND_MAINTENANCE]
        self.queue(lane, _Unwatched(), ("status",), 0, AVOID_S)

    def _probe_all(self) -> None:
        """While the leader is lost: until a node knows that, or the time to wait is over."""
        if self.refusal is not None:
            return
        for link in self._links:
            if link.ready:
                self._probe(link)
        known = self._leader_id not in (0, self._lost_leader_id)
        if not known and self._loop.time() < self._hold_until:
            self._loop.call_at(self._loop.time() + PROBE_S, self._probe_all)
        self._flush_soon()

    def on_reply(self, link: Link, message: Message, reply: Reply, results: Any) -> None:
        """Hand each call its result, in order."""
        if reply.raft_term >= self._leader_term:
            self._leader_term, self._leader_id = reply.raft_term, reply.leader_id
        calls = message.calls
        if is_message_error(results):
            results = (results,) * len(calls)
        if type(results) is not tuple or len(results) != len(calls):
            raise MalformedError(f"expected {len(calls)} results, got {str(results)[:80]}")
        for call, result in zip(calls, results, strict=True):
            future = call.future
            if future.done():
                continue
            if type(result) is tuple and result and result[0] == 0:
                future.set_result((reply, result))
            else:
                self._failed(link, message.lane, call, wire_error(result))
        if self._flush_wanted():
            self._flush_soon()

    def on_lost(self, link: Link, messages: list[Message], error: errors.SampanError) -> None:
        """Writes under way are unknown now; everything else goes elsewhere."""
        self._lose_leader(link)
        for message in messages:
            self._abandon(message, error)
        self._flush_soon()

    def _lose_leader(self, link: Link) -> None:
        """If `link` leads to the leader, begin to wait for the next one."""
        if link.member_id == self._leader_id != 0 and len(self._links) > 1:
            self._lost_leader, self._lost_leader_id = link, link.member_id
            self._leader_id = 0
            self._hold_until = self._loop.time() + HOLD_S
            for each in self._links:
                each.leader_id = link.member_id  # what they said before may be from any time
            self._probe_all()

    def _flush_wanted(self) -> bool:
        return any(lane.queue for lane in self.lanes.values())

    def _abandon(self, message: Message, error: errors.SampanError) -> None:
        if message.lane.kind != KIND_WRITE:
            message.lane.put_back([call._replace(error=error) for call in message.calls])
            return
        for call in message.calls:
            if not call.future.done():
                call.future.set_exception(_copy(error))

    # ---- failures and time ----------------------------------------------------------------------

    def _failed(self, link: Link, lane: Lane, call: Call, error: WireError) -> None:
        exception = errors.from_wire(error)
        if not _worth_retrying(lane.kind, error):
            call.future.set_exception(exception)
            return
        now = self._loop.time()
        link.avoid_until = now + AVOID_S
        if error.text == wire.STOPPED.text:
            link.avoid_until = now + 2 * HOLD_S  # it stays so, until it is a new connection
            self._lose_leader(link)
        delay = min(RETRY_S_MIN * 2**call.attempt, RETRY_S_MAX) * random.uniform(0.5, 1)
        due = min(now + delay, call.deadline)
        self._retry_count += 1
        retry = call._replace(attempt=call.attempt + 1, error=exception)
        heappush(self._retries, (due, self._retry_count, lane, retry))
        self._arm(due)

    def _arm(self, when: float) -> None:
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
        for lane in self._all_lanes():
            next_deadlines += self._expire(lane, lane.queue, now, sent=False)
            lane.prune(now)
        for link in self._links:
            for message_id, message in list(link.inflight.items()):
                next_deadlines += self._expire(message.lane, message.calls, now, sent=True)
                if message.expires <= now:
                    link.forget(message_id)
                    link.avoid_until = now + AVOID_S
        self._sweeping = None
        self._sweep_at = float("inf")
        if next_deadlines:
            self._arm(min(next_deadlines))
        self._flush_soon()

    def _expire(self, lane: Lane, calls: Sequence[Call], now: float, *, sent: bool) -> list[float]:
        """End those past their deadline; returns the next one, if there is any."""
        waiting = [call for call in calls if not call.future.done()]
        for call in waiting:
            if call.deadline <= now:
                call.future.set_exception(self._timeout(lane, call, sent))
        later = [call.deadline for call in waiting if call.deadline > now]
        return [min(later)] if later else []

    def _timeout(self, lane: Lane, call: Call, sent: bool) -> errors.SampanError:
        """What is known of a call at its deadline: of a write that was sent, nothing."""
        if sent and lane.kind == KIND_WRITE:
            text = "sampan: no answer by the deadline; the write may or may not happen"
            return errors.RequestTimeoutError(wire.DEADLINE_EXCEEDED, text)
        if call.error is not None:
            return call.error
        if sent:
            text = "sampan: no answer by the deadline"
            return errors.ReadTimeoutError(wire.DEADLINE_EXCEEDED, text)
        where = lane.link.endpoint if lane.link else ", ".join(self.endpoints)
        text = f"sampan: not sent by its deadline; endpoints: {where}"
        return errors.UnreachableError(wire.DEADLINE_EXCEEDED, text)


def _packable(calls: Sequence[Call]) -> list[Call]:
    """Those of a message's calls that can travel; the others raise what packing them raised."""
    good = []
    for call in calls:
        try:
            codec.pack(call.request)
        except (TypeError, ValueError, OverflowError) as error:
            call.future.set_exception(error)
        else:
            good.append(call)
    if len(good) == len(calls):
        raise AssertionError(f"a message of {len(calls)} calls does not pack, each of them does")
    return good


def check_timeout(timeout_s: float) -> float:
    """`timeout_s`, if it is one.

    Raises:
        ValueError: negative, or longer than a year.
    """
    if not 0 <= timeout_s <= TIMEOUT_S_MAX:
        raise ValueError(f"timeout_s is 0 to {TIMEOUT_S_MAX}, not {timeout_s}")
    return timeout_s


def closed_error() -> errors.ClientClosedError:
    """What calls on a closed client raise."""
    return errors.ClientClosedError(wire.UNAVAILABLE, "sampan: the client is closed")


def _copy(error: errors.SampanError) -> errors.SampanError:
    """One exception for each caller: a raised one grows a traceback."""
    return type(error)(error.code, error.text)


def _worth_retrying(kind: str, error: WireError) -> bool:
    if error.text == wire.TOO_MANY_REQUESTS.text:
        return True
    if error.code != wire.UNAVAILABLE:
        return False
    return error.outcome == Outcome.NOT_APPLIED or kind != KIND_WRITE


class _Unwatched:
    """The future of a probe: what it tells was learnt when its reply arrived."""

    def done(self) -> bool:
        return False

    def set_result(self, result: Any, /) -> None:
        pass

    def set_exception(self, exception: BaseException, /) -> None:
        pass


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
