"""The two systems of a comparison, what both are asked to do, and how each is driven best."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol, TypeVar

from .comparison import Measurement, Row
from .errors import BenchError
from .etcd import EtcdCluster, put_body, range_body
from .etcd_benchmark import Puts, run_puts
from .etcd_grpc import etcd_fill, etcd_idle_memory, etcd_watch_latencies, etcd_writes_back_s
from .failover import ELECTION_S, sampan_writes_back_s
from .h2load import Split, run_h2load
from .idle import sampan_idle_memory
from .load import run_load
from .programs import disk_bytes
from .sampan_cluster import SampanCluster
from .spec import LoadSpec
from .watching import sampan_watch_latencies

_T = TypeVar("_T")

_WARMUP_SHARE = 10
_PIPELINED_MESSAGE_PUTS = 100

ROWS = (
    Row("memory of an idle connection", "idle", 1000, 1000, metric="connection"),
    Row("memory of a node with 1000 of them", "idle", 1000, 1000, metric="node"),
    Row("puts, 1000 clients", "put", 1000, 100_000),
    Row("puts, 64 clients", "put", 64, 40_000),
    Row("put, 1 client, p50", "put", 1, 3_000, metric="p50"),
    Row("linearizable reads, 1000 clients", "range", 1000, 150_000),
    Row("linearizable reads, 1 client", "range", 1, 6_000),
    Row("linearizable read, 1 client, p99.9", "range", 1, 6_000, metric="p99.9"),
    Row("serializable reads, 1000 clients", "range", 1000, 150_000, serializable=True),
    Row("serializable reads, 1 client", "range", 1, 10_000, serializable=True),
    Row(
        "serializable read, 1 client, p99.9",
        "range",
        1,
        10_000,
        serializable=True,
        metric="p99.9",
    ),
    Row("ranges of all keys, 4 clients", "list", 4, 200),
    Row("put to watch, 100 watchers, p50", "watch", 100, 300, metric="p50"),
    Row("writes after kill -9, election timeouts", "failover", 1, 10, metric="elections"),
)
"""Idle connections come first, to a node that has done nothing yet."""
PIPELINED_ROW = Row(
    "pipelined driver: puts, 1000 under way",
    "put",
    1000,
    100_000,
    message_puts=_PIPELINED_MESSAGE_PUTS,
)
OWN_DRIVER_ROWS = (
    Row("puts, 1000 clients, etcd by its benchmark", "put", 1000, 100_000, own_driver=True),
    Row("new keys, 500 clients, etcd likewise", "fill", 500, 1_000_000, own_driver=True),
    Row("memory of a node then", "fill", 500, 1_000_000, metric="node", own_driver=True),
    Row("disk of a node then", "fill", 500, 1_000_000, metric="disk", own_driver=True),
)
"""With etcd's own benchmark: h2load repeats one request, and cannot write key after key."""
_LAST = {"fill": 1, "failover": 2}
"""Nodes with so many keys, and those that were killed and started again, are not as before."""
_OWN_CONNECTIONS = 100
SPLITS = {
    1000: (Split(10, 100), Split(50, 20), Split(100, 10), Split(10, 100, threads=2)),
    64: (Split(1, 64), Split(4, 16), Split(8, 8)),
    4: (Split(1, 4), Split(4, 1)),
    1: (Split(1, 1),),
}
"""How h2load may spread that many requests under way; etcd gets the split that suits it best."""


class Spread(NamedTuple):
    """How Sampan's clients spread: over connections, and those over worker processes."""

    connections: int
    processes: int

    def __str__(self) -> str:
        workers = f" in {self.processes} processes" if self.processes > 1 else ""
        return f"{self.connections}{workers}"


