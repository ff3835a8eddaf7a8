"""TCP sockets, every option written out with its reason. None blocks that is not told to. And, for
a process beside its node, those of a file, which take a third off the way there and back.

That the other end is gone without a word (its machine, the network) is the kernel's to notice: it
asks by keepalives, and ends a connection on which nothing was acknowledged for as long as the other
end may be silent (TCP_USER_TIMEOUT). It needs no wake-up of anybody for it, however many idle
connections there are, and works with every peer, whatever it knows of ZMTP's PING.
"""

import errno
import os
import resource
import socket
import struct
import sys
from typing import Any, NamedTuple

from ..config import addresses

BACKLOG = 1_024
"""Connections the kernel queues: thousands of clients reconnect at once after a restart."""

_KEEP_IDLE: int = getattr(socket, "TCP_KEEPIDLE", 0x10)  # macOS before Python 3.10 has no name
_USER_TIMEOUT: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)  # Linux alone has it
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)

_WAIT_S_MIN = 0.001
"""The shortest wait: 0 would be for ever."""
RESERVED_DESCRIPTORS_MAX = 1_088
"""Kept for files where there are many: what both databases may open, and the pipes."""


class BindError(Exception):
    """An address that could not be bound, in one sentence; `number` is the system's."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


class Address(NamedTuple):
    """One address of a name."""

    family: int
    sockaddr: Any

    def __str__(self) -> str:
        if self.family == socket.AF_UNIX:
            return str(self.sockaddr)
        host, port = self.sockaddr[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def resolve(endpoint: str, flags: int = 0) -> list[Address]:
    """All addresses of an endpoint; takes as long as the resolver does. Raises OSError."""
    if path := addresses.ipc_path(endpoint):
        return [Address(socket.AF_UNIX, path)]
    host, port = addresses.parse(endpoint)
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys(Address(info[0], info[4]) for info in found))


def listen(endpoint: str) -> list[socket.socket]:
    """Bind all addresses of an endpoint that this machine has, to one port; raises BindError."""
    bound: list[socket.socket] = []
    tried: Any = endpoint
    try:
        for tried in resolve(endpoint, socket.AI_PASSIVE):
            try:
                bound.append(_listen(tried, bound[0].getsockname()[1] if bound else None))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                missing = error
        if not bound:
            raise missing
    except OSError as error:
        for each in bound:
            each.close()
        where = endpoint if str(tried) == endpoint else f"{endpoint} ({tried})"
        reason = error.strerror or error
        raise BindError(f"cannot bind {where}: {reason}", error.errno or 0) from error
    return bound


def listen_beside(path: str) -> socket.socket:
    """Bind a file that is not there yet, in a folder of its owner alone. Raises BindError."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.bind(path)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise BindError(f"cannot bind {path}: {error.strerror}", error.errno or 0) from error
    return listener


def _listen(address: Address, port: int | None) -> socket.socket:
    host, wanted, *scope = address.sockaddr
    listener = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # after a restart
        if address.family == socket.AF_INET6:  # "any address" is of both versions
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(host != "::"))
        listener.bind((host, port or wanted, *scope))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def accept(listener: socket.socket, silence_s: float) -> socket.socket | None:
    """A connection that waits; None when there is none. Raises OSError out of descriptors."""
    try:
        accepted, _ = listener.accept()
    except (BlockingIOError, ConnectionAbortedError, InterruptedError):
        return None
    _prepare(accepted, silence_s)
    return accepted


def peer_of(connection: socket.socket) -> str:
    """The address of whoever is at the other end; "?" when it is gone already."""
    if connection.family == socket.AF_UNIX:
        return "127.0.0.1"
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return "?"


def dial(address: Address, silence_s: float) -> socket.socket:
    """Begin to connect: when the socket is writable, `outcome` tells. Raises OSError."""
    connecting = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        _prepare(connecting, silence_s)
        number = connecting.connect_ex(address.sockaddr)
        if number not in (0, errno.EINPROGRESS):
            raise OSError(number, errno.errorcode.get(number, "?"))
    except OSError:
        connecting.close()
        raise
    return connecting


def outcome(connecting: socket.socket) -> int:
    """The error number of an attempt to connect, 0 when it is connected."""
    return connecting.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)


def _prepare(connection: socket.socket, silence_s: float) -> None:
    connection.setblocking(False)
    if connection.family == socket.AF_UNIX:
        return  # its other end cannot be gone without a word
    third_s = max(1, round(silence_s / 3))
    tcp = socket.IPPROTO_TCP
    connection.setsockopt(tcp, socket.TCP_NODELAY, 1)  # messages leave whole, and at once
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    connection.setsockopt(tcp, _KEEP_IDLE, third_s)
    connection.setsockopt(tcp, socket.TCP_KEEPINTVL, third_s)
    connection.setsockopt(tcp, socket.TCP_KEEPCNT, 2)
    if _USER_TIMEOUT is not None:
        connection.setsockopt(tcp, _USER_TIMEOUT, round(silence_s * 1000))


def wait_at_most(connected: socket.socket, wait_s: float) -> None:
    """From now on each step waits as long as this, then it raises BlockingIOError. The kernel
    watches the time: a timeout of Python's would cost a poll before each step."""
    seconds, rest = divmod(max(wait_s, _WAIT_S_MIN), 1)
    time = struct.pack("ll", int(seconds), int(rest * 1e6))
    connected.setblocking(True)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, time)
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, time)


def name_of(bound: socket.socket) -> str:
    """HOST:PORT of a socket's own end."""
    return str(Address(bound.family, bound.getsockname()))


def last_descriptor(reserve: float) -> int:
    """The number that a connection's descriptor should not pass: the kernel gives the lowest that
    is free, so then this share of a reserve is left, for files and for others. The whole reserve
    is a quarter of what is allowed."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return allowed - int(reserve * min(allowed // 4, RESERVED_DESCRIPTORS_MAX))


def lowest_free(some: socket.socket) -> int:
    """The number that the next descriptor would have."""
    try:
        copy = os.dup(some.fileno())
    except OSError:
        return sys.maxsize  # there is none
    os.close(copy)
    return copy
