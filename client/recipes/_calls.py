"""What recipes are written against, and how the same code serves threads.

A recipe is written once, as coroutines that call an `AsyncClient`. For a `Client` the same
coroutines run on `Blocking`, whose calls block instead of suspending, so that `finish` runs them
from beginning to end in the thread that calls.
"""

import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeAlias, TypeVar, Unpack

from .._timeouts import check_timeout
from ..lease import LeaseState
from ..ops import Bytes, Compare, RangeOptions, Request
from ..sync import Client
from ..types import KeyValue, LeaseRevokeResponse, OpResponse, RangeResponse, TxnResponse
from ..watch import WatchOptions, WatchResponse
from ..watch_sync import SyncWatch

if TYPE_CHECKING:
    from asyncio import CancelledError

    from ..aio import AsyncClient

T = TypeVar("T")


Calls: TypeAlias = "AsyncClient | Blocking"
"""What recipes make their calls through."""

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

    async def lease(self, ttl_s: int) -> LeaseState:
        """See `Client.lease`."""
        return self._client.lease(ttl_s)

    async def lease_revoke(self, lease_id: int) -> LeaseRevokeResponse:
        """See `Client.lease_revoke`."""
        return self._client.lease_revoke(lease_id)

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


def kvs_of(response: OpResponse) -> Sequence[KeyValue]:
    """What a read in a transaction found."""
    if not isinstance(response, RangeResponse):
        raise TypeError(f"expected the answer to a read, got {response!r}")
    return response.kvs


@asynccontextmanager
async def within(timeout_s: float | None) -> AsyncIterator[None]:
    """End what a task waits for in the block with TimeoutError after `timeout_s`. Threads have
    `finish` for that."""
    if timeout_s is None:
        yield
        return
    import asyncio  # threads do without

    async with asyncio.timeout(check_timeout(timeout_s)):
        yield


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
