"""Rows that h2load measures: one request, repeated, at the leader's gRPC address; every one is
proven to have been done."""

import random
from dataclasses import dataclass, field
from typing import Protocol

from .comparison import Measurement, Row
from .errors import BenchError
from .etcd import put_body, range_body
from .etcd_grpc import etcd_fill
from .h2load import Split, run_h2load
from .plan import SPLITS, WARMUP_SHARE, CompareOptions, best
from .spec import LoadSpec


class Led(Protocol):
    """A cluster that serves etcd's API."""

    def leader(self) -> tuple[str, int]:
        """Its address, and the newest revision. Raises BenchError when members do not agree."""


@dataclass(slots=True)
class OverGrpc:
    """h2load before a system. Remembers the best split of each row."""

    options: CompareOptions
    name: str
    splits: dict[str, Split] = field(default_factory=dict)

    def load(self, row: Row, cluster: Led) -> Measurement:
        """A warm-up and the row with its best split, which the first round looks for.

        Raises:
            BenchError: when a request failed, or is not seen to have been done.
        """
        if row.kind != "put":
            self._fill(cluster, self.options.keys if row.kind == "list" else 1)
        total = self.options.total(row)
        candidates = SPLITS[row.clients]
        self._run(cluster, row, total // WARMUP_SHARE, self.splits.get(row.name, candidates[0]))
        if row.name not in self.splits:
            self.splits[row.name] = best(
                candidates, lambda split: self._run(cluster, row, total // 2, split)
            )
        return self._run(cluster, row, total, self.splits[row.name])

    def _fill(self, cluster: Led, count: int) -> None:
        """The first keys, which are to be read."""
        options = self.options
        spec = LoadSpec(kind="list", endpoints=("-",), keys=count, key_size=options.key_size)
        value = random.Random(1).randbytes(options.value_size)
        etcd_fill(cluster.leader()[0], spec.all_keys(), value)

    def _run(self, cluster: Led, row: Row, total: int, split: Split) -> Measurement:
        options = self.options
        key = b"0" * options.key_size
        value = random.Random(1).randbytes(options.value_size)
        total = max(total, split.connections * split.streams)
        if row.kind == "put":
            method, body = "Put", put_body(key, value)
        else:
            end = b"\x00" if row.kind == "list" else b""
            method = "Range"
            body = range_body(key, serializable=row.serializable, range_end=end)
        leader, before = cluster.leader()
        run = run_h2load(f"{leader}/etcdserverpb.KV/{method}", body, total, split)
        advanced = cluster.leader()[1] - before
        name = f"{self.name}, {row.name}"
        if run.failed:
            raise BenchError(f"{name}: {run.failed} of {total} requests failed")
        if row.kind == "put" and advanced != total:
            raise BenchError(f"{name}: {total} puts raised the revision by {advanced}")
        least = total * options.value_size * (options.keys if row.kind == "list" else 1)
        if row.kind != "put" and run.data_bytes < least:
            raise BenchError(f"{name}: {run.data_bytes} bytes for {total} reads")
        return Measurement.of(run.per_second, run.latencies)
