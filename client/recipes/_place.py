"""A place in a line of those who wait: what locks and elections are made of.

Each who waits has a key of its own under the line's prefix, attached to its lease. The oldest is
first. Each watches only the one just before it, so that one departure wakes one (etcd's
`concurrency/key.go`, `waitDeletes`). The revision at which a key was created only grows from one
holder to the next, which is what makes it a fencing token.
"""

from typing import NoReturn

from ...transport import errors as wire
from .. import errors, ops
from ..lease import LeaseState
from ..ops import Compare, RangeOptions
from ._calls import Calls, to_the_end

FIRST: RangeOptions = {"prefix": True, "sort_by": "create", "sort_order": "ascend", "limit": 1}
"""Who is first in a line, with its value."""


class Place:
    """A place in one line.

    Attributes:
        key: what stands for it.
        revision: when the key was created; 0 before.
    """

    def __init__(
        self,
        client: Calls,
        key: bytes,
        line: bytes,
        lease: LeaseState,
        lost: type[errors.LockLostError],
    ) -> None:
        """`line`: the prefix of those to wait for; `lost`: what to raise when it is lost."""
        self._client = client
        self._line = line
        self._lease = lease
        self._lost = lost
        self.key = key
        self.revision = 0

    async def take(self, value: bytes = b"") -> bool:
        """Line up, or find that one stands there already; returns whether it is first.

        Raises:
            errors.LockLostError: the lease has ended, or may have.
        """
        oldest = ops.get(self._line, **FIRST)
        put = ops.put(self.key, value, lease=self._lease.id)
        absent = ops.create_revision(self.key) == 0
        self.check()
        try:
            answer = await self._client.txn([absent], [put, oldest], [ops.get(self.key), oldest])
        except errors.LeaseNotFoundError as error:
            self._raise_lost(error)
        mine, first = answer.responses
        self.revision = answer.header.revision
        if not answer.succeeded:
            self.revision = mine.kvs[0].create_revision
            if mine.kvs[0].value != value:
                await self.put(value)
        return not first.kvs or first.kvs[0].create_revision >= self.revision

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
            before, mine = (response.kvs for response in answer.responses)
            if not mine or mine[0].create_revision != self.revision:
                self._raise_gone()
            if not before:
                break
            await self._wait_deleted(before[0].key, answer.header.revision + 1)
        self.check()

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

    async def abandon(self) -> None:
        """Stop waiting, also when it is not known whether the key was put."""
        await withdraw(self._client, self.key, self._lease)

    def _raise_gone(self) -> NoReturn:
        self.check()  # a lease that has ended took the key with it
        self._raise_lost(None)

    def _raise_lost(self, cause: errors.SampanError | None) -> NoReturn:
        why = f": {cause.text}" if cause is not None else " is gone"
        text = f"sampan: key {self.key.decode(errors='replace')!r}{why}"
        raise self._lost(wire.NOT_FOUND, text) from cause


async def withdraw(client: Calls, key: bytes, lease: LeaseState) -> None:
    """Delete a key if it exists and is the lease's, also when the caller is being cancelled.

    When that fails, the lease is given up. Otherwise the key of somebody who neither waits nor
    holds would keep all others out for as long as the lease is renewed.
    """
    _, cancelled = await to_the_end(client, _delete_or_give_up(client, key, lease))
    if cancelled is not None:
        raise cancelled


async def _delete_or_give_up(client: Calls, key: bytes, lease: LeaseState) -> None:
    try:
        await client.txn([ops.lease(key) == lease.id], [ops.delete(key)])
    except BaseException as error:
        name = key.decode(errors="replace")
        lease.give_up(f"was given up, since {name!r} could not be deleted: {error!r}")
        if not isinstance(error, errors.SampanError):
            raise
