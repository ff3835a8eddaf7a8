"""`sampan up --lab`: what may be done to the nodes from their pages, on this machine only.

Pages give their orders in threads of their own; they are carried out in the supervisor's loop,
which knows which processes there are.
"""

import signal
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from ..config import addresses
from ..config.model import ClusterConfig, ConfigError
from ..web.play import OrderError
from .lab_host import Wrong

if TYPE_CHECKING:
    from .supervisor import NodeSupervisor

SYNC_PAUSE_MS_MAX = 5_000
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "continue": signal.SIGCONT}
LOG_OF_LAB = {"log_entries_max": 200, "log_bytes_max": 1 << 20}
"""A short log, so that a follower that is away needs a snapshot soon."""


def check(config: ClusterConfig) -> None:
    """Refuse a lab that others could use, or nobody; raises ConfigError."""
    for member in config.members:
        for address in config.bound(member):
            if not addresses.is_loopback(address):
                raise ConfigError(
                    f"--lab lets whoever reaches a page break the cluster, and {address} can be "
                    "reached from other machines: use loopback addresses alone, or leave out --lab"
                )
    if not any(map(config.http_door, config.members)):
        raise ConfigError(
            "--lab puts buttons on the nodes' pages, and no member has an http address"
        )


_Ordered = tuple[Mapping[str, Any], Future[None]]


@dataclass
class Lab:
    """What can be done to the nodes of one supervisor."""

    nodes: "list[NodeSupervisor]"
    wake: Callable[[], None]
    """Makes the supervisor's loop call `work` soon."""
    _orders: SimpleQueue[_Ordered] = field(default_factory=SimpleQueue)
    _stopped: dict[tuple[str, str], int] = field(default_factory=dict)
    """(node, process, or empty for all) -> how often the node had started again when it was."""

    def order(self, order: Mapping[str, Any]) -> Future[None]:
        """Have something done; any thread may. Done, or failed with an OrderError."""
        done: Future[None] = Future()
        self._orders.put((order, done))
        self.wake()
        return done

    def work(self) -> None:
        """Carry out what was ordered."""
        with suppress(Empty):
            while True:
                order, done = self._orders.get_nowait()
                try:
                    self._carry_out(order)
                except OrderError as error:
                    done.set_exception(error)
                else:
                    done.set_result(None)

    def told(self) -> dict[str, Any]:
        """What is wrong by order, for the pages."""
        names = {node.member.id: node.member.name for node in self.nodes}
        restarts = {node.member.name: node.restarts for node in self.nodes}
        return {
            "processes": {node.member.name: node.labels for node in self.nodes},
            "stopped": [at for at, then in list(self._stopped.items()) if then == restarts[at[0]]],
            "cut": [
                (node.member.name, names[peer])
                for node in self.nodes
                for peer in node.orders.wrong.cut
            ],
            "slow_ms": {
                node.member.name: round(1000 * node.orders.wrong.sync_pause_s)
                for node in self.nodes
            },
        }

    def end(self) -> None:
        """The supervisor is about to stop the nodes: they must hear it."""
        for node in self.nodes:
            node.signal_all(signal.SIGCONT)

    def _carry_out(self, order: Mapping[str, Any]) -> None:
        what = str(order.get("do"))
        if what in SIGNALS:
            self._signal(self._node(order, "node"), order.get("process", ""), what)
        elif what in ("cut", "heal"):
            self._cut(self._node(order, "node"), self._node(order, "to"), heal=what == "heal")
        elif what == "slow":
            self._slow(self._node(order, "node"), order.get("ms"))
        elif what == "mend":
            self._mend()
        else:
            known = ", ".join((*SIGNALS, "cut", "heal", "slow", "mend"))
            raise OrderError(f"`do` must be one of {known}")

    def _node(self, order: Mapping[str, Any], key: str) -> "NodeSupervisor":
        found = [node for node in self.nodes if node.member.name == order.get(key)]
        if not found:
            names = ", ".join(node.member.name for node in self.nodes)
            raise OrderError(f"`{key}` must be one of {names}")
        return found[0]

    def _signal(self, node: "NodeSupervisor", label: Any, what: str) -> None:
        if label and label not in node.labels:
            running = ", ".join(node.labels) or "nothing at the moment"
            raise OrderError(f"`process` must be one that runs, or empty for all: {running}")
        node.signal_all(SIGNALS[what], label)
        name = node.member.name
        if what == "stop":
            self._stopped[name, label] = node.restarts
        elif not label:
            self._stopped = {at: then for at, then in self._stopped.items() if at[0] != name}
        else:
            self._stopped.pop((name, label), None)

    def _cut(self, node: "NodeSupervisor", to: "NodeSupervisor", *, heal: bool) -> None:
        if node is to:
            raise OrderError("`node` and `to` must be two members")
        cut = set(node.orders.wrong.cut) - {to.member.id}
        if not heal:
            cut.add(to.member.id)
        self._give(node, node.orders.wrong._replace(cut=tuple(sorted(cut))))

    def _slow(self, node: "NodeSupervisor", pause_ms: Any) -> None:
        if type(pause_ms) is not int or not 0 <= pause_ms <= SYNC_PAUSE_MS_MAX:
            raise OrderError(f"`ms` must be 0 to {SYNC_PAUSE_MS_MAX}")
        self._give(node, node.orders.wrong._replace(sync_pause_s=pause_ms / 1000))

    def _mend(self) -> None:
        for node in self.nodes:
            self._give(node, Wrong())
            self._signal(node, "", "continue")

    def _give(self, node: "NodeSupervisor", wrong: Wrong) -> None:
        try:
            node.orders.give(wrong)
        except OSError as error:
            raise OrderError(f"{node.member.name} takes no orders: {error.strerror}") from error
