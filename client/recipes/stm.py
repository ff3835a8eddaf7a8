"""Transactions written as functions that read and write keys (etcd's `concurrency/stm.go`).

    def move(txn: Transaction) -> None:
        left, right = txn.get_many("left", "right")
        txn.put("left", take(left))
        txn.put("right", add(right))

    stm(client, move)

The function reads through its transaction and writes into it; what it wrote is applied in one
revision after it has returned, unless what it read has changed by then: then nothing is applied and
the function is called again. So it may be called any number of times, and should do nothing but
compute. An exception that it raises ends the transaction, and nothing is applied.
"""

from collections.abc import Awaitable, Callable
from enum import Enum, auto
from typing import TypeVar

from .. import errors, ops
from ..ops import Bytes, Compare, Request
from ..sync import Client
from ..types import KeyValue
from ._calls import Blocking, Calls, finish, kvs_of

T = TypeVar("T")


class Isolation(Enum):
    """What a transaction may see of others.

    Attributes:
        SERIALIZABLE_SNAPSHOT: everything read is from one revision, and nothing read or written may
            have been changed after it by others.
        SERIALIZABLE: the same, but what was only written may have been changed.
        REPEATABLE_READS: each key is read once, none may have been changed by others, but two keys
            may be read from different revisions before the transaction fails.
        READ_COMMITTED: each key is read once, and others may have changed it since.
    """

    SERIALIZABLE_SNAPSHOT = auto()
    SERIALIZABLE = auto()
    REPEATABLE_READS = auto()
    READ_COMMITTED = auto()

    @property
    def has_snapshot(self) -> bool:
        """Whether everything is read from one revision."""
        return self in (Isolation.SERIALIZABLE_SNAPSHOT, Isolation.SERIALIZABLE)


class AsyncTransaction:
    """One attempt of a transaction; `async_stm` makes it.

    Its reads may be awaited together. What it wrote is what it reads.
    """

    def __init__(self, client: Calls, isolation: Isolation) -> None:
        self._client = client
        self._isolation = isolation
        self._revision = 0  # of the snapshot, 0 before the first read
        self._ahead: dict[bytes, KeyValue | None] = {}  # of the snapshot, not asked for yet
        self._read: dict[bytes, KeyValue | None] = {}
        self._writes: dict[bytes, Request] = {}
        self.compacted = False

    async def get(self, key: Bytes) -> bytes | None:
        """A key's value, None when it does not exist."""
        return (await self.get_many(key))[0]

    async def get_many(self, *keys: Bytes) -> list[bytes | None]:
        """Keys' values in one round trip, None for each that does not exist."""
        names = [ops.to_bytes(key) for key in keys]
        await self._fetch([name for name in names if name not in self._writes])
        return [self._value(name) for name in names]

    async def mod_revision(self, key: Bytes) -> int:
        """The revision of a key's last put by others, 0 when it does not exist."""
        name = ops.to_bytes(key)
        await self._fetch([name])
        kv = self._read[name]
        return 0 if kv is None else kv.mod_revision

    def put(self, key: Bytes, value: Bytes, *, lease: int = 0) -> None:
        """Set a key, attached to a lease if one is given."""
        put = ops.put(key, value, lease=lease) if lease else ops.put(key, value)
        self._writes[ops.to_bytes(key)] = put

    def delete(self, key: Bytes) -> None:
        """Delete a key; it need not exist."""
        self._writes[ops.to_bytes(key)] = ops.delete(key)

    def _value(self, name: bytes) -> bytes | None:
        if name in self._writes:
            operation, _, *value = self._writes[name]
            return bytes(value[0]) if operation == "put" else None
        kv = self._read[name]
        return None if kv is None else kv.value

    async def _fetch(self, names: list[bytes]) -> None:
        for name in names:
            if name in self._ahead:
                self._read[name] = self._ahead.pop(name)
        missing = [name for name in dict.fromkeys(names) if name not in self._read]
        if not missing:
            return
        at = self._revision
        try:
            found = await self._client.txn([], [ops.get(key, revision=at) for key in missing])
        except errors.CompactedError:
            self.compacted = True
            raise
        if self._isolation.has_snapshot and not at:
            self._revision = self._revision or found.header.revision
            if self._revision != found.header.revision:  # a read beside this one made the snapshot
                await self._fetch(missing)
                return
        for name, response in zip(missing, found.responses, strict=True):
            self._read.setdefault(name, next(iter(kvs_of(response)), None))

    def _conflicts(self) -> list[Compare]:
        if self._isolation is Isolation.READ_COMMITTED:
            return []
        compares = [
            ops.mod_revision(key) == (0 if kv is None else kv.mod_revision)
            for key, kv in self._read.items()
        ]
        if self._isolation is Isolation.SERIALIZABLE_SNAPSHOT and self._revision:
            blind = [key for key in self._writes if key not in self._read]
            compares += [ops.mod_revision(key) < self._revision + 1 for key in blind]
        return compares

    async def commit(self) -> "AsyncTransaction | None":
        """Apply it; returns None, or the next attempt when others were faster.

        Raises:
            errors.UnknownOutcomeError: it may have been applied.
        """
        if self.compacted:
            return AsyncTransaction(self._client, self._isolation)
        if not self._writes and self._isolation.has_snapshot:
            return None  # what it read was true at one moment, which is all that it says
        keys = list(self._read)
        # What the next attempt probably reads comes with the refusal.
        reads = [ops.get(key) for key in keys] if self._isolation.has_snapshot else []
        answer = await self._client.txn(self._conflicts(), list(self._writes.values()), reads)
        if answer.succeeded:
            return None
        again = AsyncTransaction(self._client, self._isolation)
        if reads:
            found = [next(iter(kvs_of(each)), None) for each in answer.responses]
            again._ahead = dict(zip(keys, found, strict=True))
            again._revision = answer.header.revision
        return again


