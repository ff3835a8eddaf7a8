"""`sampan up` and `sampan node`: from arguments to a running supervisor."""

import argparse
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from ..config import discovery, local, logging, model
from ..config.model import ClusterConfig, ConfigError
from ..storage import data_dir
from ..storage.data_dir import remove_empty
from ..storage.errors import DataDirError
from . import lab
from .serving import Announcer
from .status_table import StatusTable
from .statuses import Statuses
from .supervisor import Supervisor

_FLAGS = {
    "data_dir": "--data-dir",
    "placement": "--placement",
    "log_level": "--log-level",
    "allow_insecure": "--allow-insecure",
    "keys_dir": "--keys-dir",
    "node": "--name",
    "initial_cluster_state": "--initial-cluster-state",
    "force_new_cluster": "--force-new-cluster",
    "client_listen": "--client-listen",
    "peer_listen": "--peer-listen",
    "gateway_listen": "--gateway-listen",
    "http_listen": "--http-listen",
}
"""What sets a key, whatever the file and the environment say."""

LOOK_S = 0.5
"""Between two looks at the nodes: how fresh the table is, and how late "ready" is told."""


def parser() -> argparse.ArgumentParser:
    """Of `sampan up` and `sampan node`."""
    main_parser = argparse.ArgumentParser(prog="sampan", allow_abbrev=False)
    commands = main_parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser(
        "up",
        allow_abbrev=False,
        help="start a local cluster and show its state",
        description="Start all nodes of a cluster on this machine, show their state, and stop them "
        "with Ctrl-C. Without options: three nodes, on ports from 2378, 22378 and 32378.",
        epilog=_MORE,
    )
    up.add_argument("--config", type=Path, metavar="FILE", help="the cluster, in TOML or JSON")
    up.add_argument("--nodes", type=int, metavar="N", help="N nodes on loopback instead of a file")
    up.add_argument(
        "--base-port", type=int, metavar="PORT",
        help="the first one's port for clients (2378); three nodes without --nodes",
    )  # fmt: skip
    up.add_argument(
        "--lab", action="store_true",
        help="put buttons on the nodes' pages that break the cluster: loopback addresses only",
    )  # fmt: skip
    up.add_argument("--open", action="store_true", help="open the first node's page in a browser")
    node = commands.add_parser(
        "node",
        allow_abbrev=False,
        help="start one node of a cluster",
        description="Start one member of a cluster on this machine. Its log goes to standard error "
        'and says "ready to serve clients" when it does.',
        epilog=_MORE,
    )
    node.add_argument(
        "--config", type=Path, metavar="FILE", required=True,
        help="the cluster with all its members, in TOML or JSON",
    )  # fmt: skip
    node.add_argument("--name", dest="node", help="which member this machine runs (key: node)")
    node.add_argument(
        "--force-new-cluster", action="store_true", default=None,
        help="drop all other members and go on alone: the majority is lost for good",
    )  # fmt: skip
    node.add_argument(
        "--initial-cluster-state", choices=model.CLUSTER_STATES,
        help="existing: join a cluster that is there",
    )  # fmt: skip
    node.add_argument(
        "--client-listen", metavar="HOST:PORT", help="bind this for clients, not what they use"
    )
    node.add_argument("--peer-listen", metavar="HOST:PORT", help="likewise for members")
    node.add_argument("--gateway-listen", metavar="HOST:PORT", help="likewise for etcd's clients")
    node.add_argument("--http-listen", metavar="HOST:PORT", help="bind this for metrics, health")
    for command in (up, node):
        command.add_argument(
            "--data-dir", metavar="DIR", help="members keep their data in DIR/NAME (sampan-data)"
        )
        command.add_argument(
            "--keys-dir", metavar="DIR", help="keys of members and clients: see `sampan keys`"
        )
        command.add_argument(
            "--placement", choices=model.PLACEMENTS,
            help="a process for each actor, for many cores (default), or one for each node",
        )  # fmt: skip
        command.add_argument(
            "--log-level", choices=model.LOG_LEVELS, help="what is worth a line (info)"
        )
        command.add_argument(
            "--allow-insecure", action="store_true", default=None,
            help="bind addresses that other machines reach, without keys",
        )  # fmt: skip
    return main_parser


_MORE = "Flags go before SAMPAN_... variables, those before the file: docs/configuration.md."


def _configure(arguments: argparse.Namespace) -> tuple[str, ClusterConfig]:
    """(where it comes from, configuration): file, then environment, then flags; the later wins."""
    path = arguments.config
    if arguments.command == "up" and (arguments.nodes, arguments.base_port) != (None, None):
        if path is not None:
            raise ConfigError("--config excludes --nodes and --base-port")
        nodes = 3 if arguments.nodes is None else arguments.nodes
        base_port = 2378 if arguments.base_port is None else arguments.base_port
        values, where = local.cluster(nodes, base_port), "--nodes"
    else:
        path = path or model.DEV_CLUSTER
        values, where = model.load(path), str(path)
    if arguments.command == "up" and arguments.lab:
        values = lab.LOG_OF_LAB | values
    environment = model.from_environment()
    overridden = {key: model.variable(key) for key in environment}
    given = {key: getattr(arguments, key, None) for key in _FLAGS}
    flags = {key: value for key, value in given.items() if value is not None}
    overridden |= {key: _FLAGS[key] for key in flags}
    merged = values | environment | flags
    if merged.get("discovery_srv"):
        merged = _with_discovered(merged, where, arguments.command)
    return where, model.build(merged, where, overridden)


