"""One HTTP request as the JSON gateway sees it, over HTTP/1.1, or over HTTP/2 with TLS."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol


class HttpRequest(NamedTuple):
    """A whole request. Bodies are bounded; a longer one was answered with 413."""

    method: str
    path: str
    """Without the query, as it came: still percent-encoded."""
    query: str
    headers: Mapping[str, str]
    """Names in lower case; several of one name are joined by ", "."""
    body: bytes
    peer: str
    user: str = ""
    """As `grpc.Call.user`."""


class HttpResponse(Protocol):
    """Where an answer goes: `start`, any number of `write`, `end`, now or in a later turn.

    After `end`, or once the client is gone, all methods do nothing.
    """

    on_gone: Callable[[], None] | None
    """To set: the client went away before `end`."""

    on_writable: Callable[[], None] | None
    """To set: `writable` is True again, after it was False when `write` returned."""

    @property
    def writable(self) -> bool:
        """False: as much as is allowed waits for the client."""

    def start(self, status: int, headers: Iterable[tuple[str, str]] = ()) -> None:
        """Status and headers. Without a content-length the body is chunked."""

    def write(self, data: bytes) -> None:
        """A piece of the body, sent at once."""

    def end(self) -> None:
        """The end of the answer. The connection stays open for the next request."""

    def send(self, status: int, headers: Iterable[tuple[str, str]], body: bytes) -> None:
        """A whole answer, with its content-length."""


HttpApp = Callable[[HttpRequest, HttpResponse], None]
"""Takes a request and answers it at any time. What it raises is a fault of ours: it is logged and
the client gets a 500."""
