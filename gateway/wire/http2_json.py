"""A request over HTTP/2 that is no gRPC, for the JSON gateway."""

from collections.abc import Callable, Iterable

from ...config import limits
from ..http import HttpApp, HttpRequest
from .frames import Fault, Stream
from .grpc_calls import Link
from .hpack import literal


class JsonStream:
    """Gathers the request, then is the response; see `http.HttpResponse`."""

    def __init__(self, link: Link, stream: Stream, app: HttpApp) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self._link = link
        self._stream = stream
        self._app: HttpApp | None = app
        self._body = bytearray()
        self._ended = False

    # -- the request

    def data(self, data: bytes, ended: bool) -> None:
        """A piece of its body."""
        if self._app is None:
            return
        self._link.totals.unfinished += len(data)
        self._body += data
        if (
            len(self._body) > limits.HTTP_BODY_BYTES_MAX
            or self._link.totals.unfinished > limits.HTTP_UNFINISHED_BYTES_MAX
        ):
            self._forget_body()
            self.send(413, (), b"")
        elif ended:
            app, body = self._app, bytes(self._body)
            self._forget_body()
            head = self._stream.head
            path, _, query = head.path.partition("?")
            who = (self._link.peer, self._link.user)
            headers = head.headers
            if head.authority:  # what HTTP/1.1 calls Host, and goes before it (RFC 9113, 8.3.1)
                headers = headers | {"host": head.authority}
            app(HttpRequest(head.method, path, query, headers, body, *who), self)

    def _forget_body(self) -> None:
        self._link.totals.unfinished -= len(self._body)
        self._body.clear()
        self._app = None

    def reset(self) -> None:
        """The stream is gone."""
        self._forget_body()
        if not self._ended:
            self._ended = True
            if self.on_gone is not None:
                self.on_gone()

    def writable_again(self) -> None:
        """The client has read enough."""
        if self.on_writable is not None and not self._ended:
            self.on_writable()

    # -- the response

    @property
    def writable(self) -> bool:
        """See `http.HttpResponse`."""
        return not self._stream.full

    def start(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """See `http.HttpResponse`."""
        if not self._ended:
            self._link.connection.send_head(self._stream, block(status, headers))
            self._link.touch()

    def write(self, data: bytes) -> None:
        """See `http.HttpResponse`."""
        if not data or self._ended or self._stream.head.method == "HEAD":
            return
        connection = self._link.connection
        if self._link.has_room(len(data)):
            connection.send_data(self._stream, data)
        else:
            connection.reset(self._stream, Fault.ENHANCE_YOUR_CALM)
            self.reset()
        self._link.touch()

    def end(self) -> None:
        """See `http.HttpResponse`."""
        if not self._ended:
            self._ended = True
            self._link.connection.send_data(self._stream, b"", ended=True)
            self._link.touch()

    def send(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """See `http.HttpResponse`."""
        self.start(status, [*headers, ("content-length", str(len(body)))])
        self.write(body)
        self.end()


def block(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The header block of a response."""
    fields = [(":status", str(status)), *((name.lower(), value) for name, value in headers)]
    return b"".join(literal(name, value) for name, value in fields)
