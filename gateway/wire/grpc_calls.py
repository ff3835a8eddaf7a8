"""gRPC over HTTP/2: the calls of one connection, between its engine and the services.

Status codes and their texts are grpc-go's (server.go, rpc_util.go, internal/transport), which is
what etcd's clients know.
"""

import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, Protocol

from ...config import limits
from ..grpc import Call, Code, Method, Unary
from ..grpc import Stream as Target
from .frames import Stream
from .heads import Head
from .hpack import literal
from .http2 import Connection

PREFIX = Struct(">BL")
"""Before each message: whether it is compressed, and its length."""

STATUS_200 = b"\x88"
TRAILERS_OK = literal("grpc-status", "0")

CONTENT_TYPE = re.compile(r"application/grpc(?:[+;][!-~ ]*)?")
TIMEOUT = re.compile(r"(\d{1,8})([HMSmun])", re.ASCII)
UNITS_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}

TOO_MANY_REQUESTS = "etcdserver: too many requests"
DEADLINE = "context deadline exceeded"


class Route(NamedTuple):
    """What a request's head means to us."""

    method: Method | None
    code: int
    """Why it is refused, with a text, where there is no method."""
    text: str
    metadata: Mapping[str, str]
    head_block: bytes
    """The header block of its answer."""
    timeout_s: float | None
    gzip: bool


class NotGrpc(NamedTuple):
    """The same for a request that is none."""

    reason: str


@lru_cache(maxsize=64)
def head_block(content_type: str) -> bytes | None:
    """The header block of an answer: the request's content type is echoed. None: it is no gRPC."""
    if not CONTENT_TYPE.fullmatch(content_type):
        return None
    return STATUS_200 + literal("content-type", content_type.replace(";", "+", 1))


def trailers(code: int, text: str) -> bytes:
    """The header block that ends a call. The text is percent-encoded as gRPC has it."""
    if not code and not text:
        return TRAILERS_OK
    encoded = "".join(
        chr(b) if 0x20 <= b <= 0x7E and b != 0x25 else f"%{b:02X}" for b in text.encode()
    )
    return literal("grpc-status", str(int(code))) + literal("grpc-message", encoded)


class Routes:
    """All methods, by path."""

    def __init__(self, methods: Iterable[Method]) -> None:
        self._methods = {method.path: method for method in methods}
        self._services = {path.rpartition("/")[0] for path in self._methods}

    def route(self, head: Head) -> Route | NotGrpc:
        """Where a request goes; remembered in its head."""
        if head.memo is None:
            head.memo = self._route(head)
        return head.memo  # type: ignore[return-value]

    def _route(self, head: Head) -> Route | NotGrpc:
        headers = head.headers
        answer = head_block(headers.get("content-type", ""))
        if head.method != "POST" or answer is None:
            return NotGrpc("no gRPC")
        timeout, timeout_s = headers.get("grpc-timeout"), None
        if timeout is not None:
            match = TIMEOUT.fullmatch(timeout)
            if match is None:
                return NotGrpc("not a grpc-timeout")
            timeout_s = int(match[1]) * UNITS_S[match[2]]
        encoding = headers.get("grpc-encoding", "identity")
        method = self._methods.get(head.path)
        code, text = 0, ""
        if method is None:
            code, text = self._unknown(head.path)
        elif encoding not in ("identity", "gzip", ""):
            method = None
            code = Code.UNIMPLEMENTED
            text = f'grpc: Decompressor is not installed for grpc-encoding "{encoding}"'
        return Route(method, code, text, headers, answer, timeout_s, encoding == "gzip")

    def _unknown(self, path: str) -> tuple[Code, str]:
        service, slash, name = path.removeprefix("/").rpartition("/")
        if not slash:
            return Code.RESOURCE_EXHAUSTED, f'malformed method name: "{path}"'
        if f"/{service}" in self._services:
            return Code.UNIMPLEMENTED, f"unknown method {name} for service {service}"
        return Code.UNIMPLEMENTED, f"unknown service {service}"


class Totals:
    """What all connections of a gateway have under way."""

    def __init__(self) -> None:
        self.calls = 0
        self.unfinished = 0
        """Bytes of request messages of which a part is missing."""


class Link(Protocol):
    """What a call knows of its connection."""

    connection: Connection
    peer: str
    user: str
    totals: Totals

    def touch(self) -> None:
        """There is something to send."""

    def has_room(self, size: int) -> bool:
        """Whether an answer of that size may be sent. See Unread."""

    def now(self) -> float:
        """The loop's time."""


