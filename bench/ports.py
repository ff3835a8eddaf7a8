"""Loopback ports that nobody listens on, and that no connection is given by chance."""

import random
import socket
from collections.abc import Sequence

from .errors import BenchError

PORTS = range(10_240, 32_768)
"""Below those that systems give to connections (Linux: from 32768 on; IANA: from 49152 on): such a
port, free when it is chosen, can belong to a connection once a node binds it."""
_TRIES = 50


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a program could listen there now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        try:
            listener.bind((host, port))
        except OSError:
            return False
    return True


def free_ports(count: int) -> Sequence[int]:
    """`count` consecutive ports that are free now.

    Raises:
        BenchError: when the tries found none.
    """
    for _ in range(_TRIES):
        base = random.choice(PORTS[: len(PORTS) - count + 1])
        ports = range(base, base + count)
        if all(map(is_free, ports)):
            return ports
    raise BenchError(f"no {count} consecutive free ports on loopback")
