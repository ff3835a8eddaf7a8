"""Locks that end with a lease, and whose holders can be told from those who held before.

    with client.lease(10) as lease, Lock(client, "locks/ledger", lease) as lock:
        ledger.append(entry, fence=lock.token)
        client.txn([lock.guard()], [ops.put("ledger/last", "7")])

No lock service can keep a holder that was stopped for a while (by the scheduler, by a garbage
collector) from believing that it still holds: by the time it goes on somebody else may. So whatever
is protected must look at the token, which is greater for each holder than for all before it, and
refuse a token below the greatest that it has seen. For keys in the same cluster `guard` does that.
"""

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from ...transport import errors as wire
from .. import errors
from ..lease import Lease, LeaseState
from ..ops import Bytes, Compare, to_bytes
from ..sync import Client
from ._calls import Blocking, Calls, finish, within
from ._place import Place


class AsyncLock:
    """A lock between all who give the same name (etcd's `concurrency.Mutex`).

    Those who wait get it in the order in which they came. A lease is one holder: two locks of the
    same name with the same lease do not exclude each other.

    Attributes:
        token: the fencing token, greater than those of all earlier holders; 0 while not held. It is
            the revision at which `key` was created.
    """

    def __init__(self, client: Calls, name: Bytes, lease: LeaseState | int) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the lock, the same for all who exclude each other.
            lease: an `AsyncLease`; the lock is lost with it. Or the time to live, in seconds, of a
                lease of its own, which it has while it waits and is held.
        """
        line = to_bytes(name) + b"/"
        self._use(client, line, line, lease)

    def _use(
        self,
        client: Calls,
        prefix: bytes,
        line: bytes,
        lease: LeaseState | int,
        lines: Sequence[bytes] = (),
    ) -> None:
        self._place = Place(client, prefix, line, lease, errors.LockLostError, lines=lines)
        self._name = prefix[:-1].decode(errors="replace")
        self.token = 0

    def __repr__(self) -> str:
        held = f"held, token {self.token}" if self.held else "not held"
        return f"<{type(self).__name__.lstrip('_')} {self._name!r}: {held}>"

    @property
    def key(self) -> bytes:
        """The key that stands for this holder, `<name>/<lease in hexadecimal>`; empty while it has
        no lease."""
        return self._place.key

    @property
    def held(self) -> bool:
        """Whether it is held for certain, by this machine's clock, at this moment."""
        return self.token > 0 and self._place.alive

    def check(self) -> None:
        """Go on only if it is held for certain.

        Raises:
            errors.LockLostError: it is not held, or may not be any more.
        """
        self.guard()
        self._place.check()

    def guard(self) -> Compare:
        """What to put among the compares of a transaction that must only be applied while the lock
        is held. It is the cluster that compares, when the transaction is applied.

        Raises:
            errors.LockLostError: it was not locked, or has been unlocked.
        """
        if not self.token:
            text = f"sampan: lock {self._name!r} is not held"
            raise errors.LockLostError(wire.FAILED_PRECONDITION, text)
        return self._place.is_held()

    async def lock(self, timeout_s: float | None = None) -> int:
        """Wait for it, and return the token. Held already, it returns at once.

        Cancelled or failed it takes back its place in the line; if that is not certain, it gives up
        the lease, with which its place ends.

        Raises:
            TimeoutError: others had it for `timeout_s`.
            errors.LockLostError: the lease has ended, or may have, while it waited.
        """
        if self.token:
            self.check()
            return self.token
        async with within(timeout_s):
            return await self._lock()

    async def _lock(self) -> int:
        try:
            if not await self._place.take():
                await self._place.wait_first()
            self._place.check()
        except BaseException:
            await self._place.abandon()
            raise
        self.token = self._place.revision
        return self.token

    async def try_lock(self) -> bool:
        """Take it if nobody has it; returns whether it is held now.

        Raises:
            errors.LockLostError: the lease has ended, or may have.
        """
        if self.token:
            self.check()
            return True
        try:
            first = await self._place.take()
            self._place.check()
        except BaseException:
            await self._place.abandon()
            raise
        if first:
            self.token = self._place.revision
        else:
            await self._place.leave()
        return first

    async def unlock(self) -> None:
        """Leave it to the next.

        Raises:
            errors.LockLostError: it was not held, or had been lost before: somebody else may have
                had it at the same time.
        """
        self.guard()
        self.token = 0
        await self._place.leave()

    async def __aenter__(self) -> Self:
        await self.lock()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if not self.token:
            return
        try:
            await self.unlock()
        except errors.SampanError:
            if error is None:
                raise


