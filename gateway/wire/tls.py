"""TLS between a connection's socket and whoever speaks HTTP there.

In memory and not asyncio's: so a connection counts from its first byte and not from the end of its
handshake, has the newest certificate, and costs no buffers of 256 KiB.
"""

import asyncio
import ssl
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

RECORD_BYTES = 16_384
"""The longest piece of data in TLS."""


class TlsTransport(asyncio.Transport):
    """The writing side of a connection, as its socket's transport is one; what comes from the
    socket is to be given to `receive`."""

    def __init__(self, below: asyncio.Transport, context: ssl.SSLContext) -> None:
        super().__init__()
        self._below = below
        self._came, self._leaving = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._leaving, server_side=True)
        self.is_ready = False
        """The handshake is done."""
        self.has_ended = False
        """The client has said good-bye."""

    def receive(self, data: bytes) -> bytes:
        """What the client says by bytes from the socket; nothing before the handshake is done.

        Raises:
            ssl.SSLError: it is no TLS, or none that we take. The client was told.
        """
        self._came.write(data)
        said: list[bytes] = []
        try:
            if not self.is_ready:
                self._tls.do_handshake()
                self.is_ready = True
            while piece := self._tls.read(RECORD_BYTES):
                said.append(piece)
            self.has_ended = True
        except ssl.SSLWantReadError:
            pass  # for now it is all
        except ssl.SSLZeroReturnError:
            self.has_ended = True
        finally:
            self._flush()
        return b"".join(said)

    @property
    def protocol(self) -> str:
        """What was agreed upon to speak, empty for nothing."""
        return self._tls.selected_alpn_protocol() or ""

    @property
    def common_name(self) -> str:
        """Of the client's certificate, where it had to show one; the last where there are more."""
        shown: Any = self._tls.getpeercert() or {}
        names = [
            value
            for part in shown.get("subject", ())
            for name, value in part
            if name == "commonName"
        ]
        return names[-1] if names else ""

    def _flush(self) -> None:
        if self._leaving.pending and not self._below.is_closing():
            self._below.write(self._leaving.read())

    # -- as any transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send."""
        if self._below.is_closing():
            return
        view = memoryview(data)
        while view:
            view = view[self._tls.write(view) :]
        self._flush()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Send pieces."""
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        """Say good-bye, and close when all is sent."""
        if not self._below.is_closing():
            with suppress(ssl.SSLError):  # the client need not answer
                self._tls.unwrap()
            self._flush()
        self._below.close()

    def abort(self) -> None:
        """Close at once."""
        self._below.abort()

    def is_closing(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._below.is_closing()

    def get_write_buffer_size(self) -> int:
        """Bytes that the socket has not taken."""
        return self._below.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Take nothing from the socket."""
        self._below.pause_reading()

    def resume_reading(self) -> None:
        """Go on."""
        self._below.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """About the socket."""
        return self._below.get_extra_info(name, default)
