"""What h2load cannot do with etcd: different keys, watches, idle connections, and puts that may
fail. By grpcio, on raw messages."""

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, AsyncExitStack
from itertools import cycle
from typing import Any

from .errors import BenchError
from .etcd import message_fields, put_body, range_body, watch_create
from .failover import GIVE_UP_S, until_written
from .histogram import Histogram
from .idle import measure_idle
from .watching import KEY, Arrivals, measure_puts

_EVENTS = 11
"""WatchResponse.events (etcd's rpc.proto)."""
_FRAME_HEAD = 5
"""Bytes that `put_body` puts in front of a message; grpcio does so itself."""
_FILLING = 256


def check_grpc() -> None:
    """Raise BenchError when grpcio is missing."""
    if importlib.util.find_spec("grpc") is None:
        raise BenchError("grpcio is not installed: pip install 'sampan[bench]'")


def _channel(endpoint: str) -> Any:
    """A channel with a connection of its own; grpcio's others share theirs."""
    aio = importlib.import_module("grpc.aio")
    own = [("grpc.use_local_subchannel_pool", 1)]
    return aio.insecure_channel(endpoint.removeprefix("http://"), options=own)


async def _fill(endpoint: str, keys: Sequence[bytes], value: bytes) -> None:
    async with _channel(endpoint) as channel:
        put = channel.unary_unary("/etcdserverpb.KV/Put")
        for start in range(0, len(keys), _FILLING):
            bodies = [put_body(key, value) for key in keys[start : start + _FILLING]]
            await asyncio.gather(*(put(body[_FRAME_HEAD:]) for body in bodies))


async def _watch(endpoint: str, watchers: int, puts: int, value: bytes) -> Histogram:
    async with _channel(endpoint) as channel:
        put = channel.unary_unary("/etcdserverpb.KV/Put")
        stream = channel.stream_stream("/etcdserverpb.Watch/Watch")()
        for _ in range(watchers):
            await stream.write(watch_create(KEY))
        for _ in range(watchers):
            await stream.read()  # created
        arrivals = Arrivals(watchers)

        async def read() -> None:
            while True:
                for number, _ in message_fields(await stream.read()):
                    if number == _EVENTS:
                        arrivals.note()

        body = put_body(KEY, value)[_FRAME_HEAD:]
        return await measure_puts(arrivals, puts, lambda: put(body), [read()])


async def _idle(
    endpoint: str, connections: int, memory_bytes: Callable[[], int]
) -> dict[str, float]:
    async with AsyncExitStack() as stack:
        body = range_body(KEY, serializable=True)[_FRAME_HEAD:]

        async def connect() -> None:
            channel = await stack.enter_async_context(_channel(endpoint))
            await channel.unary_unary("/etcdserverpb.KV/Range")(body)

        return await measure_idle(connect, connections, memory_bytes)


async def _writes_back_s(killed: AbstractContextManager[Sequence[str]]) -> float:
    refused = importlib.import_module("grpc").RpcError
    body = put_body(KEY, b"")[_FRAME_HEAD:]
    async with AsyncExitStack() as stack:
        with killed as endpoints:
            channels = [await stack.enter_async_context(_channel(each)) for each in endpoints]
            puts = cycle([each.unary_unary("/etcdserverpb.KV/Put") for each in channels])

            async def put() -> bool:
                try:
                    await next(puts)(body, timeout=GIVE_UP_S)
                except refused:
                    return False
                return True

            return await until_written(put)


def etcd_idle_memory(
    endpoint: str, connections: int, memory_bytes: Callable[[], int]
) -> dict[str, float]:
    """As `sampan_idle_memory`."""
    return asyncio.run(_idle(endpoint, connections, memory_bytes))


def etcd_writes_back_s(killed: AbstractContextManager[Sequence[str]]) -> float:
    """As `sampan_writes_back_s`, by connections to the members that are left, which `killed` gives.

    Raises:
        BenchError: when no put is acknowledged.
    """
    return asyncio.run(_writes_back_s(killed))


def etcd_fill(endpoint: str, keys: Sequence[bytes], value: bytes) -> None:
    """Put every key."""
    asyncio.run(_fill(endpoint, keys, value))


def etcd_watch_latencies(endpoint: str, watchers: int, puts: int, value: bytes) -> Histogram:
    """As `sampan_watch_latencies`, with all watches on one stream and no protobuf decoder.

    Raises:
        BenchError: when an event does not come.
    """
    return asyncio.run(_watch(endpoint, watchers, puts, value))
