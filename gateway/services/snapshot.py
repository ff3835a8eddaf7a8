"""etcd's Maintenance.Snapshot: a backup of the node's state, as a stream.

What `etcdctl snapshot save` writes is what `sampanctl snapshot save` writes, for its `snapshot
status` and `snapshot restore`: no bbolt file.
"""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from ...client.snapshot_calls import SNAPSHOT_OPEN, Reading
from ...transport.requests import KIND_INSPECT
from .. import messages as pb
from ..backend import Backend
from ..grpc import Call
from .streams import Answering

CHUNK_BYTES = 32 << 10
"""As etcd sends it: clients have a bound for a message."""


class SnapshotStream(Answering):
    """One backup on its way."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(backend, call, pb.SnapshotRequest.FromString, KIND_INSPECT)

    async def answer(self, _request: Any) -> AsyncIterator[bytes]:
        """Its pieces as messages."""
        async for blob, left in self._chunks():
            yield pb.SnapshotResponse(remaining_bytes=left, blob=blob).SerializeToString()

    async def _chunks(self) -> AsyncIterator[tuple[bytes, int]]:
        """(bytes, how many follow before the checksum), and the checksum."""
        ask = partial(self._backend.future, token=self._backend.token_of(self.call))
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
