"""The gateway's connection to its own node, and how what comes back becomes the end of a call.

A call costs no task: its request is queued in the client's dispatcher with an `Answer` for a
future, and requests of the same turn of the loop travel in one message.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from ..client import errors, ops
from ..client._dispatch import Dispatcher
from ..client._link import Link, Reply
from ..client._tasks import TaskLoop
from ..client.watch_engine import Engine, engine_of
from ..config import limits
from ..security import passwords
from ..security.rules import HEALTH_KEY
from ..transport import errors as wire
from ..transport.auth import KIND_AUTH, for_user, names_user
from ..transport.requests import KIND_MAINTENANCE, KIND_READ, KIND_WRITE
from .grpc import Call, Code, Unary

if TYPE_CHECKING:
    from ..client.keys import ClientKeys

Request = tuple[Any, ...]
Encode = Callable[[Reply, Any], bytes]
"""Of who answered and a result (docs/protocol.md) makes the response message."""

TIMED_OUT = (int(Code.UNAVAILABLE), wire.TIMEOUT.text)
NOT_PROPOSED = (int(Code.UNKNOWN), "context deadline exceeded")
"""What etcd answers to a write that waited for a leader in vain."""


FINAL = (wire.UNHEALTHY.text,)
"""What our own clients wait out, and etcd's are told."""
ALONE = "alone"
"""The lane of maintenance requests that must be alone in their message."""
TOKEN_IDLE_S = 30.0
"""When the connection of a token that is not used is closed: several times a call's longest."""
KNOWN_S = 1.0
"""How long a call with a token that is new here waits at most for what others know."""


TOLD_MAX = 10_000
"""Who called from where, as far as it is remembered that it was told."""
EMPTY = "-"
"""For a token that is there and empty, which is nobody's: it is refused, and not as missing."""


class StatusError(Exception):
    """A call that is refused here: `args` are gRPC's code and a text."""