SPREADS = {
    1000: (Spread(1, 1), Spread(4, 1), Spread(10, 1), Spread(4, 2)),
    500: (Spread(4, 1),),
    64: (Spread(1, 1), Spread(4, 1), Spread(4, 2)),
    4: (Spread(1, 1), Spread(4, 1), Spread(4, 2)),
    1: (Spread(1, 1),),
}
"""How that many of Sampan's clients may spread; it gets the best, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareOptions:
    """What `sampan bench compare` was asked for.

    `scale` multiplies every row's total. `connections` and `processes` 0 look for the best numbers.
    `etcd` is the program, None the one that is installed; `benchmark` is etcd's own driver, None to
    do without.
    """

    placements: tuple[str, ...]
    rounds: int = 3
    scale: float = 1.0
    key_size: int = 16
    value_size: int = 256
    keys: int = 10_000
    connections: int = 0
    processes: int = 0
    directory: Path = Path("/var/tmp")
    pipelined: bool = False
    only: tuple[str, ...] = ()
    etcd: Path | None = None
    benchmark: Path | None = None
    gateway: bool = False

    def rows(self) -> tuple[Row, ...]:
        """What is measured: with `only`, the rows whose names contain one of its texts.

        Raises:
            BenchError: when one of them is in no name.
        """
        pipelined = (PIPELINED_ROW,) if self.pipelined else ()
        rows = (*ROWS, *pipelined, *(OWN_DRIVER_ROWS if self.benchmark else ()))
        for text in self.only:
            if not any(text in row.name for row in rows):
                names = "\n".join(row.name for row in rows)
                raise BenchError(f"--only {text!r} is in no row's name; they are\n{names}")
        chosen = [r for r in rows if not self.only or any(text in r.name for text in self.only)]
        return tuple(sorted(chosen, key=lambda row: _LAST.get(row.kind, 0)))

    def total(self, row: Row) -> int:
        """How many requests a row has."""
        return max(row.clients, int(row.total * self.scale))

    def spreads_to_try(self, row: Row) -> tuple[Spread, ...]:
        """How a row's clients may spread."""
        if row.message_puts:
            return (Spread(1, 1),)
        spreads = []
        for each in SPREADS[row.clients]:
            connections = min(self.connections or each.connections, row.clients)
            processes = min(self.processes or each.processes, connections)
            spreads.append(Spread(connections, processes))
        return tuple(dict.fromkeys(spreads))

    def spec(self, row: Row, endpoints: tuple[str, ...], spread: Spread) -> LoadSpec:
        """A row as a load on Sampan."""
        return LoadSpec(
            kind=row.kind,
            endpoints=endpoints,
            clients=row.clients,
            connections=spread.connections,
            processes=spread.processes,
            total=self.total(row),
            warmup=0 if row.kind == "fill" else self.total(row) // _WARMUP_SHARE,
            key_size=self.key_size,
            value_size=self.value_size,
            keys=self.keys,
            serializable=row.serializable,
            message_puts=row.message_puts,
        )


class Running(Protocol):
    """A cluster that runs, and what rows ask of it. Each raises BenchError when any request failed,
    or a put is not in the store afterwards."""

    def load(self, row: Row) -> Measurement:
        """Requests, with the spread that suits the row best, which the first round looks for."""

    def watch(self, row: Row) -> Measurement:
        """Puts, until all watchers know of each."""

    def idle(self, row: Row) -> Measurement:
        """Connections that ask for nothing."""

    def failover(self, row: Row) -> Measurement:
        """Kills of the leader."""


def measure(running: Running, row: Row) -> Measurement:
    """Do a row's work. Raises BenchError."""
    match row.kind:
        case "watch":
            return running.watch(row)
        case "idle":
            return running.idle(row)
        case "failover":
            return running.failover(row)
    return running.load(row)


@dataclass(slots=True)
class Etcd:
    """etcd, driven by h2load at its leader. Remembers the best split of each row."""

    options: CompareOptions
    splits: dict[str, Split] = field(default_factory=dict)
    name: str = "etcd"
    version: str = ""

    @contextmanager
    def running(self, directory: Path) -> Iterator["RunningEtcd"]:
        """A fresh cluster."""
        with EtcdCluster(directory, etcd=self.options.etcd) as cluster:
            self.version = cluster.version()
            yield RunningEtcd(self, cluster)


