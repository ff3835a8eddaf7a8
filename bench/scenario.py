"""What the scenarios (leases, keys, watchers) share: their options, puts beside them, outcomes."""

import argparse
import asyncio
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ..client import AsyncClient, SampanError
from ..config.model import PLACEMENTS
from .errors import BenchError
from .histogram import Histogram
from .report import PERCENTILES, milliseconds


class Outcome(NamedTuple):
    """What a scenario measured: for people, for programs, and to plot."""

    text: str
    content: dict[str, Any]
    title: str
    latencies: Mapping[str, Histogram]


def add_shared(parser: argparse.ArgumentParser) -> None:
    """The options of every scenario."""
    parser.add_argument("--value-size", type=int, default=256, help="bytes (%(default)s)")
    parser.add_argument(
        "--placement", choices=PLACEMENTS, default="fused", help="of the nodes (%(default)s)"
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("/var/tmp"),
        help="on the disk to measure (%(default)s)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a .png or .svg there")


@contextmanager
def workspace(directory: Path) -> Iterator[Path]:
    """A directory that goes at the end. The client's errors become BenchError."""
    own = Path(tempfile.mkdtemp(prefix="sampan-bench-", dir=directory))
    try:
        yield own
    except SampanError as error:
        raise BenchError(f"{type(error).__name__}: {error}") from error
    finally:
        shutil.rmtree(own)


class Phase:
    """The puts of some time."""

    def __init__(self) -> None:
        self.latencies = Histogram()
        self.begun = time.monotonic()
        self.seconds = 0.0

    def end(self) -> None:
        """No put belongs to it any more."""
        self.seconds = time.monotonic() - self.begun

    @property
    def per_second(self) -> float:
        """Puts a second."""
        return self.latencies.count / self.seconds


class Puts:
    """Tasks that put keys of their own, one request under way each."""

    def __init__(self, client: AsyncClient, clients: int, value_size: int) -> None:
        self._client = client
        self._value = bytes(value_size)
        self._phase = Phase()
        self._stopped = False
        self._tasks = [asyncio.create_task(self._put(i)) for i in range(clients)]

    async def _put(self, number: int) -> None:
        key = b"other/%d" % number
        while not self._stopped:
            asked_ns = time.perf_counter_ns()
            await self._client.put(key, self._value)
            self._phase.latencies.add(time.perf_counter_ns() - asked_ns)

    def begin_phase(self) -> Phase:
        """Puts that end from now on belong to the phase returned."""
        self._phase.end()
        self._phase = Phase()
        return self._phase

    async def stop(self) -> None:
        """End after the puts under way."""
        self._stopped = True
        self._phase.end()
        await asyncio.gather(*self._tasks)


def table(rows: Mapping[str, tuple[str, Histogram]]) -> list[str]:
    """Lines of a table: for each name a number, as text, and latencies."""
    heads = ("", "p50", "p90", "p99", "p99.9", "max")
    lines = [" " * 24 + "".join(f"{head:>12}" for head in heads)]
    for name, (number, histogram) in rows.items():
        values = [*(histogram.percentile(percent) for percent in PERCENTILES), histogram.max_ns]
        cells = [number, *map(milliseconds, values)]
        lines.append(f"{name:<24}" + "".join(f"{cell:>12}" for cell in cells))
    return [*lines, "latency in ms"]
