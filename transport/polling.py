"""A loop's wait for descriptors: epoll where there is one, poll elsewhere."""

import select
from collections.abc import Callable
from typing import Any

_EPOLL = hasattr(select, "epoll")
EVENTS_MAX = 256
"""Handled in one turn: with what a stream reads at once it bounds what a turn brings."""


class Poller:
    """Calls a handler for each descriptor on which something is there."""

    def __init__(self) -> None:
        self._poll: Any = select.epoll() if _EPOLL else select.poll()
        self._handlers: dict[int, Callable[[int], None]] = {}

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        """See streams.Loop; a descriptor that is watched already changes events and handler."""
        if descriptor in self._handlers:
            self._poll.modify(descriptor, events)
        else:
            self._poll.register(descriptor, events)
        self._handlers[descriptor] = handler

    def unwatch(self, descriptor: int) -> None:
        """See streams.Loop."""
        del self._handlers[descriptor]
        self._poll.unregister(descriptor)

    def wait(self, timeout_s: float) -> None:
        """Handle what is there, or wait for something, rounded up to milliseconds."""
        found = (
            self._poll.poll(timeout_s, EVENTS_MAX) if _EPOLL else self._poll.poll(timeout_s * 1000)
        )
        for descriptor, events in found:
            handler = self._handlers.get(descriptor)
            if handler is not None:  # an earlier handler of this turn may have ended it
                handler(events)

    def close(self) -> None:
        """Let go of the kernel's object."""
        if _EPOLL:
            self._poll.close()
