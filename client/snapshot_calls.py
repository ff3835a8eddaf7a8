"""Backups, of both clients: a member's whole state as the bytes of one file."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from ..transport import errors as wire
from ..transport.requests import KIND_INSPECT
from ._decode import Answer
from ._dispatch import Dispatcher
from .errors import MalformedReplyError

Request = tuple[Any, ...]

SNAPSHOT_OPEN: Request = ("snapshot_open",)


class Reading:
    """What to ask for next, and what has come: shared by both clients."""

    def __init__(self, opened: Answer) -> None:
        self._id: int
        self._size: int
        self.head: bytes
        self._id, self.head, self._size = _fields(opened, 3)
        self._position = 0
        self._digest = hashlib.sha256(self.head)

    @property
    def size(self) -> int:
        """Bytes of all of it, but for the checksum."""
        return len(self.head) + self._size

    def request(self) -> Request | None:
        """The next piece; None when there is none."""
        if self._position >= self._size:
            return None
        return ("snapshot_read", self._id, self._position)

    def take(self, answer: Answer) -> bytes:
        """The piece that came."""
        (data,) = _fields(answer, 1)
        if not data:
            text = f"sampan: a snapshot of {self._size} bytes ended at {self._position}"
            raise MalformedReplyError(wire.INTERNAL, text)
        self._position += len(data)
        self._digest.update(data)
        return bytes(data)

    def digest(self) -> bytes:
        """SHA-256 of all of it."""
        return self._digest.digest()

    def close(self) -> Request:
        """Lets the member give the space back."""
        return ("snapshot_close", self._id)


def _fields(answer: Answer, count: int) -> list[Any]:
    _, result = answer
    if len(result) != count + 2:
        text = f"sampan: malformed result: {str(result)[:80]}"
        raise MalformedReplyError(wire.INTERNAL, text)
    return list(result[2:])


class AsyncSnapshotCalls:
    """The part of `AsyncClient` that is about backups."""

    _submit: Callable[..., Awaitable[Any]]
    _start: Callable[[], Dispatcher]

    async def snapshot(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> AsyncIterator[bytes]:
        """The bytes of a backup of one member's state, as of when it was asked for.

            async for piece in client.snapshot():
                file.write(piece)

        `sampan restore` makes members of a new cluster of it. The last piece is a checksum of all
        others: a file without it is refused.

        Args:
            endpoint: the member; None for the first endpoint.
            timeout_s: the time of each call: the first, before which the member writes what is in
                its memory to its disk, and one for each MiB.

        Raises:
            ValueError: `endpoint` is not one of this client's.
            NotAppliedError: the member was told to forget it, or has started again meanwhile.
        """
        endpoint = endpoint or self._start().endpoints[0]
        reading = Reading(await self._submit(KIND_INSPECT, SNAPSHOT_OPEN, timeout_s, endpoint))
        yield reading.head
        while (request := reading.request()) is not None:
            yield reading.take(await self._submit(KIND_INSPECT, request, timeout_s, endpoint))
        yield reading.digest()
        await self._submit(KIND_INSPECT, reading.close(), timeout_s, endpoint)


class SnapshotCalls:
    """The part of `Client` that is about backups."""

    _call: Callable[..., Any]
    _dispatcher: Dispatcher

    def snapshot(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> Iterator[bytes]:
        """The bytes of a backup of one member's state; `AsyncClient.snapshot` tells more."""
        endpoint = endpoint or self._dispatcher.endpoints[0]
        reading = Reading(self._call(KIND_INSPECT, SNAPSHOT_OPEN, timeout_s, endpoint))
        yield reading.head
        while (request := reading.request()) is not None:
            yield reading.take(self._call(KIND_INSPECT, request, timeout_s, endpoint))
        yield reading.digest()
        self._call(KIND_INSPECT, reading.close(), timeout_s, endpoint)
