"""What each node says of itself, asked as any client would."""

import time
from typing import Any, NamedTuple

import zmq

from ..transport import sockets
from ..transport.codec import CodecError, pack, unpack
from .supervisor import NodeSupervisor

SILENT_AFTER_S = 3.0
_FIELDS = {
    "role": str, "term": int, "commit": int, "applied": int, "leader": int, "requests": int
}  # fmt: skip
"""What is shown of a status."""


class Seen(NamedTuple):
    """The last answer of a node."""

    at: float
    status: dict[str, Any]
    rate: float
    """Requests a second since the answer before."""
    restarts: int
    """How often the node had started again by then."""


class Statuses:
    """Asks nodes, and remembers what they answered last."""

    def __init__(self, nodes: list[NodeSupervisor]) -> None:
        self.nodes = nodes
        self._ctx = sockets.context()
        self._dealers: dict[str, zmq.Socket[bytes]] = {}
        self._pairs: dict[str, tuple[bytes, bytes] | None] = {}  # what each of them was made with
        self._asked = 0
        self._seen: dict[str, Seen] = {}

    def of(self, node: NodeSupervisor) -> Seen | None:
        """What a node said last, None when it has said nothing since it started."""
        seen = self._seen.get(node.member.name)
        return seen if seen is not None and seen.restarts == node.restarts else None

    def serves(self, node: NodeSupervisor) -> bool:
        """Whether the node answers and knows a leader, so that it can answer clients."""
        seen = self.of(node)
        return state(node, seen).startswith("up") and bool(seen and seen.status["leader"])

    def missing(self) -> list[str]:
        """What these nodes wait for before they can serve, as people say it."""
        found = []
        for doing, verb in (("starting", "start"), ("restarting", "restart"), ("silent", "answer")):
            names = [n.member.name for n in self.nodes if state(n, self.of(n)) == doing]
            if names:
                found.append(f"{', '.join(names)} to {verb}")
        answering = [n for n in self.nodes if state(n, self.of(n)).startswith("up")]
        if answering and not any(self.serves(node) for node in answering):
            members = self.nodes[0].members
            found.append(f"a leader: {members // 2 + 1} of {members} members must be up")
        return found

    def ask(self) -> None:
        """Send a question to each node."""
        for node in self.nodes:
            self._ask(node)

    def _ask(self, node: NodeSupervisor) -> None:
        name, pair = node.member.name, None
        if node.keys is not None:
            node.keys.refresh()
            pair = node.keys.pairs[0]
        if name not in self._dealers or pair != self._pairs[name]:
            if name in self._dealers:
                self._dealers[name].close()
            self._dealers[name] = sockets.client_dealer(self._ctx, node.client_here, pair)
            self._pairs[name] = pair
        self._asked += 1
        fields = (1, self._asked, "maintenance", 0, 0, 0, 0, 0, node.own_token)
        header, body = pack(fields), pack([("status",)])
        try:
            self._dealers[name].send_multipart((header, body), zmq.DONTWAIT)
        except zmq.Again:
            self._seen.pop(name, None)  # not connected: nothing is known of it

    def take(self) -> None:
        """Take in the answers that are there."""
        for node in self.nodes:
            self._take(node)

    def _take(self, node: NodeSupervisor) -> None:
        dealer = self._dealers.get(node.member.name)
        if dealer is None:
            return
        try:
            while True:
                header, body = dealer.recv_multipart(zmq.DONTWAIT)
                unpack(header)
                self._note(node, unpack(body)[0][1])
        except zmq.Again:
            pass  # that was all
        except (CodecError, ValueError, IndexError, TypeError):
            self._seen.pop(node.member.name, None)  # whoever listens there is not a node

    def _note(self, node: NodeSupervisor, status: Any) -> None:
        if not isinstance(status, dict):
            raise TypeError("no status")
        if not all(isinstance(status.get(field), kind) for field, kind in _FIELDS.items()):
            raise TypeError("another status")
        now = time.monotonic()
        before = self._seen.get(node.member.name)
        rate = 0.0
        if before is not None and now > before.at:
            rate = max(0.0, status["requests"] - before.status["requests"]) / (now - before.at)
        self._seen[node.member.name] = Seen(now, status, rate, node.restarts)


def state(node: NodeSupervisor, seen: Seen | None) -> str:
    """How a node fares, in a few words."""
    if node.failed:
        return "given up"
    if node.restart_at is not None:
        return "restarting"
    if seen is None:
        return "starting"
    if time.monotonic() - seen.at > SILENT_AFTER_S:
        return "silent"
    return f"up, restarted {node.restarts} times" if node.restarts else "up"
