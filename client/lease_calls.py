"""The calls about leases, of both clients."""

from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..transport import errors as wire
from ..transport.requests import KIND_READ, KIND_WRITE
from . import errors
from ._decode import Answer, header
from ._dispatch import Dispatcher
from .lease import Lease
from .types import (
    LeaseGrantResponse,
    LeaseKeepAliveResponse,
    LeaseRevokeResponse,
    LeasesResponse,
    LeaseTimeToLiveResponse,
    ResponseHeader,
)

if TYPE_CHECKING:
    import asyncio

    from ._thread import PollLoop
    from .lease_aio import AsyncLease

Request = tuple[Any, ...]


def _unpacked(answer: Answer, length: int) -> tuple[ResponseHeader, list[Any]]:
    """(header, what follows the revision) of a result of `length` elements."""
    reply, result = answer
    if len(result) != length:
        text = f"sampan: malformed result: {str(result)[:80]}"
        raise errors.MalformedReplyError(wire.INTERNAL, text)
    return header(reply, result[1]), list(result[2:])


def _check_ttl(ttl_s: int) -> int:
    if type(ttl_s) is not int:
        raise TypeError(f"ttl_s is a whole number of seconds, not {ttl_s!r}")
    return ttl_s


def _granted(answer: Answer) -> LeaseGrantResponse:
    head, rest = _unpacked(answer, 4)
    return LeaseGrantResponse(head, *rest)


def _revoked(answer: Answer) -> LeaseRevokeResponse:
    return LeaseRevokeResponse(_unpacked(answer, 2)[0])


def _kept_alive(answer: Answer) -> LeaseKeepAliveResponse:
    head, (lease_id, ttl_s) = _unpacked(answer, 4)
    if not ttl_s:
        raise errors.from_wire(wire.LEASE_NOT_FOUND)
    return LeaseKeepAliveResponse(head, lease_id, ttl_s)


def _time_to_live(answer: Answer) -> LeaseTimeToLiveResponse:
    head, (lease_id, granted_ttl_s, ttl_s, keys) = _unpacked(answer, 6)
    return LeaseTimeToLiveResponse(head, lease_id, granted_ttl_s, ttl_s, list(keys))


def _leases(answer: Answer) -> LeasesResponse:
    head, (leases,) = _unpacked(answer, 3)
    return LeasesResponse(head, list(leases))


