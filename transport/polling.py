"""A loop's wait for descriptors: epoll where there is one, poll elsewhere."""

import select
from collections import deque
from collections.abc import Callable
from time import monotonic
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

    def inner(self, turn_s: float) -> "Poller":
        """A loop within this one, for those that are served after the others: so much time its
        handlers have in a turn together, however many of them are called for. Where there is no
        epoll it is this loop itself."""
        return _Inner(self, turn_s) if _EPOLL else self

    def close(self) -> None:
        """Let go of the kernel's object."""
        if _EPOLL:
            self._poll.close()


class _Inner(Poller):
    """See `inner`."""

    def __init__(self, outer: Poller, turn_s: float) -> None:
        super().__init__()
        self._outer, self._turn_s = outer, turn_s
        # What the kernel tells always begins with the same ones: who had no time goes first.
        self._found: deque[tuple[int, int]] = deque()
        outer.watch(self._poll.fileno(), int(select.POLLIN), self._turn)

    def _turn(self, _events: int) -> None:
        until = monotonic() + self._turn_s
        self._found = self._found or deque(self._poll.poll(0, EVENTS_MAX))
        while self._found:
            descriptor, events = self._found.popleft()
            handler = self._handlers.get(descriptor)
            if handler is not None:
                handler(events)
            if monotonic() >= until:
                break

    def close(self) -> None:
        """See Poller."""
        self._outer.unwatch(self._poll.fileno())
        super().close()
