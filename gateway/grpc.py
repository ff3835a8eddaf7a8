"""One gRPC call as a service sees it: callbacks only, so that a call needs no task.

A service registers `Unary` and `Streaming` methods by their path, "/etcdserverpb.KV/Range".
Messages are bytes, whole and no longer compressed; protobuf is the service's. Everything happens in
the event loop's thread, and nothing here blocks.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import NamedTuple, Protocol


class Code(IntEnum):
    """grpc-status (google.rpc.Code)."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


class Call(Protocol):
    """What a service does with a call, now or in any later turn of the loop.

    Once a call has ended (`finish`, `reply`, or its client went away) all methods do nothing: a
    result that comes too late needs no care.
    """

    @property
    def metadata(self) -> Mapping[str, str]:
        """The request's headers, names in lower case: token, authorization, hasleader,
        client-api-version, user-agent … Never change it: calls with the same headers share one."""

    @property
    def peer(self) -> str:
        """Who calls, "127.0.0.1:40312"."""

    @property
    def user(self) -> str:
        """The common name of the client's certificate, where users are known by it; else empty."""

    @property
    def deadline(self) -> float | None:
        """By the loop's clock, from grpc-timeout. The call ends by itself then, with code 4."""

    on_cancelled: Callable[[], None] | None
    """For a unary method to set: the client went away, reset the call, or its deadline has passed,
    before it was answered. Never called after `finish` or `reply`."""

    @property
    def writable(self) -> bool:
        """False: as much as is allowed waits for the client. Whoever sends on nevertheless is not
        stopped at once, but where a connection has too much unread, the call ends with code 8."""

    def send(self, message: bytes) -> None:
        """One response message of a stream."""

    def reply(self, message: bytes) -> None:
        """The only response message, and status 0: `send` and `finish` in one, cheaper."""

    def finish(self, code: int = 0, text: str = "") -> None:
        """The end of the call, with its status: after what was sent, or alone for an error."""

    def pause(self) -> None:
        """Take no more request messages; the client may send one flow control window more."""

    def resume(self) -> None:
        """Go on after `pause`. Messages that came meanwhile are given in this call."""


class Stream(Protocol):
    """What a service gives back for each call of a streaming method: who takes its messages."""

    def message(self, data: bytes) -> None:
        """One request message."""

    def end(self) -> None:
        """The client has sent all its messages; it still reads."""

    def cancelled(self) -> None:
        """The client went away, reset the call, or its deadline has passed, before `finish`."""

    def on_writable(self) -> None:
        """`Call.writable` is True again, after it was False when `send` returned."""


class Unary(NamedTuple):
    """A method of one request and one response message: kept, to be answered at any time."""

    path: str
    handler: Callable[[Call, bytes], None]


class Streaming(NamedTuple):
    """A method with a stream of messages in at least one direction."""

    path: str
    open: Callable[[Call], Stream]


Method = Unary | Streaming
