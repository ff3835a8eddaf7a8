"""`sampan bench keys`: a store of many keys. Filling it, reading all of it in bounded memory,
compacting its history under puts, and starting again.

Three nodes of its own.
"""

import argparse
import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from ..client import AsyncClient
from .errors import BenchError
from .machine import describe_machine
from .report import latency_summary
from .sampan_cluster import SampanCluster
from .scenario import Outcome, Phase, Puts, add_shared, table, workspace

FEW_KEYS = 1_000
RESTARTS = 3
BEFORE_S = 5.0
"""How long puts are measured before the compaction."""
TIMEOUT_S = 600.0
_UNDER_WAY = 2_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sampan bench keys`."""
    parser.add_argument("--keys", type=int, default=1_000_000, help="keys (%(default)s)")
    parser.add_argument("--clients", type=int, default=16, help="tasks that put (%(default)s)")
    add_shared(parser)


def run(arguments: argparse.Namespace, report: Callable[[str], None]) -> Outcome:
    """Measure. Raises BenchError when an option is wrong or the nodes fail."""
    if arguments.keys <= FEW_KEYS:
        raise BenchError(f"--keys must be above {FEW_KEYS:,}")
    if arguments.clients < 1 or arguments.value_size < 0:
        raise BenchError("--clients must be at least 1, --value-size not negative")
    with workspace(arguments.directory) as directory:
        return Scenario(arguments, report).run(directory)


class Scenario:
    """The steps in their order, and what came of them."""

    def __init__(self, arguments: argparse.Namespace, report: Callable[[str], None]) -> None:
        self._keys: int = arguments.keys
        self._value = bytes(arguments.value_size)
        self._clients: int = arguments.clients
        self._arguments = arguments
        self._report = report
        self._numbers: dict[str, float] = {}
        self._phases: dict[str, Phase] = {}

    def run(self, directory: Path) -> Outcome:
        """All steps."""
        with SampanCluster(directory / "cluster", self._arguments.placement) as cluster:
            asyncio.run(self._fill(cluster, 0, FEW_KEYS))
            self._restart(cluster, f"restart_s_with_{FEW_KEYS}_keys")
            self._numbers["puts_per_second"] = asyncio.run(
                self._fill(cluster, FEW_KEYS, self._keys)
            )
            self._restart(cluster, "restart_s")
            asyncio.run(self._scan(cluster))
            asyncio.run(self._compact(cluster))
        return self._outcome()

    def _key(self, number: int) -> bytes:
        return b"keys/%011d" % number

    async def _fill(self, cluster: SampanCluster, first: int, end: int) -> float:
        """Put the keys from `first` to `end`; puts a second."""
        self._report(f"putting {end - first:,} keys")
        begun = time.monotonic()
        async with AsyncClient(cluster.endpoints, timeout_s=TIMEOUT_S) as client:
            for start in range(first, end, _UNDER_WAY):
                some = range(start, min(start + _UNDER_WAY, end))
                await asyncio.gather(*(client.put(self._key(i), self._value) for i in some))
        return (end - first) / (time.monotonic() - begun)

    def _restart(self, cluster: SampanCluster, name: str) -> None:
        self._report("stopping and starting all nodes")
        times = [cluster.restart() for _ in range(RESTARTS)]
        self._numbers[name] = statistics.median(times)

    async def _scan(self, cluster: SampanCluster) -> None:
        self._report("reading all keys, page by page")
        nodes_before, client_before = cluster.memory_bytes(), _peak_bytes()
        begun, count, size = time.monotonic(), 0, 0
        async with AsyncClient(cluster.endpoints, timeout_s=TIMEOUT_S) as client:
            async for kv in client.scan(b"keys/", prefix=True):
                count += 1
                size += len(kv.key) + len(kv.value)
        if count != self._keys:
            raise BenchError(f"the scan found {count:,} keys of {self._keys:,}")
        seconds = time.monotonic() - begun
        self._numbers |= {
            "scan_bytes": size,
            "scan_keys_per_second": count / seconds,
            "scan_client_grew_bytes": _peak_bytes() - client_before,
            "scan_nodes_grew_bytes": cluster.memory_bytes() - nodes_before,
        }

    async def _compact(self, cluster: SampanCluster) -> None:
        """Compact everything that filling left behind, one version of every key."""
        await self._fill(cluster, 0, self._keys)
        self._report("compacting under puts")
        async with (
            AsyncClient(cluster.endpoints, timeout_s=TIMEOUT_S) as client,
            AsyncClient(cluster.endpoints, timeout_s=TIMEOUT_S) as putter,
        ):
            puts = Puts(putter, self._clients, len(self._value))
            await asyncio.sleep(BEFORE_S / 5)
            self._phases["before"] = puts.begin_phase()
            await asyncio.sleep(BEFORE_S)
            revision = (await client.get(b"keys/")).header.revision
            self._phases["while compacting"] = puts.begin_phase()
            await client.compact(revision, physical=True)
            await puts.stop()
        self._numbers["compact_s"] = self._phases["while compacting"].seconds

    def _outcome(self) -> Outcome:
        numbers = self._numbers
        few = numbers[f"restart_s_with_{FEW_KEYS}_keys"]
        title = (
            f"{self._keys:,} keys of {len(self._value)} bytes, three nodes "
            f"({self._arguments.placement})"
        )
        grew = [numbers[f"scan_{who}_grew_bytes"] / 2**20 for who in ("client", "nodes")]
        lines = [
            title,
            f"filling: {numbers['puts_per_second']:,.0f} puts/s",
            f"starting again until a put is taken: {numbers['restart_s']:.2f} s; "
            f"with {FEW_KEYS:,} keys {few:.2f} s",
            f"reading all {numbers['scan_bytes'] / 1e6:,.0f} MB: "
            f"{numbers['scan_keys_per_second']:,.0f} keys/s; memory grew by {grew[0]:.0f} MiB in "
            f"the client and {grew[1]:.0f} MiB in the three nodes together",
            f"compacting {self._keys:,} revisions: {numbers['compact_s']:.1f} s",
            "",
            *table(
                {
                    f"puts {name}": (f"{phase.per_second:,.0f}/s", phase.latencies)
                    for name, phase in self._phases.items()
                }
            ),
        ]
        latencies = {name: phase.latencies for name, phase in self._phases.items()}
        content = {
            "keys": self._keys,
            "value_size": len(self._value),
            "placement": self._arguments.placement,
            "machine": describe_machine(self._arguments.directory),
            **numbers,
            "put_latency_ms": {name: latency_summary(each) for name, each in latencies.items()},
        }
        return Outcome("\n".join(lines), content, title, latencies)


def _peak_bytes() -> int:
    """The most memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
