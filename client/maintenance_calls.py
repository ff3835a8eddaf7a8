"""The calls about history, its hash, and what nodes measure, of both clients."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

from ..transport.requests import KIND_INSPECT, KIND_MAINTENANCE, KIND_WRITE
from . import _decode
from ._timeouts import check_timeout
from .errors import SampanError
from .types import CompactResponse, HashKvResponse, StatusResponse


class AsyncMaintenanceCalls:
    """The part of `AsyncClient` that is about history and measures."""

    _submit: Callable[..., Awaitable[Any]]
    _timeout_s: float

    async def compact(
        self, revision: int, *, physical: bool = False, timeout_s: float | None = None
    ) -> CompactResponse:
        """Forget what was replaced or deleted before `revision`: reads below it are refused.

        Args:
            revision: it and what is newer stays readable.
            physical: return only when the history is gone from the member that answers. An error
                that says so is raised when that takes longer; the revision is compacted even so.
            timeout_s: this call's time.
        """
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        deadline = monotonic() + timeout_s
        answer = await self._submit(KIND_WRITE, ("compact", revision), timeout_s)
        if physical:
            left_s = max(0.0, deadline - monotonic())
            try:
                await self._submit(KIND_INSPECT, ("compacted", revision), left_s)
            except SampanError as error:
                raise _decode.not_gone_yet(revision, error) from error
        return _decode.compact_response(answer)

    async def hash_kv(
        self, endpoint: str | None = None, *, revision: int = 0, timeout_s: float | None = None
    ) -> HashKvResponse:
        """Hash the whole state of a node as of a revision, to compare it with another's.

        Args:
            endpoint: the node to ask; None for any.
            revision: 0 for its newest.
            timeout_s: this call's time; a million keys take some seconds.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        request = ("hash_kv", revision)
        answer = await self._submit(KIND_INSPECT, request, timeout_s, endpoint)
        return _decode.hash_kv_response(answer)

    async def defragment(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> CompactResponse:
        """Have a node give the space of what was compacted or replaced back to its disk. It does so
        by itself, too, and serves everybody meanwhile.

        Args:
            endpoint: the node; None for any.
            timeout_s: this call's time; minutes for several GB.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        answer = await self._submit(KIND_INSPECT, ("defragment",), timeout_s, endpoint)
        return _decode.compact_response(answer)

    async def metrics(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> StatusResponse:
        """What a node and its actors have counted and timed since they started.

        `fields` has `status`, as `status` tells it, and `actors`: for each what docs/protocol.md
        lists. `/metrics` on the node's HTTP address has the same in Prometheus' text.

        Args:
            endpoint: the node to ask; None for any.
            timeout_s: this call's time.

        Raises:
            ValueError: `endpoint` is not one of this client's.
        """
        answer = await self._submit(KIND_MAINTENANCE, ("metrics",), timeout_s, endpoint)
        return _decode.status_response(answer)


class MaintenanceCalls:
    """The part of `Client` about history and measures; `AsyncMaintenanceCalls` tells more."""

    _call: Callable[..., Any]
    _timeout_s: float

    def compact(
        self, revision: int, *, physical: bool = False, timeout_s: float | None = None
    ) -> CompactResponse:
        """Forget what was replaced or deleted before `revision`; with `physical` return only when
        it is gone from the member that answers."""
        timeout_s = self._timeout_s if timeout_s is None else check_timeout(timeout_s)
        deadline = monotonic() + timeout_s
        answer = self._call(KIND_WRITE, ("compact", revision), timeout_s)
        if physical:
            left_s = max(0.0, deadline - monotonic())
            try:
                self._call(KIND_INSPECT, ("compacted", revision), left_s)
            except SampanError as error:
                raise _decode.not_gone_yet(revision, error) from error
        return _decode.compact_response(answer)

    def hash_kv(
        self, endpoint: str | None = None, *, revision: int = 0, timeout_s: float | None = None
    ) -> HashKvResponse:
        """Hash the whole state of a node, any or the one at `endpoint`, as of a revision."""
        request = ("hash_kv", revision)
        return _decode.hash_kv_response(self._call(KIND_INSPECT, request, timeout_s, endpoint))

    def defragment(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> CompactResponse:
        """Have a node give the space of what is gone back to its disk."""
        answer = self._call(KIND_INSPECT, ("defragment",), timeout_s, endpoint)
        return _decode.compact_response(answer)

    def metrics(
        self, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> StatusResponse:
        """What a node and its actors have counted and timed since they started."""
        answer = self._call(KIND_MAINTENANCE, ("metrics",), timeout_s, endpoint)
        return _decode.status_response(answer)
