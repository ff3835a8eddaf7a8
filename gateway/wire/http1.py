"""One HTTP/1.1 connection over asyncio: h11 reads it, the JSON gateway answers."""

import asyncio
import http.client
from collections.abc import Callable, Iterable
from email.utils import formatdate

import h11

from ...config import limits
from ..http import HttpRequest
from .http2_link import Shared

TOO_LARGE = 413
UNKNOWN_VERSION = 505
TOO_MANY = 429
VERSIONS = (b"1.0", b"1.1")


class Http1Link:
    """Takes one request after the other; see `http.HttpResponse` for its answer's side."""

    def __init__(
        self, transport: asyncio.Transport, shared: Shared, peer: str, user: str = ""
    ) -> None:
        self._transport = transport
        self._shared = shared
        self.peer = peer
        self._user = user
        self._h11 = h11.Connection(
            h11.SERVER, max_incomplete_event_size=limits.HTTP_HEADER_BYTES_MAX
        )
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._response: Http1Response | None = None
        self._over = False
        self._written = 0  # bytes, ever
        self._writable = True
        """The socket takes what is sent; no other request is taken before it does."""
        self._timer = shared.loop.call_later(limits.HTTP_HELLO_S, transport.abort)

    # -- the socket

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._h11.receive_data(data)
        self._take()

    def pause_writing(self) -> None:
        """The client does not read."""
        self._writable = False
        self._shared.unread.leaves(self)
        if self._response is not None:
            self._response.writable = False

    def resume_writing(self) -> None:
        """It does again."""
        self._writable = True
        response = self._response
        if response is None:
            self._transport.resume_reading()
            self._take()
            return
        response.writable = True
        if response.on_writable is not None:
            response.on_writable()

    @property
    def unread(self) -> int:
        """See Unread."""
        return self._transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """See Unread."""
        return self._written - self.unread

    def has_room(self, size: int) -> bool:
        """Whether an answer of that size may be sent: small ones always."""
        return size <= limits.HTTP_SMALL_ANSWER_BYTES or self._shared.unread.has_room(self, size)

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def connection_lost(self) -> None:
        """The client is gone."""
        self._shared.unread.forget(self)
        self._timer.cancel()
        self._forget_body()
        if self._response is not None:
            self._response.gone()

    def close(self) -> None:
        """The gateway stops."""
        self._transport.close()

    # -- requests

    def _take(self) -> None:
        """Read on, unless a request waits for its answer, or the last one was there."""
        try:
            while self._response is None and self._writable and not self._over:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    if self._h11.they_are_waiting_for_100_continue:
                        self.send(h11.InformationalResponse(status_code=100, headers=[]))
                    return
                self._on_event(event)
        except h11.RemoteProtocolError as error:
            self._refuse(error.error_status_hint)
        if self._h11.trailing_data[0] and not self._over:
            self._transport.pause_reading()

    def _on_event(self, event: object) -> None:
        if isinstance(event, h11.Request):
            self._head = event
            self._wait(limits.HTTP_HELLO_S)
            if event.http_version not in VERSIONS:
                self._refuse(UNKNOWN_VERSION)
        elif isinstance(event, h11.Data):
            self._body += event.data
            self._shared.totals.unfinished += len(event.data)
            if (
                len(self._body) > limits.HTTP_BODY_BYTES_MAX
                or self._shared.totals.unfinished > limits.HTTP_UNFINISHED_BYTES_MAX
            ):
                self._refuse(TOO_LARGE)
        elif isinstance(event, h11.EndOfMessage):
            self._on_request()
        else:  # the client has ended its side
            self._hang_up()

    def _on_request(self) -> None:
        head, body = self._head, bytes(self._body)
        assert head is not None
        self._timer.cancel()
        self._forget_body()
        path, _, query = head.target.decode("latin-1").partition("?")
        method = head.method.decode("latin-1")
        headers = joined(head.headers)
        request = HttpRequest(method, path, query, headers, body, self.peer, self._user)
        self._response = response = Http1Response(self, method)
        try:
            self._shared.app(request, response)
        except Exception:
            self._shared.log.exception("a fault in the gateway", path=path)
            response.fail()

    def _forget_body(self) -> None:
        self._shared.totals.unfinished -= len(self._body)
        self._body.clear()

    def _refuse(self, status: int) -> None:
        """Answer what is not a request that we take, and hang up."""
        self._forget_body()
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            close = [("connection", "close"), ("content-length", "0")]
            self.send(h11.Response(status_code=status, headers=close))
            self.send(h11.EndOfMessage())
        self._hang_up()

    def _hang_up(self) -> None:
        self._over = True
        self._transport.close()

    def _wait(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self._shared.loop.call_later(seconds, self._transport.abort)

    # -- the response

    def send(self, event: h11.Event) -> None:
        """Put an event on the wire."""
        data = self._h11.send(event) or b""
        self._written += len(data)
        self._transport.write(data)

    def done(self, *, whole: bool) -> None:
        """A response has ended: on to the next request, if both sides can."""
        self._response = None
        if not whole or self._h11.our_state is not h11.DONE:
            self._hang_up()
            return
        self._h11.start_next_cycle()
        self._wait(limits.HTTP_IDLE_S)
        self._transport.resume_reading()
        self._shared.loop.call_soon(self._take)


def joined(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header fields by name, several of one name joined by a comma."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


class Http1Response:
    """See `http.HttpResponse`."""

    def __init__(self, link: Http1Link, method: str) -> None:
        self.on_gone: Callable[[], None] | None = None
        self.on_writable: Callable[[], None] | None = None
        self.writable = True
        self._link = link
        self._method = method
        self._started = False
        self._ended = False

    def start(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """See `http.HttpResponse`."""
        if not self._ended:
            self._started = True
            fields = [("date", formatdate(usegmt=True)), *headers]
            reason = http.client.responses.get(status, "")
            self._link.send(h11.Response(status_code=status, headers=fields, reason=reason))

    def write(self, data: bytes) -> None:
        """See `http.HttpResponse`."""
        if self._ended or self._link.has_room(len(data)):
            self._write(data)
        else:
            self.fail()
            self.cancelled()

    def _write(self, data: bytes) -> None:
        if data and not self._ended and self._method != "HEAD":
            self._link.send(h11.Data(data=data))

    def end(self) -> None:
        """See `http.HttpResponse`."""
        if not self._ended:
            self._ended = True
            self._link.send(h11.EndOfMessage())
            self._link.done(whole=True)

    def send(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """See `http.HttpResponse`."""
        if not self._link.has_room(len(body)):
            status, headers, body = TOO_MANY, (), b""
        self.start(status, [*headers, ("content-length", str(len(body)))])
        self._write(body)
        self.end()

    def fail(self) -> None:
        """A fault of ours: a 500, or where the answer has begun, its early end."""
        if not self._started:
            self.send(500, (), b"")
        elif not self._ended:
            self._ended = True
            self._link.done(whole=False)

    def gone(self) -> None:
        """The client went away."""
        if not self._ended:
            self._ended = True
            self.cancelled()

    def cancelled(self) -> None:
        """Tell the app that nobody waits for the answer."""
        if self.on_gone is not None:
            self.on_gone()
