"""From a kill -9 of the leader's node until a write is taken again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, suppress

from ..client import AsyncClient, SampanError
from .errors import BenchError

ELECTION_S = 1.0
"""The election timeout of both systems, unless they are told another."""
GIVE_UP_S = 30.0
_KEY = b"written"
_EVERY_S = 0.01


async def until_written(put: Callable[[], Awaitable[bool]]) -> float:
    """Seconds until one of the puts that begin now, and every 10 ms from now on, is acknowledged.

    One after the other would tell less: a put that was on its way to the leader may wait for its
    timeout, which says nothing of the next one.

    Args:
        put: puts once; whether it was acknowledged.

    Raises:
        BenchError: when none is in `GIVE_UP_S`.
    """
    written = asyncio.Event()
    attempts: list[asyncio.Task[None]] = []

    async def attempt() -> None:
        if await put():
            written.set()

    begun = time.monotonic()
    try:
        while time.monotonic() < begun + GIVE_UP_S:
            attempts.append(asyncio.create_task(attempt()))
            with suppress(TimeoutError):
                await asyncio.wait_for(written.wait(), _EVERY_S)
                return time.monotonic() - begun
    finally:
        for each in attempts:
            each.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
    raise BenchError(f"no put was acknowledged in {GIVE_UP_S:g} s after the leader's end")


async def _sampan(endpoints: Sequence[str], killed: AbstractContextManager[None]) -> float:
    async with AsyncClient(endpoints, timeout_s=GIVE_UP_S) as client:
        await client.put(_KEY, b"")  # so that it is connected to the leader

        async def put() -> bool:
            try:
                await client.put(_KEY, b"")
            except SampanError:
                return False
            return True

        with killed:
            return await until_written(put)


def sampan_writes_back_s(endpoints: Sequence[str], killed: AbstractContextManager[None]) -> float:
    """Seconds from the leader's end, which entering `killed` brings about, to the next
    acknowledged put of one asyncio client.

    Raises:
        BenchError: when no put is acknowledged.
    """
    return asyncio.run(_sampan(endpoints, killed))
