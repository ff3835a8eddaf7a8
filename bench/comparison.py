"""The outcome of a comparison: medians, ratios, and the page that shows them."""

from dataclasses import asdict, dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple, Self

from .histogram import Histogram

BASE = "etcd"


class Metric(NamedTuple):
    """What a row compares, and how it is written."""

    unit: str
    digits: int
    lower_is_better: bool = True


METRICS = {
    "rate": Metric("/s", 0, lower_is_better=False),
    "p50": Metric(" ms", 3),
    "p99.9": Metric(" ms", 3),
    "connection": Metric(" KiB", 1),
    "node": Metric(" MiB", 1),
    "elections": Metric("", 2),
    "disk": Metric(" MiB", 1),
}
"""Requests a second; latencies; resident memory of a connection and of a node; election timeouts
without a write; a node's files."""


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work, and which of `METRICS` it compares.

    `message_puts` above 0 marks the pipelined driver, which only Sampan has; `own_driver` that etcd
    is driven by its own benchmark; `over_grpc` that h2load drives both systems.
    """

    name: str
    kind: str
    clients: int
    total: int
    serializable: bool = False
    metric: str = "rate"
    message_puts: int = 0
    own_driver: bool = False
    over_grpc: bool = False

    def work(self, system: str) -> "Row":
        """The same for rows that compare what one measurement tells. etcd has no pipelined
        driver: its puts are those of clients, which are over gRPC anyhow."""
        if system == BASE:
            return replace(self, name="", metric="", message_puts=0, over_grpc=False)
        return replace(self, name="", metric="")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One work on one system in one round: values by metric, and "p99"; in its units."""

    values: dict[str, float]

    @classmethod
    def of(cls, per_second: float, latencies: Histogram) -> Self:
        """From a rate and all latencies."""
        percentiles = {f"p{each:g}": latencies.percentile(each) / 1e6 for each in (50, 99, 99.9)}
        return cls({"rate": per_second, **percentiles})

    @classmethod
    def of_events(cls, latencies: Histogram) -> Self:
        """From the latencies of events; their rate is that of one after the other."""
        return cls.of(1e9 / latencies.mean_ns if latencies.count else 0.0, latencies)

    def value(self, row: Row) -> float:
        """What the row compares."""
        return self.values[row.metric]

    def text(self, row: Row) -> str:
        """For the one who waits for the page."""
        p50 = f"  p50 {self.values['p50']:.3f} ms" if "p50" in self.values else ""
        return f"{row.name:<40} {_show(self.value(row), row):>14}{p50}"


@dataclass(slots=True)
class Comparison:
    """Everything measured: of each system, by row name, one measurement a round."""

    rows: tuple[Row, ...]
    systems: list[str]
    rounds: int
    machine: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    measured: dict[str, dict[str, list[Measurement]]] = field(default_factory=dict)

    def add(self, system: str, row: Row, measurement: Measurement) -> None:
        """Note one measurement."""
        self.measured.setdefault(system, {}).setdefault(row.name, []).append(measurement)

    def median(self, system: str, row: Row) -> float:
        """The median over the rounds of what the row compares."""
        return median(self._values(system, row))

    def ratio(self, system: str, row: Row) -> float:
        """The median of the rounds' ratios to etcd: what slows the machine in one round slows
        both. Above 1 is better for a rate, worse for all else."""
        pairs = zip(self._values(system, row), self._values(BASE, row), strict=True)
        return median(own / base for own, base in pairs)

    def _values(self, system: str, row: Row) -> list[float]:
        return [each.value(row) for each in self.measured[system][row.name]]

    def times_better(self) -> dict[str, dict[str, float]]:
        """For each system but etcd and each row: above 1 is better, whatever the metric."""
        return {
            system: {
                row.name: 1 / self.ratio(system, row)
                if METRICS[row.metric].lower_is_better
                else self.ratio(system, row)
                for row in self.rows
            }
            for system in self.systems
            if system != BASE
        }

    def to_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        return {
            "machine": self.machine,
            "notes": self.notes,
            "rounds": self.rounds,
            "rows": [asdict(row) for row in self.rows],
            "measured": {
                system: {name: [each.values for each in runs] for name, runs in rows.items()}
                for system, rows in self.measured.items()
            },
            "ratios": {
                system: {row.name: self.ratio(system, row) for row in self.rows}
                for system in self.systems
                if system != BASE
            },
        }

    def text(self) -> str:
        """The page that people read."""
        version = self.machine.get(BASE, "")
        base = f"{BASE} {version}".strip()
        lines = [f"Sampan and {base}, three nodes each: medians of {self.rounds} round(s)", ""]
        lines += [f"{name + ':':<14}{value}" for name, value in self.machine.items()]
        others = [system for system in self.systems if system != BASE]
        systems = [base if system == BASE else system for system in self.systems]
        heads = [*systems, *(f"{system} ÷ {BASE}" for system in others)]
        lines += ["", _line("", heads)]
        for row in self.rows:
            values = [_show(self.median(system, row), row) for system in self.systems]
            ratios = [f"{self.ratio(system, row):.2f}×" for system in others]
            lower = "  lower is better" if METRICS[row.metric].lower_is_better else ""
            lines.append(_line(row.name, [*values, *ratios]) + lower)
        latencies = [_line(r.name, cells) for r in self.rows if any(cells := self._latencies(r))]
        if latencies:
            lines += ["", _line("latency p50 / p99, ms", systems), *latencies]
        lines += ["", "lowest and highest of the rounds"]
        lines += [_line(row.name, self._spreads(row)) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])

    def _latencies(self, row: Row) -> list[str]:
        cells = []
        for system in self.systems:
            runs = [each.values for each in self.measured[system][row.name]]
            of = [median(run[name] for run in runs) for name in ("p50", "p99") if name in runs[0]]
            cells.append(" / ".join(f"{value:.2f}" for value in of))
        return cells

    def _spreads(self, row: Row) -> list[str]:
        cells = []
        for system in self.systems:
            values = self._values(system, row)
            cells.append(f"{_number(min(values), row)}–{_show(max(values), row)}")
        return cells


def _number(value: float, row: Row) -> str:
    return f"{value:,.{METRICS[row.metric].digits}f}"


def _show(value: float, row: Row) -> str:
    return _number(value, row) + METRICS[row.metric].unit


def _line(name: str, cells: list[str]) -> str:
    return f"{name:<40}" + "".join(f"{cell:>18}" for cell in cells)
