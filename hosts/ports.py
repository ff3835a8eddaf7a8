"""A node's doors to the outside: the client socket and the peer sockets.

Hosts own these; actors only see channels. What an actor emits, (channel, message), comes as it is.
"""

from collections.abc import Callable
from typing import Any

import zmq

from ..transport import sockets

Socket = zmq.Socket[bytes]


class Source:
    """A socket that a host takes messages from when it has some.

    Its descriptor tells of changes only, and whatever uses the socket may take one in: then `look`
    says that the descriptor need not tell what has arrived.
    """

    receive = staticmethod(sockets.receive)
    """How a message is taken from the socket."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.look = True

    def has_message(self) -> bool:
        """Whether `drain` would find something."""
        self.look = False
        return sockets.readable(self.socket)

    def take(self) -> list[list[bytes]]:
        """What has arrived, or much of it, as it came."""
        found, self.look = sockets.drain(self.socket, self.receive)
        return found

    def drain(self) -> list[tuple[str, Any]]:
        """`take`, as (channel, message)."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()


class ClientPort(Source):
    """The client socket. Replies under way linger shortly when it is closed."""

    def __init__(self, ctx: zmq.Context[Socket], endpoint: str) -> None:
        super().__init__(sockets.client_router(ctx, endpoint))
        self.gone = 0  # replies to clients that left, or that do not read
        self.on_gone: Callable[[bytes], None] = lambda client: None
        """Called for each of those."""

    def drain(self) -> list[tuple[str, Any]]:
        """Messages from clients, as (channel, message)."""
        return [("clientc", tuple(m)) for m in self.take()]

    def replyc(self, item: tuple[str, tuple[bytes, bytes, bytes]]) -> None:
        """Send a reply, or drop it when its client is gone or has stopped reading."""
        _, message = item
        self.look = True  # sending may take in that something has arrived
        try:
            sockets.send(self.socket, message)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            self.gone += 1
            self.on_gone(message[0])


class PeerPort(Source):
    """The bound peer socket and one link to each peer."""

    def __init__(self, ctx: zmq.Context[Socket], endpoint: str) -> None:
        self._ctx = ctx
        super().__init__(sockets.peer_router(ctx, endpoint))
        self._links: dict[int, tuple[str, Socket]] = {}

    def drain(self) -> list[tuple[str, Any]]:
        """Messages from peers, as (channel, message); the routing id means nothing."""
        return [("peerc", m[1:]) for m in self.take()]

    def linksc(self, item: tuple[str, dict[int, str]]) -> None:
        """Connect to exactly these peers."""
        _, wanted = item
        for peer, (endpoint, socket) in list(self._links.items()):
            if wanted.get(peer) != endpoint:
                socket.close()
                del self._links[peer]
        for peer, endpoint in wanted.items():
            if peer not in self._links:
                self._links[peer] = (endpoint, sockets.peer_dealer(self._ctx, endpoint))

    def linkc(self, item: tuple[str, tuple[int, list[bytes]]]) -> bool:
        """Send to a peer; False when it is away or its queue is full, and the message is gone."""
        _, (peer, frames) = item
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
        super().close()
        for _, socket in self._links.values():
            socket.close()
