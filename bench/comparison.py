"""The outcome of a comparison: medians, ratios, and the page that shows them."""

from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any, Self

from .histogram import Histogram

BASE = "etcd"


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of work. `metric`: "rate" compares requests per second, "p50" median latencies.

    `message_puts` above 0 marks the pipelined driver, which only Sampan has.
    """

    name: str
    kind: str
    clients: int
    total: int
    serializable: bool = False
    metric: str = "rate"
    message_puts: int = 0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One row on one system in one round; latencies in milliseconds."""

    per_second: float
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, per_second: float, latencies: Histogram) -> Self:
        """From a rate and all latencies."""
        p50, p99 = latencies.percentile(50), latencies.percentile(99)
        return cls(per_second, p50 / 1e6, p99 / 1e6)

    @classmethod
    def of_events(cls, latencies: Histogram) -> Self:
        """From the latencies of events; their rate is that of one after the other."""
        return cls.of(1e9 / latencies.mean_ns if latencies.count else 0.0, latencies)

    def value(self, row: Row) -> float:
        """What the row compares."""
        return self.p50_ms if row.metric == "p50" else self.per_second


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
        """The median over the rounds of what the row compares; pipelined, etcd's is that of the
        row whose work is the same."""
        if row.message_puts and system == BASE:
            same = (row.kind, row.clients)
            row = next(each for each in self.rows if (each.kind, each.clients) == same)
        return median(each.value(row) for each in self.measured[system][row.name])

    def ratio(self, system: str, row: Row) -> float:
        """The system's median over etcd's: above 1 is faster for a rate, slower for a p50."""
        return self.median(system, row) / self.median(BASE, row)

    def times_better(self) -> dict[str, dict[str, float]]:
        """For each system but etcd and each row: above 1 is better, whatever the metric."""
        return {
            system: {
                row.name: 1 / self.ratio(system, row)
                if row.metric == "p50"
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
                system: {name: [asdict(each) for each in runs] for name, runs in rows.items()}
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
        lines = [f"Sampan and etcd, three nodes each: medians of {self.rounds} round(s)", ""]
        lines += [f"{name + ':':<14}{value}" for name, value in self.machine.items()]
        others = [system for system in self.systems if system != BASE]
        heads = [*self.systems, *(f"{system} ÷ {BASE}" for system in others)]
        lines += ["", _line("", heads)]
        for row in self.rows:
            values = [_show(self.median(system, row), row) for system in self.systems]
            ratios = [f"{self.ratio(system, row):.2f}×" for system in others]
            lower = "  lower is better" if row.metric == "p50" else ""
            lines.append(_line(row.name, [*values, *ratios]) + lower)
        lines += ["", _line("latency p50 / p99, ms", self.systems)]
        lines += [_line(row.name, self._latencies(row)) for row in self.rows]
        lines += ["", "lowest and highest of the rounds"]
        lines += [_line(row.name, self._spreads(row)) for row in self.rows]
        return "\n".join([*lines, "", *(f"- {note}" for note in self.notes)])

    def _latencies(self, row: Row) -> list[str]:
        cells = []
        for system in self.systems:
            runs = self.measured[system].get(row.name, [])
            p50, p99 = ([each.p50_ms for each in runs], [each.p99_ms for each in runs])
            cells.append(f"{median(p50):.2f} / {median(p99):.2f}" if runs else "")
        return cells

    def _spreads(self, row: Row) -> list[str]:
        cells = []
        for system in self.systems:
            values = [each.value(row) for each in self.measured[system].get(row.name, [])]
            span = f"{_number(min(values), row)}–{_show(max(values), row)}" if values else ""
            cells.append(span)
        return cells


def _number(value: float, row: Row) -> str:
    return f"{value:.3f}" if row.metric == "p50" else f"{value:,.0f}"


def _show(value: float, row: Row) -> str:
    return _number(value, row) + (" ms" if row.metric == "p50" else "/s")


def _line(name: str, cells: list[str]) -> str:
    return f"{name:<40}" + "".join(f"{cell:>18}" for cell in cells)