class ServerCall:
    """What both kinds of calls have in common; see `grpc.Call`."""

    __slots__ = (
        "_buffer",
        "_connection",
        "_link",
        "_route",
        "_said",
        "_stream",
        "deadline",
        "ended",
        "on_cancelled",
    )

    def __init__(self, link: Link, stream: Stream, route: Route, deadline: float | None) -> None:
        self._link = link
        self._connection = link.connection
        self._stream = stream
        self._route = route
        self._said = False
        self._buffer: bytearray | None = None
        self.ended = False
        self.deadline = deadline
        self.on_cancelled: Callable[[], None] | None = None
        link.totals.calls += 1

    @property
    def metadata(self) -> Mapping[str, str]:
        """See `grpc.Call`."""
        return self._route.metadata

    @property
    def peer(self) -> str:
        """See `grpc.Call`."""
        return self._link.peer

    @property
    def user(self) -> str:
        """See `grpc.Call`."""
        return self._link.user

    @property
    def writable(self) -> bool:
        """See `grpc.Call`."""
        return not self._stream.full

    # -- answers

    def reply(self, message: bytes) -> None:
        """See `grpc.Call`."""
        if self.ended or self._refused(message):
            return
        self._end()
        self._connection.respond(
            self._stream,
            self._route.head_block,
            PREFIX.pack(0, len(message)) + message,
            TRAILERS_OK,
        )
        self._link.touch()

    def send(self, message: bytes) -> None:
        """See `grpc.Call`."""
        if self.ended or self._refused(message):
            return
        if not self._said:
            self._said = True
            self._connection.send_head(self._stream, self._route.head_block)
        self._connection.send_data(self._stream, PREFIX.pack(0, len(message)) + message)
        self._link.touch()

    def finish(self, code: int = 0, text: str = "") -> None:
        """See `grpc.Call`."""
        if self.ended:
            return
        self._end()
        block = trailers(code, text)
        if self._said:
            self._connection.send_trailers(self._stream, block)
        else:
            self._connection.send_head(self._stream, self._route.head_block + block, ended=True)
        self._link.touch()

    def _refused(self, message: bytes) -> bool:
        if self._link.has_room(len(message)):
            return False
        self.fail(Code.RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS)
        return True

    def _end(self) -> None:
        self.ended = True
        totals = self._link.totals
        totals.calls -= 1
        if self._buffer:
            totals.unfinished -= len(self._buffer)
            self._buffer = None

    def fail(self, code: int, text: str) -> None:
        """End it from our side, and tell the service."""
        self.finish(code, text)
        self.cancelled()

    def expire(self) -> None:
        """Its deadline has passed."""
        self.fail(Code.DEADLINE_EXCEEDED, DEADLINE)

    def reset(self) -> None:
        """The stream is gone."""
        if not self.ended:
            self._end()
            self.cancelled()

    def cancelled(self) -> None:
        """Tell the service that the call is over."""
        if self.on_cancelled is not None:
            self.on_cancelled()

    # -- requests

    def pause(self) -> None:
        """See `grpc.Call`. A unary call has one message, and no use for it."""

    def resume(self) -> None:
        """See `grpc.Call`."""

    def _keep(self, data: bytes) -> bool:
        """Put a piece aside until its message is whole. False: there is no room for it."""
        totals = self._link.totals
        if totals.unfinished + len(data) > limits.HTTP_UNFINISHED_BYTES_MAX:
            self.fail(Code.RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS)
            return False
        totals.unfinished += len(data)
        if self._buffer is None:
            self._buffer = bytearray()
        self._buffer += data
        return True

    def _whole(self) -> bytes | None:
        """The next whole message that was put aside."""
        buffer = self._buffer
        if buffer is None or len(buffer) < PREFIX.size:
            return None
        flag, size = PREFIX.unpack_from(buffer)
        if size > limits.GRPC_MESSAGE_BYTES_MAX:
            self._too_large(size)
            return None
        end = PREFIX.size + size
        if len(buffer) < end:
            return None
        message = bytes(memoryview(buffer)[PREFIX.size : end])
        del buffer[:end]
        self._link.totals.unfinished -= end
        return self._plain(message, flag) if flag else message

    def _too_large(self, size: int) -> None:
        most = limits.GRPC_MESSAGE_BYTES_MAX
        text = f"grpc: received message larger than max ({size} vs. {most})"
        self.fail(Code.RESOURCE_EXHAUSTED, text)

    def _plain(self, message: bytes, flag: int) -> bytes | None:
        """A message decompressed, or None when the call was ended for it."""
        most = limits.GRPC_MESSAGE_BYTES_MAX
        if flag > 1:
            self.fail(Code.INTERNAL, f"grpc: received unexpected payload format {flag}")
        elif not self._route.gzip:
            text = "grpc: compressed flag set with identity or empty encoding"
            self.fail(Code.INTERNAL, text)
        else:
            try:
                unpacker = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
                plain = unpacker.decompress(message, most + 1)
            except zlib.error as error:
                text = f"grpc: failed to decompress the received message: {error}"
                self.fail(Code.INTERNAL, text)
                return None
            if len(plain) > most:
                self._too_large(len(plain))
            elif not unpacker.eof:
                text = "grpc: failed to decompress the received message: unexpected EOF"
                self.fail(Code.INTERNAL, text)
            else:
                return plain
        return None


