"""The same work on Sampan and on etcd: three nodes each, in turns, on the same machine and disk."""

import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from .comparison import Comparison, Measurement, Row
from .errors import BenchError
from .etcd import EtcdCluster, put_body, range_body
from .h2load import Split, run_h2load
from .load import run_load
from .machine import describe_machine, file_system, is_volatile
from .programs import missing_programs
from .sampan_cluster import SampanCluster
from .spec import LoadSpec

_WARMUP_SHARE = 10
_PIPELINED_MESSAGE_PUTS = 100
_NEEDED = ("etcd", "etcdctl", "h2load")

ROWS = (
    Row("puts, 1000 clients", "put", 1000, 100_000),
    Row("puts, 64 clients", "put", 64, 40_000),
    Row("put, 1 client, p50", "put", 1, 3_000, metric="p50"),
    Row("linearizable reads, 1000 clients", "range", 1000, 150_000),
    Row("linearizable reads, 1 client", "range", 1, 6_000),
    Row("serializable reads, 1000 clients", "range", 1000, 150_000, serializable=True),
    Row("serializable reads, 1 client", "range", 1, 10_000, serializable=True),
)
"""The puts come first: etcd's reads look for the key that they wrote."""
PIPELINED_ROW = Row(
    "pipelined driver: puts, 1000 under way",
    "put",
    1000,
    100_000,
    message_puts=_PIPELINED_MESSAGE_PUTS,
)
SPLITS = {
    1000: (Split(10, 100), Split(50, 20), Split(100, 10), Split(10, 100, threads=2)),
    64: (Split(1, 64), Split(4, 16), Split(8, 8)),
    1: (Split(1, 1),),
}
"""How h2load may spread that many requests under way; etcd gets the split that suits it best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What `sampan bench compare` was asked for; `scale` multiplies every row's total."""

    placements: tuple[str, ...]
    rounds: int = 3
    scale: float = 1.0
    key_size: int = 16
    value_size: int = 256
    keys: int = 10_000
    connections: int = 10
    processes: int = 1
    directory: Path = Path("/var/tmp")
    pipelined: bool = False

    def rows(self) -> tuple[Row, ...]:
        """What is measured."""
        return (*ROWS, PIPELINED_ROW) if self.pipelined else ROWS

    def total(self, row: Row) -> int:
        """How many requests a row has."""
        return max(row.clients, int(row.total * self.scale))

    def spec(self, row: Row, endpoints: tuple[str, ...]) -> LoadSpec:
        """A row as a load on Sampan."""
        connections = 1 if row.message_puts else min(self.connections, row.clients)
        return LoadSpec(
            kind=row.kind,
            endpoints=endpoints,
            clients=row.clients,
            connections=connections,
            processes=min(self.processes, connections),
            total=self.total(row),
            warmup=self.total(row) // _WARMUP_SHARE,
            key_size=self.key_size,
            value_size=self.value_size,
            keys=self.keys,
            serializable=row.serializable,
            message_puts=row.message_puts,
        )


class Running(Protocol):
    """A cluster that runs."""

    def measure(self, row: Row) -> Measurement:
        """Do a row's work.

        Raises:
            BenchError: when any request failed, or a put is not in the store afterwards.
        """


@dataclass(slots=True)
class Etcd:
    """etcd, driven by h2load at its leader. Remembers the best split of each row."""

    options: CompareOptions
    splits: dict[str, Split] = field(default_factory=dict)
    name: str = "etcd"

    @contextmanager
    def running(self, directory: Path) -> Iterator["RunningEtcd"]:
        """A fresh cluster."""
        with EtcdCluster(directory) as cluster:
            yield RunningEtcd(self, cluster)


