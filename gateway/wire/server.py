"""The gateway's ports: gRPC over HTTP/2, and HTTP/1.1, by the first bytes of a connection."""

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any, cast

from ...config import limits
from ..grpc import Method
from ..http import HttpApp
from .certificates import Certificates
from .frames import PREFACE
from .grpc_calls import Routes
from .http1 import Http1Link
from .http2_link import Http2Link, Shared
from .tls import TlsTransport

ZMTP = 0xFF
"""The first byte of a ZeroMQ connection (ZMTP 3.1, signature)."""
TOLD_MAX = 1_000
"""Mistakes and hosts of whom is known that they were logged."""


class Gateway:
    """Serves gRPC methods and an HTTP app on any number of addresses.

    app: gets what comes over HTTP/1.1, and over TLS those requests over HTTP/2 that are no gRPC.
    log: a structlog logger.
    """

    def __init__(self, methods: Iterable[Method], app: HttpApp, log: Any) -> None:
        self._shared = Shared(Routes(methods), app, log)
        self._servers: list[asyncio.Server] = []
        self._doors: set[Door] = set()

    async def listen(
        self,
        host: str,
        port: int,
        certificates: Certificates | None = None,
        *,
        names_users: bool = False,
    ) -> int:
        """Serve on an address too; port 0 takes a free one, which is returned.

        Args:
            host, port: where.
            certificates: TLS with these.
            names_users: the common name of a client's certificate is that of a user.

        Raises:
            OSError: the address is not to be had.
        """
        server = await asyncio.get_running_loop().create_server(
            lambda: Door(self._shared, self._doors, certificates, names_users=names_users),
            host,
            port,
            backlog=1024,
        )
        self._servers.append(server)
        return int(server.sockets[0].getsockname()[1])

    async def aclose(self) -> None:
        """Stop listening, say good-bye to all connections and see them go."""
        for server in self._servers:
            server.close()
        for door in list(self._doors):
            door.close()
        lost = [door.lost for door in self._doors]
        if lost:
            await asyncio.wait(lost, timeout=limits.HTTP_LINGER_S)
        for door in list(self._doors):
            door.abort()
        if lost:
            await asyncio.wait(lost)
        for server in self._servers:
            await server.wait_closed()


class Door(asyncio.Protocol):
    """One connection: looks at its first bytes and lets the right side have it."""

    def __init__(
        self,
        shared: Shared,
        doors: set["Door"],
        certificates: Certificates | None,
        *,
        names_users: bool,
    ) -> None:
        self._shared = shared
        self._doors = doors
        self._certificates = certificates
        self._names_users = names_users
        self._tls: TlsTransport | None = None
        self._first = b""
        self._link: Http1Link | Http2Link | None = None
        self._transport: asyncio.Transport
        self.lost: asyncio.Future[None] = shared.loop.create_future()
        """Done when the connection is gone."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._transport = transport
        self._hello = self._shared.loop.call_later(limits.HTTP_HELLO_S, transport.abort)
        if len(self._doors) >= limits.HTTP_CONNECTIONS_MAX:
            transport.abort()
            return
        self._doors.add(self)
        if self._certificates is not None:
            self._tls = TlsTransport(transport, self._certificates.context())
            self._transport = self._tls

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if self._tls is not None:
            self._decrypt(self._tls, data)
        else:
            self._take(data)

    def _decrypt(self, tls: TlsTransport, data: bytes) -> None:
        try:
            said = tls.receive(data)
        except ssl.SSLError as error:
            self._refuse(error)
            return
        if self._link is None and tls.is_ready and tls.protocol == "h2":
            self._open(self._http2())
        if said:
            self._take(said)
        if tls.has_ended:
            tls.close()

    def _refuse(self, error: ssl.SSLError) -> None:
        """The client was told why; whoever runs the node is told once for each host and reason."""
        self._transport.close()
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        self._tell_once(reason, "a connection by TLS was refused", reason=reason)

    def _take(self, data: bytes) -> None:
        """What the client says."""
        if self._link is not None:
            self._link.data_received(data)
            return
        self._first += data
        start = self._first[: len(PREFACE)]
        if start == PREFACE:
            self._open(self._http2())
        elif start[0] == ZMTP:
            self._turn_away()
        elif not PREFACE.startswith(start):  # else it may become either
            self._open(Http1Link(self._transport, self._shared, self._peer(), self._user))

    @property
    def _user(self) -> str:
        return self._tls.common_name if self._tls is not None and self._names_users else ""

    def _http2(self) -> Http2Link:
        secure = self._tls is not None
        return Http2Link(
            self._transport, self._shared, self._peer(), secure=secure, user=self._user
        )

    def _open(self, link: Http1Link | Http2Link) -> None:
        self._hello.cancel()
        self._link = link
        if self._first:
            link.data_received(self._first)
            self._first = b""

    def _turn_away(self) -> None:
        """Sampan's own protocol came. Its clients make of it what is wrong, and try again."""
        self._transport.abort()
        self._tell_once(
            "ZMTP",
            "a client of Sampan's own protocol came to the port for etcd's clients; its own is the "
            "member's client address, 2378 by default",
        )

    def _tell_once(self, what: str, text: str, **values: Any) -> None:
        """A line in the log, for each host once."""
        host = self._peer().rpartition(":")[0]
        told = self._shared.told
        if (host, what) not in told:
            if len(told) < TOLD_MAX:
                told.add((host, what))
            self._shared.log.warning(text, peer=host, **values)

    def _peer(self) -> str:
        host, port, *_ = self._transport.get_extra_info("peername") or ("", 0)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def pause_writing(self) -> None:
        """The socket takes no more."""
        if self._link is not None:
            self._link.pause_writing()

    def resume_writing(self) -> None:
        """It does again."""
        if self._link is not None:
            self._link.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._hello.cancel()
        self._doors.discard(self)
        self.lost.set_result(None)
        if self._link is not None:
            self._link.connection_lost()

    def close(self) -> None:
        """The gateway stops."""
        if self._link is not None:
            self._link.close()
        else:
            self._transport.close()

    def abort(self) -> None:
        """It has had its time."""
        self._transport.abort()
