"""An asyncio event loop as a dispatcher and its streams use it."""

import asyncio
from collections.abc import Callable
from functools import partial

from ..transport.streams import READ, WRITE


class TaskLoop:
    """See `_io.SocketLoop`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: dict[int, int] = {}
        self.time = loop.time
        self.call_soon = loop.call_soon
        self.call_at = loop.call_at
        self.call_soon_threadsafe = loop.call_soon_threadsafe

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        """See transport/streams.py's Loop. asyncio tells of an error as of both events."""
        before = self._watched.get(descriptor, 0)
        self._watched[descriptor] = events
        if events & READ and not before & READ:
            self._loop.add_reader(descriptor, partial(handler, READ))
        elif before & READ and not events & READ:
            self._loop.remove_reader(descriptor)
        if events & WRITE and not before & WRITE:
            self._loop.add_writer(descriptor, partial(handler, WRITE))
        elif before & WRITE and not events & WRITE:
            self._loop.remove_writer(descriptor)

    def unwatch(self, descriptor: int) -> None:
        """Likewise."""
        events = self._watched.pop(descriptor)
        if self._loop.is_closed():
            return  # and has let go of its descriptors
        if events & READ:
            self._loop.remove_reader(descriptor)
        if events & WRITE:
            self._loop.remove_writer(descriptor)
