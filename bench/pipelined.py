"""The pipelined driver: puts in large messages on one raw DEALER, below the client library.

It shows what a node can take when the client costs next to nothing. It is a measure of the node
alone and always named as such: nobody's program looks like this.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from typing import Any

import zmq

from ..transport import codec, sockets
from ..transport.requests import KIND_MAINTENANCE, KIND_WRITE, PROTOCOL_VERSION
from .errors import BenchError
from .histogram import Histogram
from .spec import LoadResult, LoadSpec

_ANSWER_MS = 10_000


class PipelinedLoad:
    """As many puts under way as there are clients, `message_puts` in each message.

    Attributes:
        done: puts answered so far.
    """

    def __init__(self, spec: LoadSpec) -> None:
        self._spec = spec
        self._random = random.Random(spec.seed)
        self._keys = spec.all_keys()
        self._pool = self._random.randbytes((1 << 20) + spec.value_size)
        self._latencies = Histogram()
        self._received_bytes = 0
        self._last_id = 0
        self._context = sockets.context()
        self._socket: zmq.Socket[bytes] | None = None
        self.done = 0

    async def fill(self) -> None:
        """Connect to the leader.

        Raises:
            BenchError: when no node leads or one does not answer.
        """
        for endpoint in self._spec.endpoints:
            self._socket = sockets.client_dealer(self._context, endpoint)
            self._send(KIND_MAINTENANCE, [("status",)])
            _, _, _, member_id, _, leader_id = self._receive()
            if member_id == leader_id:
                return
            self._socket.close()
        raise BenchError(f"none of {', '.join(self._spec.endpoints)} says that it is the leader")

    async def warm_up(self) -> None:
        """Do as the measured part does, and forget it.

        Raises:
            BenchError: when a put fails.
        """
        await self._drive(self._spec.warmup)

    async def measure(self) -> LoadResult:
        """Do the measured work; a latency is that of the put's whole message."""
        self._latencies, self.done = Histogram(), 0
        started = time.monotonic()
        await self._drive(self._spec.total)
        return LoadResult(started, time.monotonic(), {"put": self._latencies})

    async def close(self) -> None:
        """Let go of the connection."""
        self._context.destroy(linger=0)

    async def _drive(self, total: int) -> None:
        """Send and receive; the event loop gets a turn after every message."""
        in_flight: dict[int, tuple[int, int]] = {}
        window = max(1, self._spec.clients // self._spec.message_puts)
        unsent = total
        while unsent or in_flight:
            while unsent and len(in_flight) < window:
                puts = min(unsent, self._spec.message_puts)
                unsent -= puts
                begin = time.perf_counter_ns()
                in_flight[self._send(KIND_WRITE, self._puts(puts))] = (puts, begin)
            message_id = self._receive()[1]
            puts, begin = in_flight.pop(message_id)
            elapsed = time.perf_counter_ns() - begin
            for _ in range(puts):
                self._latencies.add(elapsed)
            self.done += puts
            await asyncio.sleep(0)

    def _puts(self, count: int) -> list[tuple[str, bytes, bytes]]:
        below, pool, size = self._random.random, self._pool, self._spec.value_size
        requests = []
        for _ in range(count):
            offset = int(below() * (1 << 20))
            key = self._keys[int(below() * len(self._keys))]
            requests.append(("put", key, pool[offset : offset + size]))
        return requests

    def _send(self, kind: str, requests: Sequence[tuple[Any, ...]]) -> int:
        """Send one message; returns its id."""
        assert self._socket is not None, "prepared before it drives"
        self._last_id += 1
        header = (PROTOCOL_VERSION, self._last_id, kind, 0, self._received_bytes)
        if not self._socket.poll(_ANSWER_MS, zmq.POLLOUT):
            raise BenchError(f"no connection took a message within {_ANSWER_MS} ms")
        self._socket.send_multipart([codec.pack(header), codec.pack(requests)])
        return self._last_id

    def _receive(self) -> tuple[int, ...]:
        """Wait for one reply without errors; returns its header."""
        assert self._socket is not None, "prepared before it drives"
        if not self._socket.poll(_ANSWER_MS, zmq.POLLIN):
            raise BenchError(f"a node did not answer within {_ANSWER_MS} ms")
        header, body = self._socket.recv_multipart()
        self._received_bytes += len(body)
        results = codec.unpack(body)
        if any(type(each) is not tuple or each[0] != 0 for each in results):
            raise BenchError(f"a request of the pipelined driver failed: {str(results)[:200]}")
        decoded: tuple[int, ...] = codec.unpack(header)
        return decoded
