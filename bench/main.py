"""`sampan bench`: loads, and the comparison with etcd."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config.model import PLACEMENTS
from . import keys, leases, watchers
from .compare import run_compare
from .errors import BenchError
from .load import run_load
from .plan import CompareOptions
from .plot import check_plot, plot_latencies, plot_ratios
from .progress import ProgressBar
from .report import describe, load_json, load_text
from .spec import KINDS, LoadSpec

_HELP = {
    "put": "write single keys",
    "range": "read single keys",
    "mixed": "read and write single keys",
    "list": "read all keys in one range",
    "leases": "let many leases end at once, under puts",
    "keys": "fill, scan, compact and restart a store of many keys",
    "watchers": "many watchers on one node",
    "compare": "the same work on Sampan and on etcd, three nodes each",
}
_SCENARIOS = {"leases": leases, "keys": keys, "watchers": watchers}
_DEFAULT_ENDPOINTS = "127.0.0.1:2378,127.0.0.1:22378,127.0.0.1:32378"
"""Those of `sampan up` (config/dev-3-nodes.toml)."""


def _list(text: str) -> tuple[str, ...]:
    return tuple(part for part in (each.strip() for each in text.split(",")) if part)


def _placements(text: str) -> tuple[str, ...]:
    chosen = _list(text)
    if not chosen or not set(chosen) <= set(PLACEMENTS):
        raise argparse.ArgumentTypeError(f"one or more of {', '.join(PLACEMENTS)}, not {text!r}")
    return chosen


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"a number above 0, not {text}")
    return number


def _add_shared(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--key-size", type=int, default=16, help="bytes (%(default)s)")
    parser.add_argument("--value-size", type=int, default=256, help="bytes (%(default)s)")
    parser.add_argument("--keys", type=int, default=10_000, help="different keys (%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there, too")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write a .png or .svg there")


def _add_load(parser: argparse.ArgumentParser, kind: str) -> None:
    _add_shared(parser)
    parser.add_argument("--processes", type=int, default=1, help="worker processes (%(default)s)")
    parser.add_argument(
        "--connections", type=int, help="client objects (a tenth of the clients, at most 10)"
    )
    parser.add_argument(
        "--endpoints",
        type=_list,
        default=_DEFAULT_ENDPOINTS,
        help="host:port, separated by commas (%(default)s)",
    )
    parser.add_argument(
        "--clients",
        type=int,
        default=1000,
        help="logical clients, one request under way each (%(default)s)",
    )
    parser.add_argument("--total", type=int, default=100_000, help="requests (%(default)s)")
    parser.add_argument("--warmup", type=int, help="requests before, not measured (total / 10)")
    parser.add_argument(
        "--rate",
        type=int,
        default=0,
        help="open loop: requests per second, latencies from when each was due (closed loop)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the choice of keys (%(default)s)")
    if kind != "put":
        parser.add_argument(
            "--serializable",
            action="store_true",
            help="local reads that may be stale (linearizable)",
        )
    if kind == "mixed":
        parser.add_argument("--read-percent", type=int, default=50, help="reads (%(default)s)")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    _add_shared(parser)
    parser.add_argument(
        "--connections", type=int, default=0, help="client objects of Sampan (the best of several)"
    )
    parser.add_argument(
        "--processes", type=int, default=0, help="worker processes (the best of one and two)"
    )
    parser.add_argument(
        "--placements",
        type=_placements,
        default=PLACEMENTS,
        help=f"of Sampan's nodes ({','.join(PLACEMENTS)})",
    )
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument(
        "--scale",
        type=_positive,
        default=1.0,
        help="multiplies the work of every row (%(default)s)",
    )
    parser.add_argument(
        "--directory",
        type=Path,
        default=Path("/var/tmp"),
        help="on the disk to measure (%(default)s)",
    )
    parser.add_argument(
        "--pipelined", action="store_true", help="a row for the low-level pipelined driver, too"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="TEXT",
        help="the rows whose names contain it, or another --only's text (all)",
    )
    parser.add_argument(
        "--etcd", type=Path, metavar="PATH", help="the program (the one that is installed)"
    )
    parser.add_argument(
        "--etcd-benchmark", type=Path, metavar="PATH",
        help="etcd's own driver, for a row of puts and for new keys",
    )  # fmt: skip
    parser.add_argument(
        "--gateway",
        action="store_true",
        help="let Sampan serve etcd's clients meanwhile; adds rows in which h2load drives both",
    )


def parser() -> argparse.ArgumentParser:
    """All options."""
    main_parser = argparse.ArgumentParser(prog="sampan bench", description=__doc__)
    commands = main_parser.add_subparsers(dest="command", required=True, metavar="command")
    for name, text in _HELP.items():
        one = commands.add_parser(name, help=text, description=text)
        if name in KINDS:
            _add_load(one, name)
        elif name in _SCENARIOS:
            _SCENARIOS[name].add_arguments(one)
        else:
            _add_compare(one)
    return main_parser


def load_spec(arguments: argparse.Namespace) -> LoadSpec:
    """The load that the options describe.

    Raises:
        BenchError: when it cannot be carried out.
    """
    given = vars(arguments)
    names = (
        "endpoints",
        "clients",
        "total",
        "processes",
        "key_size",
        "value_size",
        "keys",
        "rate",
        "seed",
        "serializable",
        "read_percent",
    )
    chosen: dict[str, Any] = {name: given[name] for name in names if name in given}
    connections, warmup = given["connections"], given["warmup"]
    default_connections = max(1, min(10, arguments.clients // 10), min(arguments.processes, 10))
    return LoadSpec(
        kind=arguments.command,
        connections=default_connections if connections is None else connections,
        warmup=arguments.total // 10 if warmup is None else warmup,
        **chosen,
    ).validate()


def _bench_load(arguments: argparse.Namespace) -> int:
    spec = load_spec(arguments)
    bar = ProgressBar(arguments.command, spec.total)
    try:
        result = run_load(spec, bar.show)
    finally:
        bar.finish()
    print(load_text(spec, result))
    _write_json(arguments.json, load_json(spec, result))
    if arguments.plot:
        plot_latencies(arguments.plot, describe(spec), result.latencies)
    return 1 if result.errors else 0


def compare_options(arguments: argparse.Namespace) -> CompareOptions:
    """The comparison that the options describe.

    Raises:
        BenchError: when it cannot be carried out.
    """
    options = CompareOptions(
        placements=arguments.placements,
        rounds=arguments.rounds,
        scale=arguments.scale,
        key_size=arguments.key_size,
        value_size=arguments.value_size,
        keys=arguments.keys,
        connections=arguments.connections,
        processes=arguments.processes,
        directory=arguments.directory,
        pipelined=arguments.pipelined,
        only=tuple(arguments.only),
        etcd=arguments.etcd,
        benchmark=arguments.etcd_benchmark,
        gateway=arguments.gateway,
    )
    if options.rounds < 1:
        raise BenchError("--rounds must be at least 1")
    for row in options.rows():
        if row.kind not in KINDS:
            continue  # no load of requests
        for spread in options.spreads_to_try(row):
            options.spec(row, ("-",), spread).validate()
    return options


def _bench_compare(arguments: argparse.Namespace) -> int:
    options = compare_options(arguments)
    comparison = run_compare(options, lambda line: print(line, file=sys.stderr, flush=True))
    print(comparison.text())
    _write_json(arguments.json, comparison.to_json())
    if arguments.plot:
        title = f"Sampan and etcd, three nodes each, {options.value_size}-byte values"
        plot_ratios(arguments.plot, title, comparison.times_better())
    return 0


def _bench_scenario(arguments: argparse.Namespace) -> int:
    scenario = _SCENARIOS[arguments.command]
    outcome = scenario.run(arguments, lambda line: print(line, file=sys.stderr, flush=True))
    print(outcome.text)
    _write_json(arguments.json, outcome.content)
    if arguments.plot:
        plot_latencies(arguments.plot, outcome.title, outcome.latencies)
    return 0


def _write_json(path: Path | None, content: dict[str, Any]) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=1) + "\n")


def main(argv: Sequence[str]) -> int:
    """Run `sampan bench` with these arguments; 0 when all went well, 1 when anything failed."""
    arguments = parser().parse_args(argv)
    # SIGTERM, too, must stop the clusters and workers that were started, and as SIGINT does:
    # asyncio cancels its task then instead of letting an exception loose in the loop. A shell has
    # what it runs in the background ignore SIGINT; then SIGTERM would be ignored, too.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    terminate = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        if arguments.plot:
            check_plot(arguments.plot)
        if arguments.command == "compare":
            return _bench_compare(arguments)
        if arguments.command in _SCENARIOS:
            return _bench_scenario(arguments)
        return _bench_load(arguments)
    except (BenchError, OSError) as error:
        print(f"sampan bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sampan bench: interrupted", file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGTERM, terminate)
        signal.signal(signal.SIGINT, interrupt)
