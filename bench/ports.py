"""Loopback ports that nobody listens on."""

import socket
from contextlib import ExitStack

from .errors import BenchError

_TRIES = 50


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.bind(("127.0.0.1", port))
    except OSError:
        listener.close()
        raise
    return listener


def free_ports(count: int) -> list[int]:
    """`count` different ports that are free now."""
    with ExitStack() as stack:
        listeners = [stack.enter_context(_bound(0)) for _ in range(count)]
        return [listener.getsockname()[1] for listener in listeners]


def free_port_run(count: int) -> int:
    """The first of `count` consecutive free ports.

    Raises:
        BenchError: when the tries found none.
    """
    for _ in range(_TRIES):
        (base,) = free_ports(1)
        try:
            with ExitStack() as stack:
                for port in range(base, base + count):
                    stack.enter_context(_bound(port))
        except (OSError, OverflowError):
            continue
        return base
    raise BenchError(f"no {count} consecutive free ports on loopback")
