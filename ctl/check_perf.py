"""`check perf`: puts at a fixed rate for a minute, and whether the cluster keeps up; the loads, the
limits and the lines are etcdctl's (etcdctl/ctlv3/command/check.go)."""

import asyncio
import secrets
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from ..client import errors
from . import gofmt
from .commands import EXIT_BAD_FEATURE, EXIT_INVALID_INPUT, CommandError, Run, describe

if TYPE_CHECKING:
    from ..client.aio import AsyncClient

KEY_BYTES, VALUE_BYTES = 256, 1024
RPS_SHARE_MIN, SLOWEST_S_MAX, STDDEV_S_MAX = 0.9, 0.5, 0.1
CLEANUP_S = 30.0
PUT_S = 30.0
TICK_S = 0.002


class Load(NamedTuple):
    """Puts a second, by so many clients, for so long."""

    limit: int
    clients: int
    duration_s: int = 60


LOADS = {
    "s": Load(150, 50),
    "m": Load(1000, 200),
    "l": Load(8000, 500),
    "xl": Load(15000, 1000),
}
_NAMES = {"small": "s", "medium": "m", "large": "l", "xLarge": "xl"} | {
    each: each for each in LOADS
}


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


def run(run: Run) -> None:
    """`check perf`."""
    name = _NAMES.get(run.flags["load"])
    if name is None:
        raise CommandError(f"unknown load option {run.flags['load']}", EXIT_BAD_FEATURE)
    measured = asyncio.run(_check(run, LOADS[name], run.flags["prefix"]))
    lines, good = judge(measured, LOADS[name])
    run.stdout.write("".join(f"{line}\n" for line in lines).encode())
    if not good:
        raise CommandError("")


async def _check(run: Run, load: Load, prefix: str) -> Measured:
    async with run.async_client() as client:
        if (await client.get(prefix, prefix=True, limit=1)).kvs:
            quoted = gofmt.quote(prefix.encode())
            text = f"prefix {quoted} has keys. Delete with 'etcdctl del --prefix {prefix}' first"
            raise CommandError(text, EXIT_INVALID_INPUT)
        bar = asyncio.create_task(_show_progress(run, load.duration_s))
        try:
            measured = await _put_all(client, load, prefix.encode())
            await bar
        finally:
            bar.cancel()
        await _clean_up(run, client, prefix)
    return measured


async def _put_all(client: "AsyncClient", load: Load, prefix: bytes) -> Measured:
    """Put at the load's rate; each of its clients has one put under way."""
    took: list[float] = []
    failed: Counter[str] = Counter()
    due: asyncio.Queue[bytes | None] = asyncio.Queue(load.clients)
    value = bytes(VALUE_BYTES)

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
    clients = [asyncio.create_task(one_client()) for _ in range(load.clients)]
    asked = 0
    while (now := time.monotonic() - begun) < load.duration_s:
        while asked < now * load.limit:
            number = secrets.token_bytes(9)
            await due.put(prefix + number + bytes(KEY_BYTES - len(number)))
            asked += 1
        await asyncio.sleep(max(TICK_S, asked / load.limit - now))
    for _ in clients:
        await due.put(None)
    await asyncio.gather(*clients)
    return Measured(took, failed, time.monotonic() - begun)


async def _show_progress(run: Run, duration_s: int) -> None:
    """A line that is written over, as etcdctl's: seconds, a bar, what remains."""
    for second in range(duration_s + 1):
        share = 100 * second / duration_s
        left_s = duration_s - second
        filled = "B" + "o" * (second * 40 // duration_s) + "!" if second else ""
        rest = f"{left_s // 60:02}m{left_s % 60:02}s" if left_s else gofmt.duration(second * 10**9)
        line = f"\r {second} / {duration_s} {filled:<42} {share:.2f}% {rest}"
        run.stdout.write(line.encode())
        run.stdout.flush()
        if left_s:
            await asyncio.sleep(1)
    run.stdout.write(b"\n")


async def _clean_up(run: Run, client: "AsyncClient", prefix: str) -> None:
    try:
        deleted = await client.delete(prefix, prefix=True, timeout_s=CLEANUP_S)
    except errors.SampanError as error:
        text = f"FAIL: Cleanup failed during key deletion: ERROR({describe(error)})\n"
        run.stdout.write(text.encode())
        return
    if run.flags["auto-compact"]:
        revision = deleted.header.revision
        run.stdout.write(f"Compacting with revision {revision}\n".encode())
        await client.compact(revision, physical=True, timeout_s=CLEANUP_S)
        run.stdout.write(f"Compacted with revision {revision}\n".encode())


def judge(measured: Measured, load: Load) -> tuple[list[str], bool]:
    """What to print of a run, and whether it passed."""
    lines = []
    slowest = max(measured.took_s, default=0.0)
    deviation = statistics.pstdev(measured.took_s) if measured.took_s else 0.0
    if measured.failed:
        lines.append("FAIL: too many errors")
        lines += [f"FAIL: ERROR({text}) -> {count}" for text, count in measured.failed.items()]
    enough = measured.rate / load.limit > RPS_SHARE_MIN
    what = "PASS: Throughput is" if enough else "FAIL: Throughput too low:"
    lines.append(f"{what} {int(measured.rate) + 1} writes/s")
    fast = slowest <= SLOWEST_S_MAX
    what = "PASS: Slowest request took" if fast else "Slowest request took too long:"
    lines.append(f"{what} {slowest:f}s")
    even = deviation <= STDDEV_S_MAX
    lines.append(f"{'PASS: Stddev is' if even else 'Stddev too high:'} {deviation:f}s")
    good = enough and fast and even and not measured.failed
    return [*lines, "PASS" if good else "FAIL"], good
