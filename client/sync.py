"""The blocking client."""

from collections.abc import Sequence
from time import monotonic
from types import TracebackType
from typing import Any, Self, Unpack

from ..transport.requests import (
    KIND_INSPECT,
    KIND_MAINTENANCE,
    KIND_READ,
    KIND_SERIALIZABLE,
    KIND_WRITE,
    is_read_only,
)
from . import _decode, ops
from ._dispatch import DEFAULT_TIMEOUT_S, Dispatcher, check_timeout, closed_error
from ._thread import PollLoop, Waiter
from .errors import SampanError
from .ops import Bytes, Compare, DeleteOptions, PutOptions, RangeOptions, Request
from .types import (
    CompactResponse,
    DeleteResponse,
    HashKvResponse,
    MemberListResponse,
    PutResponse,
    RangeResponse,
    StatusResponse,
    TxnResponse,
)


class Client:
    """A client of one cluster for any number of threads.

    One thread in the background holds the connections. Calls that threads make at the same time
    travel in the same message. Each call returns or raises by its deadline, an exception of
    `sampan.client.errors`. Reads are sent again until then; a write is sent again only when it
    certainly was not applied.

        with Client(["127.0.0.1:2379", "127.0.0.1:22379"]) as client:
            client.put("ship", "sampan")
            client.get("ship").kvs[0].value  # b"sampan"
    """

    def __init__(self, endpoints: Sequence[str], *, timeout_s: float = DEFAULT_TIMEOUT_S) -> None:
        """Begins to connect.

        Args:
            endpoints: `host:port` of any of the nodes; `tcp://` or `http://` may stand before it.
            timeout_s: each call's time, unless the call brings its own.

        Raises:
            ValueError: no endpoint, one that is not `host:port`, or no timeout.
        """
        Dispatcher.check_endpoints(endpoints)
        self._timeout_s = check_timeout(timeout_s)
        self._loop = PollLoop(self._failed)
        self._dispatcher = Dispatcher(self._loop, endpoints)
        self._loop.call_soon(self._dispatcher.start)
        self._loop.start()

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
        if not self._dispatcher.forked:
            self._loop.call_threadsafe(self._dispatcher.close)
            self._loop.stop()

    def _failed(self, error: BaseException) -> None:
        """A bug: whoever waits learns of it, and so does whoever calls later."""
        self._dispatcher.close(f"sampan: the client failed: {error!r}")

    def _call(
        self,
        kind: str,
        request: Request,
        timeout_s: float | None,
        endpoint: str | None = None,
    ) -> Any:
        dispatcher = self._dispatcher
        if dispatcher.refusal is not None:
            raise dispatcher.refusal
        waiter = Waiter()
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        lane = dispatcher.pinned_lane(endpoint, kind) if endpoint else dispatcher.lanes[kind]
        call = (lane, waiter, request, ops.size(request), timeout_s)
        if not self._loop.call_threadsafe(dispatcher.queue, *call):
            raise closed_error()
        return waiter.wait()

    def put(
        self,
        key: Bytes,
        value: Bytes,
        *,
        timeout_s: float | None = None,
        **options: Unpack[PutOptions],
    ) -> PutResponse:
        """Set a key. `ops.PutOptions` tells the options."""
        request = ops.put(key, value, **options)
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

    def compact(
        self, revision: int, *, physical: bool = False, timeout_s: float | None = None
    ) -> CompactResponse:
        """Forget what was replaced or deleted before `revision`: reads below it are refused.

        Args:
            revision: it and what is newer stays readable.
            physical: return only when the history is gone from the member that answers. An error
                that says so is raised when that takes longer; the revision is compacted even so.
            timeout_s: this call's time.
        """
        begun = monotonic()
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        answer = self._call(KIND_WRITE, ("compact", revision), timeout_s)
        if physical:
            left_s = max(0.0, timeout_s - (monotonic() - begun))
            try:
                self._call(KIND_INSPECT, ("compacted", revision), left_s)
            except SampanError as error:
                raise _decode.not_gone_yet(revision, error) from error
        return _decode.compact_response(answer)

    def hash_kv(
        self,
        endpoint: str | None = None,
        *,
        revision: int = 0,
        timeout_s: float | None = None,
    ) -> HashKvResponse:
        """Hash the whole state of a node as of a revision, to compare it with another's.

        Args:
            endpoint: the node to ask; None for any.
            revision: 0 for its newest.
            timeout_s: this call's time; a million keys take a second or more.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        request = ("hash_kv", revision)
        answer = self._call(KIND_INSPECT, request, timeout_s, endpoint)
        return _decode.hash_kv_response(answer)

    def status(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> StatusResponse:
        """What a node says of itself: the one at `endpoint`, or any.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        answer = self._call(KIND_MAINTENANCE, ("status",), timeout_s, endpoint)
        return _decode.status_response(answer)

    def member_list(self, *, timeout_s: float | None = None) -> MemberListResponse:
        """The members of the cluster, ordered by id."""
        answer = self._call(KIND_MAINTENANCE, ("member_list",), timeout_s)
        return _decode.member_list_response(answer)
