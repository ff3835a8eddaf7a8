"""Says that nodes serve: a line in the log for people, a word to systemd for what waits for it."""

from typing import Any

from .. import __version__
from .statuses import Statuses
from .systemd import notify


class Announcer:
    """Tells once of each start of a node, where it is and when it serves."""

    def __init__(self, statuses: Statuses, where: str, log: Any) -> None:
        self._statuses = statuses
        self._where = where
        self._log = log
        self._served: dict[str, int] = {}
        """The restarts that each node had when it was found to serve."""
        self._begun = self._ready = False
        self._waiting = ""

    @property
    def done(self) -> bool:
        """Whether every node was told of since it started last."""
        return all(self._served.get(n.member.name) == n.restarts for n in self._statuses.nodes)

    def look(self) -> None:
        """Tell what is new."""
        if not self._begun:
            self._begun = True
            names = ", ".join(node.member.name for node in self._statuses.nodes)
            self._log.info("started", version=__version__, config=self._where, nodes=names)
        for node in self._statuses.nodes:
            name = node.member.name
            if self._served.get(name) != node.restarts and self._statuses.serves(node):
                self._served[name] = node.restarts
                self._log.info("ready to serve clients", node=name, **node.describe())
        self._tell_systemd()

    def _tell_systemd(self) -> None:
        if self._ready:
            return
        if self.done:
            self._ready = True
            notify("READY=1\nSTATUS=ready")
            return
        waiting = "; ".join(self._statuses.missing())
        if waiting != self._waiting:
            self._waiting = waiting
            self._log.info("waiting", reason=waiting)
            notify(f"STATUS=waiting for {waiting}")