class Transaction:
    """One attempt of a transaction; `stm` makes it. `AsyncTransaction` says more."""

    def __init__(self, inner: AsyncTransaction) -> None:
        self._inner = inner
        self.put = inner.put
        self.delete = inner.delete

    def get(self, key: Bytes) -> bytes | None:
        """A key's value, None when it does not exist."""
        return finish(self._inner.get(key))

    def get_many(self, *keys: Bytes) -> list[bytes | None]:
        """Keys' values in one round trip, None for each that does not exist."""
        return finish(self._inner.get_many(*keys))

    def mod_revision(self, key: Bytes) -> int:
        """The revision of a key's last put by others, 0 when it does not exist."""
        return finish(self._inner.mod_revision(key))


async def async_stm(
    client: Calls,
    apply: Callable[[AsyncTransaction], Awaitable[T]],
    *,
    isolation: Isolation = Isolation.SERIALIZABLE_SNAPSHOT,
) -> T:
    """Run a function as a transaction, again and again until nobody interferes.

    Args:
        client: an `AsyncClient`.
        apply: the function. It may be called several times.
        isolation: what it may see of others.

    Returns:
        What the function returned, in the attempt that was applied.

    Raises:
        errors.UnknownOutcomeError: it may have been applied, once.
        errors.TooManyOperationsError: it reads and writes more than 128 keys in all.
        errors.SampanError: nothing was applied.
    """
    attempt: AsyncTransaction | None = AsyncTransaction(client, isolation)
    while attempt is not None:
        txn = attempt
        try:
            result = await apply(txn)
        except errors.CompactedError:
            if not txn.compacted:
                raise
        attempt = await txn.commit()
    return result


def stm(
    client: Client,
    apply: Callable[[Transaction], T],
    *,
    isolation: Isolation = Isolation.SERIALIZABLE_SNAPSHOT,
) -> T:
    """Run a function as a transaction, again and again until nobody interferes.

    `async_stm` tells the arguments and errors.
    """

    async def run(txn: AsyncTransaction) -> T:
        return apply(Transaction(txn))

    return finish(async_stm(Blocking(client), run, isolation=isolation))