class UnaryCall(ServerCall):
    """One message comes, one goes. What comes after the first message is ignored, as etcd does."""

    __slots__ = ("_handler", "_taken")

    def __init__(
        self,
        link: Link,
        stream: Stream,
        route: Route,
        deadline: float | None,
        handler: Callable[[Call, bytes], None],
    ) -> None:
        super().__init__(link, stream, route, deadline)
        self._handler = handler
        self._taken = False

    def data(self, data: bytes, ended: bool) -> None:
        """A piece of the request's body."""
        if self._taken or self.ended:
            return
        if (
            self._buffer is None
            and len(data) >= PREFIX.size
            and PREFIX.unpack_from(data) == (0, len(data) - PREFIX.size)
        ):
            self._taken = True
            self._handler(self, data[PREFIX.size :])
            return
        if not self._keep(data):
            return
        message = self._whole()
        if message is not None:
            self._taken = True
            if self._buffer:  # what follows is nobody's
                self._link.totals.unfinished -= len(self._buffer)
                self._buffer = None
            self._handler(self, message)
        elif ended and not self.ended:
            self.finish(Code.UNKNOWN, "unexpected EOF" if self._buffer else "EOF")

    def writable_again(self) -> None:
        """A whole answer was given at once: nobody waits."""


class StreamingCall(ServerCall):
    """Any number of messages in each direction."""

    __slots__ = ("_client_ended", "_paused", "_target")

    def __init__(self, link: Link, stream: Stream, route: Route, deadline: float | None) -> None:
        super().__init__(link, stream, route, deadline)
        self._target: Target | None = None
        self._paused = False
        self._client_ended = False

    def open(self, method: Callable[[Call], Target]) -> None:
        """Begin: the service may answer already."""
        self._target = method(self)

    def data(self, data: bytes, ended: bool) -> None:
        """A piece of the request's body."""
        if self.ended:
            return
        self._client_ended = ended
        if data and not self._keep(data):
            return
        self._hand_out()

    def _hand_out(self) -> None:
        target = self._target
        if target is None:
            return  # paused and resumed within `open`: nothing has come yet
        while not self._paused and not self.ended:
            message = self._whole()
            if message is None:
                break
            target.message(message)
        if self._client_ended and not self._paused and not self.ended:
            self._client_ended = False
            if self._buffer:
                self.fail(Code.INTERNAL, "unexpected EOF")
            else:
                target.end()

    def pause(self) -> None:
        """See `grpc.Call`."""
        self._paused = True
        self._connection.hold(self._stream)

    def resume(self) -> None:
        """See `grpc.Call`."""
        if self._paused:
            self._paused = False
            self._connection.release(self._stream)
            self._link.touch()
            self._hand_out()

    def cancelled(self) -> None:
        """Tell the service that the call is over."""
        if self._target is not None:
            self._target.cancelled()

    def writable_again(self) -> None:
        """The client has read enough."""
        if self._target is not None and not self.ended:
            self._target.on_writable()


def begin(link: Link, stream: Stream, route: Route, ended: bool) -> ServerCall | None:
    """A call begins; None: it was refused."""
    method = route.method
    if method is None or link.totals.calls >= limits.HTTP_CALLS_MAX:
        code, text = route.code, route.text
        if method is not None:
            code, text = Code.RESOURCE_EXHAUSTED, TOO_MANY_REQUESTS
        link.connection.send_head(stream, route.head_block + trailers(code, text), ended=True)
        return None
    timeout_s = route.timeout_s
    deadline = None if timeout_s is None else link.now() + timeout_s
    if isinstance(method, Unary):
        unary = UnaryCall(link, stream, route, deadline, method.handler)
        stream.app = unary
        if ended:
            unary.data(b"", ended)
        return unary
    call = StreamingCall(link, stream, route, deadline)
    stream.app = call
    call.open(method.open)
    if ended:
        call.data(b"", ended)
    return call
