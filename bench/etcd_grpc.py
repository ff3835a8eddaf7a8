"""What h2load cannot do with etcd: different keys, and watches. By grpcio, on raw messages."""

import asyncio
import importlib
import importlib.util
from collections.abc import Sequence
from typing import Any

from .errors import BenchError
from .etcd import message_fields, put_body, watch_create
from .histogram import Histogram
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
    aio = importlib.import_module("grpc.aio")
    return aio.insecure_channel(endpoint.removeprefix("http://"))


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


def etcd_fill(endpoint: str, keys: Sequence[bytes], value: bytes) -> None:
    """Put every key."""
    asyncio.run(_fill(endpoint, keys, value))


def etcd_watch_latencies(endpoint: str, watchers: int, puts: int, value: bytes) -> Histogram:
    """As `sampan_watch_latencies`, with all watches on one stream and no protobuf decoder.

    Raises:
        BenchError: when an event does not come.
    """
    return asyncio.run(_watch(endpoint, watchers, puts, value))
