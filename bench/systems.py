"""The two systems of a comparison, what both are asked to do, and how each is driven best."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from statistics import median
from typing import Protocol

from .comparison import Measurement, Row
from .errors import BenchError
from .etcd import EtcdCluster
from .etcd_benchmark import Puts, run_puts
from .etcd_grpc import etcd_idle_memory, etcd_watch_latencies, etcd_writes_back_s
from .failover import ELECTION_S, sampan_writes_back_s
from .idle import sampan_idle_memory
from .load import run_load
from .over_grpc import OverGrpc
from .plan import WARMUP_SHARE, CompareOptions, Spread, best
from .programs import disk_bytes
from .sampan_cluster import SampanCluster
from .watching import sampan_watch_latencies

_OWN_CONNECTIONS = 100


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
    """etcd, driven by h2load at its leader."""

    options: CompareOptions
    over_grpc: OverGrpc
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
        """See `Running`."""
        if row.own_driver:
            return self._own(row)
        return self.system.over_grpc.load(row, self.cluster)

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
            warmup = puts._replace(total=total // WARMUP_SHARE)
            run_puts(options.benchmark, leader, warmup)
            before += warmup.total
        values = run_puts(options.benchmark, leader, puts)
        advanced = self.cluster.leader()[1] - before
        if advanced != total:
            raise BenchError(f"etcd, {row.name}: {total} puts raised the revision by {advanced}")
        return Measurement(values | (_taken(self.cluster) if is_fill else {}))


@dataclass(slots=True)
class Sampan:
    """Sampan in one placement, driven by its client, or by h2load as etcd is. Remembers each row's
    best spread."""

    options: CompareOptions
    placement: str
    over_grpc: OverGrpc
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
        """See `Running`."""
        if row.over_grpc:
            return self.system.over_grpc.load(row, self.cluster)
        options, chosen = self.system.options, self.system.spreads
        if row.name not in chosen:
            half = replace(options, scale=options.scale / 2)
            candidates = options.spreads_to_try(row)
            chosen[row.name] = best(candidates, lambda each: self._run(half, row, each))
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
