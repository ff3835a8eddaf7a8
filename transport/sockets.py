"""The only place where ZeroMQ sockets are made, every option written out with its reason.

Those of a node's doors are plain TCP (tcp.py, streams.py).
"""

from collections.abc import Sequence
from typing import Any

import zmq
import zmq.backend

from ..config import addresses, limits

HEARTBEAT_IVL_MS = 1_000
HEARTBEAT_TIMEOUT_MS = 3_000
"""libzmq's own pings, off by default: without them a half-open connection stays for ever."""

RECONNECT_IVL_MS = 50
RECONNECT_IVL_MAX_MS = 1_000
"""A restarted node is found again within its own start-up time, a dead one is not hammered."""

HANDSHAKE_IVL_MS = 5_000
"""A connection that does not finish its handshake is closed (default 30 s)."""

# Plain integers: an operation on zmq's enums costs as much as sending a frame.
_NOW = int(zmq.DONTWAIT)
_NOW_AND_MORE = int(zmq.DONTWAIT | zmq.SNDMORE)
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)
# What zmq.Socket's methods of these names call, without looking for options that are not used here.
_send: Any = zmq.backend.Socket.send
_recv: Any = zmq.backend.Socket.recv
_get: Any = zmq.backend.Socket.get


def send(socket: zmq.Socket[bytes], frames: Sequence[bytes | bytearray]) -> None:
    """Send one message of bytes without blocking; zmq.Again when it cannot leave.

    A fifth of the price of send_multipart, which first looks whether every frame is one.
    """
    for frame in frames[:-1]:
        _send(socket, frame, _NOW_AND_MORE, True, False)
    _send(socket, frames[-1], _NOW, True, False)


def readable(socket: zmq.Socket[bytes]) -> bool:
    """Whether a message waits; takes back the edge of its ZMQ_FD."""
    return bool(_get(socket, _EVENTS) & _READABLE)


def receive(socket: zmq.Socket[bytes]) -> bytes:
    """The next frame, which is known to be there."""
    frame: bytes = _recv(socket, _NOW, True)
    return frame


def drain(socket: zmq.Socket[bytes]) -> tuple[list[bytes], bool]:
    """The frames of whatever has arrived, at most DRAIN_MESSAGES_MAX and not much over
    DRAIN_BYTES_MAX; there is at least one. And whether more may be there, of which the descriptor
    need not tell."""
    found = [_recv(socket, _NOW, True)]
    size = len(found[0])
    # Asking is a third of the price of being told by an exception.
    while _get(socket, _EVENTS) & _READABLE:
        if len(found) >= limits.DRAIN_MESSAGES_MAX or size >= limits.DRAIN_BYTES_MAX:
            return found, True
        found.append(_recv(socket, _NOW, True))
        size += len(found[-1])
    return found, False


def context() -> zmq.Context[zmq.Socket[bytes]]:
    """The process's context, one I/O thread: it moves far more than one Python actor can make."""
    ctx = zmq.Context(io_threads=1)
    ctx.set(zmq.MAX_SOCKETS, 4_096)
    ctx.linger = 0  # no socket may hold up the end of its process
    return ctx


def _tcp_options(socket: zmq.Socket[bytes], frame_bytes_max: int) -> None:
    socket.setsockopt(zmq.MAXMSGSIZE, frame_bytes_max)  # per frame; the default is no limit
    socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_IVL_MS)
    socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, HEARTBEAT_TIMEOUT_MS)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_IVL_MS)
    socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_IVL_MS)
    socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_IVL_MAX_MS)
    socket.setsockopt(zmq.IPV6, 1)


def client_dealer(
    ctx: zmq.Context[zmq.Socket[bytes]], endpoint: str, pair: tuple[bytes, bytes] | None = None
) -> zmq.Socket[bytes]:
    """A connection to the own node, which a (public, secret) `pair` is of, if it asks for keys."""
    socket = ctx.socket(zmq.DEALER)
    if pair is not None:
        socket.curve_publickey, socket.curve_secretkey = pair
        socket.curve_serverkey = pair[0]
    _tcp_options(socket, -1)  # the node it asked may answer a range of any size
    socket.setsockopt(zmq.IMMEDIATE, 1)  # nothing queues for a node that is not there
    socket.setsockopt(zmq.SNDHWM, limits.CLIENT_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, limits.CLIENT_QUEUE_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(addresses.tcp(endpoint))
    return socket


def inbox(ctx: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """Where all of one actor's channels arrive."""
    socket = ctx.socket(zmq.PULL)
    socket.setsockopt(zmq.RCVHWM, limits.LOCAL_QUEUE_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.bind(endpoint)
    return socket


def outbox(ctx: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> zmq.Socket[bytes]:
    """One actor's pipe to another one's inbox; it may connect before the inbox exists."""
    socket = ctx.socket(zmq.PUSH)
    socket.setsockopt(zmq.SNDHWM, limits.LOCAL_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RECONNECT_IVL, 5)  # the other actor is starting on this very machine
    socket.setsockopt(zmq.LINGER, 0)
    socket.connect(endpoint)
    return socket
