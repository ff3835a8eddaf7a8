"""What connections cost a node that ask for nothing: its resident memory before and with them."""

import asyncio
import resource
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack

from ..client import AsyncClient, SampanError
from .errors import BenchError

_FIRST = 10
"""Connections before, for what a node makes at the first ones."""
_PAGE = 4096


async def measure_idle(
    connect: Callable[[], Awaitable[None]], connections: int, memory_bytes: Callable[[], int]
) -> dict[str, float]:
    """Of the metrics "connection" (KiB each, a page at least in all) and "node" (MiB).

    Args:
        connect: opens a connection, has one answer on it and keeps it.
        memory_bytes: tells the node's resident memory.
    """
    for _ in range(_FIRST):
        await connect()
    before = memory_bytes()
    for _ in range(connections):
        await connect()
    after = memory_bytes()
    grown = max(after - before, _PAGE)
    return {"connection": grown / connections / 2**10, "node": after / 2**20}


async def _sampan(
    endpoint: str, connections: int, memory_bytes: Callable[[], int]
) -> dict[str, float]:
    _allow_descriptors()
    async with AsyncExitStack() as stack:

        async def connect() -> None:
            client = await stack.enter_async_context(AsyncClient([endpoint]))
            await client.get(b"idle", serializable=True)

        try:
            return await measure_idle(connect, connections, memory_bytes)
        except SampanError as error:
            raise BenchError(f"of {connections} connections one failed: {error}") from error


def _allow_descriptors() -> None:
    """As many as this process may have: a client has several."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def sampan_idle_memory(
    endpoint: str, connections: int, memory_bytes: Callable[[], int]
) -> dict[str, float]:
    """What so many asyncio clients cost the node at `endpoint`; see `measure_idle`.

    Raises:
        BenchError: when one cannot connect.
    """
    return asyncio.run(_sampan(endpoint, connections, memory_bytes))
