"""The host of `sampan up --lab`: its links lose messages and its disk is slow when it is told to.

Orders come through a named pipe in the node's runtime directory, each one the whole of what is
wrong, so that a node that starts again finds what was wrong before. Nodes without a lab have
neither the pipe nor this host.
"""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..actors.actor import Actor
from ..transport.streams import READ
from .host import Host
from .pipes import Item
from .ports import PeerPort


class Wrong(NamedTuple):
    """What is wrong with a node, by order."""

    cut: tuple[int, ...] = ()
    """Members to whom nothing it sends comes through."""
    sync_pause_s: float = 0.0
    """How much longer each fsync takes."""

    def encoded(self) -> bytes:
        """As one line of the pipe."""
        return json.dumps(self).encode() + b"\n"


def pipe_path(runtime_dir: str, label: str) -> Path:
    """Where the orders for one of a node's processes come."""
    return Path(runtime_dir, f"lab.{label}")


class LabHost(Host):
    """A host that can be told to misbehave."""

    def __init__(self, actors: list[Actor], *, orders: Path, **wiring: Any) -> None:
        """`orders`: the named pipe."""
        self._wrong = Wrong()
        super().__init__(actors, **wiring)
        # Also for writing: it has no end then, whoever else comes and goes.
        self._orders = os.open(orders, os.O_RDWR | os.O_NONBLOCK)
        self._poller.watch(self._orders, READ, self._take_orders)

    def _take_orders(self, _events: int) -> None:
        *_, last = os.read(self._orders, 65536).splitlines()
        cut, sync_pause_s = json.loads(last)
        self._wrong = Wrong(tuple(cut), sync_pause_s)
        self._log.warning("by order of the lab", cut=cut, sync_pause_s=sync_pause_s)

    def _link(self, peer_port: PeerPort, item: Item) -> None:
        """The connection stands, as a network's end does not show at once; what is said is lost."""
        if item[1][0] not in self._wrong.cut:
            super()._link(peer_port, item)

    def _work(self, actor: Actor, name: str) -> Any:
        if name == "sync":
            time.sleep(self._wrong.sync_pause_s)
        return super()._work(actor, name)

    def _close(self) -> None:
        super()._close()
        os.close(self._orders)


class Orders:
    """The supervisor's ends of one node's pipes."""

    def __init__(self) -> None:
        self.wrong = Wrong()
        self._pipes: list[int] = []

    def open(self, runtime_dir: str, labels: Iterable[str]) -> None:
        """Make the pipes of processes that are about to start. Raises OSError."""
        for label in labels:
            path = pipe_path(runtime_dir, label)
            os.mkfifo(path, 0o600)
            self._pipes.append(os.open(path, os.O_RDWR | os.O_NONBLOCK))
        self.give(self.wrong)

    def give(self, wrong: Wrong) -> None:
        """Let this be wrong from now on. Raises OSError when a process takes no orders."""
        self.wrong = wrong
        for pipe in self._pipes:
            os.write(pipe, wrong.encoded())

    def close(self) -> None:
        """The processes are gone."""
        for pipe in self._pipes:
            os.close(pipe)
        self._pipes.clear()
