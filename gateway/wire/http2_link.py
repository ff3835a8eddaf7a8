"""One HTTP/2 connection over asyncio: the engine, its calls, its timers."""

import asyncio
from typing import Any

from ...config import limits
from ..http import HttpApp
from .frames import Fault, Stream
from .grpc_calls import NotGrpc, Routes, ServerCall, Totals, begin
from .http2 import Closed, Connection, Data, Request, Reset
from .http2_json import JsonStream
from .unread import Unread


class Shared:
    """What all connections of a gateway share."""

    def __init__(self, routes: Routes, app: HttpApp, log: Any) -> None:
        self.routes = routes
        self.app = app
        self.log = log
        self.totals = Totals()
        self.loop = asyncio.get_running_loop()
        self.unread = Unread(self.loop, log)
        self.told: set[tuple[str, str]] = set()
        """Whose mistakes were logged: (host, which)."""


class Http2Link:
    """From the first bytes of a connection until it is lost."""

    def __init__(
        self,
        transport: asyncio.Transport,
        shared: Shared,
        peer: str,
        *,
        secure: bool,
        user: str = "",
    ) -> None:
        self.connection = Connection()
        self.totals = shared.totals
        self.peer = peer
        self.user = user
        self._transport = transport
        self._shared = shared
        self._loop = shared.loop
        self.now = shared.loop.time
        self._secure = secure
        self._turning = False  # in a turn, or one is due
        self._full = False
        self._written = 0  # bytes, ever
        self._heard = True
        self._asked = False
        self._probe = self._loop.call_later(limits.HTTP_PING_S, self._on_probe)
        self._deadline_timer: asyncio.TimerHandle | None = None
        self.touch()

    # -- the socket

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._heard = True
        self.connection.receive(data, self.now())
        self._turn()

    def pause_writing(self) -> None:
        """The socket takes no more: neither do we, or what we answer would have no bound."""
        self._full = True
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
        self.touch()

    @property
    def unread(self) -> int:
        """See Unread."""
        return self.connection.unsent + self._transport.get_write_buffer_size()

    @property
    def taken(self) -> int:
        """See Unread."""
        return self._written - self._transport.get_write_buffer_size()

    def has_room(self, size: int) -> bool:
        """Whether an answer of that size may be sent: small ones always."""
        return size <= limits.HTTP_SMALL_ANSWER_BYTES or self._shared.unread.has_room(self, size)

    def abort(self) -> None:
        """End it at once."""
        self._transport.abort()

    def connection_lost(self) -> None:
        """All calls are over."""
        self._shared.unread.forget(self)
        self._full = True
        self.connection.close()
        self._turn()
        self._probe.cancel()
        if self._deadline_timer is not None:
            self._deadline_timer.cancel()

    def close(self) -> None:
        """The gateway stops."""
        self.connection.close(text="the server stops")
        self._turn()

    def touch(self) -> None:
        """There is something to send: once, for all that is said in this turn of the loop, or at
        once when no other call is under way."""
        if self._turning:
            return
        if self.connection.streams:
            self._turning = True
            self._loop.call_soon(self._turn)
        else:
            self._turn()

    def _turn(self) -> None:
        """Hand out what came and send what there is, until both are done."""
        connection = self.connection
        self._turning = True
        while True:
            for event in connection.events():
                self._on_event(event)
            if not self._full and (out := connection.take()):
                self._written += len(out)
                self._transport.write(out)
            elif not connection.has_events:
                break
        if connection.unsent:
            self._shared.unread.leaves(self)
        self._turning = False

    # -- events

    def _on_event(self, event: object) -> None:
        kind = type(event)
        if kind is Closed:
            self._probe.cancel()
            self._probe = self._loop.call_later(limits.HTTP_LINGER_S, self._transport.abort)
            return
        stream: Stream = event.stream  # type: ignore[attr-defined]
        try:
            if kind is Data:
                if stream.app is not None:
                    stream.app.data(event.data, event.ended)  # type: ignore[attr-defined]
            elif kind is Request:
                self._on_request(stream, event.ended)  # type: ignore[attr-defined]
            elif stream.app is not None:
                if kind is Reset:
                    stream.app.reset()
                else:
                    stream.app.writable_again()
        except Exception:
            self._shared.log.exception("a fault in the gateway", path=stream.head.path)
            self.connection.reset(stream, Fault.INTERNAL_ERROR)

    def _on_request(self, stream: Stream, ended: bool) -> None:
        route = self._shared.routes.route(stream.head)
        if isinstance(route, NotGrpc):
            self._on_other(stream, ended)
            return
        call = begin(self, stream, route, ended)
        if call is not None and call.deadline is not None:
            self._watch_deadline(call.deadline)

    def _on_other(self, stream: Stream, ended: bool) -> None:
        """No gRPC: over TLS it is for the JSON gateway, else an error, as with etcd."""
        if not self._secure or stream.head.headers.get("content-type", "").startswith(
            "application/grpc"
        ):
            self.connection.reset(stream, Fault.PROTOCOL_ERROR)
            return
        stream.app = JsonStream(self, stream, self._shared.app)
        if ended:
            stream.app.data(b"", ended)

    # -- time

    def _watch_deadline(self, deadline: float) -> None:
        """One timer, for the earliest call: most are answered long before, and a timer for each
        costs as much as a tenth of a call."""
        timer = self._deadline_timer
        if timer is not None:
            if timer.when() <= deadline:
                return
            timer.cancel()
        self._deadline_timer = self._loop.call_at(deadline, self._on_deadline)

    def _on_deadline(self) -> None:
        now = self.now()
        self._deadline_timer = None
        left = []
        for stream in list(self.connection.streams.values()):
            call = stream.app
            if isinstance(call, ServerCall) and call.deadline is not None and not call.ended:
                if call.deadline <= now:
                    call.expire()
                else:
                    left.append(call.deadline)
        if left:
            self._watch_deadline(min(left))

    def _on_probe(self) -> None:
        """A client that has been silent is asked once; one that does not answer is gone."""
        if self._heard:
            self._heard = self._asked = False
            wait_s = limits.HTTP_PING_S
        elif not self._asked:
            self._asked = True
            self.connection.ping()
            self.touch()
            wait_s = limits.HTTP_PING_TIMEOUT_S
        else:
            self._transport.abort()
            return
        self._probe = self._loop.call_later(wait_s, self._on_probe)
