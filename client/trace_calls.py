"""The way of one write through the cluster, put together of what every node's actors noted."""

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from ..transport import errors as wire
from ..transport.requests import KIND_INSPECT, KIND_MAINTENANCE, KIND_WRITE
from ._decode import Answer, put_response
from ._dispatch import Dispatcher
from .errors import MalformedReplyError, SampanError
from .trace import Step, Trace
from .types import PutResponse

Request = tuple[Any, ...]
Ask = Callable[..., Awaitable[Answer]]
"""Of a kind, a request, a time for it, and an endpoint, or None for any."""

ASK_S = 2.0
"""For each node: those that are away noted nothing."""


class _Noted(NamedTuple):
    member_id: int
    ahead: float  # of this process's clock
    asked_s: float
    steps: Sequence[tuple[str, str, float, int]]


def _origin(answer: Answer) -> tuple[int, int, int, int]:
    _, result = answer
    if len(result) != 6:
        raise _malformed(result)
    _, _, entry, term, member_id, batch = result
    return entry, term, member_id, batch


def _malformed(result: Any) -> MalformedReplyError:
    return MalformedReplyError(wire.INTERNAL, f"sampan: malformed result: {str(result)[:80]}")


def _noted(answer: Answer, asked: float, answered: float) -> _Noted:
    """The node's clock was read halfway between question and answer, or up to half as far off."""
    reply, result = answer
    try:
        _, now, steps = result
    except ValueError as error:
        raise _malformed(result) from error
    return _Noted(reply.member_id, now - (asked + answered) / 2, answered - asked, steps)


def _together(revision: int, origin: tuple[int, int, int, int], found: Iterable[_Noted]) -> Trace:
    entry, term, member_id, _ = origin
    nodes = {noted.member_id: noted for noted in found}
    first = nodes.get(member_id)
    if first is None:
        text = f"sampan: member {member_id:x}, which took the write, does not answer"
        raise SampanError(wire.UNAVAILABLE, text)
    begun = min((at for _, _, at, _ in first.steps), default=0.0)
    steps, offsets = [], {}
    for noted in nodes.values():
        offset = noted.ahead - first.ahead
        if abs(offset) <= noted.asked_s + first.asked_s:
            offset = 0.0  # as far as can be told
        offsets[noted.member_id] = offset
        steps += [
            Step(at - offset - begun, noted.member_id, actor, name, peer)
            for actor, name, at, peer in noted.steps
        ]
    steps.sort()
    ahead = first.ahead if abs(first.ahead) > first.asked_s else 0.0
    return Trace(revision, entry, term, member_id, steps, offsets, begun - ahead, ahead)


async def _trace(ask: Ask, revision: int, endpoints: Sequence[str]) -> Trace:
    refused: SampanError | None = None
    for endpoint in (None, *endpoints):  # who has started lately remembers less than others
        try:
            answer = await ask(KIND_INSPECT, ("trace_of", revision), ASK_S, endpoint)
            break
        except SampanError as error:
            refused = refused or error
    else:
        assert refused is not None
        raise refused
    origin = _origin(answer)
    found = []
    for endpoint in endpoints:
        asked = monotonic()
        try:
            answer = await ask(KIND_MAINTENANCE, ("trace", origin[0], origin[3]), ASK_S, endpoint)
        except SampanError:
            continue  # the others tell what they did
        found.append(_noted(answer, asked, monotonic()))
    return _together(revision, origin, found)


async def _put(
    ask: Ask, request: Request, timeout_s: float | None, endpoints: Sequence[str]
) -> PutResponse:
    began = monotonic()
    response = put_response(await ask(KIND_WRITE, request, timeout_s, None))
    ended = monotonic()
    try:
        trace = await _trace(ask, response.header.revision, endpoints)
    except SampanError:
        return response  # an error would say that the put failed
    return response._replace(trace=trace.of_call(began, ended))


class AsyncTraceCalls:
    """The part of `AsyncClient` that is about traces."""

    _submit: Ask
    _start: Callable[[], Dispatcher]

    async def trace(self, revision: int) -> Trace:
        """The way of the write that made a revision: which actor of which node did what with its
        entry, and when. Nodes remember the last few hundred entries.

        Args:
            revision: of a write's header.

        Raises:
            NotAppliedError: it is no longer remembered.
        """
        return await _trace(self._submit, revision, self._start().endpoints)

    async def _traced_put(self, request: Request, timeout_s: float | None) -> PutResponse:
        return await _put(self._submit, request, timeout_s, self._start().endpoints)


class TraceCalls:
    """The part of `Client` that is about traces."""

    _call: Callable[..., Answer]
    _dispatcher: Dispatcher

    def trace(self, revision: int) -> Trace:
        """The way of the write that made a revision; `AsyncClient.trace` tells more."""
        return _at_once(_trace(self._ask, revision, self._dispatcher.endpoints))

    def _traced_put(self, request: Request, timeout_s: float | None) -> PutResponse:
        return _at_once(_put(self._ask, request, timeout_s, self._dispatcher.endpoints))

    async def _ask(self, *call: Any) -> Answer:
        return self._call(*call)


_T = TypeVar("_T")


def _at_once(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine returns that never waits, since what it awaits blocks."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        result: _T = end.value
        return result
    raise AssertionError("it waits")
