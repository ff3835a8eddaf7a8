"""etcd's Maintenance.Snapshot: a backup of the node's state, as a stream.

What `etcdctl snapshot save` writes is what `sampanctl snapshot save` writes, for its `snapshot
status` and `snapshot restore`: no bbolt file.
"""

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ...client.snapshot_calls import SNAPSHOT_OPEN, Reading
from ...transport.requests import KIND_INSPECT
from .. import messages as pb
from ..backend import Backend, status, token_of
from ..grpc import Call
from .streams import Messages

CHUNK_BYTES = 32 << 10
"""As etcd sends it: clients have a bound for a message."""


class SnapshotStream(Messages):
    """One backup on its way."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(call, pb.SnapshotRequest.FromString)
        self._backend = backend
        self._room = asyncio.Event()
        self._sending: asyncio.Task[None] | None = None

    def take(self, _request: Any) -> None:
        """Begin."""
        if self._sending is None:
            self._sending = self._backend.loop.create_task(self._send())

    def end(self) -> None:
        """The client has said all it has to."""

    def cancelled(self) -> None:
        """The client is gone."""
        super().cancelled()
        if self._sending is not None:
            self._sending.cancel()

    def on_writable(self) -> None:
        """The client has read what waited."""
        self._room.set()

    async def _send(self) -> None:
        try:
            async for blob, left in self._chunks():
                while not self.call.writable:
                    self._room.clear()
                    await self._room.wait()
                response = pb.SnapshotResponse(remaining_bytes=left, blob=blob)
                self.call.send(response.SerializeToString())
        except Exception as error:  # becomes the call's status
            self.finish(*status(error, KIND_INSPECT))
        else:
            self.finish(0, "")

    async def _chunks(self) -> AsyncIterator[tuple[bytes, int]]:
        """(bytes, how many follow before the checksum), and the checksum."""
        ask = partial(self._backend.future, token=token_of(self.call))
        reading = Reading(await ask(KIND_INSPECT, SNAPSHOT_OPEN))
        left = reading.size
        for chunk in _cut(reading.head):
            left -= len(chunk)
            yield chunk, left
        while (request := reading.request()) is not None:
            for chunk in _cut(reading.take(await ask(KIND_INSPECT, request))):
                left -= len(chunk)
                yield chunk, left
        yield reading.digest(), 0
        await ask(KIND_INSPECT, reading.close())


def _cut(data: bytes) -> list[bytes]:
    return [data[at : at + CHUNK_BYTES] for at in range(0, len(data), CHUNK_BYTES)]