class Connection:
    """A connection to the node: that of a token, or that of all calls without one."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: str,
        token: str,
        *,
        exactly_once: bool,
        keys: "ClientKeys | None" = None,
    ) -> None:
        self.dispatcher = Dispatcher(
            TaskLoop(loop), [endpoint], exactly_once=exactly_once, token=token, keys=keys
        )
        (self.link,) = self.dispatcher.links
        self.lanes = {
            **self.dispatcher.lanes,
            ALONE: self.dispatcher.pinned_lane(endpoint, KIND_MAINTENANCE),
            KIND_AUTH: self.dispatcher.pinned_lane(endpoint, KIND_AUTH),
        }
        self.lanes[KIND_WRITE].final = FINAL
        self.queue = self.dispatcher.queue
        self.used_at = 0.0

    def is_idle(self, now: float) -> bool:
        """Whether nothing of it is under way, and was not for a while."""
        engine = self.dispatcher.watches
        watching = isinstance(engine, Engine) and engine.has_watches
        return not watching and now - self.used_at > TOKEN_IDLE_S


class Backend:
    """The node behind this gateway."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        endpoint: str,
        timeout_s: float,
        own_token: str = "",
        keys: "ClientKeys | None" = None,
        *,
        audit: "Audit | None" = None,
    ) -> None:
        """Connects, in the loop's thread.

        Args:
            loop: where everything runs.
            endpoint: the node's client address.
            timeout_s: the node's own request timeout.
            own_token: by which the node knows its own processes; for what no client asks.
            audit: what is to be told of who calls.
            keys: what the node knows them by where it asks for keys.
        """
        self.loop = loop
        self.timeout_s = timeout_s
        self.own_token = own_token
        self._audit = audit
        self._endpoint = endpoint
        self._keys = keys
        self._nobody = Connection(loop, endpoint, "", exactly_once=True, keys=keys)
        self._nobody.dispatcher.start()
        self._of_token: dict[str, Connection] = {}
        self._sweeping: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[bytes]] = set()

    def close(self) -> None:
        """End what is under way."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        for each in (self._nobody, *self._of_token.values()):
            each.dispatcher.close()

    def token_of(self, call: Call) -> str:
        """Who calls, for the node; empty for who does not say. etcd takes the token in either
        header, as a bearer's or as it is, and before the name in a certificate."""
        shown = call.metadata.get("token", call.metadata.get("authorization"))
        if self._audit is not None:
            self._audit.called(call.peer, shown, call.user)
        if shown is not None:
            return shown.removeprefix("Bearer ") or EMPTY
        return for_user(self.own_token, call.user) if call.user else ""

    def ask(self, call: Call, kind: str, request: Request, encode: Encode) -> None:
        """Send a request; its result, or the error that ended it, ends the call.

        Raises:
            StatusError: too many tokens are in use.
        """
        token = self.token_of(call)
        at = self._known(token) if token else self._nobody
        answer = Answer(call, kind, encode, at.link)
        call.on_cancelled = answer.cancel
        at.queue(at.lanes[kind], answer, request, ops.size(request), self.timeout_s, lone=True)

    def ask_alone(self, call: Call, request: Request, encode: Encode) -> None:
        """As `ask`, for a maintenance request that must be alone in its message."""
        self.ask(call, ALONE, request, encode)

    def future(
        self, kind: str, request: Request, token: str = ""
    ) -> "asyncio.Future[tuple[Reply, Any]]":
        """The same for calls that take several requests: who answered, and the result.

        Raises:
            errors.SampanError: when awaited, as calls of the client.
            StatusError: too many tokens are in use.
        """
        at = self._known(token) if token else self._nobody
        future: asyncio.Future[tuple[Reply, Any]] = self.loop.create_future()
        at.queue(at.lanes[kind], future, request, ops.size(request), self.timeout_s)
        return future

    async def asks_who(self) -> bool:
        """Whether users are asked who they are; raises errors.SampanError."""
        _, result = await self.future(KIND_MAINTENANCE, ("status",), self.own_token)
        return bool(dict(result[1]).get("auth_enabled"))

    def _known(self, token: str) -> Connection:
        """The connection of a token: made for its first call, closed when it is idle."""
        at = self._of_token.get(token)
        if at is None:
            own = token == self.own_token
            known = own or names_user(token, self.own_token)
            if len(token.encode()) > limits.TOKEN_BYTES_MAX or not (known or token.isascii()):
                raise StatusError(*wire.INVALID_AUTH_TOKEN[:2])
            full = len(self._of_token) >= limits.GATEWAY_TOKENS_MAX
            if full and not own:
                raise StatusError(*wire.TOO_MANY_REQUESTS[:2])
            at = Connection(self.loop, self._endpoint, token, exactly_once=False, keys=self._keys)
            self._of_token[token] = at
            if own:
                at.dispatcher.start()
            else:
                self._start_when_known(at)
            if self._sweeping is None:
                self._sweeping = self.loop.call_later(TOKEN_IDLE_S, self._sweep)
        at.used_at = self.loop.time()
        return at

    def _start_when_known(self, at: Connection) -> None:
        """Another member may have given the token, and this node not have heard of it yet: it has
        when it has answered a read that began later. Calls wait in their lanes until then."""
        heard: asyncio.Future[tuple[Reply, Any]] = self.loop.create_future()
        own = self._known(self.own_token) if self.own_token else self._nobody
        own.queue(own.lanes[KIND_READ], heard, ("range", HEALTH_KEY), 0, KNOWN_S)

        def start(heard: "asyncio.Future[tuple[Reply, Any]]") -> None:
            if not heard.cancelled():
                heard.exception()  # it was asked in vain: the node will say what it thinks
            if at.dispatcher.refusal is None:
                at.dispatcher.start()

        heard.add_done_callback(start)

    def _sweep(self) -> None:
        """Close what nobody uses any more."""
        now = self.loop.time()
        for token, at in list(self._of_token.items()):
            if at.is_idle(now):
                del self._of_token[token]
                at.dispatcher.close()
        self._sweeping = None
        if self._of_token:
            self._sweeping = self.loop.call_later(TOKEN_IDLE_S / 2, self._sweep)

    def run(self, call: Call, kind: str, answer: Coroutine[Any, Any, bytes]) -> None:
        """Answer a call with what a coroutine returns: for those that take more than a request."""
        task = self.loop.create_task(answer)
        self._tasks.add(task)

        def cancel() -> None:
            task.cancel()

        call.on_cancelled = cancel

        def ended(task: "asyncio.Task[bytes]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                return
            if (error := task.exception()) is not None:
                call.finish(*status(error, kind))
            else:
                call.reply(task.result())

        task.add_done_callback(ended)

    def engine(self, token: str = "") -> Engine:
        """What keeps the watches of a token.

        Raises:
            StatusError: too many tokens are in use.
        """
        at = self._known(token) if token else self._nobody
        return engine_of(self.loop, at.dispatcher)


class Audit:
    """Tells once where each token and user comes from: the node knows the gateway alone."""

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._told: set[tuple[str, str | None, str]] = set()

    def called(self, peer: str, token: str | None, user: str) -> None:
        """By a token, as it was shown, or the user of a certificate, or nobody."""
        host = peer.rpartition(":")[0].strip("[]")
        key = (host, token, user)
        if key in self._told:
            return
        if len(self._told) >= TOLD_MAX:
            self._told.clear()  # then some are told again
        self._told.add(key)
        line = {"from": host}
        if token is not None:
            line["token"] = passwords.fingerprint(token.removeprefix("Bearer ") or EMPTY)
        elif user:
            line["user"] = user
        self._write(**line)


class Answer:
    """The future of a request that ends a call."""

    __slots__ = ("_call", "_done", "_encode", "_kind", "_link")

    def __init__(self, call: Call, kind: str, encode: Encode, link: Link) -> None:
        self._call = call
        self._kind = kind
        self._encode = encode
        self._link = link
        self._done = False

    def cancel(self) -> None:
        """Nobody waits any more: what was not sent stays here."""
        self._done = True

    def done(self) -> bool:
        """Whether the call has its end."""
        return self._done

    def set_result(self, result: Any, /) -> None:
        """Answer. What cannot be put into etcd's words ends the call: as an error of the connection
        it would be asked for again, and again, until the time was up."""
        self._done = True
        try:
            message = self._encode(*result)
        except (TypeError, ValueError, IndexError) as error:
            self._call.finish(int(Code.INTERNAL), f"sampan: malformed result: {error}")
        else:
            self._call.reply(message)

    def set_exception(self, exception: BaseException, /) -> None:
        """Fail."""
        self._done = True
        found = status(exception, self._kind)
        if found == TIMED_OUT and self._kind == KIND_WRITE and not self._link.leader_id:
            found = NOT_PROPOSED
        self._call.finish(*found)


def status(error: BaseException, kind: str) -> tuple[int, str]:
    """gRPC's code and text of a request that failed, as etcd gives them.

    What etcd's node says goes through; what only our client says (no connection, no answer) is
    etcd's timeout. A write that found no leader waits until its time is up and has a text of its
    own, so that no client repeats it by itself.
    """
    if isinstance(error, StatusError):
        return error.args[0], error.args[1]
    if not isinstance(error, errors.SampanError):
        return int(Code.INTERNAL), f"sampan: {error!r}"
    if isinstance(error, errors.ClientClosedError):
        return int(Code.UNAVAILABLE), wire.STOPPED.text
    if isinstance(error, errors.NoLeaderError | errors.UnreachableError):
        return NOT_PROPOSED if kind == KIND_WRITE else TIMED_OUT
    if isinstance(error, errors.ReadTimeoutError | errors.RequestTimeoutError):
        return TIMED_OUT
    if isinstance(error, errors.ConnectionLostError | errors.MalformedReplyError):
        return TIMED_OUT
    return error.code, error.text


def unary(path: str, parse: Callable[[bytes], Any], serve: Callable[[Call, Any], None]) -> Unary:
    """A method whose request is parsed before `serve` gets it.

    `serve` may raise StatusError.
    """

    def handle(call: Call, data: bytes) -> None:
        try:
            request = parse(data)
        except DecodeError as error:
            call.finish(Code.INTERNAL, f"grpc: error unmarshalling request: {error}")
            return
        try:
            serve(call, request)
        except StatusError as refused:
            call.finish(*refused.args)

    return Unary(path, handle)


# -- what all services share

U64 = 2**64 - 1
_SIGN, _WRAP = 1 << 63, 1 << 64


def unsigned(number: int) -> int:
    """A lease's id as it travels behind the gateway; in etcd's messages it has a sign."""
    return number & U64


def signed(number: int) -> int:
    """The inverse of `unsigned`."""
    return number - _WRAP if number & _SIGN else number


def fill(header: Any, reply: Reply, revision: int = 0) -> None:
    """Fill a ResponseHeader: who answered, and when."""
    header.cluster_id, header.member_id, header.raft_term, _leader = reply
    if revision:
        header.revision = revision


def encoded(response: Any, reply: Reply, revision: int = 0) -> bytes:
    """A response message with its header, as it travels."""
    fill(response.header, reply, revision)
    data: bytes = response.SerializeToString()
    return data
