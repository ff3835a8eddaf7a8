"""The table that `sampan up` shows: what each node says of itself, asked as any client would."""

import sys
import time
from typing import Any, NamedTuple

import zmq

from ..config import streams
from ..transport import sockets
from ..transport.codec import CodecError, pack, unpack
from .supervisor import NodeSupervisor, Supervisor

COLUMNS = "node   role       term    commit   applied  leader  requests/s  state"
CLEAR_TO_END = "\x1b[J"
_FIELDS = {
    "role": str, "term": int, "commit": int, "applied": int, "leader": int, "requests": int
}  # fmt: skip
"""What is shown of a status."""


class _Seen(NamedTuple):
    at: float
    status: dict[str, Any]
    rate: float


class StatusTable:
    """Asks all nodes, then prints: redrawn in place on a terminal, a line a change elsewhere."""

    def __init__(self, supervisor: Supervisor, *, live: bool, log_path: str, log: Any) -> None:
        self._log = log
        self._nodes = supervisor.nodes
        self._live = live
        self._log_path = log_path
        self._ctx = sockets.context()
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._asked = 0
        self._seen: dict[str, _Seen] = {}
        self._lines = 0
        self._said = ""
        self._mute = False

    def show(self) -> None:
        """Take the answers to the last round's questions, print, ask again."""
        for node in self._nodes:
            self._take(node)
        if self._live:
            self._redraw()
        else:
            self._say_changes()
        for node in self._nodes:
            self._ask(node)

    # -- asking

    def _ask(self, node: NodeSupervisor) -> None:
        name = node.member.name
        if name not in self._dealers:
            self._dealers[name] = sockets.client_dealer(self._ctx, node.member.client)
        self._asked += 1
        header, body = pack((1, self._asked, "maintenance")), pack([("status",)])
        try:
            self._dealers[name].send_multipart((header, body), zmq.DONTWAIT)
        except zmq.Again:
            self._seen.pop(name, None)  # not connected: nothing is known of it

    def _take(self, node: NodeSupervisor) -> None:
        name = node.member.name
        dealer = self._dealers.get(name)
        if dealer is None:
            return
        try:
            while True:
                header, body = dealer.recv_multipart(zmq.DONTWAIT)
                unpack(header)
                self._note(name, unpack(body)[0][1])
        except zmq.Again:
            pass  # that was all
        except (CodecError, ValueError, IndexError, TypeError):
            self._seen.pop(name, None)  # whoever listens there is not a node

    def _note(self, name: str, status: Any) -> None:
        if not isinstance(status, dict):
            raise TypeError("no status")
        if not all(isinstance(status.get(field), kind) for field, kind in _FIELDS.items()):
            raise TypeError("another status")
        now = time.monotonic()
        before = self._seen.get(name)
        rate = 0.0
        if before is not None and now > before.at:
            rate = max(0.0, status["requests"] - before.status["requests"]) / (now - before.at)
        self._seen[name] = _Seen(now, status, rate)

    # -- printing

    def _state(self, node: NodeSupervisor) -> str:
        if node.failed:
            return f"given up: {node.failed}"
        if node.restart_at is not None:
            return "restarting"
        seen = self._seen.get(node.member.name)
        if seen is None or time.monotonic() - seen.at > 3.0:
            return "starting" if seen is None else "silent"
        return f"up, restarted {node.restarts} times" if node.restarts else "up"

    def _row(self, node: NodeSupervisor) -> str:
        seen = self._seen.get(node.member.name)
        s = seen.status if seen else {}
        rate = seen.rate if seen else 0.0
        return (
            f"{node.member.name:<6} {s.get('role', '-'):<9} {s.get('term', 0):>5} "
            f"{s.get('commit', 0):>9} {s.get('applied', 0):>9}  {s.get('leader', 0):>6}  "
            f"{rate:>10,.0f}  {self._state(node)}"
        )

    def _redraw(self) -> None:
        rows = [self._row(node) for node in self._nodes]
        clients = ", ".join(node.member.client for node in self._nodes)
        lines = [COLUMNS, *rows, "", f"clients: {clients}   log: {self._log_path}   Ctrl-C stops"]
        up = f"\x1b[{self._lines}F" if self._lines else ""
        self._print(up + CLEAR_TO_END + "\n".join(lines))
        self._lines = len(lines)

    def _say_changes(self) -> None:
        """Where there is no terminal: the roles and states, when they change."""
        facts = []
        for node in self._nodes:
            seen = self._seen.get(node.member.name)
            role = seen.status.get("role", "-") if seen else "-"
            term = seen.status.get("term", 0) if seen else 0
            facts.append(f"{node.member.name} {role} term {term} {self._state(node)}")
        line = "; ".join(facts)
        if line != self._said:
            self._said = line
            self._print(line)

    def _print(self, text: str) -> None:
        """A reader that has left and a full disk are no reason to stop the nodes."""
        if self._mute:
            return
        try:
            print(text, flush=True)
        except OSError as error:
            self._mute = True
            self._log.warning("cannot show the nodes' state any more", reason=error.strerror)
            streams.give_up(sys.stdout)
