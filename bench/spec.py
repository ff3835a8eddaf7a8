"""What a load is, and what came of it. Both travel between processes as JSON."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

from .errors import BenchError
from .histogram import Histogram

KINDS = ("put", "range", "mixed", "list", "fill")


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSpec:
    """A fixed amount of work.

    Attributes:
        kind: "put", "range" (reads of one key each), "mixed", "list" (reads of all keys each), or
            "fill" (puts of a new key each).
        endpoints: the nodes' client endpoints, all given to every client.
        clients: logical clients; each has one request under way.
        connections: `AsyncClient`s that the logical clients share.
        processes: worker processes that the connections spread over.
        total: measured requests. warmup: requests before them, not measured.
        key_size, value_size: bytes. keys: how many different keys.
        rate: requests per second of an open loop, 0 for a closed one.
        read_percent: share of reads in "mixed".
        serializable: reads are local and may be stale.
        seed: of the choice of keys and of reads.
        message_puts: 0 for the client library; otherwise the pipelined driver, which
            writes this many puts into one message itself.
    """

    kind: str
    endpoints: tuple[str, ...]
    clients: int = 1000
    connections: int = 10
    processes: int = 1
    total: int = 100_000
    warmup: int = 5_000
    key_size: int = 16
    value_size: int = 256
    keys: int = 10_000
    rate: int = 0
    read_percent: int = 50
    serializable: bool = False
    seed: int = 1
    message_puts: int = 0

    def validate(self) -> Self:
        """The spec itself.

        Raises:
            BenchError: when it cannot be carried out; the text names the option.
        """
        digits = len(str(self.keys - 1))
        rules = (
            (self.kind in KINDS, f"the load is one of {', '.join(KINDS)}, not {self.kind!r}"),
            (bool(self.endpoints), "--endpoints is empty"),
            (self.clients >= 1, "--clients must be at least 1"),
            (self.total >= self.clients, "--total must be at least --clients"),
            (self.keys >= 1, "--keys must be at least 1"),
            (
                self.key_size >= digits,
                f"--key-size must be at least {digits} for --keys {self.keys}",
            ),
            (self.value_size >= 0, "--value-size must not be negative"),
            (1 <= self.connections <= self.clients, "--connections must be 1 to --clients"),
            (1 <= self.processes <= self.connections, "--processes must be 1 to --connections"),
            (self.rate == 0 or self.rate >= self.processes, "--rate must be at least --processes"),
            (self.warmup >= 0, "--warmup must not be negative"),
            (0 <= self.read_percent <= 100, "--read-percent must be 0 to 100"),
        )
        for holds, text in rules:
            if not holds:
                raise BenchError(text)
        return self

    def share(self, index: int) -> "LoadSpec":
        """What the worker process `index` does; the shares add up to the whole."""

        def part(whole: int) -> int:
            return whole * (index + 1) // self.processes - whole * index // self.processes

        return replace(
            self,
            clients=part(self.clients),
            connections=part(self.connections),
            total=part(self.total),
            warmup=part(self.warmup),
            rate=part(self.rate),
            seed=self.seed * 1_000_003 + index,
        )

    def all_keys(self) -> list[bytes]:
        """Every key: its number in digits, filled up with zeros in front."""
        return [str(number).zfill(self.key_size).encode() for number in range(self.keys)]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        known = {each.name for each in fields(cls)}
        given = {name: value for name, value in data.items() if name in known}
        return cls(**{**given, "endpoints": tuple(data["endpoints"])})


@dataclass(slots=True)
class LoadResult:
    """What one worker, or all together, did in the measured part.

    Attributes:
        started, ended: monotonic seconds, comparable between processes of one machine.
        latencies: a histogram of the successful requests by operation ("put", "range").
        errors: failed requests by the error's type.
        event_loop: what drove the client, for the report.
    """

    started: float
    ended: float
    latencies: dict[str, Histogram] = field(default_factory=dict)
    errors: Counter[str] = field(default_factory=Counter)
    event_loop: str = ""

    @property
    def seconds(self) -> float:
        """From the first worker's start to the last one's end."""
        return self.ended - self.started

    @property
    def succeeded(self) -> int:
        """Requests that were answered without an error."""
        return sum(each.count for each in self.latencies.values())

    @property
    def per_second(self) -> float:
        """Successful requests per second."""
        return self.succeeded / self.seconds if self.seconds > 0 else 0.0

    @property
    def all_latencies(self) -> Histogram:
        """The histograms of all operations as one."""
        together = Histogram()
        for each in self.latencies.values():
            together.merge(each)
        return together

    def merge(self, other: "LoadResult") -> None:
        """Take in what another process did at the same time."""
        self.started = min(self.started, other.started)
        self.ended = max(self.ended, other.ended)
        self.errors.update(other.errors)
        for name, histogram in other.latencies.items():
            self.latencies.setdefault(name, Histogram()).merge(histogram)

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "started": self.started,
            "ended": self.ended,
            "latencies": {name: each.to_json() for name, each in self.latencies.items()},
            "errors": dict(self.errors),
            "event_loop": self.event_loop,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        latencies = {name: Histogram.from_json(each) for name, each in data["latencies"].items()}
        return cls(
            data["started"], data["ended"], latencies, Counter(data["errors"]), data["event_loop"]
        )
