"""A node's doors to the outside: the client socket and the peer sockets.

Hosts own these; actors only see channels.
"""

from collections.abc import Callable
from typing import Any, cast

import zmq

from ..config import limits
from ..transport import sockets

Socket = zmq.Socket[bytes]

# A plain integer: an operation on zmq's enums costs as much as sending a frame.
_READABLE = int(zmq.POLLIN)


def _drain(socket: Socket, limit: int) -> list[list[bytes]]:
    """Whatever has arrived, at most `limit` messages and not much over DRAIN_BYTES_MAX; there is
    at least one."""
    found = [sockets.receive(socket)]
    size = len(found[0][-1])
    # Asking is a third of the price of being told by an exception.
    while len(found) < limit and size < limits.DRAIN_BYTES_MAX and _events(socket) & _READABLE:
        message = sockets.receive(socket)
        found.append(message)
        size += len(message[-1])
    return found


def _events(socket: Socket) -> int:
    return cast("int", socket.get(zmq.EVENTS))


class ClientPort:
    """The client socket."""

    def __init__(self, ctx: zmq.Context[Socket], endpoint: str) -> None:
        self.socket = sockets.client_router(ctx, endpoint)
        self.gone = 0  # replies to clients that left, or that do not read
        self.on_gone: Callable[[bytes], None] = lambda client: None
        """Called for each of those."""

    def drain(self) -> list[tuple[str, Any]]:
        """Messages from clients, as (channel, message)."""
        return [("clientc", tuple(m)) for m in _drain(self.socket, limits.DRAIN_MESSAGES_MAX)]

    def replyc(self, message: tuple[bytes, bytes, bytes]) -> None:
        """Send a reply, or drop it when its client is gone or has stopped reading."""
        try:
            sockets.send(self.socket, message)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.gone += 1
            self.on_gone(message[0])

    def close(self) -> None:
        """Close the socket; replies under way linger shortly."""
        self.socket.close()


class PeerPort:
    """The bound peer socket and one link to each peer."""

    def __init__(self, ctx: zmq.Context[Socket], endpoint: str) -> None:
        self._ctx = ctx
        self.socket = sockets.peer_router(ctx, endpoint)
        self._links: dict[int, tuple[str, Socket]] = {}

    def drain(self) -> list[tuple[str, Any]]:
        """Messages from peers, as (channel, message); the routing id means nothing."""
        return [("peerc", m[1:]) for m in _drain(self.socket, limits.DRAIN_MESSAGES_MAX)]

    def linksc(self, wanted: dict[int, str]) -> None:
        """Connect to exactly these peers."""
        for peer, (endpoint, socket) in list(self._links.items()):
            if wanted.get(peer) != endpoint:
                socket.close()
                del self._links[peer]
        for peer, endpoint in wanted.items():
            if peer not in self._links:
                self._links[peer] = (endpoint, sockets.peer_dealer(self._ctx, endpoint))

    def linkc(self, message: tuple[int, list[bytes]]) -> bool:
        """Send to a peer; False when it is away or its queue is full, and the message is gone."""
        peer, frames = message
        link = self._links.get(peer)
        if link is None:
            return True  # removed since; nobody waits for this message
        try:
            sockets.send(link[1], frames)
        except zmq.Again:
            return False
        return True

    def close(self) -> None:
        """Close all sockets."""
        self.socket.close()
        for _, socket in self._links.values():
            socket.close()
