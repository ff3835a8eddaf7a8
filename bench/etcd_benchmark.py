"""Driving etcd with its own `benchmark` (in its repository's tools), and what it printed."""

import re
from pathlib import Path
from typing import NamedTuple

from .errors import BenchError
from .programs import run_program

_RUN_S = 1200.0
_RATE = re.compile(r"^\s*Requests/sec:\s+([\d.]+)", re.MULTILINE)
_LATENCY = re.compile(r"^\s*([\d.]+)% in ([\d.e-]+) secs", re.MULTILINE)
_PERCENTILES = ("50", "99", "99.9")
_ERRORS = "Error distribution"


class Puts(NamedTuple):
    """`total` puts by `clients` of them, of `keys` keys: at random, or each in its turn."""

    clients: int
    connections: int
    total: int
    keys: int
    key_size: int
    value_size: int
    in_turn: bool = False


def parse_output(text: str) -> dict[str, float]:
    """The metrics "rate", "p50", "p99" and, of a thousand requests and more, "p99.9" (ms).

    Raises:
        BenchError: when a request failed, or a line that every version prints is missing.
    """
    rate, latencies = _RATE.search(text), dict(_LATENCY.findall(text))
    if rate is None or not {"50", "99"} <= latencies.keys():
        raise BenchError(f"the output of etcd's benchmark is not understood: {text[-300:]!r}")
    if _ERRORS in text:
        raise BenchError(f"etcd's benchmark: {text[text.index(_ERRORS) :][:300]}")
    milliseconds = {
        f"p{each}": 1000 * float(latencies[each]) for each in _PERCENTILES if each in latencies
    }
    return {"rate": float(rate[1]), **milliseconds}


def run_puts(program: Path, endpoint: str, puts: Puts) -> dict[str, float]:
    """Put to one endpoint; the metrics of `parse_output`.

    Raises:
        BenchError: when the program is missing, fails, or a request does.
    """
    flags = [
        *("--endpoints", endpoint, "--precise"),
        *("--clients", str(puts.clients), "--conns", str(puts.connections)),
        *("--total", str(puts.total), "--key-space-size", str(puts.keys)),
        *("--key-size", str(puts.key_size), "--val-size", str(puts.value_size)),
        *(("--sequential-keys",) if puts.in_turn else ()),
    ]
    return parse_output(run_program([str(program), "put", *flags], _RUN_S))
