"""`sampan bench leases`: many leases with a key each that end at the same time, under puts.

Three nodes of its own. The times to live are chosen so that all leases are due within about a
second; asyncio tasks put other keys before and meanwhile, one request under way each.
"""

import argparse
import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ..client import AsyncClient, ops
from ..client.types import RangeResponse
from .errors import BenchError
from .machine import describe_machine
from .report import latency_summary
from .sampan_cluster import SampanCluster
from .scenario import Outcome, Phase, Puts, add_shared, table, workspace

PREFIX = b"lease/"
BEFORE_S = 3.0
"""How long puts are measured before the first lease is due."""
POLL_S = 0.1
SAMPLE_MAX = 50
GIVE_UP_S = 60.0
UNDER_WAY = 2_000
"""Grants and puts of the preparation that are sent at once."""
PREPARATION = 4
"""Times what as many renewals take: a grant and a put for each lease, and room."""


@dataclass(frozen=True, slots=True)
class Options:
    """What is to be done."""

    leases: int
    clients: int
    value_size: int
    placement: str
    directory: Path

    def validate(self) -> "Options":
        """Itself. Raises BenchError when it cannot be carried out."""
        if not 1 <= self.leases <= 10_000_000:
            raise BenchError(f"--leases must be 1 to 10,000,000, got {self.leases}")
        if not 1 <= self.clients <= 10_000:
            raise BenchError(f"--clients must be 1 to 10,000, got {self.clients}")
        if self.value_size < 0:
            raise BenchError(f"--value-size must not be negative, got {self.value_size}")
        return self