class AsyncLeaseCalls:
    """The part of `AsyncClient` that is about leases. An `id` is at most 2^64 - 1."""

    _submit: Callable[[str, Request, float | None], Awaitable[Any]]
    _start: Callable[[], Dispatcher]
    _loop: "asyncio.AbstractEventLoop"

    async def lease(
        self, ttl_s: int, *, lease_id: int = 0, timeout_s: float | None = None
    ) -> "AsyncLease":
        """Grant a lease that is renewed by itself until it is revoked, lost, or the client closed.

            async with await client.lease(10) as lease:
                await client.put("workers/7", "here", lease=lease.id)

        See `lease_grant` for the arguments and errors.
        """
        from .lease_aio import AsyncLease  # here: sync clients do without asyncio

        asked_at = monotonic()
        granted = await self.lease_grant(ttl_s, lease_id=lease_id, timeout_s=timeout_s)
        return AsyncLease(self.lease_revoke, self._loop, self._start(), granted, asked_at)

    async def lease_grant(
        self, ttl_s: int, *, lease_id: int = 0, timeout_s: float | None = None
    ) -> LeaseGrantResponse:
        """Grant a lease: it ends `ttl_s` seconds after its last renewal, and its keys with it.

        Args:
            ttl_s: whole seconds; the cluster grants no less than one and a half elections.
            lease_id: its id; 0 lets the cluster choose.
            timeout_s: this call's time.

        Raises:
            errors.LeaseExistsError: `lease_id` is taken.
            errors.LeaseTtlTooLargeError: more than 9,000,000,000 seconds.
            TypeError: `ttl_s` is no whole number.
        """
        request = ("lease_grant", lease_id, _check_ttl(ttl_s))
        return _granted(await self._submit(KIND_WRITE, request, timeout_s))

    async def lease_revoke(
        self, lease_id: int, *, timeout_s: float | None = None
    ) -> LeaseRevokeResponse:
        """End a lease and delete its keys, in one revision.

        Raises:
            errors.LeaseNotFoundError: it has ended before.
        """
        request = ("lease_revoke", lease_id)
        return _revoked(await self._submit(KIND_WRITE, request, timeout_s))

    async def lease_keep_alive_once(
        self, lease_id: int, *, timeout_s: float | None = None
    ) -> LeaseKeepAliveResponse:
        """Renew a lease once. `lease` does it for as long as you need it.

        Raises:
            errors.LeaseNotFoundError: it has ended.
        """
        request = ("lease_keep_alive", lease_id)
        return _kept_alive(await self._submit(KIND_WRITE, request, timeout_s))

    async def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout_s: float | None = None
    ) -> LeaseTimeToLiveResponse:
        """How long a lease has left, and with `keys` what is attached to it.

        A member that has started since the last renewal answers too much: it only knows that the
        lease has not ended.
        """
        request = ("lease_time_to_live", lease_id, int(keys))
        return _time_to_live(await self._submit(KIND_READ, request, timeout_s))

    async def leases(self, *, timeout_s: float | None = None) -> LeasesResponse:
        """All leases."""
        return _leases(await self._submit(KIND_READ, ("lease_list",), timeout_s))


class LeaseCalls:
    """The part of `Client` that is about leases; `AsyncLeaseCalls` tells more."""

    _call: Callable[[str, Request, float | None], Any]
    _dispatcher: Dispatcher
    _loop: "PollLoop"

    def lease(self, ttl_s: int, *, lease_id: int = 0, timeout_s: float | None = None) -> "Lease":
        """Grant a lease that is renewed by itself until it is revoked, lost, or the client closed.

        with client.lease(10) as lease:
            client.put("workers/7", "here", lease=lease.id)
        """
        asked_at = monotonic()
        granted = self.lease_grant(ttl_s, lease_id=lease_id, timeout_s=timeout_s)
        return Lease(self.lease_revoke, self._loop, self._dispatcher, granted, asked_at)

    def lease_grant(
        self, ttl_s: int, *, lease_id: int = 0, timeout_s: float | None = None
    ) -> LeaseGrantResponse:
        """Grant a lease of `ttl_s` whole seconds."""
        request = ("lease_grant", lease_id, _check_ttl(ttl_s))
        return _granted(self._call(KIND_WRITE, request, timeout_s))

    def lease_revoke(self, lease_id: int, *, timeout_s: float | None = None) -> LeaseRevokeResponse:
        """End a lease and delete its keys, in one revision."""
        return _revoked(self._call(KIND_WRITE, ("lease_revoke", lease_id), timeout_s))

    def lease_keep_alive_once(
        self, lease_id: int, *, timeout_s: float | None = None
    ) -> LeaseKeepAliveResponse:
        """Renew a lease once. Raises errors.LeaseNotFoundError when it has ended."""
        request = ("lease_keep_alive", lease_id)
        return _kept_alive(self._call(KIND_WRITE, request, timeout_s))

    def lease_time_to_live(
        self, lease_id: int, *, keys: bool = False, timeout_s: float | None = None
    ) -> LeaseTimeToLiveResponse:
        """How long a lease has left, and with `keys` what is attached to it."""
        request = ("lease_time_to_live", lease_id, int(keys))
        return _time_to_live(self._call(KIND_READ, request, timeout_s))

    def leases(self, *, timeout_s: float | None = None) -> LeasesResponse:
        """All leases."""
        return _leases(self._call(KIND_READ, ("lease_list",), timeout_s))
