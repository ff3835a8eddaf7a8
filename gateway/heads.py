"""The head of a request over HTTP/2: its fields checked (RFC 9113, section 8) and sorted."""

import re

from .hpack import Decoder, Field

PSEUDO = frozenset((":method", ":scheme", ":path", ":authority"))

FORBIDDEN = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)
"""Fields of a connection (8.2.2). Whoever passes them on could be made to split requests."""

NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9a-z]+")
BAD_VALUE = re.compile(r"[\x00\r\n]")

KEPT_BLOCKS, KEPT_BLOCK_BYTES_MAX = 64, 1024
"""Blocks that a connection remembers. Clients repeat theirs: one for each method, mostly."""

KNOWN_NAMES_MAX = 1_000


class Head:
    """What a header block says. Shared by all requests with the same block: never changed."""

    __slots__ = ("authority", "fault", "headers", "memo", "method", "path", "pseudo")

    def __init__(self, fields: list[Field]) -> None:
        self.memo: object = None
        """What the layer above made of it."""
        self.fault = fault_in(fields)
        """Why it is malformed, or empty."""
        self.pseudo = sum(name[:1] == ":" for name, _ in fields)
        """How many fields belong to HTTP/2 itself: none in trailers."""
        headers = dict(fields)
        if len(headers) != len(fields):
            headers = self._joined(fields)
        self.method = headers.pop(":method", "")
        self.path = headers.pop(":path", "")
        self.authority = headers.pop(":authority", "") or headers.get("host", "")
        scheme = headers.pop(":scheme", "")
        self.headers = headers
        """Without the pseudo fields."""
        if self.pseudo and not self.fault and not (self.method and self.path and scheme):
            self.fault = "no :method, :path or :scheme"

    def _joined(self, fields: list[Field]) -> dict[str, str]:
        """Several values of one name are joined by a comma, of cookies by a semicolon."""
        headers: dict[str, str] = {}
        for name, value in fields:
            if name in headers:
                if name in PSEUDO:
                    self.fault = self.fault or f"two of {name}"
                between = "; " if name == "cookie" else ", "
                headers[name] += between + value
            else:
                headers[name] = value
        return headers


_good_names = set[str]()
"""Names that were found valid: few, and the same ones in each request."""


def fault_in(fields: list[Field]) -> str:
    """What makes a list of fields malformed (8.2, 8.3), or nothing."""
    regular = False
    for name, value in fields:
        if name in _good_names:
            regular = True
        elif name in PSEUDO:
            if regular:
                return f"{name} after other fields"
        elif fault := fault_in_name(name):
            return fault
        else:
            regular = True
            if len(_good_names) < KNOWN_NAMES_MAX:
                _good_names.add(name)
        if not value.isprintable() and BAD_VALUE.search(value):
            return f"a line break in {name}"
        if name == "te" and value != "trailers":
            return "te is not trailers"
    return ""


def fault_in_name(name: str) -> str:
    """What makes a name malformed, or nothing."""
    if name[:1] == ":":
        return "an unknown pseudo field"
    if name in FORBIDDEN:
        return f"{name} belongs to HTTP/1.1"
    if not NAME.fullmatch(name):
        return "a name with characters that are not allowed"
    return ""


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
