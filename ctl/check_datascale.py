"""`check datascale`: how much memory a node takes for so many keys; the loads and the lines are
etcdctl's (etcdctl/ctlv3/command/check.go)."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, NamedTuple

from . import gofmt
from .check_load import Measured, put_all, refuse_keys, size, some_key, tidy, told_of
from .commands import CommandError, Run

if TYPE_CHECKING:
    from ..client.aio import AsyncClient

KEY_BYTES = VALUE_BYTES = 512
SHOWN_EVERY_S = 0.2


class Load(NamedTuple):
    """So many keys, by so many clients."""

    limit: int
    clients: int


LOADS = {
    "s": Load(10_000, 50),
    "m": Load(100_000, 200),
    "l": Load(1_000_000, 500),
    "xl": Load(3_000_000, 1000),
}


def run(run: Run) -> None:
    """`check datascale`."""
    lines, good = asyncio.run(_check(run, LOADS[size(run)], run.flags["prefix"]))
    run.stdout.write("".join(f"{line}\n" for line in lines).encode())
    if not good:
        raise CommandError("")


async def _check(run: Run, load: Load, prefix: str) -> tuple[list[str], bool]:
    """What to print at the end, and whether all went well."""
    async with run.async_client() as client:
        quoted = gofmt.quote(prefix.encode())
        text = f"prefix {quoted} has keys. Delete with etcdctl del --prefix {prefix} first"
        await refuse_keys(client, prefix, text)
        node = run.flags["endpoints"][0]
        before = await _resident_bytes(client, node)
        if not before:
            return [_unread("before")], False
        run.stdout.write(
            f"Start data scale check for work load [{load.limit} key-value pairs, "
            f"{KEY_BYTES + VALUE_BYTES} bytes per key-value, {load.clients} concurrent clients].\n"
            .encode()
        )  # fmt: skip
        keys = _keys(run, load, prefix)
        measured = await put_all(client, keys, load.clients, bytes(VALUE_BYTES))
        after = await _resident_bytes(client, node)
        if not after:
            return [_unread("after")], False
        deleted = await client.delete(prefix, prefix=True)
        await tidy(run, client, deleted.header.revision)
    return judge(measured, after - before)


async def _resident_bytes(client: "AsyncClient", node: str) -> int:
    """Of all the node's processes but its supervisor; 0 where that is not known."""
    actors = (await client.metrics(node)).fields["actors"].values()
    return sum({each["load"]["process"][0]: _memory(each) for each in actors}.values())


def _memory(measured: dict[str, dict[str, list[int]]]) -> int:
    """An older node does not tell it."""
    return (*measured["load"]["process"], 0)[2]


def _unread(when: str) -> str:
    return f"FAIL: Could not read process_resident_memory_bytes {when} the put operations."


async def _keys(run: Run, load: Load, prefix: str) -> AsyncIterator[bytes]:
    """As fast as they are taken, and how far that is: a line that is written over."""
    begun = shown_at = time.monotonic()
    for done in range(load.limit):
        if not done or time.monotonic() - shown_at > SHOWN_EVERY_S:
            shown_at = time.monotonic()
            left_s = int((shown_at - begun) / done * (load.limit - done)) if done else 0
            _show(run, done, load.limit, f"{left_s // 60:02}m{left_s % 60:02}s" if left_s else "")
        yield some_key(prefix, KEY_BYTES)
    _show(run, load.limit, load.limit, f"{int(time.monotonic() - begun)}s\n")


def _show(run: Run, done: int, limit: int, rest: str) -> None:
    run.stdout.write(f"\r {done} / {limit} {100 * done / limit:8.2f}% {rest}".encode())
    run.stdout.flush()


def judge(measured: Measured, used_bytes: int) -> tuple[list[str], bool]:
    """What to print of a run, and whether it went well."""
    if measured.failed:
        return told_of(measured.failed), False
    return [f"PASS: Approximate system memory used : {used_bytes / (1 << 20):.2f} MB."], True