def _with_discovered(values: dict[str, Any], where: str, command: str) -> dict[str, Any]:
    """A configuration of one member, with the others that DNS lists. Raises ConfigError."""
    config = model.build(values, where)
    if command != "node" or len(config.members) != 1:
        raise ConfigError(
            f"{where}: discovery_srv is for `sampan node`, whose file lists this member alone"
        )
    own = config.members[0]
    try:
        found, this = discovery.members("sampan-server", config.discovery_srv, [own.peer])
    except discovery.DiscoveryError as error:
        if data_dir.identity(Path(config.data_dir, own.name)) is None:
            raise ConfigError(f"{where}: discovery_srv: {error}") from error
        return values | GOES_ON_ALONE | {"node": own.name}
    names = {each: each.replace(":", "-") for each in found}
    others = [{"name": names[each], "client": "", "peer": each} for each in found if each != this]
    member = dict(values["members"][0]) | {"peer": this}
    return values | {"members": [member, *others], "node": own.name}


GOES_ON_ALONE = {"initial_cluster_state": "existing"}
"""Of a configuration whose members DNS does not tell now: the data dir knows them. Never is a new
cluster made of the one member that is left."""


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 1 with one sentence when it cannot start."""
    arguments = parser().parse_args(argv)
    try:
        where, config = _configure(arguments)
        play = Play(arguments.lab, arguments.open) if arguments.command == "up" else Play()
        return run(where, config, arguments.command, play=play)
    except (ConfigError, DataDirError) as error:
        print(f"sampan: {error}", file=sys.stderr)
        return 1


class Play(NamedTuple):
    """What is for people who look, and not for the nodes."""

    lab: bool = False
    open: bool = False


def run(
    where: str,
    config: ClusterConfig,
    command: str,
    notes: Sequence[str] = (),
    play: Play = Play(),  # noqa: B008 (immutable)
) -> int:
    """Run the nodes of a configuration, which comes from `where`, to their end; `notes` are for
    the log. Returns the exit code.

    Raises:
        ConfigError, DataDirError: they cannot start.
    """
    if command == "node":
        if not config.node:
            raise ConfigError("which member is this? set node in the file, or --name")
        members = [config.member(config.node)]
    else:
        members = list(config.members)
    live = command == "up" and _is_terminal(sys.stdout)
    with _log_file(config) if live else nullcontext("") as log_path:
        log: Any = logging.setup(config.log_level, log_path, node="-", actor="supervisor")
        for name in model.unknown_in_environment():
            log.warning("unrecognized environment variable", variable=name)
        for note in notes:
            log.warning(note)
        supervisor = Supervisor(config, members, log_path, log, in_lab=play.lab)
        statuses = Statuses(supervisor.nodes)
        announcer = Announcer(statuses, where, log)
        table = StatusTable(statuses, live=live, log_path=log_path, log=log)
        unopened = _pages(config)[:1] if play.open else []
        if play.open and not unopened:
            raise ConfigError("--open opens a node's page, and no member has an http address")

        def look() -> None:
            statuses.take()
            announcer.look()
            if unopened and announcer.done:
                _open(unopened.pop())
            if command == "up":
                table.show()
            if command == "up" or not announcer.done:
                statuses.ask()

        return supervisor.run(look, tick_s=LOOK_S)


def _pages(config: ClusterConfig) -> list[str]:
    """The addresses of the nodes' pages."""
    return [door.url for member in config.members if (door := config.http_door(member))]


def _open(url: str) -> None:
    import webbrowser  # for those who ask for it

    threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


def _is_terminal(stream: TextIO | None) -> bool:
    """Whether lines can be drawn anew there."""
    dumb = os.environ.get("TERM", "dumb") in ("", "dumb")
    return stream is not None and stream.isatty() and not dumb


@contextmanager
def _log_file(config: ClusterConfig) -> Iterator[str]:
    """The live table owns the terminal; what the nodes have to say goes beside their data. The
    file goes again when there was nothing to say: a start that failed leaves nothing behind."""
    folder = Path(config.data_dir)
    path = folder / "sampan.log"
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir {folder} cannot be made: {error.strerror}") from error
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ConfigError(f"the log {path} cannot be opened: {error.strerror}") from error
    try:
        yield str(path)
    finally:
        with suppress(OSError):
            if path.stat().st_size == 0:
                path.unlink()
        remove_empty(made)
