"""`lease.Lease` for asyncio."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from . import errors
from .lease import REVOKED, KeepAlive, LeaseState
from .types import LeaseGrantResponse

if TYPE_CHECKING:
    from ._dispatch import Dispatcher


class AsyncLease(LeaseState):
    """A lease of `AsyncClient`, made by `AsyncClient.lease`.

    As a context manager it is revoked at the end, and its keys with it; when it was lost by then,
    the end raises `LeaseLostError`.
    """

    def __init__(
        self,
        revoke: Callable[..., Awaitable[object]],
        loop: asyncio.AbstractEventLoop,
        dispatcher: "Dispatcher",
        granted: LeaseGrantResponse,
        asked_at: float,
    ) -> None:
        """See `AsyncClient.lease`."""
        super().__init__(granted)
        self._revoke = revoke
        self._lost = asyncio.Event()
        self._keep_alive = KeepAlive(loop, dispatcher, granted, asked_at, self._lost.set)
        self._keep_alive.start()

    async def wait_lost(self) -> errors.LeaseLostError:
        """Wait until it is lost or revoked, or the client closed; returns why."""
        await self._lost.wait()
        return self._keep_alive.error()

    async def revoke(self, *, timeout_s: float | None = None) -> None:
        """End it and delete its keys. It may have ended before.

        Raises:
            errors.SampanError: it could not be; it ends by itself when its time is over.
        """
        self._ended = True
        self._keep_alive.lose(REVOKED)
        self._keep_alive.stop()
        try:
            await self._revoke(self.id, timeout_s=timeout_s)
        except errors.LeaseNotFoundError:
            return

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        try:
            self.check()
            await self.revoke()
        except errors.SampanError:
            if error is None:
                raise
