"""`sampan up` and `sampan node`: from arguments to a running supervisor."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..config import logging, model
from ..config.model import ClusterConfig, ConfigError
from ..storage.errors import DataDirError
from .status_table import StatusTable
from .supervisor import Supervisor

_FLAGS = {
    "data_dir": "--data-dir",
    "placement": "--placement",
    "log_level": "--log-level",
    "allow_insecure": "--allow-insecure",
    "node": "--name",
    "client_listen": "--client-listen",
    "peer_listen": "--peer-listen",
    "gateway_listen": "--gateway-listen",
    "http_listen": "--http-listen",
}
"""What sets a key, whatever the file and the environment say."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sampan")
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="start a local cluster and show its state")
    up.add_argument("--config", type=Path, help="cluster file (default: three nodes on loopback)")
    up.add_argument("--nodes", type=int, help="that many nodes on loopback instead of a file")
    up.add_argument("--base-port", type=int, help="their first port (2378), three without --nodes")
    node = commands.add_parser("node", help="start one node of a cluster")
    node.add_argument("--config", type=Path, required=True, help="cluster file, TOML or JSON")
    node.add_argument("--name", dest="node", help="which member this machine runs (key: node)")
    node.add_argument("--client-listen", metavar="HOST:PORT", help="bind this for clients")
    node.add_argument("--peer-listen", metavar="HOST:PORT", help="bind this for peers")
    node.add_argument("--gateway-listen", metavar="HOST:PORT", help="bind this for etcd's clients")
    node.add_argument("--http-listen", metavar="HOST:PORT", help="bind this for metrics, health")
    for command in (up, node):
        command.add_argument("--data-dir", help="where members keep their data")
        command.add_argument("--placement", choices=model.PLACEMENTS)
        command.add_argument("--log-level", choices=model.LOG_LEVELS)
        command.add_argument(
            "--allow-insecure", action="store_true", default=None,
            help="bind addresses that other machines reach, without keys",
        )  # fmt: skip
    return parser


def _configure(arguments: argparse.Namespace) -> ClusterConfig:
    """File, then environment, then flags: the later wins."""
    path = arguments.config
    if arguments.command == "up" and (arguments.nodes, arguments.base_port) != (None, None):
        if path is not None:
            raise ConfigError("--config excludes --nodes and --base-port")
        nodes = 3 if arguments.nodes is None else arguments.nodes
        base_port = 2378 if arguments.base_port is None else arguments.base_port
        values, where = model.local_cluster(nodes, base_port), "--nodes"
    else:
        path = path or model.DEV_CLUSTER
        values, where = model.load(path), str(path)
    environment = model.from_environment()
    overridden = {key: model.variable(key) for key in environment}
    given = {key: getattr(arguments, key, None) for key in _FLAGS}
    flags = {key: value for key, value in given.items() if value is not None}
    overridden |= {key: _FLAGS[key] for key in flags}
    return model.build(values | environment | flags, where, overridden)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns the exit code: 1 with one sentence when it cannot start."""
    arguments = _parser().parse_args(argv)
    try:
        config = _configure(arguments)
        return _run(config, arguments.command)
    except (ConfigError, DataDirError) as error:
        print(f"sampan: {error}", file=sys.stderr)
        return 1


def _run(config: ClusterConfig, command: str) -> int:
    if command == "node":
        if not config.node:
            raise ConfigError("which member is this? set node in the file, or --name")
        members = [config.member(config.node)]
    else:
        members = list(config.members)
    live = command == "up" and sys.stdout is not None and sys.stdout.isatty()
    log_path = _log_file(config) if live else ""
    log: Any = logging.setup(config.log_level, log_path, node="-", actor="supervisor")
    for name in model.unknown_in_environment():
        log.warning("unrecognized environment variable", variable=name)
    supervisor = Supervisor(config, members, log_path, log)
    table = StatusTable(supervisor, live=live, log_path=log_path, log=log)
    if command == "up":
        return supervisor.run(table.show, tick_s=0.5 if live else 2.0)
    return supervisor.run(lambda: None, tick_s=60.0)


def _log_file(config: ClusterConfig) -> str:
    # The live table owns the terminal; what the nodes have to say goes beside their data.
    folder = Path(config.data_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"data_dir {folder} cannot be made: {error.strerror}") from error
    path = folder / "sampan.log"
    try:
        path.open("a", encoding="utf-8").close()
    except OSError as error:
        raise ConfigError(f"the log {path} cannot be opened: {error.strerror}") from error
    return str(path)
