"""What a comparison measures: the rows, how their requests spread, and what was asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from .comparison import Measurement, Row
from .errors import BenchError
from .h2load import Split
from .spec import LoadSpec

_T = TypeVar("_T")

WARMUP_SHARE = 10
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
GRPC_ROWS = (
    Row("gRPC: puts, 1000 clients", "put", 1000, 100_000, over_grpc=True),
    Row("gRPC: put, 1 client, p50", "put", 1, 3_000, metric="p50", over_grpc=True),
    Row("gRPC: linearizable reads, 1000 clients", "range", 1000, 150_000, over_grpc=True),
    Row(
        "gRPC: serializable read, 1 client, p50",
        "range",
        1,
        10_000,
        serializable=True,
        metric="p50",
        over_grpc=True,
    ),
)
"""With gateways: h2load before both systems."""
OWN_DRIVER_ROWS = (
    Row("puts, 1000 clients, etcd by its benchmark", "put", 1000, 100_000, own_driver=True),
    Row("new keys, 500 clients, etcd likewise", "fill", 500, 1_000_000, own_driver=True),
    Row("memory of a node then", "fill", 500, 1_000_000, metric="node", own_driver=True),
    Row("disk of a node then", "fill", 500, 1_000_000, metric="disk", own_driver=True),
)
"""With etcd's own benchmark: h2load repeats one request, and cannot write key after key."""
_LAST = {"fill": 1, "failover": 2}
"""Nodes with so many keys, and those that were killed and started again, are not as before."""
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
        over_grpc = GRPC_ROWS if self.gateway else ()
        rows = (*ROWS, *pipelined, *over_grpc, *(OWN_DRIVER_ROWS if self.benchmark else ()))
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
            warmup=0 if row.kind == "fill" else self.total(row) // WARMUP_SHARE,
            key_size=self.key_size,
            value_size=self.value_size,
            keys=self.keys,
            serializable=row.serializable,
            message_puts=row.message_puts,
        )


def best(candidates: Sequence[_T], trial: Callable[[_T], Measurement]) -> _T:
    """The candidate with the highest rate; a single one needs no trial."""
    if len(candidates) == 1:
        return candidates[0]
    return max(candidates, key=lambda each: trial(each).values["rate"])
