"""`sampan bench watchers`: many watchers on one node. Creating them, the way from a put to the
watcher of its key, and from a put to all of them.

Three nodes of its own.
"""

import argparse
import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from ..client import AsyncClient
from .errors import BenchError
from .histogram import Histogram
from .machine import describe_machine
from .report import latency_summary
from .sampan_cluster import SampanCluster
from .scenario import Outcome, add_shared, table, workspace
from .watching import Arrivals

TIMEOUT_S = 60.0
TO_ALL = 20
"""Puts that all watchers see."""
_AT_ONCE = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sampan bench watchers`."""
    parser.add_argument("--watchers", type=int, default=10_000, help="watchers (%(default)s)")
    parser.add_argument("--puts", type=int, default=1_000, help="puts (%(default)s)")
    add_shared(parser)


def run(arguments: argparse.Namespace, report: Callable[[str], None]) -> Outcome:
    """Measure. Raises BenchError when an option is wrong, or an event does not come."""
    if arguments.watchers < 1 or arguments.puts < 1 or arguments.value_size < 0:
        raise BenchError("--watchers and --puts must be at least 1, --value-size not negative")
    with (
        workspace(arguments.directory) as directory,
        SampanCluster(directory / "cluster", arguments.placement) as cluster,
    ):
        scenario = Scenario(arguments, report, cluster)
        asyncio.run(scenario.run())
        return scenario.outcome()


class Scenario:
    """One client that watches `own/<number>` and `all`, and puts."""

    def __init__(
        self,
        arguments: argparse.Namespace,
        report: Callable[[str], None],
        cluster: SampanCluster,
    ) -> None:
        self._arguments = arguments
        self._report = report
        self._cluster = cluster
        self._value = bytes(arguments.value_size)
        self._create_s = 0.0
        self._grew_bytes = 0
        self._latencies: dict[str, Histogram] = {}

    async def run(self) -> None:
        """All steps."""
        watchers, puts = self._arguments.watchers, self._arguments.puts
        async with AsyncClient(self._cluster.endpoints, timeout_s=TIMEOUT_S) as client:
            await client.put(b"all", b"")  # so that it knows the leader
            self._latencies["1 watcher"] = await self._measure(client, 1, puts)
            self._report(f"creating {watchers:,} watchers")
            self._latencies[f"{watchers:,} watchers"] = await self._measure(client, watchers, puts)
            self._report(f"{TO_ALL} puts that each of {watchers:,} watchers sees")
            self._latencies["to the last of all"] = await self._to_all(client, watchers)

    async def _watch(
        self, client: AsyncClient, keys: list[bytes], arrivals: Arrivals
    ) -> list["asyncio.Task[None]"]:
        async def read(watch: AsyncIterator[Any]) -> None:
            async for response in watch:
                for _ in response.events:
                    arrivals.note()

        watches = [client.watch(key) for key in keys]
        for start in range(0, len(watches), _AT_ONCE):
            await asyncio.gather(*(w.__aenter__() for w in watches[start : start + _AT_ONCE]))
        return [asyncio.create_task(read(watch)) for watch in watches]

    async def _measure(self, client: AsyncClient, watchers: int, puts: int) -> Histogram:
        """From a put to the one watcher of its key."""
        arrivals = Arrivals(1)
        keys = [b"own/%d" % number for number in range(watchers)]
        before, begun = self._cluster.memory_bytes(), time.monotonic()
        readers = await self._watch(client, keys, arrivals)
        self._create_s = time.monotonic() - begun
        self._grew_bytes = self._cluster.memory_bytes() - before
        chosen = random.Random(1)
        for _ in range(puts):
            key = chosen.choice(keys)
            await arrivals.put(partial(client.put, key, self._value))
        await _stop(readers)
        return arrivals.latencies

    async def _to_all(self, client: AsyncClient, watchers: int) -> Histogram:
        """From a put to the last of the watchers, who all watch its key."""
        arrivals, slowest = Arrivals(watchers), Histogram()
        readers = await self._watch(client, [b"all"] * watchers, arrivals)
        for _ in range(TO_ALL):
            begun = time.perf_counter_ns()
            await arrivals.put(lambda: client.put(b"all", self._value))
            slowest.add(time.perf_counter_ns() - begun)
        await _stop(readers)
        return slowest

    def outcome(self) -> Outcome:
        """What was measured."""
        watchers = self._arguments.watchers
        title = f"{watchers:,} watchers on one node of three ({self._arguments.placement})"
        lines = [
            title,
            f"created in {self._create_s:.2f} s; memory of the three nodes grew by "
            f"{self._grew_bytes / 2**20:.0f} MiB",
            "",
            *table({name: (f"{each.count:,}", each) for name, each in self._latencies.items()}),
        ]
        content = {
            "watchers": watchers,
            "placement": self._arguments.placement,
            "machine": describe_machine(self._arguments.directory),
            "create_s": self._create_s,
            "nodes_grew_bytes": self._grew_bytes,
            "latency_ms": {name: latency_summary(each) for name, each in self._latencies.items()},
        }
        return Outcome("\n".join(lines), content, title, self._latencies)


async def _stop(readers: list["asyncio.Task[None]"]) -> None:
    for reader in readers:
        reader.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
