"""A place in a line of those who wait: what locks and elections are made of.

Each who waits has a key of its own under the line's prefix, attached to its lease. The oldest is
first. Each watches only the one just before it, so that one departure wakes one (etcd's
`concurrency/key.go`, `waitDeletes`). The revision at which a key was created only grows from one
holder to the next, which is what makes it a fencing token.
"""

from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from ...transport import errors as wire
from .. import errors, ops
from ..lease import REVOKED, LeaseState
from ..ops import Compare, RangeOptions, Request
from ..types import KeyValue, TxnResponse
from ._calls import Calls, kvs_of, to_the_end

FIRST: RangeOptions = {"prefix": True, "sort_by": "create", "sort_order": "ascend", "limit": 1}
"""What is first under the prefix of a line, with its value."""


def stands_in(kv: KeyValue, lines: Sequence[bytes]) -> bool:
    """Whether it is somebody's place in one of the lines: the line, then the hexadecimal id of the
    lease that the key has. Under the same prefix may lie keys of other names, as those of `jobs/1`
    under that of `jobs`."""
    return kv.lease != 0 and any(kv.key == b"%s%x" % (line, kv.lease) for line in lines)


async def first_of(client: Calls, line: bytes, found: Sequence[KeyValue]) -> KeyValue | None:
    """Who is first in a line, when `found` is what `FIRST` found."""
    if found and not stands_in(found[0], (line,)):
        found = (await client.get(line, prefix=True, sort_by="create", sort_order="ascend")).kvs
    return next((kv for kv in found if stands_in(kv, (line,))), None)


class Place:
    """A place in one line.

    Attributes:
        revision: when the key was created; 0 before.
    """

    def __init__(
        self,
        client: Calls,
        prefix: bytes,
        line: bytes,
        lease: LeaseState | int,
        lost: type[errors.LockLostError],
        *,
        lines: Sequence[bytes] = (),
    ) -> None:
        """
        Args:
            client: what it asks.
            prefix: of the key of this place.
            line: the prefix of those to wait for.
            lease: what the key is attached to, see `Entry`.
            lost: what to raise when it is lost.
            lines: the lines under that prefix, if `line` is not the only one.
        """
        self._client = client
        self._line = line
        self._lines = lines or (line,)
        self._lost = lost
        self._entry = Entry(client, prefix, lease)
        self.revision = 0

    @property
    def key(self) -> bytes:
        """What stands for it; empty while there is no lease yet."""
        return self._entry.key

    @property
    def alive(self) -> bool:
        """Whether its lease lives for certain."""
        return self._entry.lease is not None and self._entry.lease.alive

    @property
    def _lease(self) -> LeaseState:
        if self._entry.lease is None:
            raise self._lost(wire.FAILED_PRECONDITION, "sampan: it has not been taken")
        return self._entry.lease

    async def take(self, value: bytes = b"") -> bool:
        """Line up, or find that one stands there already; returns whether it is first.

        Raises:
            errors.LockLostError: the lease has ended, or may have.
        """
        oldest = ops.get(self._line, **FIRST)
        await self._entry.begin()
        self.check()
        try:
            answer = await self._entry.put(value, [oldest], [ops.get(self.key), oldest])
        except errors.LeaseNotFoundError as error:
            self._raise_lost(error)
        first = kvs_of(answer.responses[1])
        self.revision = answer.header.revision
        if not answer.succeeded:
            mine = kvs_of(answer.responses[0])[0]
            self.revision = mine.create_revision
            if mine.value != value:
                await self.put(value)
        if not first or first[0].create_revision >= self.revision:
            return True
        return not stands_in(first[0], self._lines) and await self._last_before() is None

    async def wait_first(self) -> None:
        """Wait until all who are older have left.

        Raises:
            errors.LockLostError: the key or its lease has ended, or may have.
        """
        older = ops.get(
            self._line,
            prefix=True,
            sort_by="create",
            sort_order="descend",
            limit=1,
            keys_only=True,
            max_create_revision=self.revision - 1,
        )
        while True:
            answer = await self._client.txn([], [older, ops.get(self.key)])
            before, mine = map(kvs_of, answer.responses)
            if not mine or mine[0].create_revision != self.revision:
                self._raise_gone()
            last = before[0] if before else None
            if last is not None and not stands_in(last, self._lines):
                last = await self._last_before()
            if last is None:
                break
            await self._wait_deleted(last.key, answer.header.revision + 1)
        self.check()

    async def _last_before(self) -> KeyValue | None:
        """The one just before this, found among the keys of other names."""
        older = await self._client.get(
            self._line,
            prefix=True,
            sort_by="create",
            sort_order="descend",
            keys_only=True,
            max_create_revision=self.revision - 1,
        )
        return next((kv for kv in older.kvs if stands_in(kv, self._lines)), None)

    async def _wait_deleted(self, key: bytes, revision: int) -> None:
        """Wait until a key that existed just before `revision` is deleted, or the lease is lost."""
        watch = self._client.watch(key, start_revision=revision, no_put=True)
        try:
            with self._lease.when_lost(watch.cancel):
                async for response in watch:
                    if response.events:
                        return
        except errors.WatchCompactedError:
            return  # so much has happened since that it is better to look again
        finally:
            watch.cancel()
        self.check()

    def check(self) -> None:
        """Go on only if the lease lives for certain.

        Raises:
            errors.LockLostError: it has ended, or may have.
        """
        try:
            self._lease.check()
        except errors.LeaseLostError as error:
            self._raise_lost(error)

    def is_held(self) -> Compare:
        """True while the key that `take` made exists."""
        return ops.create_revision(self.key) == self.revision

    async def put(self, value: bytes) -> None:
        """Give the key another value.

        Raises:
            errors.LockLostError: the key has gone.
        """
        put = ops.put(self.key, value, lease=self._lease.id)
        if not (await self._client.txn([self.is_held()], [put])).succeeded:
            self._raise_gone()

    async def leave(self) -> None:
        """Make room for the next.

        Raises:
            errors.LockLostError: the key had gone before.
        """
        try:
            answer = await self._client.txn([self.is_held()], [ops.delete(self.key)])
        except BaseException:
            await self.abandon()
            raise
        if not answer.succeeded:
            self._raise_gone()
        await self._entry.end()

    async def abandon(self) -> None:
        """Stop waiting, also when it is not known whether the key was put."""
        await self._entry.withdraw()

    def _raise_gone(self) -> NoReturn:
        self.check()  # a lease that has ended took the key with it
        self._raise_lost(None)

    def _raise_lost(self, cause: errors.SampanError | None) -> NoReturn:
        why = f": {cause.text}" if cause is not None else " is gone"
        text = f"sampan: key {self.key.decode(errors='replace')!r}{why}"
        raise self._lost(wire.NOT_FOUND, text) from cause


