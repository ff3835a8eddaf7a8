"""Elections: one of many leads, and all can follow who (etcd's `concurrency.Election`).

with client.lease(10) as lease:
    election = Election(client, "elections/scheduler", lease)
    election.campaign("host-7")
    while election.leads:
        schedule(fence=election.token)
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import TYPE_CHECKING, TypeVar

from ...transport import errors as wire
from .. import errors
from ..lease import Lease, LeaseState
from ..ops import Bytes, Compare, to_bytes
from ..sync import Client
from ..types import KeyValue, RangeResponse, ResponseHeader
from ..watch import WatchEvent
from ._calls import Blocking, BlockingWatch, Calls, finish, within
from ._place import FIRST, Place, first_of

if TYPE_CHECKING:
    from ..watch_aio import AsyncWatch

T = TypeVar("T")


class AsyncElection:
    """An election between all who give the same name.

    Attributes:
        token: the fencing token of this leadership, greater than those of all earlier ones; 0 while
            it does not lead.
    """

    def __init__(self, client: Calls, name: Bytes, lease: LeaseState | int | None = None) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the election.
            lease: an `AsyncLease`; the leadership is lost with it. Or the time to live, in seconds,
                of a lease of its own. Who only looks on needs none.
        """
        self._client = client
        self._line = to_bytes(name) + b"/"
        self._candidate: Place | None = None
        if lease is not None:
            self._candidate = Place(client, self._line, self._line, lease, errors.NotLeaderError)
        self._name = self._line[:-1].decode(errors="replace")
        self.token = 0

    def __repr__(self) -> str:
        leads = f"leads, token {self.token}" if self.leads else "does not lead"
        return f"<{type(self).__name__} {self._name!r}: {leads}>"

    @property
    def key(self) -> bytes:
        """The key that stands for this candidate, empty for one without a lease."""
        return b"" if self._candidate is None else self._candidate.key

    @property
    def leads(self) -> bool:
        """Whether it leads for certain, by this machine's clock, at this moment."""
        return self.token > 0 and self._candidate is not None and self._candidate.alive

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
            text = f"sampan: this candidate of {self._name!r} was not elected"
            raise errors.NotLeaderError(wire.FAILED_PRECONDITION, text)
        return self._candidate

    async def campaign(self, value: Bytes, timeout_s: float | None = None) -> int:
        """Stand, wait until elected, and return the token.

        Cancelled or failed it withdraws; if that is not certain, it gives up the lease. Who leads
        already proclaims the value.

        Args:
            value: what the others see of the leader.
            timeout_s: how long to wait for others.

        Raises:
            TimeoutError: others led for `timeout_s`.
            errors.NotLeaderError: the lease has ended, or may have, while it waited.
            ValueError: there is no lease.
        """
        candidate = self._candidate
        if candidate is None:
            raise ValueError("a candidate needs a lease")
        if self.token:
            await self.proclaim(value)
            return self.token
        async with within(timeout_s):
            return await self._campaign(candidate, value)

    async def _campaign(self, candidate: Place, value: Bytes) -> int:
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
        return await first_of(self._client, self._line, found.kvs)

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
            leader = await first_of(self._client, self._line, found.kvs)
            if leader is None:
                watch = self._client.watch(
                    self._line, prefix=True, start_revision=after, no_delete=True
                )
            else:
                if leader.mod_revision != seen:
                    yield RangeResponse(found.header, [leader], 0, False)
                    seen = leader.mod_revision
                watch = self._client.watch(leader.key, start_revision=after)
            try:
                async for header, event in _events(watch):
                    if leader is None or event.type == "DELETE":
                        break
                    yield RangeResponse(header, [event.kv], 0, False)
                    seen = event.kv.mod_revision
            except errors.WatchCompactedError:
                continue  # look again
            finally:
                watch.cancel()


async def _events(
    watch: "AsyncWatch | BlockingWatch",
) -> AsyncIterator[tuple[ResponseHeader, WatchEvent]]:
    async for response in watch:
        for event in response.events:
            yield response.header, event


class Election:
    """An election between all who give the same name; `AsyncElection` says more. One thread uses
    it.
    """

    def __init__(self, client: Client, name: Bytes, lease: Lease | int | None = None) -> None:
        """See `AsyncElection`."""
        self._inner = AsyncElection(Blocking(client), name, lease)
        self.check = self._inner.check
        self.guard = self._inner.guard

    def __repr__(self) -> str:
        return repr(self._inner).replace("Async", "", 1)

    @property
    def key(self) -> bytes:
        """The key that stands for this candidate, empty for one without a lease."""
        return self._inner.key

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