class _AsyncSide(AsyncLock):
    """One side of an `AsyncRWLock`."""

    def __init__(
        self,
        client: Calls,
        prefix: bytes,
        line: bytes,
        lease: LeaseState | int,
        lines: Sequence[bytes] = (),
    ) -> None:
        self._use(client, prefix, line, lease, lines)


class AsyncRWLock:
    """A lock that any number of readers hold together, or one writer alone (etcd's
    `recipes.RWMutex`). Who comes later waits for a writer that waits, so that none starves.

    Attributes:
        read: the lock of a reader.
        write: the lock of a writer. It waits for the same lease's `read`, too: unlock that first.
    """

    def __init__(self, client: Calls, name: Bytes, lease: LeaseState | int) -> None:
        """See `AsyncLock`."""
        line = to_bytes(name) + b"/"
        both = readers, writers = line + b"read/", line + b"write/"
        self.read: AsyncLock = _AsyncSide(client, readers, writers, lease)
        self.write: AsyncLock = _AsyncSide(client, writers, line, lease, both)


class Lock:
    """A lock between all who give the same name; `AsyncLock` says more. One thread uses it."""

    def __init__(self, client: Client, name: Bytes, lease: Lease | int) -> None:
        """See `AsyncLock`."""
        self._use(AsyncLock(Blocking(client), name, lease))

    def _use(self, inner: AsyncLock) -> None:
        self._inner = inner
        self.check = self._inner.check
        self.guard = self._inner.guard

    def __repr__(self) -> str:
        return repr(self._inner).replace("Async", "", 1)

    @property
    def key(self) -> bytes:
        """The key that stands for this holder."""
        return self._inner.key

    @property
    def token(self) -> int:
        """The fencing token, greater than those of all earlier holders; 0 while not held."""
        return self._inner.token

    @property
    def held(self) -> bool:
        """Whether it is held for certain, by this machine's clock, at this moment."""
        return self._inner.held

    def lock(self, timeout_s: float | None = None) -> int:
        """Wait for it, and return the token.

        Raises:
            TimeoutError: others had it for `timeout_s`.
            errors.LockLostError: the lease has ended, or may have, while it waited.
        """
        return finish(self._inner.lock(), timeout_s)

    def try_lock(self) -> bool:
        """Take it if nobody has it; returns whether it is held now."""
        return finish(self._inner.try_lock())

    def unlock(self) -> None:
        """Leave it to the next. Raises errors.LockLostError if it had been lost before."""
        finish(self._inner.unlock())

    def __enter__(self) -> Self:
        self.lock()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        finish(self._inner.__aexit__(kind, error, at))


class _Side(Lock):
    """One side of an `RWLock`."""

    def __init__(self, inner: AsyncLock) -> None:
        self._use(inner)


class RWLock:
    """A lock that any number of readers hold together, or one writer alone; `AsyncRWLock` says
    more.

    Attributes:
        read: the lock of a reader.
        write: the lock of a writer.
    """

    def __init__(self, client: Client, name: Bytes, lease: Lease | int) -> None:
        """See `AsyncRWLock`."""
        inner = AsyncRWLock(Blocking(client), name, lease)
        self.read: Lock = _Side(inner.read)
        self.write: Lock = _Side(inner.write)