class Entry:
    """A key that a lease puts in a line, and takes back whatever became of the put.

    Attributes:
        lease: the one given, or one of its own from `begin` to `end`.
    """

    def __init__(self, client: Calls, prefix: bytes, lease: LeaseState | int) -> None:
        """
        Args:
            client: what it asks.
            prefix: of the key, before the lease's id.
            lease: a lease, or the time to live, in seconds, of one of its own.

        Raises:
            TypeError: `lease` is neither.
            ValueError: it is less than a second.
        """
        self._client = client
        self._prefix = prefix
        self._ttl_s = 0
        self.lease: LeaseState | None = None
        self._may_come = False  # the put may be under way still
        if isinstance(lease, LeaseState):
            self.lease = lease
        elif type(lease) is int:
            if lease < 1:
                raise ValueError(f"a time to live is at least 1 second, not {lease}")
            self._ttl_s = lease
        else:
            raise TypeError(f"a lease, or a time to live in whole seconds, not {lease!r}")

    @property
    def key(self) -> bytes:
        """The key, empty while there is no lease."""
        return self._prefix + b"%x" % self.lease.id if self.lease is not None else b""

    async def begin(self) -> LeaseState:
        """Have a lease."""
        if self.lease is None:
            self.lease = await self._client.lease(self._ttl_s)
        return self.lease

    async def end(self) -> None:
        """Let go of a lease of its own. When the cluster does not hear of it, it ends by itself."""
        if not self._ttl_s or self.lease is None:
            return
        lease, self.lease = self.lease, None
        was_alive = lease.alive
        lease.give_up(REVOKED)
        if was_alive:
            with suppress(errors.SampanError):
                await self._client.lease_revoke(lease.id)

    async def put(
        self, value: bytes, success: Sequence[Request], failure: Sequence[Request]
    ) -> TxnResponse:
        """Put the key and run `success`, or run `failure` if the key is there already."""
        lease = await self.begin()
        absent = ops.create_revision(self.key) == 0
        put = ops.put(self.key, value, lease=lease.id)
        self._may_come = True
        try:
            answer = await self._client.txn([absent], [put, *success], failure)
        except errors.NotAppliedError:
            self._may_come = False
            raise
        self._may_come = False
        return answer

    async def withdraw(self) -> None:
        """Delete the key if it exists and is the lease's, also when the caller is being cancelled.

        When that fails, the lease is given up. Otherwise the key of somebody who neither waits nor
        holds would keep all others out for as long as the lease is renewed. The same when there was
        nothing to delete and nobody knows what became of the put: it may come after the deletion.
        """
        if self.lease is None:
            return
        _, cancelled = await to_the_end(self._client, self._delete_or_give_up(self.lease))
        if cancelled is not None:
            raise cancelled

    async def _delete_or_give_up(self, lease: LeaseState) -> None:
        name = self.key.decode(errors="replace")
        is_own = ops.lease(self.key) == lease.id
        try:
            answer = await self._client.txn([is_own], [ops.delete(self.key)])
        except BaseException as error:
            lease.give_up(f"was given up, since {name!r} could not be deleted: {error!r}")
            if not isinstance(error, errors.SampanError):
                raise
        else:
            if self._may_come and not answer.succeeded:
                lease.give_up(f"was given up, since {name!r} may yet be put")
        await self.end()
