"""The asyncio client."""

import asyncio
import os
import warnings
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from threading import get_ident
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex, Unpack

from ..transport.requests import (
    KIND_MAINTENANCE,
    KIND_READ,
    KIND_SERIALIZABLE,
    KIND_WRITE,
    is_read_only,
)
from . import _decode, errors, ops
from ._dispatch import Dispatcher
from ._login import keys_of
from ._scan import Scan, ScanOptions
from ._tasks import TaskLoop
from ._timeouts import DEFAULT_TIMEOUT_S, check_timeout
from .alarm_calls import AsyncAlarmCalls
from .auth_calls import AsyncAuthCalls
from .lease_calls import AsyncLeaseCalls
from .maintenance_calls import AsyncMaintenanceCalls
from .member_calls import AsyncMemberCalls
from .ops import Bytes, Compare, DeleteOptions, PutOptions, RangeOptions, Request
from .snapshot_calls import AsyncSnapshotCalls
from .trace_calls import AsyncTraceCalls
from .types import (
    DeleteResponse,
    KeyValue,
    PutResponse,
    RangeResponse,
    StatusResponse,
    TxnResponse,
)

if TYPE_CHECKING:
    from .keys import ClientKeys
    from .watch import WatchOptions
    from .watch_aio import AsyncWatch
    from .watch_engine import Engine


