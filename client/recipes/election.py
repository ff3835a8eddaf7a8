"""Elections: one of many leads, and all can follow who (etcd's `concurrency.Election`).

with client.lease(10) as lease:
    election = Election(client, "elections/scheduler", lease)
    election.campaign("host-7")
    while election.leads:
        schedule(fence=election.token)
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TypeVar

from ...transport import errors as wire
from .. import errors
from ..lease import Lease, LeaseState
from ..ops import Bytes, Compare, to_bytes
from ..sync import Client
from ..types import KeyValue, RangeResponse, ResponseHeader
from ..watch import WatchEvent
from ._calls import Blocking, Calls, WatchCalls, finish
from ._place import FIRST, Place

T = TypeVar("T")


class AsyncElection:
    """An election between all who give the same name.

    Attributes:
        key: the key that stands for this candidate, empty for one who only looks on.
        token: the fencing token of this leadership, greater than those of all earlier ones; 0 while
            it does not lead.
    """

    def __init__(self, client: Calls, name: Bytes, lease: LeaseState | None = None) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the election.
            lease: an `AsyncLease`; the leadership is lost with it. Who only looks on needs none.
        """
        self._client = client
        self._line = to_bytes(name) + b"/"
        self._lease = lease
        self._candidate: Place | None = None
        if lease is not None:
            key = self._line + b"%x" % lease.id
            self._candidate = Place(client, key, self._line, lease, errors.NotLeaderError)
        self.key = b"" if self._candidate is None else self._candidate.key
        self.token = 0

    @property
    def leads(self) -> bool:
        """Whether it leads for certain, by this machine's clock, at this moment."""
        return self.token > 0 and self._lease is not None and self._lease.alive

    def guard(self) -> Compare:
        """What to put among the compares of a transaction that must only be applied while this
        candidate leads.

        Raises:
            errors.NotLeaderError: it has not been elected, or has resigned.
        """
        return self._leading().is_held()

    def check(self) -> None:
        """Go on only if it leads for certain.

        Raises:
            errors.NotLeaderError: it does not lead, or may not any more.
        """
        self._leading().check()

    def _leading(self) -> Place:
        if not self.token or self._candidate is None:
            text = f"sampan: {self.key.decode(errors='replace')!r} was not elected"
            raise errors.NotLeaderError(wire.FAILED_PRECONDITION, text)
        return self._candidate

    async def campaign(self, value: Bytes) -> int:
        """Stand, wait until elected, and return the token.

        Cancelled or failed it withdraws; if that is not certain, it gives up the lease. Who leads
        already proclaims the value.

        Args:
            value: what the others see of the leader.

        Raises:
            errors.NotLeaderError: the lease has ended, or may have, while it waited.
            ValueError: there is no lease.
        """
        candidate = self._candidate
        if candidate is None:
            raise ValueError("a candidate needs a lease")
        if self.token:
            await self.proclaim(value)
            return self.token
        try:
            if not await candidate.take(to_bytes(value)):
                await candidate.wait_first()
            candidate.check()
        except BaseException:
            await candidate.abandon()
            raise
        self.token = candidate.revision
        return self.token

    async def proclaim(self, value: Bytes) -> None:
        """Show another value, without another election.

        Raises:
            errors.NotLeaderError: it does not lead.
        """
        await self._leading().put(to_bytes(value))

    async def resign(self) -> None:
        """Leave the leadership to the next. Who does not lead has nothing to do.

        Raises:
            errors.NotLeaderError: it had been lost before: somebody else may have led at the same
                time.
        """
        if self.token and self._candidate is not None:
            self.token = 0
            await self._candidate.leave()

    async def leader(self) -> KeyValue | None:
        """The leader's key and value, None while there is none. Its create revision is the leader's
        token."""
        found = await self._client.get(self._line, **FIRST)
        return found.kvs[0] if found.kvs else None

    async def observe(self) -> AsyncGenerator[KeyValue, None]:
        """The leader's key and value, now and whenever it or its value changes.

        What lies between two elections may be left out, the newest never is.
        """
        async with aclosing(self.observe_responses()) as responses:
            async for response in responses:
                yield response.kvs[0]

    async def observe_responses(self) -> AsyncGenerator[RangeResponse, None]:
        """What `observe` tells, one key each, with the header of the answer that told of it."""
        seen = 0
        while True:
            found = await self._client.get(self._line, **FIRST)
            after = found.header.revision + 1
            if not found.kvs:
                watch = self._client.watch(
                    self._line, prefix=True, start_revision=after, no_delete=True
                )
            else:
                if found.kvs[0].mod_revision != seen:
                    yield RangeResponse(found.header, found.kvs, 0, False)
                    seen = found.kvs[0].mod_revision
                watch = self._client.watch(found.kvs[0].key, start_revision=after)
            try:
                async for header, event in _events(watch):
                    if not found.kvs or event.type == "DELETE":
                        break
                    yield RangeResponse(header, [event.kv], 0, False)
                    seen = event.kv.mod_revision
            except errors.WatchCompactedError:
                continue  # look again
            finally:
                watch.cancel()


async def _events(watch: WatchCalls) -> AsyncIterator[tuple[ResponseHeader, WatchEvent]]:
    async for response in watch:
        for event in response.events:
            yield response.header, event


class Election:
    """An election between all who give the same name; `AsyncElection` says more. One thread uses
    it.

    Attributes:
        key: the key that stands for this candidate, empty for one who only looks on.
    """

    def __init__(self, client: Client, name: Bytes, lease: Lease | None = None) -> None:
        """See `AsyncElection`."""
        self._inner = AsyncElection(Blocking(client), name, lease)
        self.key = self._inner.key
        self.check = self._inner.check
        self.guard = self._inner.guard

    @property
    def token(self) -> int:
        """The fencing token of this leadership; 0 while it does not lead."""
        return self._inner.token

    @property
    def leads(self) -> bool:
        """Whether it leads for certain, by this machine's clock, at this moment."""
        return self._inner.leads

    def campaign(self, value: Bytes, timeout_s: float | None = None) -> int:
        """Stand, wait until elected, and return the token.

        Raises:
            TimeoutError: others led for `timeout_s`.
            errors.NotLeaderError: the lease has ended, or may have, while it waited.
        """
        return finish(self._inner.campaign(value), timeout_s)

    def proclaim(self, value: Bytes) -> None:
        """Show another value. Raises errors.NotLeaderError if it does not lead."""
        finish(self._inner.proclaim(value))

    def resign(self) -> None:
        """Leave the leadership to the next. Raises errors.NotLeaderError if it had been lost."""
        finish(self._inner.resign())

    def leader(self) -> KeyValue | None:
        """The leader's key and value, None while there is none."""
        return finish(self._inner.leader())

    def observe(self) -> Iterator[KeyValue]:
        """The leader's key and value, now and whenever it or its value changes."""
        return _blocking(self._inner.observe())

    def observe_responses(self) -> Iterator[RangeResponse]:
        """What `observe` tells, one key each, with the header of the answer that told of it."""
        return _blocking(self._inner.observe_responses())


def _blocking(seen: AsyncGenerator[T, None]) -> Iterator[T]:
    try:
        while True:
            yield finish(seen.__anext__())
    finally:
        finish(seen.aclose())
