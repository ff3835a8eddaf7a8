"""What host names resolve to, asked beside everything else: a DNS that is silent stops nothing."""

import socket
import threading
from collections.abc import Callable

from . import tcp


class Names:
    """The last good answer for each endpoint. Safe to use from the thread that made it alone."""

    def __init__(self, told: Callable[[], None] = lambda: None) -> None:
        """`told` is called in another thread whenever a question has ended."""
        self._told = told
        self._known: dict[str, list[tcp.Address]] = {}
        self._failed: dict[str, str] = {}
        self._asked: set[str] = set()

    def addresses(self, endpoint: str) -> list[tcp.Address]:
        """What is known, at once; none before the first answer. A name is asked for anew, so that
        the next call knows better."""
        try:
            return tcp.resolve(endpoint, socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass  # a name, not an address
        if endpoint not in self._asked:
            self._asked.add(endpoint)
            self._failed.pop(endpoint, None)
            # A thread for each: they may be silent for half a minute. Nobody waits for them.
            threading.Thread(
                target=self._ask, args=(endpoint,), name="resolver", daemon=True
            ).start()
        return self._known.get(endpoint, [])

    def _ask(self, endpoint: str) -> None:
        try:
            self._known[endpoint] = tcp.resolve(endpoint)
        except (OSError, UnicodeError) as error:
            self._failed[endpoint] = getattr(error, "strerror", None) or str(error)
        self._asked.discard(endpoint)
        self._told()

    def failed(self, endpoint: str) -> bool:
        """Whether the last question has ended, and in vain."""
        return endpoint in self._failed

    def trouble(self, endpoint: str) -> str:
        """Why nothing is known of an endpoint."""
        return self._failed.get(endpoint, "its name was not resolved in time")
