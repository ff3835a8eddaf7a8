"""The same work on Sampan and on etcd: three nodes each, in turns, on the same machine and disk."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from .comparison import Comparison, Measurement, Row
from .errors import BenchError
from .etcd_grpc import check_grpc
from .h2load import Split
from .machine import describe_machine, file_system, is_volatile
from .over_grpc import OverGrpc
from .plan import CompareOptions, Spread
from .programs import missing_programs
from .spec import KINDS
from .systems import Etcd, Running, Sampan, measure

_NEEDED = ("etcdctl", "h2load")
_NOTES = {
    "fill": "New keys: each is put once, in order, by 500 clients, etcd's by its own benchmark; "
    "memory is what is resident of a node's processes at the end, disk what its files take.",
    "watch": "Watches are driven by Python on both sides: etcd's by grpcio without a protobuf "
    "decoder, all watchers on one connection; a latency is from before the put to the event.",
    "idle": "Idle connections are the public Python client's and grpcio's, all to one node, whose "
    "memory is what is resident of its own processes, without Sampan's supervisor; what processes "
    "share counts for each.",
    "failover": "After a kill -9 of the leader's node a put begins every 10 ms until one is "
    "acknowledged: Sampan's by a client that was connected to the leader, etcd's at the others.",
}


def _check(options: CompareOptions) -> None:
    missing = missing_programs(_NEEDED if options.etcd else ("etcd", *_NEEDED))
    if missing:
        raise BenchError("\n".join(missing))
    for flag, path in (("--etcd", options.etcd), ("--etcd-benchmark", options.benchmark)):
        if path and not (path.is_file() and os.access(path, os.X_OK)):
            raise BenchError(f"{flag} {path} is not a program")
    if not options.directory.is_dir():
        raise BenchError(f"--directory {options.directory} is not a directory")
    if is_volatile(options.directory):
        raise BenchError(
            f"--directory {options.directory} is on {file_system(options.directory)}, where an "
            "fsync costs nothing: name a directory on a disk"
        )
    check_grpc()


def _busy() -> list[str]:
    """A warning for the page when others use the machine."""
    load, cores = os.getloadavg()[0], os.cpu_count() or 1
    if load <= cores / 2:
        return []
    return [f"THE MACHINE WAS BUSY before the run: load average {load:.1f} on {cores} cores."]


def _notes(options: CompareOptions, etcd: Etcd, sampans: Sequence[Sampan]) -> list[str]:
    splits = _chosen([("", etcd.over_grpc.splits)])
    kinds = {row.kind for row in options.rows()}
    loads = [
        "etcd runs with its defaults, driven by h2load (C) at raw gRPC at the leader"
        + (f" ({splits})." if splits else "."),
        "h2load repeats one request: who is driven by it overwrites and reads one key, the best "
        "case for etcd's index.",
        "Every put was executed: the store's revision rose by exactly the number of puts. Every "
        "read returned its value.",
    ]
    if any(each.spreads for each in sampans):
        spreads = _chosen((each.name, each.spreads) for each in sampans)
        loads.append(
            "Sampan is driven by its public Python client, whose clients choose among "
            f"{options.keys:,} keys and vary the values, on one connection or "
            f"as many as suited a row best ({spreads})."
        )
    if any(row.over_grpc for row in options.rows()):
        over_grpc = _chosen((each.name, each.over_grpc.splits) for each in sampans)
        loads.append(f"gRPC: Sampan is driven as etcd is, through its gateways ({over_grpc}).")
    return [
        "The drivers share the machine with the nodes. Three nodes each, fresh data directories "
        "on the same disk, every write fsynced by a majority, one system at a time.",
        *(loads if kinds.intersection(KINDS) else ()),
        *(text for kind, text in _NOTES.items() if kind in kinds),
    ]


def _chosen(systems: Iterable[tuple[str, Mapping[str, object]]]) -> str:
    """How each system's requests spread, by row, where there was a choice."""
    return "; ".join(
        f"{system} {row}: {spread}".strip()
        for system, spreads in systems
        for row, spread in spreads.items()
        if spread not in (Split(1, 1), Spread(1, 1))
    )


def run_compare(options: CompareOptions, say: Callable[[str], None]) -> Comparison:
    """Measure every row on every system, round by round; the order turns with the rounds.

    Args:
        say: told about progress, a line at a time.

    Raises:
        BenchError: when a program is missing, the disk is none, or a measurement is not valid.
    """
    _check(options)
    etcd = Etcd(options, OverGrpc(options, "etcd"))
    sampans = [Sampan(options, p, OverGrpc(options, f"sampan {p}")) for p in options.placements]
    systems: tuple[Etcd | Sampan, ...] = (etcd, *sampans)
    comparison = Comparison(options.rows(), [system.name for system in systems], options.rounds)
    comparison.machine = describe_machine(options.directory)
    comparison.notes = _busy()
    with tempfile.TemporaryDirectory(prefix="sampan-bench-", dir=options.directory) as directory:
        for number in range(options.rounds):
            turn = number % len(systems)
            for system in (*systems[turn:], *systems[:turn]):
                place = Path(directory, system.name)
                os.sync()  # what the one before left to be written is not this one's burden
                with system.running(place) as running:
                    _measure_rows(running, system.name, comparison, say)
                shutil.rmtree(place)
    comparison.machine["etcd"] = etcd.version
    comparison.notes += _notes(options, etcd, sampans)
    return comparison


def _measure_rows(
    running: Running,
    system: str,
    comparison: Comparison,
    say: Callable[[str], None],
) -> None:
    done: dict[Row, Measurement] = {}
    for row in comparison.rows:
        work = row.work(system)
        if work not in done:
            done[work] = measure(running, row)
        comparison.add(system, row, done[work])
        say(f"{system:<10} {done[work].text(row)}")