@dataclass(frozen=True, slots=True)
class Result:
    """What was seen."""

    grants_per_second: float
    renewals_per_second: float
    spread_s: float
    """From the first lease's deadline to the last one's."""
    gone_s: float
    """From the last deadline until all keys were gone."""
    first_gone_s: float
    """From the first deadline until the first key was seen to be gone."""
    before: Phase
    meanwhile: Phase
    """From the first deadline until all keys were gone."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sampan bench leases`."""
    parser.add_argument("--leases", type=int, default=100_000, help="leases (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="tasks that put (%(default)s)")
    add_shared(parser)


def run(arguments: argparse.Namespace, report: Callable[[str], None]) -> Outcome:
    """Measure. Raises BenchError when the nodes fail, or not all keys go."""
    options = Options(
        arguments.leases,
        arguments.clients,
        arguments.value_size,
        arguments.placement,
        arguments.directory,
    ).validate()
    with (
        workspace(options.directory) as directory,
        SampanCluster(directory / "cluster", options.placement) as cluster,
    ):
        return _outcome(options, asyncio.run(_measure(options, cluster.endpoints, report)))


async def _measure(
    options: Options, endpoints: tuple[str, ...], report: Callable[[str], None]
) -> Result:
    async with (
        AsyncClient(endpoints, timeout_s=GIVE_UP_S) as client,
        AsyncClient(endpoints, timeout_s=GIVE_UP_S) as putter,
    ):
        report(f"granting {options.leases:,} leases and putting a key with each")
        renewals_per_second = await _renew(client)
        preparation_s = PREPARATION * options.leases / renewals_per_second
        begun = time.monotonic()
        due_at = begun + preparation_s + 2 * BEFORE_S
        leases, deadlines = await _grant(client, options.leases, due_at)
        grants_per_second = options.leases / (time.monotonic() - begun)
        await _attach(client, leases)
        if time.monotonic() + BEFORE_S > deadlines[0]:
            raise BenchError("the preparation took longer than the leases live: try fewer leases")
        puts = Puts(putter, options.clients, options.value_size)
        await asyncio.sleep(deadlines[0] - BEFORE_S - time.monotonic())
        before = puts.begin_phase()
        report("waiting for the leases to end")
        await asyncio.sleep(deadlines[0] - time.monotonic())
        meanwhile = puts.begin_phase()
        first_gone, gone = await _wait_gone(client, leases)
        await puts.stop()
        return Result(
            grants_per_second,
            renewals_per_second,
            deadlines[1] - deadlines[0],
            gone - deadlines[1],
            first_gone - deadlines[0],
            before,
            meanwhile,
        )


def _chunks(items: list[int]) -> Iterator[list[int]]:
    for begin in range(0, len(items), UNDER_WAY):
        yield items[begin : begin + UNDER_WAY]


async def _grant(
    client: AsyncClient, count: int, due_at: float
) -> tuple[list[int], tuple[float, float]]:
    """(leases, (first deadline, last one)), the deadlines as late as they can be."""
    leases: list[int] = []
    deadlines: list[float] = []
    for chunk in _chunks(list(range(count))):
        ttl_s = round(due_at - time.monotonic())
        granted = await asyncio.gather(*[client.lease_grant(ttl_s) for _ in chunk])
        deadlines.append(time.monotonic() + ttl_s)
        leases += [each.id for each in granted]
    return leases, (min(deadlines), max(deadlines))


async def _attach(client: AsyncClient, leases: list[int]) -> None:
    for chunk in _chunks(leases):
        await asyncio.gather(*[client.put(_key(each), b"", lease=each) for each in chunk])


async def _renew(client: AsyncClient) -> float:
    """Renewals a second of one lease by many tasks."""
    lease = (await client.lease_grant(600)).id
    begun = time.monotonic()
    for _ in range(5):
        await asyncio.gather(*[client.lease_keep_alive_once(lease) for _ in range(UNDER_WAY)])
    return 5 * UNDER_WAY / (time.monotonic() - begun)


async def _wait_gone(client: AsyncClient, leases: list[int]) -> tuple[float, float]:
    """When the first key and when the last one was seen to be gone.

    Looks at a few keys until all of them are gone: to count a hundred thousand takes a node 20 ms.

    Raises:
        BenchError: some stay.
    """
    sample = leases[:: max(1, len(leases) // SAMPLE_MAX)][:SAMPLE_MAX]
    gets = [ops.get(_key(lease), count_only=True) for lease in [*sample[1:], leases[-1]]]
    first = 0.0
    give_up = time.monotonic() + GIVE_UP_S
    while True:
        found = (await client.txn([], gets)).responses
        left = sum(each.count for each in found if isinstance(each, RangeResponse))
        now = time.monotonic()
        if left < len(gets) and not first:
            first = now
        if not left:
            left = (await client.get(PREFIX, prefix=True, count_only=True)).count
            if not left:
                return first, time.monotonic()
        if now > give_up:
            raise BenchError(f"{left:,} keys are still there after {GIVE_UP_S:g} s")
        await asyncio.sleep(POLL_S)


def _key(lease: int) -> bytes:
    return PREFIX + b"%x" % lease


def _outcome(options: Options, result: Result) -> Outcome:
    title = f"{options.leases:,} leases with a key each that end together ({options.placement})"
    phases = {"before": result.before, "meanwhile": result.meanwhile}
    latencies = {name: phase.latencies for name, phase in phases.items()}
    lines = [
        f"{title}, {options.clients} clients that put",
        f"{result.grants_per_second:,.0f} grants/s, {result.renewals_per_second:,.0f} renewals/s",
        f"all due within {result.spread_s:.1f} s; "
        f"gone {result.gone_s:.1f} s after the last was due",
        "",
        *table(
            {
                f"puts {name}": (f"{phase.per_second:,.0f}/s", phase.latencies)
                for name, phase in phases.items()
            }
        ),
    ]
    content = {
        "options": {**asdict(options), "directory": str(options.directory)},
        "machine": describe_machine(options.directory),
        "grants_per_second": result.grants_per_second,
        "renewals_per_second": result.renewals_per_second,
        "spread_s": result.spread_s,
        "first_gone_s": result.first_gone_s,
        "gone_s": result.gone_s,
        "puts_per_second": {name: phase.per_second for name, phase in phases.items()},
        "put_latency_ms": {name: latency_summary(each) for name, each in latencies.items()},
    }
    return Outcome("\n".join(lines), content, title, latencies)
