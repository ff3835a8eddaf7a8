"""Driving etcd with h2load at raw gRPC, and reading what h2load printed."""

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .errors import BenchError
from .histogram import Histogram
from .programs import find_program, run_program

_RUN_S = 600.0


@dataclass(frozen=True, slots=True)
class Split:
    """How concurrent requests spread: streams on each of several connections."""

    connections: int
    streams: int
    threads: int = 1

    def __str__(self) -> str:
        return f"-c {self.connections} -m {self.streams} -t {self.threads}"


@dataclass(frozen=True, slots=True)
class H2loadRun:
    """One h2load run: requests answered, their rate, and how large their answers were together.

    `failed` counts what h2load calls failed, errored or timed out, and every status but 2xx.
    gRPC's own status is in trailers that h2load does not read: `data_bytes` tells answers with
    a message from errors, which have none.
    """

    done: int
    failed: int
    seconds: float
    per_second: float
    data_bytes: int
    latencies: Histogram


_FINISHED = re.compile(r"^finished in ([\d.]+)(us|ms|s|m), ([\d.]+) req/s", re.MULTILINE)
_REQUESTS = re.compile(
    r"^requests: (\d+) total, \d+ started, (\d+) done, (\d+) succeeded, "
    r"(\d+) failed, (\d+) errored, (\d+) timeout",
    re.MULTILINE,
)
_STATUS = re.compile(r"^status codes: (\d+) 2xx", re.MULTILINE)
_DATA = re.compile(r"\((\d+)\) data", re.MULTILINE)
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0}


def parse_output(text: str, latencies: Histogram) -> H2loadRun:
    """What h2load printed, as numbers.

    Raises:
        BenchError: when a line that every version prints is missing.
    """
    finished, requests = _FINISHED.search(text), _REQUESTS.search(text)
    status, data = _STATUS.search(text), _DATA.search(text)
    if finished is None or requests is None or status is None or data is None:
        raise BenchError(f"h2load's output is not understood: {text[-300:]!r}")
    total, succeeded = int(requests[1]), int(requests[3])
    return H2loadRun(
        done=int(requests[2]),
        failed=total - min(succeeded, int(status[1])),
        seconds=float(finished[1]) * _SECONDS[finished[2]],
        per_second=float(finished[3]),
        data_bytes=int(data[1]),
        latencies=latencies,
    )


def parse_log(text: str) -> Histogram:
    """The latencies of a `--log-file`: start, HTTP status, microseconds, separated by tabs.

    Raises:
        BenchError: when a line is something else.
    """
    histogram = Histogram()
    for line in text.splitlines():
        try:
            _, status, microseconds = line.split("\t")[:3]
            if status == "200":
                histogram.add(int(microseconds) * 1000)
        except ValueError as error:
            raise BenchError(f"h2load's log file has a line {line[:80]!r}") from error
    return histogram


def run_h2load(url: str, body: bytes, total: int, split: Split) -> H2loadRun:
    """POST `body` to `url` `total` times as gRPC over cleartext HTTP/2.

    Raises:
        BenchError: when h2load is missing, fails, or prints something unknown.
    """
    with tempfile.TemporaryDirectory(prefix="sampan-bench-") as directory:
        data, log = Path(directory, "body"), Path(directory, "log")
        data.write_bytes(body)
        printed = run_program(
            [
                find_program("h2load"),
                *("-n", str(total), "-c", str(split.connections)),
                *("-m", str(split.streams), "-t", str(split.threads)),
                *("-d", str(data), "--log-file", str(log)),
                *("-H", "content-type: application/grpc", "-H", "te: trailers"),
                url,
            ],
            _RUN_S,
        )
        return parse_output(printed, parse_log(log.read_text()))
