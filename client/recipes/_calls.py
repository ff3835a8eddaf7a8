"""What recipes are written against, and how the same code serves threads.

A recipe is written once, as coroutines that call an `AsyncClient`. For a `Client` the same
coroutines run on `Blocking`, whose calls block instead of suspending, so that `finish` runs them
from beginning to end in the thread that calls.
"""

import threading
from collections.abc import Coroutine, Sequence
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, Unpack

from .._dispatch import check_timeout
from ..ops import Bytes, Compare, RangeOptions, Request
from ..sync import Client
from ..types import RangeResponse, TxnResponse
from ..watch import WatchOptions, WatchResponse
from ..watch_sync import SyncWatch

if TYPE_CHECKING:
    from asyncio import CancelledError

T = TypeVar("T")


class WatchCalls(Protocol):
    """The part of `AsyncWatch` that recipes use."""

    def __aiter__(self) -> Self:
        """Begin."""

    async def __anext__(self) -> WatchResponse:
        """The next response."""

    def cancel(self) -> None:
        """End it."""


class Calls(Protocol):
    """The calls of `AsyncClient` that recipes make."""

    async def get(self, key: Bytes, **options: Unpack[RangeOptions]) -> RangeResponse:
        """Read a key or a range of keys."""

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Request],
        failure: Sequence[Request] = (),
    ) -> TxnResponse:
        """Run one of two branches."""

    def watch(self, key: Bytes, **options: Unpack[WatchOptions]) -> WatchCalls:
        """Follow what happens."""


_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


class Blocking:
    """A `Client` with the calls of an `AsyncClient`, which never suspend."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, key: Bytes, **options: Unpack[RangeOptions]) -> RangeResponse:
        """See `Client.get`."""
        return self._client.get(key, **options)

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Request],
        failure: Sequence[Request] = (),
    ) -> TxnResponse:
        """See `Client.txn`."""
        return self._client.txn(compares, success, failure)

    def watch(self, key: Bytes, **options: Unpack[WatchOptions]) -> "BlockingWatch":
        """See `Client.watch`."""
        return BlockingWatch(self._client.watch(key, **options), _deadline.get())


class BlockingWatch:
    """A `SyncWatch` that never suspends, and that ends by a deadline (monotonic seconds)."""

    def __init__(self, watch: SyncWatch, deadline: float) -> None:
        self._watch = watch
        self._deadline = deadline
        self._timer: threading.Timer | None = None

    def __aiter__(self) -> Self:
        if self._deadline < float("inf"):
            self._timer = threading.Timer(self._deadline - monotonic(), self._watch.cancel)
            self._timer.daemon = True
            self._timer.start()
        return self

    async def __anext__(self) -> WatchResponse:
        """The next response.

        Raises:
            TimeoutError: the deadline passed.
        """
        response = next(self._watch, None)
        if response is None:
            if monotonic() >= self._deadline:
                raise TimeoutError("sampan: waited in vain until the timeout")
            raise StopAsyncIteration
        return response

    def cancel(self) -> None:
        """End it."""
        if self._timer is not None:
            self._timer.cancel()
        self._watch.cancel()


def finish(recipe: Coroutine[Any, Any, T], timeout_s: float | None = None) -> T:
    """Run a recipe on `Blocking` calls.

    Args:
        recipe: one that only awaits calls of `Blocking`.
        timeout_s: how long it may wait for others; calls of the client have their own time.

    Raises:
        TimeoutError: it waited so long.
        ValueError: `timeout_s` is none.
        RuntimeError: it awaits something else.
    """
    before = None
    try:
        if timeout_s is not None:
            before = _deadline.set(monotonic() + check_timeout(timeout_s))
        recipe.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        if before is not None:
            _deadline.reset(before)
        recipe.close()
    raise RuntimeError("a recipe for threads suspended: it may only await calls of Blocking")


async def to_the_end(
    client: Calls, call: Coroutine[Any, Any, T]
) -> tuple[T, "CancelledError | None"]:
    """Await a call whose outcome must be known also by a task that is cancelled meanwhile.

    Returns:
        What the call returned, and how the task was cancelled: it has to raise that in the end.

    Raises:
        CancelledError: the task was cancelled and the call failed, for the reason given as cause.
    """
    if isinstance(client, Blocking):
        return await call, None
    import asyncio  # threads do without

    running = asyncio.ensure_future(call)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait([running])
        except asyncio.CancelledError as error:
            cancelled = error
    failed = None if running.cancelled() else running.exception()
    if cancelled is not None and failed is not None:
        raise cancelled from failed
    return running.result(), cancelled
