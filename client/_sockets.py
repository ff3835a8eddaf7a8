"""The ZeroMQ context of one client and the sockets that are open."""

import zmq

from ..transport import sockets


class Sockets:
    """What of a client must be closed, and in this order, before it may be forgotten.

    A context waits at its end, for ever, for sockets that are open. When the garbage collector
    finds both at once it may well begin with the context. So this refers to nothing else of its
    client, and its `close` is what a finalizer calls.
    """

    def __init__(self) -> None:
        self._context = sockets.context()
        self._open: dict[zmq.Socket[bytes], None] = {}

    def dealer(self, endpoint: str) -> zmq.Socket[bytes]:
        """A connection to one node.

        Raises:
            zmq.ZMQError: there are no descriptors left, say.
        """
        return self._keep(sockets.client_dealer(self._context, endpoint))

    def monitor(self, socket: zmq.Socket[bytes], events: int) -> zmq.Socket[bytes]:
        """What tells of these events of a connection.

        Raises:
            zmq.ZMQError: as for `dealer`.
        """
        return self._keep(socket.get_monitor_socket(events))

    def _keep(self, socket: zmq.Socket[bytes]) -> zmq.Socket[bytes]:
        self._open[socket] = None
        return socket

    def close_one(self, socket: zmq.Socket[bytes]) -> None:
        """Close a connection or its monitor, with everything in it."""
        del self._open[socket]
        socket.close(linger=0)

    def close(self) -> None:
        """Close all. It may have been done before."""
        for socket in list(self._open):
            self.close_one(socket)
        self._context.destroy(linger=0)
