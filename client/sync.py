"""The blocking client."""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn, Self, SupportsIndex, Unpack

from ..transport.requests import (
    KIND_MAINTENANCE,
    KIND_READ,
    KIND_SERIALIZABLE,
    KIND_WRITE,
    is_read_only,
)
from . import _decode, ops
from ._direct import Direct
from ._dispatch import Dispatcher
from ._login import keys_of
from ._scan import Scan, ScanOptions
from ._thread import PollLoop, Waiter
from ._timeouts import DEFAULT_TIMEOUT_S, check_timeout
from .alarm_calls import AlarmCalls
from .auth_calls import AuthCalls
from .lease_calls import LeaseCalls
from .maintenance_calls import MaintenanceCalls
from .member_calls import MemberCalls
from .ops import Bytes, Compare, DeleteOptions, PutOptions, RangeOptions, Request
from .snapshot_calls import SnapshotCalls
from .trace_calls import TraceCalls
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
    from .watch_sync import SyncWatch


LATE_S = 1.0
"""A call whose time is over waits so long for the background thread to say what is known of it.
Kept busy by something else, that thread may not even have looked."""


class Client(
    AuthCalls, LeaseCalls, AlarmCalls, MaintenanceCalls, MemberCalls, SnapshotCalls, TraceCalls
):
    """A client of one cluster for any number of threads.

    One thread in the background holds the connections. Calls that threads make at the same time
    travel in the same message. Each call returns or raises by its deadline, an exception of
    `sampan.client.errors`. Requests are sent again until then, writes with numbers, so that
    each happens once.

        with Client(["127.0.0.1:2378", "127.0.0.1:22378"]) as client:
            client.put("ship", "sampan")
            client.get("ship").kvs[0].value  # b"sampan"
    """

    _closed = True  # until it is made
    _second: "Client | None" = None

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
        """Begins to connect.

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
        self._endpoints = Dispatcher.check_endpoints(endpoints)
        self._timeout_s = check_timeout(timeout_s)
        self._options: Any = {
            "exactly_once": exactly_once,
            "user": user,
            "password": password,
            "token": token,
            "keys": keys_of(keys),
        }
        self._loop = PollLoop()
        self._dispatcher = Dispatcher(self._loop, self._endpoints, **self._options)
        self._direct = Direct(self._loop, self._dispatcher, exactly_once)
        self._loop.call_soon(self._dispatcher.start)
        self._loop.start(self._dispatcher.fail)
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Calls under way in other threads end with an error."""
        self._end()
        if not self._dispatcher.forked:
            self._loop.join()

    def _end(self) -> None:
        self._closed = True
        if not self._dispatcher.forked:
            self._loop.call_threadsafe(self._dispatcher.close)
            self._loop.stop()
        if self._second is not None:
            self._second._end()

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        """Neither copied nor pickled."""
        raise TypeError("a client has connections of its own: share it, or make another")

    def __repr__(self) -> str:
        refusal = self._dispatcher.refusal
        state = "closed" if self._closed else "open" if refusal is None else "ended"
        return f"<{type(self).__name__} of {', '.join(self._endpoints)}: {state}>"

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # No call of another object refers to this one any more, and the thread in the background
        # never does. It is not waited for: it may be the one that collects garbage here.
        if not self._closed and not self._dispatcher.forked:
            _warn(f"unclosed client {self!r}", ResourceWarning, source=self)
            self._end()

    def _call(
        self,
        kind: str,
        request: Request,
        timeout_s: float | None,
        endpoint: str | None = None,
    ) -> Any:
        dispatcher, loop = self._dispatcher, self._loop
        if dispatcher.refusal is not None:
            raise dispatcher.refusal.copy()
        if loop.blocked or loop.is_this_thread():
            return self._call_elsewhere(kind, request, timeout_s, endpoint)
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        size, deadline = ops.size(request), monotonic() + timeout_s
        waiter: Waiter | None = None
        if endpoint is None:
            answer = self._direct.call(kind, request, size, timeout_s)
            if isinstance(answer, tuple):
                return answer
            waiter = answer
            lane = dispatcher.lanes[kind]
        else:
            lane = dispatcher.pinned_lane(endpoint, kind)
        left_s = max(0.0, deadline - monotonic())
        if waiter is None:
            waiter = Waiter()
            loop.call_threadsafe(dispatcher.queue, lane, waiter, request, size, left_s)
        try:
            return waiter.wait(left_s + LATE_S)
        except TimeoutError:
            raise dispatcher.timeout(lane, sent=True) from None

    def _call_elsewhere(self, *call: Any) -> Any:
        """A call from within the background thread, where the garbage collector runs finalizers:
        in the middle of anything, so that the thread can neither answer it nor go on. It takes a
        client of its own, as do other threads' calls meanwhile, for which it may be waiting."""
        loop, is_own = self._loop, self._loop.is_this_thread()
        was_blocked = loop.blocked
        try:
            loop.blocked = loop.blocked or is_own
            return self._elsewhere()._call(*call)
        finally:
            if is_own:
                loop.blocked = was_blocked

    def _elsewhere(self) -> "Client":
        """Another client of the same cluster."""
        second = self._second
        if second is None:
            endpoints, timeout_s = self._dispatcher.endpoints, self._timeout_s
            made = Client(endpoints, timeout_s=timeout_s, **self._options)
            second = self.__dict__.setdefault("_second", made)
            if second is not made or self._closed:
                made._end()
        return second

    def put(
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
            return self._traced_put(request, timeout_s)
        return _decode.put_response(self._call(KIND_WRITE, request, timeout_s))

    def get(
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
        return _decode.range_response(self._call(kind, request, timeout_s))

    def scan(
        self, key: Bytes, *, timeout_s: float | None = None, **options: Unpack[ScanOptions]
    ) -> Iterator[KeyValue]:
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
            answer = self._call(KIND_READ, request, timeout_s)
            yield from scan.take(_decode.range_response(answer))

    def delete(
        self, key: Bytes, *, timeout_s: float | None = None, **options: Unpack[DeleteOptions]
    ) -> DeleteResponse:
        """Delete a key or a range of keys. `ops.DeleteOptions` tells the options."""
        request = ops.delete(key, **options)
        return _decode.delete_response(self._call(KIND_WRITE, request, timeout_s))

    def txn(
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
        return _decode.txn_response(self._call(kind, request, timeout_s), request)

    def watch(
        self, key: Bytes, *, timeout_s: float | None = None, **options: Unpack["WatchOptions"]
    ) -> "SyncWatch":
        """Follow what happens to a key or a range of keys. `watch.WatchOptions` tells the options.

        Args:
            key: the key, or where the range begins.
            timeout_s: how long to look for a node, at first and each time one fails.
        """
        from . import watch, watch_sync  # short commands do without

        if self._loop.blocked or self._loop.is_this_thread():
            return self._elsewhere().watch(key, timeout_s=timeout_s, **options)
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        spec = watch.spec(key, **options)
        return watch_sync.SyncWatch(self, self._loop, self._dispatcher, spec, timeout_s)

    def status(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> StatusResponse:
        """What a node says of itself: the one at `endpoint`, or any.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        answer = self._call(KIND_MAINTENANCE, ("status",), timeout_s, endpoint)
        return _decode.status_response(answer)
