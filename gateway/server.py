"""The gateway's port: gRPC over HTTP/2, and HTTP/1.1, by the first bytes of a connection."""

import asyncio
import ssl
from collections.abc import Iterable

from .grpc import Method
from .http import HttpApp


async def listen(
    host: str,
    port: int,
    methods: Iterable[Method],
    app: HttpApp,
    *,
    tls: ssl.SSLContext | None = None,
) -> asyncio.Server:
    """Serve on an address; port 0 takes a free one.

    Args:
        methods: gRPC's.
        app: gets HTTP/1.1 requests, and over TLS those over HTTP/2 that are not gRPC.
        tls: with it, ALPN chooses between `h2` and `http/1.1`.

    Raises:
        OSError: the address is not to be had.
    """
    raise NotImplementedError
