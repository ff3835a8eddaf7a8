"""A place in a line of those who wait: what locks and elections are made of.

Each who waits has a key of its own under the line's prefix, attached to its lease. The oldest is
first. Each watches only the one just before it, so that one departure wakes one (etcd's
`concurrency/key.go`, `waitDeletes`). The revision at which a key was created only grows from one
holder to the next, which is what makes it a fencing token.
"""

from collections.abc import Sequence
from typing import NoReturn

from ...transport import errors as wire
from .. import errors, ops
from ..lease import LeaseState
from ..ops import Compare, RangeOptions, Request
from ..types import TxnResponse
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
        self._entry = Entry(client, key, lease)
        self.key = key
        self.revision = 0

    async def take(self, value: bytes = b"") -> bool:
        """Line up, or find that one stands there already; returns whether it is first.

        Raises:
            errors.LockLostError: the lease has ended, or may have.
        """
        oldest = ops.get(self._line, **FIRST)
        self.check()
        try:
            answer = await self._entry.put(value, [oldest], [ops.get(self.key), oldest])
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
        await self._entry.withdraw()

    def _raise_gone(self) -> NoReturn:
        self.check()  # a lease that has ended took the key with it
        self._raise_lost(None)

    def _raise_lost(self, cause: errors.SampanError | None) -> NoReturn:
        why = f": {cause.text}" if cause is not None else " is gone"
        text = f"sampan: key {self.key.decode(errors='replace')!r}{why}"
        raise self._lost(wire.NOT_FOUND, text) from cause


class Entry:
    """A key that a lease puts in a line, and takes back whatever became of the put."""

    def __init__(self, client: Calls, key: bytes, lease: LeaseState) -> None:
        self._client = client
        self._key = key
        self._lease = lease
        self._may_come = False  # the put may be under way still

    async def put(
        self, value: bytes, success: Sequence[Request], failure: Sequence[Request]
    ) -> TxnResponse:
        """Put the key and run `success`, or run `failure` if the key is there already."""
        absent = ops.create_revision(self._key) == 0
        put = ops.put(self._key, value, lease=self._lease.id)
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
        _, cancelled = await to_the_end(self._client, self._delete_or_give_up())
        if cancelled is not None:
            raise cancelled

    async def _delete_or_give_up(self) -> None:
        name = self._key.decode(errors="replace")
        is_own = ops.lease(self._key) == self._lease.id
        try:
            answer = await self._client.txn([is_own], [ops.delete(self._key)])
        except BaseException as error:
            self._lease.give_up(f"was given up, since {name!r} could not be deleted: {error!r}")
            if not isinstance(error, errors.SampanError):
                raise
        else:
            if self._may_come and not answer.succeeded:
                self._lease.give_up(f"was given up, since {name!r} may yet be put")