@dataclass(slots=True)
class RunningEtcd:
    """A cluster of etcd."""

    system: Etcd
    cluster: EtcdCluster

    def measure(self, row: Row) -> Measurement:
        """A warm-up and the row with its best split, which the first round looks for."""
        total = self.system.options.total(row)
        warmup = total // _WARMUP_SHARE
        splits = self.system.splits
        if row.name not in splits:
            candidates = SPLITS[row.clients]
            self._run(row, warmup, candidates[0])
            trials = {each: self._run(row, total // 2, each) for each in candidates}
            splits[row.name] = max(trials, key=lambda split: trials[split].per_second)
        self._run(row, warmup, splits[row.name])
        return self._run(row, total, splits[row.name])

    def _run(self, row: Row, total: int, split: Split) -> Measurement:
        options = self.system.options
        key = b"0" * options.key_size
        value = random.Random(1).randbytes(options.value_size)
        total = max(total, split.connections * split.streams)
        leader, before = self.cluster.leader()
        if row.kind == "put":
            method, body = "Put", put_body(key, value)
        else:
            method, body = "Range", range_body(key, serializable=row.serializable)
        run = run_h2load(f"{leader}/etcdserverpb.KV/{method}", body, total, split)
        advanced = self.cluster.leader()[1] - before
        if run.failed:
            raise BenchError(f"etcd, {row.name}: {run.failed} of {total} requests failed")
        if row.kind == "put" and advanced != total:
            raise BenchError(f"etcd, {row.name}: {total} puts raised the revision by {advanced}")
        if row.kind == "range" and run.data_bytes < total * options.value_size:
            raise BenchError(f"etcd, {row.name}: {run.data_bytes} bytes for {total} reads")
        return Measurement.of(run.per_second, run.latencies)


@dataclass(slots=True)
class Sampan:
    """Sampan in one placement, driven by its public client."""

    options: CompareOptions
    placement: str

    @property
    def name(self) -> str:
        """The column's name."""
        return self.placement

    @contextmanager
    def running(self, directory: Path) -> Iterator["RunningSampan"]:
        """A fresh cluster."""
        with SampanCluster(directory, self.placement) as cluster:
            yield RunningSampan(self, cluster)


@dataclass(slots=True)
class RunningSampan:
    """A cluster of Sampan."""

    system: Sampan
    cluster: SampanCluster

    def measure(self, row: Row) -> Measurement:
        """The row with its warm-up."""
        spec = self.system.options.spec(row, self.cluster.endpoints)
        before = self.cluster.revision()
        result = run_load(spec)
        advanced = self.cluster.revision() - before
        name = f"sampan {self.system.placement}, {row.name}"
        if result.errors:
            raise BenchError(f"{name}: {dict(result.errors)} among {spec.total} requests")
        if row.kind == "put" and advanced != spec.total + spec.warmup:
            raise BenchError(
                f"{name}: {spec.total + spec.warmup} puts raised the revision by {advanced}"
            )
        return Measurement.of(result.per_second, result.all_latencies)


def _check(options: CompareOptions) -> None:
    missing = missing_programs(_NEEDED)
    if missing:
        raise BenchError("\n".join(missing))
    if not options.directory.is_dir():
        raise BenchError(f"--directory {options.directory} is not a directory")
    if is_volatile(options.directory):
        raise BenchError(
            f"--directory {options.directory} is on {file_system(options.directory)}, where an "
            "fsync costs nothing: name a directory on a disk"
        )


def _busy() -> list[str]:
    """A warning for the page when others use the machine."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores / 2:
        return []
    return [f"THE MACHINE WAS BUSY before the run: load average {load:.1f} on {cores} cores."]


def _notes(options: CompareOptions, etcd: Etcd) -> list[str]:
    splits = "; ".join(
        f"{name}: {split}" for name, split in etcd.splits.items() if split != Split(1, 1)
    )
    return [
        f"etcd runs with its defaults, driven by h2load (C) at raw gRPC at the leader ({splits}).",
        "h2load repeats one request: etcd overwrites and reads one key, the best case for its "
        f"index, while Sampan's clients choose among {options.keys:,} keys and vary the values.",
        f"Sampan is driven by its public Python client: {options.connections} connections in "
        f"{options.processes} processes, fewer where there are fewer clients.",
        "The drivers share the machine with the nodes. Three nodes each, fresh data directories "
        "on the same disk, every write fsynced by a majority, one system at a time.",
        "Every put was executed: the store's revision rose by exactly the number of puts. Every "
        "read returned its value.",
    ]


def run_compare(options: CompareOptions, say: Callable[[str], None]) -> Comparison:
    """Measure every row on every system, round by round; the order turns with the rounds.

    Args:
        say: told about progress, a line at a time.

    Raises:
        BenchError: when a program is missing, the disk is none, or a measurement is not valid.
    """
    _check(options)
    etcd = Etcd(options)
    systems: Sequence[Etcd | Sampan] = (etcd, *(Sampan(options, p) for p in options.placements))
    comparison = Comparison(options.rows(), [system.name for system in systems], options.rounds)
    comparison.machine = describe_machine(options.directory)
    comparison.notes = _busy()
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir=options.directory) as directory:
        for number in range(options.rounds):
            turn = number % len(systems)
            for system in (*systems[turn:], *systems[:turn]):
                place = Path(directory, system.name)
                os.sync()  # what the one before left to be written is not this one's burden
                with system.running(place) as running:
                    _measure_rows(running, system.name, comparison, say)
                shutil.rmtree(place)
    comparison.machine["etcd"] = EtcdCluster.version()
    comparison.notes += _notes(options, etcd)
    return comparison


def _measure_rows(
    running: Running,
    system: str,
    comparison: Comparison,
    say: Callable[[str], None],
) -> None:
    for row in comparison.rows:
        if row.message_puts and system == "etcd":
            continue
        one = running.measure(row)
        comparison.add(system, row, one)
        say(f"{system:<10} {row.name:<40} {one.per_second:>10,.0f}/s  p50 {one.p50_ms:.3f} ms")
