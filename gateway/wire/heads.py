"""The head of a request over HTTP/2: its fields, checked (RFC 9113, section 8.3) and sorted."""

from .fields import PSEUDO, Field
from .hpack import Decoder

KEPT_BLOCKS, KEPT_BLOCK_BYTES_MAX = 64, 1024
"""Blocks that a connection remembers. Clients repeat theirs: one for each method, mostly."""


class Head:
    """What a header block says. Shared by all requests with the same block: never changed."""

    __slots__ = ("authority", "fault", "headers", "memo", "method", "path", "pseudo")

    def __init__(self, fields: list[Field]) -> None:
        self.memo: object = None
        """What the layer above made of it."""
        self.fault = ""
        """Why it is malformed, or empty."""
        headers: dict[str, str] = {}
        regular = False
        for name, value, fault in fields:
            if fault is None:
                regular = True
            elif fault != PSEUDO:
                self.fault = fault
            elif regular or name in headers:
                self.fault = f"{name} again, or after other fields"
            headers[name] = value
        if len(headers) != len(fields):
            headers = joined(fields)
        found = len(headers)
        self.method = headers.pop(":method", "")
        self.path = headers.pop(":path", "")
        scheme = headers.pop(":scheme", "")
        self.authority = headers.pop(":authority", "")
        self.headers = headers
        """Without the pseudo fields."""
        self.pseudo = found != len(headers)
        """Whether there were any: not in trailers."""
        if self.pseudo and not (self.method and self.path and scheme):
            self.fault = "no :method, :path or :scheme"


def joined(fields: list[Field]) -> dict[str, str]:
    """Several values of one name are joined by a comma, of cookies by a semicolon (8.2.3)."""
    headers: dict[str, str] = {}
    for name, value, _ in fields:
        if name in headers:
            headers[name] += ("; " if name == "cookie" else ", ") + value
        else:
            headers[name] = value
    return headers


class HeadReader:
    """Reads the blocks of one connection."""

    def __init__(self, list_bytes_max: int) -> None:
        self._decoder = Decoder(list_bytes_max)
        self._kept: dict[bytes, Head] = {}

    def read(self, block: bytes) -> Head:
        """What a block says. Blocks that do not change the decoder's table mean the same until
        another one does: those are read once.

        Raises:
            HpackError: it cannot be decoded.
            HeadersTooLargeError: it is valid, and too long.
        """
        head = self._kept.get(block)
        if head is not None:
            return head
        decoder = self._decoder
        changes = decoder.changes
        head = Head(decoder.decode(block))
        if decoder.changes != changes:
            self._kept.clear()
        elif len(block) <= KEPT_BLOCK_BYTES_MAX:
            if len(self._kept) >= KEPT_BLOCKS:
                self._kept.clear()
            self._kept[block] = head
        return head
