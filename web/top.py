"""`sampan top`: what the live page shows, in a terminal. Draws with rich (`sampan[top]`)."""

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..client import AsyncClient, SampanError
from .cluster import Cluster
from .live import Live
from .traces import Traces

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

EVENTS_SHOWN = 6
_SIGNS = {"leader": "●", "follower": "○", "learner": "◌", "candidate": "◐"}


def parser() -> argparse.ArgumentParser:
    """Of `sampan top`."""
    found = argparse.ArgumentParser(
        prog="sampan top",
        allow_abbrev=False,
        description="Show the members, the leader's actors, what writes wait for, and elections, "
        "twice a second, until Ctrl-C.",
    )
    found.add_argument(
        "--endpoints", default="127.0.0.1:2378", metavar="HOST:PORT,…",
        help="members to ask who the others are (127.0.0.1:2378)",
    )  # fmt: skip
    found.add_argument("--user", default="", metavar="NAME:PASSWORD", help="where users are asked")
    found.add_argument("--curve-keys", metavar="FILE", help="where nodes ask for keys")
    found.add_argument("--once", action="store_true", help="show it once, and end")
    return found


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code."""
    arguments = parser().parse_args(argv)
    try:
        import rich  # noqa: F401 (for those who look)
    except ImportError:
        print("sampan: top draws with rich: pip install 'sampan[top]'", file=sys.stderr)
        return 1
    try:
        asyncio.run(_look(arguments))
    except (SampanError, ValueError) as error:
        text = str(error).removeprefix("sampan: ")
        print(f"sampan: {text}", file=sys.stderr)
        return 1
    return 0


async def _look(arguments: argparse.Namespace) -> None:
    from rich.console import Console
    from rich.live import Live as Screen

    name, _, password = arguments.user.partition(":")
    identity: Any = {"user": name, "password": password, "keys": arguments.curve_keys}
    told: asyncio.Queue[bytes] = asyncio.Queue()
    endpoints = arguments.endpoints.split(",")
    async with AsyncClient(endpoints, **identity) as client:
        cluster, console = Cluster(client, **identity), Console()
        live = Live(cluster, Traces())
        await cluster.refresh()  # says what is wrong, if nobody answers
        live.look(told.put_nowait)
        try:
            if arguments.once:
                await told.get()  # rates need two
                console.print(picture(_decoded(await told.get())))
                return
            with Screen(console=console, screen=console.is_terminal, auto_refresh=False) as screen:
                while True:
                    screen.update(picture(_decoded(await told.get())), refresh=True)
        finally:
            await live.aclose()
            await cluster.aclose()


def _decoded(telling: bytes) -> dict[str, Any]:
    """Of a server-sent event."""
    found: dict[str, Any] = json.loads(telling.removeprefix(b"data: "))
    return found


def picture(telling: Mapping[str, Any]) -> "Group":
    """All of it, to be printed."""
    from rich.console import Group

    nodes = telling["nodes"]
    leader = max(
        (n for n in nodes.values() if n["figures"] and n["figures"]["role"] == "leader"),
        key=lambda n: n["figures"]["term"],
        default=None,
    )
    shown = [_members(nodes, leader)]
    if leader is not None:
        shown += [_flow(leader), _actors(leader)]
    if telling["traces"]["parts"]:
        shown.append(_parts(telling["traces"]["parts"]))
    return Group(*shown, *_elections(nodes))


def _table(title: str, *columns: str) -> "Table":
    """Numbers stand on the right of each column but the first."""
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left")
    return table


def _members(nodes: Mapping[str, Any], leader: Mapping[str, Any] | None) -> "Table":
    fed_by_leader = (leader["figures"]["progress"] if leader else None) or ()
    progress = {f"{each[0]:x}": each for each in fed_by_leader}
    table = _table("Members", "member", "role", "term", "commit", "applied", "fed by", "match",
                   "log", "on disk")  # fmt: skip
    for number, node in nodes.items():
        shown, fed = node["figures"], progress.get(number)
        if shown is None:
            table.add_row(node["name"], "✕ away", node["away"])
            continue
        role = "learner" if shown["is_learner"] else shown["role"]
        how = "–" if fed is None or role == "leader" else fed[3] + ("" if fed[4] else ", silent")
        table.add_row(
            node["name"], f"{_SIGNS[role]} {role}", _number(shown["term"]),
            _number(shown["commit"]), _number(shown["applied"]), how,
            "–" if fed is None else _number(fed[1]), _number(shown["log_entries"]),
            f"{shown['db_size'] / (1 << 20):,.1f} MiB" if shown["db_size"] is not None else "–",
        )  # fmt: skip
    return table


def _flow(leader: Mapping[str, Any]) -> "Table":
    shown = leader["figures"]
    table = _table(
        f"Through {leader['name']}", "requests/s", "writes/s", "a write: half", "99 %",
        "fsync: half", "fsyncs/s", "writes an entry", "entries a fsync",
    )  # fmt: skip
    table.add_row(
        _number(shown["requests_s"]), _number(shown["writes_s"]),
        _seconds(shown["write"]["half"]), _seconds(shown["write"]["most"]),
        _seconds(shown["fsync"]["half"]), _number(shown["fsyncs_s"]),
        _number(shown["writes_an_entry"]), _number(shown["entries_a_fsync"]),
    )  # fmt: skip
    return table


def _actors(leader: Mapping[str, Any]) -> "Table":
    table = _table(
        f"Actors of {leader['name']}", "actor", "busy", "processor", "turns/s", "messages a turn",
        "longest queue", "longest turn",
    )  # fmt: skip
    for name, actor in leader["figures"]["actors"].items():
        table.add_row(
            name, _percent(actor["busy"]), _percent(actor["cpu"]), _number(actor["turns"]),
            _number(actor["batch"]), _number(actor["queue"]), _seconds(actor["longest_s"]),
        )  # fmt: skip
    return table


def _parts(parts: Sequence[tuple[str, float]]) -> "Table":
    table = _table("Writes of the last minute", "waited", "on average")
    for text, seconds in parts:
        table.add_row(text, _seconds(seconds))
    return table


def _elections(nodes: Mapping[str, Any]) -> list[str]:
    found = sorted(
        (ago, f"{node['name']} is {role} in term {term}: {why}")
        for node in nodes.values()
        if node["figures"]
        for ago, term, _, role, why in node["figures"]["elections"] or ()
    )
    return [f"{ago:8.0f} s ago  {text}" for ago, text in found[:EVENTS_SHOWN]]


def _number(x: float | None) -> str:
    if x is None:
        return "–"
    return f"{x:,.0f}" if x >= 100 or x == int(x) else f"{x:.1f}"


def _seconds(s: float | None) -> str:
    if s is None:
        return "–"
    return f"{s:.2f} s" if s >= 1 else f"{1000 * s:.2f} ms"


def _percent(x: float | None) -> str:
    return "–" if x is None else f"{100 * x:.1f} %"
