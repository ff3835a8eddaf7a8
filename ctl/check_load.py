"""What both checks do: refuse keys that are there, put from many tasks, show how far, clean up."""

import asyncio
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..client import errors
from . import gofmt
from .commands import EXIT_BAD_FEATURE, EXIT_INVALID_INPUT, CommandError, Run, describe

if TYPE_CHECKING:
    from ..client.aio import AsyncClient

CLEANUP_S = 30.0
PUT_S = 30.0

SIZES = {"small": "s", "medium": "m", "large": "l", "xLarge": "xl"}
SIZES |= {each: each for each in SIZES.values()}


class Measured(NamedTuple):
    """What a run showed."""

    took_s: Sequence[float]
    """Of the puts that went well."""
    failed: Counter[str]
    elapsed_s: float

    @property
    def rate(self) -> float:
        """Puts a second that went well."""
        return len(self.took_s) / self.elapsed_s


def size(run: Run) -> str:
    """Which load `--load` means: s, m, l or xl."""
    name = SIZES.get(run.flags["load"])
    if name is None:
        raise CommandError(f"unknown load option {run.flags['load']}", EXIT_BAD_FEATURE)
    return name


async def refuse_keys(client: "AsyncClient", prefix: str, text: str) -> None:
    """End with `text` when there are keys."""
    if (await client.get(prefix, prefix=True, limit=1)).kvs:
        raise CommandError(text, EXIT_INVALID_INPUT)


def some_key(prefix: str, length: int) -> bytes:
    """A key that nobody has put yet, `length` bytes behind the prefix."""
    number = secrets.token_bytes(9)
    return prefix.encode() + number + bytes(length - len(number))


async def put_all(
    client: "AsyncClient", keys: AsyncIterator[bytes], clients: int, value: bytes
) -> Measured:
    """Put the keys as they come; each of the clients has one put under way."""
    took: list[float] = []
    failed: Counter[str] = Counter()
    due: asyncio.Queue[bytes | None] = asyncio.Queue(clients)

    async def one_client() -> None:
        while (key := await due.get()) is not None:
            begun = time.monotonic()
            try:
                await client.put(key, value, timeout_s=PUT_S)
            except errors.SampanError as error:
                failed[describe(error)] += 1
            else:
                took.append(time.monotonic() - begun)

    begun = time.monotonic()
    tasks = [asyncio.create_task(one_client()) for _ in range(clients)]
    async for key in keys:
        await due.put(key)
    for _ in tasks:
        await due.put(None)
    await asyncio.gather(*tasks)
    return Measured(took, failed, time.monotonic() - begun)


def told_of(failed: Counter[str]) -> list[str]:
    """The lines about puts that failed."""
    if not failed:
        return []
    counts = (f"FAIL: ERROR({text}) -> {count}" for text, count in failed.items())
    return ["FAIL: too many errors", *counts]


async def tidy(run: Run, client: "AsyncClient", revision: int) -> None:
    """What `--auto-compact` and `--auto-defrag` ask for."""
    if run.flags["auto-compact"]:
        run.stdout.write(f"Compacting with revision {revision}\n".encode())
        await client.compact(revision, physical=True, timeout_s=CLEANUP_S)
        run.stdout.write(f"Compacted with revision {revision}\n".encode())
    if run.flags["auto-defrag"]:
        for endpoint in run.flags["endpoints"]:
            quoted = gofmt.quote(endpoint.encode())
            run.stdout.write(f"Defragmenting {quoted}\n".encode())
            await client.defragment(endpoint, timeout_s=CLEANUP_S)
            run.stdout.write(f"Defragmented {quoted}\n".encode())