@dataclass(slots=True)
class RunningEtcd:
    """A cluster of etcd."""

    system: Etcd
    cluster: EtcdCluster

    def load(self, row: Row) -> Measurement:
        """A warm-up and the row with its best split, which the first round looks for."""
        match row.kind:
            case "fill" | "put" if row.own_driver:
                return self._own(row)
            case "list":
                self._fill(self.system.options.keys)
            case "range":
                self._fill(1)
        total = self.system.options.total(row)
        warmup = total // _WARMUP_SHARE
        splits, candidates = self.system.splits, SPLITS[row.clients]
        self._run(row, warmup, splits.get(row.name, candidates[0]))
        if row.name not in splits:
            splits[row.name] = _best(candidates, lambda split: self._run(row, total // 2, split))
        return self._run(row, total, splits[row.name])

    def watch(self, row: Row) -> Measurement:
        """See `Running`."""
        options = self.system.options
        value = random.Random(1).randbytes(options.value_size)
        leader, _ = self.cluster.leader()
        latencies = etcd_watch_latencies(leader, row.clients, options.total(row), value)
        return Measurement.of_events(latencies)

    def idle(self, row: Row) -> Measurement:
        """See `Running`."""
        connections = self.system.options.total(row)
        endpoint, memory = self.cluster.endpoints[0], partial(self.cluster.node_memory_bytes, 0)
        return Measurement(etcd_idle_memory(endpoint, connections, memory))

    def failover(self, row: Row) -> Measurement:
        """See `Running`."""
        times = range(self.system.options.total(row))
        return _elections([etcd_writes_back_s(self.cluster.leader_killed()) for _ in times])

    def _own(self, row: Row) -> Measurement:
        """By etcd's benchmark: a warm-up and the row, or new keys and what they take."""
        options, is_fill = self.system.options, row.kind == "fill"
        assert options.benchmark is not None, "the row is there with it"
        total = options.total(row)
        puts = Puts(
            row.clients, _OWN_CONNECTIONS, total, total if is_fill else options.keys,
            options.key_size, options.value_size, in_turn=is_fill,
        )  # fmt: skip
        leader, before = self.cluster.leader()
        if not is_fill:
            warmup = puts._replace(total=total // _WARMUP_SHARE)
            run_puts(options.benchmark, leader, warmup)
            before += warmup.total
        values = run_puts(options.benchmark, leader, puts)
        advanced = self.cluster.leader()[1] - before
        if advanced != total:
            raise BenchError(f"etcd, {row.name}: {total} puts raised the revision by {advanced}")
        return Measurement(values | (_taken(self.cluster) if is_fill else {}))

    def _fill(self, count: int) -> None:
        """The first keys, which are to be read."""
        options = self.system.options
        spec = LoadSpec(kind="list", endpoints=("-",), keys=count, key_size=options.key_size)
        value = random.Random(1).randbytes(options.value_size)
        etcd_fill(self.cluster.leader()[0], spec.all_keys(), value)

    def _run(self, row: Row, total: int, split: Split) -> Measurement:
        options = self.system.options
        key = b"0" * options.key_size
        value = random.Random(1).randbytes(options.value_size)
        total = max(total, split.connections * split.streams)
        leader, before = self.cluster.leader()
        if row.kind == "put":
            method, body = "Put", put_body(key, value)
        else:
            end = b"\x00" if row.kind == "list" else b""
            method = "Range"
            body = range_body(key, serializable=row.serializable, range_end=end)
        run = run_h2load(f"{leader}/etcdserverpb.KV/{method}", body, total, split)
        advanced = self.cluster.leader()[1] - before
        if run.failed:
            raise BenchError(f"etcd, {row.name}: {run.failed} of {total} requests failed")
        if row.kind == "put" and advanced != total:
            raise BenchError(f"etcd, {row.name}: {total} puts raised the revision by {advanced}")
        least = total * options.value_size * (options.keys if row.kind == "list" else 1)
        if row.kind != "put" and run.data_bytes < least:
            raise BenchError(f"etcd, {row.name}: {run.data_bytes} bytes for {total} reads")
        return Measurement.of(run.per_second, run.latencies)


@dataclass(slots=True)
class Sampan:
    """Sampan in one placement, driven by its client. Remembers each row's best spread."""

    options: CompareOptions
    placement: str
    spreads: dict[str, Spread] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The column's name."""
        return self.placement

    @contextmanager
    def running(self, directory: Path) -> Iterator["RunningSampan"]:
        """A fresh cluster."""
        gateway = self.options.gateway
        with SampanCluster(directory, self.placement, gateway=gateway) as cluster:
            yield RunningSampan(self, cluster)


@dataclass(slots=True)
class RunningSampan:
    """A cluster of Sampan."""

    system: Sampan
    cluster: SampanCluster

    def load(self, row: Row) -> Measurement:
        """The row with the spread that suits it best, which the first round looks for."""
        options, chosen = self.system.options, self.system.spreads
        if row.name not in chosen:
            half = replace(options, scale=options.scale / 2)
            candidates = options.spreads_to_try(row)
            chosen[row.name] = _best(candidates, lambda each: self._run(half, row, each))
        return self._run(options, row, chosen[row.name])

    def watch(self, row: Row) -> Measurement:
        """See `Running`."""
        options, endpoints = self.system.options, self.cluster.endpoints
        value, puts = random.Random(1).randbytes(options.value_size), options.total(row)
        return Measurement.of_events(sampan_watch_latencies(endpoints, row.clients, puts, value))

    def idle(self, row: Row) -> Measurement:
        """See `Running`."""
        connections = self.system.options.total(row)
        endpoint, memory = self.cluster.endpoints[0], partial(self.cluster.node_memory_bytes, 0)
        return Measurement(sampan_idle_memory(endpoint, connections, memory))

    def failover(self, row: Row) -> Measurement:
        """See `Running`."""
        times, endpoints = range(self.system.options.total(row)), self.cluster.endpoints
        killed = self.cluster.leader_killed
        return _elections([sampan_writes_back_s(endpoints, killed()) for _ in times])

    def _run(self, options: CompareOptions, row: Row, spread: Spread) -> Measurement:
        spec = options.spec(row, self.cluster.endpoints, spread)
        before = self.cluster.revision()
        result = run_load(spec)
        advanced = self.cluster.revision() - before
        name = f"sampan {self.system.placement}, {row.name}"
        if result.errors:
            raise BenchError(f"{name}: {dict(result.errors)} among {spec.total} requests")
        if row.kind in ("put", "fill") and advanced != spec.total + spec.warmup:
            raise BenchError(
                f"{name}: {spec.total + spec.warmup} puts raised the revision by {advanced}"
            )
        found = Measurement.of(result.per_second, result.all_latencies)
        return Measurement(found.values | _taken(self.cluster)) if row.kind == "fill" else found


def _taken(cluster: EtcdCluster | SampanCluster) -> dict[str, float]:
    """What a node takes, of the metrics "node" and "disk": the mean of all."""
    nodes = range(len(cluster.endpoints))
    return {
        "node": sum(map(cluster.node_memory_bytes, nodes)) / len(nodes) / 2**20,
        "disk": sum(map(disk_bytes, map(cluster.data_dir, nodes))) / len(nodes) / 2**20,
    }


def _elections(seconds: Sequence[float]) -> Measurement:
    return Measurement({"elections": median(seconds) / ELECTION_S})


def _best(candidates: Sequence[_T], trial: Callable[[_T], Measurement]) -> _T:
    """The candidate with the highest rate; a single one needs no trial."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda each: trial(each).values["rate"])
