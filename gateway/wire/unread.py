"""What clients leave unread, all together: bounded, and who takes nothing while it is much is cut.

A connection gets no large answer while what it leaves and what all leave are together more than the
bound. So one alone may leave half of it, two a third each, and whoever reads finds room beside any
number that do not.
"""

import asyncio
from typing import Any, Protocol

from ...config import limits

LOOK_S = 0.25
"""How often those that leave something are looked at."""


class Reader(Protocol):
    """A connection."""

    peer: str

    @property
    def unread(self) -> int:
        """Bytes that wait for it here."""

    @property
    def taken(self) -> int:
        """Bytes that the kernel took for it, ever."""

    def abort(self) -> None:
        """End it."""


class Unread:
    """That of all connections."""

    def __init__(self, loop: asyncio.AbstractEventLoop, log: Any) -> None:
        self._loop, self._log = loop, log
        # Those that leave something: what each had taken, and when it had last taken more.
        self._readers: dict[Reader, tuple[int, float]] = {}
        self._counted = self._since = 0  # bytes, and what was answered since they were counted
        self._timer: asyncio.TimerHandle | None = None

    def has_room(self, reader: Reader, size: int) -> bool:
        """Whether it may be sent an answer of that size, which counts then."""
        own = reader.unread
        if own + self._counted + self._since > limits.HTTP_UNREAD_BYTES_MAX:
            self._count()
            if own + self._counted > limits.HTTP_UNREAD_BYTES_MAX:
                return False
        self._since += size
        self.leaves(reader)
        return True

    def leaves(self, reader: Reader) -> None:
        """It leaves something unread, or may."""
        if reader not in self._readers:
            self._readers[reader] = (reader.taken, self._loop.time())
            if self._timer is None:
                self._timer = self._loop.call_later(LOOK_S, self._look)

    def forget(self, reader: Reader) -> None:
        """It is gone."""
        self._readers.pop(reader, None)

    def _count(self) -> None:
        self._counted = self._since = 0
        now = self._loop.time()
        for reader, (taken, _) in list(self._readers.items()):
            unread = reader.unread
            self._counted += unread
            if not unread:
                del self._readers[reader]
            elif reader.taken != taken:
                self._readers[reader] = (reader.taken, now)

    def _look(self) -> None:
        self._count()
        if self._counted > limits.HTTP_CROWDED_BYTES:
            self._cut()
        self._timer = self._loop.call_later(LOOK_S, self._look) if self._readers else None

    def _cut(self) -> None:
        """Those that take nothing, and hold most, until the rest is not much."""
        since = self._loop.time() - limits.HTTP_CROWDED_S
        for reader in sorted(self._readers, key=lambda each: each.unread, reverse=True):
            if self._counted <= limits.HTTP_CROWDED_BYTES:
                return
            if self._readers[reader][1] <= since:
                unread = reader.unread
                self._counted -= unread
                del self._readers[reader]
                self._log.warning("cut: it does not read", peer=reader.peer, unread_bytes=unread)
                reader.abort()