class AsyncClient(
    AsyncAuthCalls,
    AsyncLeaseCalls,
    AsyncAlarmCalls,
    AsyncMaintenanceCalls,
    AsyncMemberCalls,
    AsyncSnapshotCalls,
    AsyncTraceCalls,
):
    """A client of one cluster, for one event loop; any number of tasks may share it.

    Calls that tasks make in the same turn of the loop travel in the same message. Each call returns
    or raises by its deadline, an exception of `sampan.client.errors`. Requests are sent
    again until then, writes with numbers, so that each happens once. Cancelling a call does not
    take back a write that was sent.

        async with AsyncClient(["127.0.0.1:2378", "127.0.0.1:22378"]) as client:
            await client.put("ship", "sampan")
            (await client.get("ship")).kvs[0].value  # b"sampan"
    """

    def __init__(
        self,
        endpoints: Iterable[str],
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        exactly_once: bool = True,
        user: str = "",
        password: str = "",
        token: str = "",
        keys: "str | os.PathLike[str] | ClientKeys | None" = None,
    ) -> None:
        """Connects at the first call.

        Args:
            endpoints: `host:port` of any of the nodes; `tcp://` or `http://` may stand before it.
            timeout_s: each call's time, unless the call brings its own.
            exactly_once: number the writes, so that they can be sent again while it is not known
                what became of them. Costs one more entry in the log at the client's first write.
            user: who asks, where users are asked who they are.
            password: this user's.
            token: what a node gave for a name and a password, in place of these.
            keys: a file that `sampan keys client` made, or what is in it, for nodes that ask for
                keys.

        Raises:
            ValueError: no endpoint, one that is not `host:port`, no timeout, or no keys.
        """
        self._dispatcher: Dispatcher | None = None  # until it is needed
        self._thread = 0
        self._endpoints = Dispatcher.check_endpoints(endpoints)
        self._timeout_s = check_timeout(timeout_s)
        self._options: Any = {
            "exactly_once": exactly_once,
            "user": user,
            "password": password,
            "token": token,
            "keys": keys_of(keys),
        }
        self._closed = False

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections. Calls under way end with an error.

        Raises:
            RuntimeError: it belongs to another event loop.
        """
        if self._dispatcher is not None and self._dispatcher.refusal is None:
            self._start().close()
        self._closed = True

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Neither copied nor pickled."""
        raise TypeError("a client has connections of its own: share it, or make another")

    def __repr__(self) -> str:
        refusal = None if self._dispatcher is None else self._dispatcher.refusal
        state = "closed" if self._closed else "open" if refusal is None else "ended"
        return f"<{type(self).__name__} of {', '.join(self._endpoints)}: {state}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        dispatcher = self._dispatcher
        if dispatcher is None or dispatcher.refusal is not None:
            return
        _warn(f"unclosed client {self!r}", ResourceWarning, source=self)
        try:
            self._loop.call_soon_threadsafe(dispatcher.close)  # any thread collects garbage
        except RuntimeError:
            dispatcher.routes.let_go()  # the loop is closed

    def _start(self) -> Dispatcher:
        """What has the connections.

        Raises:
            errors.ClientClosedError: it is closed.
            RuntimeError: it belongs to another event loop.
        """
        dispatcher = self._dispatcher
        if dispatcher is None:
            if self._closed:
                raise errors.closed()
            self._loop, self._thread = asyncio.get_running_loop(), get_ident()
            loop = TaskLoop(self._loop)
            dispatcher = Dispatcher(loop, self._endpoints, **self._options)
            self._dispatcher = dispatcher
            dispatcher.start()
        elif dispatcher.refusal is not None:
            raise dispatcher.refusal.copy()
        elif asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("sampan: this client belongs to another event loop")
        return dispatcher

    def _submit(
        self, kind: str, request: Request, timeout_s: float | None, endpoint: str | None = None
    ) -> "asyncio.Future[Any]":
        dispatcher = self._dispatcher
        # Whose loop runs is asked of the loop, and once a turn: get_running_loop makes a system
        # call in Python 3.11, and all this costs as much as what follows.
        if (
            dispatcher is None
            or get_ident() != self._thread
            or not (dispatcher.flushing or self._loop.is_running())
        ):
            dispatcher = self._start()
        future = self._loop.create_future()
        lane = dispatcher.pinned_lane(endpoint, kind) if endpoint else dispatcher.lanes[kind]
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        dispatcher.queue(lane, future, request, ops.size(request), timeout_s)
        return future

    async def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        trace: bool = False,
        timeout_s: float | None = None,
        **options: Unpack[PutOptions],
    ) -> PutResponse:
        """Set a key. `ops.PutOptions` tells the options.

        Args:
            key: the key.
            value: its value.
            trace: ask the client's nodes afterwards what they did with it: the response has its
                `Trace`, or None when who took it has forgotten, or is away. That is up to two
                seconds for each node that is, besides the call's time.
            timeout_s: this call's time.
        """
        request = ops.put(key, value, **options)
        if trace:
            return await self._traced_put(request, timeout_s)
        return _decode.put_response(await self._submit(KIND_WRITE, request, timeout_s))

    async def get(
        self,
        key: Bytes,
        *,
        serializable: bool = False,
        timeout_s: float | None = None,
        **options: Unpack[RangeOptions],
    ) -> RangeResponse:
        """Read a key or a range of keys. `ops.RangeOptions` tells the options.

        Args:
            key: the key, or where the range begins.
            serializable: ask one node for what it has, which may be stale; cheaper.
            timeout_s: this call's time.
        """
        request = ops.get(key, **options)
        kind = KIND_SERIALIZABLE if serializable else KIND_READ
        return _decode.range_response(await self._submit(kind, request, timeout_s))

    async def scan(
        self, key: Bytes, *, timeout_s: float | None = None, **options: Unpack[ScanOptions]
    ) -> AsyncIterator[KeyValue]:
        """The keys of a range of any size, one after the other, as of one revision.

        Read a page at a time (about 1 MiB), as they are asked for. `ScanOptions` tells the options.

        Args:
            key: the key, or where the range begins.
            timeout_s: each page's time.

        Raises:
            CompactedError: its revision was compacted meanwhile.
        """
        scan = Scan(key, options)
        while (request := scan.request()) is not None:
            answer = await self._submit(KIND_READ, request, timeout_s)
            for kv in scan.take(_decode.range_response(answer)):
                yield kv

    async def delete(
        self, key: Bytes, *, timeout_s: float | None = None, **options: Unpack[DeleteOptions]
    ) -> DeleteResponse:
        """Delete a key or a range of keys. `ops.DeleteOptions` tells the options."""
        request = ops.delete(key, **options)
        answer = await self._submit(KIND_WRITE, request, timeout_s)
        return _decode.delete_response(answer)

    async def txn(
        self,
        compares: Sequence[Compare],
        success: Sequence[Request],
        failure: Sequence[Request] = (),
        *,
        timeout_s: float | None = None,
    ) -> TxnResponse:
        """Run one of two branches, atomically. `ops` has what the three are made of.

        A transaction that only reads costs what a read costs, and is sent again like one.
        """
        request = ops.txn(compares, success, failure)
        kind = KIND_READ if is_read_only(request) else KIND_WRITE
        return _decode.txn_response(await self._submit(kind, request, timeout_s), request)

    def watch(
        self, key: Bytes, *, timeout_s: float | None = None, **options: Unpack["WatchOptions"]
    ) -> "AsyncWatch":
        """Follow what happens to a key or a range of keys. `watch.WatchOptions` tells the options.

        Args:
            key: the key, or where the range begins.
            timeout_s: how long to look for a node, at first and each time one fails.
        """
        from . import watch, watch_aio  # short commands do without

        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        return watch_aio.AsyncWatch(self._engine, watch.spec(key, **options), timeout_s)

    def _engine(self) -> "Engine":
        from .watch_engine import engine_of

        dispatcher = self._start()  # which has the loop
        return engine_of(self._loop, dispatcher)

    async def status(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> StatusResponse:
        """What a node says of itself: the one at `endpoint`, or any.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        answer = await self._submit(KIND_MAINTENANCE, ("status",), timeout_s, endpoint)
        return _decode.status_response(answer)
