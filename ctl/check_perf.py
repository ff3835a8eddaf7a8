"""`check perf`: puts at a fixed rate for a minute, and whether the cluster keeps up; the loads, the
limits and the lines are etcdctl's (etcdctl/ctlv3/command/check.go)."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from ..client import errors
from . import gofmt
from .check_load import CLEANUP_S, Measured, put_all, refuse_keys, size, some_key, tidy, told_of
from .commands import CommandError, Run, describe

if TYPE_CHECKING:
    from ..client.aio import AsyncClient

KEY_BYTES, VALUE_BYTES = 256, 1024
RPS_SHARE_MIN, SLOWEST_S_MAX, STDDEV_S_MAX = 0.9, 0.5, 0.1
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


def run(run: Run) -> None:
    """`check perf`."""
    load = LOADS[size(run)]
    measured = asyncio.run(_check(run, load, run.flags["prefix"]))
    lines, good = judge(measured, load)
    run.stdout.write("".join(f"{line}\n" for line in lines).encode())
    if not good:
        raise CommandError("")


async def _check(run: Run, load: Load, prefix: str) -> Measured:
    async with run.async_client() as client:
        quoted = gofmt.quote(prefix.encode())
        text = f"prefix {quoted} has keys. Delete with 'etcdctl del --prefix {prefix}' first"
        await refuse_keys(client, prefix, text)
        bar = asyncio.create_task(_show_progress(run, load.duration_s))
        try:
            keys = _keys(load, prefix)
            measured = await put_all(client, keys, load.clients, bytes(VALUE_BYTES))
            await bar
        finally:
            bar.cancel()
        await _clean_up(run, client, prefix)
    return measured


async def _keys(load: Load, prefix: str) -> AsyncIterator[bytes]:
    """At the load's rate."""
    begun, asked = time.monotonic(), 0
    while (now := time.monotonic() - begun) < load.duration_s:
        while asked < now * load.limit:
            yield some_key(prefix, KEY_BYTES)
            asked += 1
        await asyncio.sleep(max(TICK_S, asked / load.limit - now))


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
    await tidy(run, client, deleted.header.revision)


def judge(measured: Measured, load: Load) -> tuple[list[str], bool]:
    """What to print of a run, and whether it passed."""
    lines = told_of(measured.failed)
    slowest = max(measured.took_s, default=0.0)
    deviation = statistics.pstdev(measured.took_s) if measured.took_s else 0.0
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
