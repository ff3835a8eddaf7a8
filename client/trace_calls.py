"""The way of one write through the cluster, put together of what every node's actors noted."""

from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from time import monotonic
from typing import Any, NamedTuple, cast

from ..transport import errors as wire
from ..transport.requests import KIND_INSPECT, KIND_MAINTENANCE
from ._decode import Answer
from ._dispatch import Dispatcher
from .errors import MalformedReplyError, SampanError

Request = tuple[Any, ...]

ASK_S = 2.0
"""For each node: those that are away noted nothing."""


class Step(NamedTuple):
    """One step.

    Attributes:
        at: seconds since the first step of the node that took the write.
        member_id: the node.
        actor: who noted it.
        name: the step, by the channel or message with which it ends.
        peer: the member that a message came from, 0 for none.
    """

    at: float
    member_id: int
    actor: str
    name: str
    peer: int


PARTS = (
    ("propc", "waits for a batch"),
    ("propose", "to the core"),
    ("readyc", "Ready"),
    ("fsync", "log and fsync"),
    ("applyc", "until a majority has it"),
    ("applied", "applied"),
    ("resultc", "result"),
)
"""What a write waits for, one after the other, by the steps with which that ends."""
_LEADERS = ("readyc", "fsync", "applyc")


class Trace(NamedTuple):
    """The way of the entry that made a revision.

    Attributes:
        revision: the write's.
        entry: the index of its raft entry.
        term: the entry's term.
        member_id: the node that took it from its client.
        steps: what happened to it, in order.
        offsets: by how many seconds each node's clock was ahead of that node's, by member; 0 where
            no difference can be told from the time that asking took, as on one machine.
        began: when its node took the write, on the monotonic clock of who asked.
    """

    revision: int
    entry: int
    term: int
    member_id: int
    steps: list[Step]
    offsets: dict[int, float]
    began: float

    @property
    def took_s(self) -> float:
        """From the client's message to its results, in the node that took it; 0 when one of the two
        is not remembered."""
        ends = [s.at for s in self.steps if (s.member_id, s.name) == (self.member_id, "resultc")]
        begins = any(s.name == "clientc" for s in self.steps)
        return ends[0] if ends and begins else 0.0

    def parts(self) -> list[tuple[str, float]]:
        """What the write waited for, one after the other, in seconds: together `took_s`."""
        leader = next((s.member_id for s in self.steps if s.name == "acknowledged"), self.member_id)
        parts, before = [], 0.0
        for name, text in PARTS:
            where = leader if name in _LEADERS else self.member_id
            at = next((s.at for s in self.steps if (s.member_id, s.name) == (where, name)), before)
            parts.append((text, max(at - before, 0.0)))
            before = max(at, before)
        return parts


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
    return Trace(revision, entry, term, member_id, steps, offsets, begun - ahead)


Asking = Generator[tuple[str, Request, str | None], Answer | SampanError, Trace]
"""Yields (kind, request, the node to ask or any), gets the answer, and returns the trace."""


def _asking(revision: int, endpoints: Sequence[str]) -> Asking:
    refused: SampanError | None = None
    for endpoint in (None, *endpoints):  # who has started lately remembers less than others
        answer = yield KIND_INSPECT, ("trace_of", revision), endpoint
        if not isinstance(answer, SampanError):
            break
        refused = refused or answer
    else:
        assert refused is not None
        raise refused
    origin = _origin(answer)
    found = []
    for endpoint in endpoints:
        asked = monotonic()
        answer = yield KIND_MAINTENANCE, ("trace", origin[0], origin[3]), endpoint
        if not isinstance(answer, SampanError):  # the others tell what they did
            found.append(_noted(answer, asked, monotonic()))
    return _together(revision, origin, found)


class AsyncTraceCalls:
    """The part of `AsyncClient` that is about traces."""

    _submit: Callable[..., Awaitable[Any]]
    _start: Callable[[], Dispatcher]

    async def trace(self, revision: int) -> Trace:
        """The way of the write that made a revision: which actor of which node did what with its
        entry, and when. Nodes remember the last few hundred entries.

        Args:
            revision: of a write's header.

        Raises:
            NotAppliedError: it is no longer remembered.
        """
        asking = _asking(revision, self._start().endpoints)
        kind, request, endpoint = next(asking)
        while True:
            try:
                answer = await self._submit(kind, request, ASK_S, endpoint)
            except SampanError as error:
                answer = error
            try:
                kind, request, endpoint = asking.send(answer)
            except StopIteration as end:
                return cast("Trace", end.value)


class TraceCalls:
    """The part of `Client` that is about traces."""

    _call: Callable[..., Any]
    _dispatcher: Dispatcher

    def trace(self, revision: int) -> Trace:
        """The way of the write that made a revision; `AsyncClient.trace` tells more."""
        asking = _asking(revision, self._dispatcher.endpoints)
        kind, request, endpoint = next(asking)
        while True:
            try:
                answer = self._call(kind, request, ASK_S, endpoint)
            except SampanError as error:
                answer = error
            try:
                kind, request, endpoint = asking.send(answer)
            except StopIteration as end:
                return cast("Trace", end.value)
