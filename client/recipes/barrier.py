"""Barriers (etcd's `recipes.Barrier` and `DoubleBarrier`)."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from ...transport import errors as wire
from .. import errors, ops
from ..lease import Lease, LeaseState
from ..ops import Bytes, to_bytes
from ..sync import Client
from ..types import KeyValue
from ._calls import Blocking, Calls, finish, kvs_of, within
from ._place import Entry, stands_in


class AsyncBarrier:
    """Stops all who come to it while somebody holds it closed: while its key exists."""

    def __init__(self, client: Calls, name: Bytes) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the barrier, which is its key.
        """
        self._client = client
        self._key = to_bytes(name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._key.decode(errors='replace')!r}>"

    async def hold(self) -> None:
        """Close it. It may be closed already."""
        absent = ops.create_revision(self._key) == 0
        await self._client.txn([absent], [ops.put(self._key, b"")])

    async def release(self) -> None:
        """Open it, whoever closed it."""
        await self._client.txn([], [ops.delete(self._key)])

    async def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it is open. Raises TimeoutError when it was closed for `timeout_s`."""
        async with within(timeout_s):
            await self._wait()

    async def _wait(self) -> None:
        while (found := await self._client.get(self._key)).kvs:
            after = found.header.revision + 1
            watch = self._client.watch(self._key, start_revision=after, no_put=True)
            try:
                await anext(aiter(watch))
                return
            except errors.WatchCompactedError:
                continue  # look again
            finally:
                watch.cancel()


class AsyncDoubleBarrier:
    """Lets `count` participants begin together, and end together.

    One whose lease ends counts no longer: those who wait to leave do not wait for it. Who has left
    may enter again for another round.
    """

    def __init__(self, client: Calls, name: Bytes, lease: LeaseState | int, count: int) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the barrier.
            lease: an `AsyncLease`, which stands for one participant, or the time to live, in
                seconds, of one of its own.
            count: how many participants there are.

        Raises:
            ValueError: there is none.
        """
        if count < 1:
            raise ValueError(f"a barrier is for at least one, not {count}")
        self._client = client
        self._line = to_bytes(name) + b"/"
        self._entry = Entry(client, self._line, lease)
        self._count = count

    def __repr__(self) -> str:
        name = self._line[:-1].decode(errors="replace")
        return f"<{type(self).__name__} {name!r} for {self._count}>"

    async def enter(self, timeout_s: float | None = None) -> None:
        """Wait until all have entered. Cancelled or failed it takes back its own entrance; if
        that is not certain, it gives up the lease.

        Raises:
            TimeoutError: they did not in `timeout_s`.
            errors.BarrierFullError: `count` others are inside.
            errors.LeaseLostError: the lease has ended, or may have, while it waited.
        """
        async with within(timeout_s):
            await self._enter()

    async def _enter(self) -> None:
        look = ops.get(self._line, prefix=True, keys_only=True)
        lease = await self._entry.begin()
        lease.check()
        try:
            try:
                answer = await self._entry.put(b"", [look], [look])
            except errors.LeaseNotFoundError as error:
                raise errors.LockLostError(error.code, error.text) from error
            inside = self._standing(kvs_of(answer.responses[-1]))
            if len(inside) > self._count:
                text = f"sampan: {self._count} others are in {self._line.decode(errors='replace')}"
                raise errors.BarrierFullError(wire.FAILED_PRECONDITION, text)
            await self._follow(inside, answer.header.revision, self._all_inside, lease)
        except BaseException:
            await self._entry.withdraw()
            raise

    async def leave(self, timeout_s: float | None = None) -> None:
        """Wait until all have left, or their leases have ended. Raises TimeoutError when they did
        not in `timeout_s`."""
        async with within(timeout_s):
            await self._leave()

    async def _leave(self) -> None:
        look = ops.get(self._line, prefix=True, keys_only=True)
        key = self._entry.key
        answer = await self._client.txn([], [ops.delete(key), look] if key else [look])
        inside = self._standing(kvs_of(answer.responses[-1]))
        await self._entry.end()
        await self._follow(inside, answer.header.revision, lambda left: not left, None)

    def _all_inside(self, inside: set[bytes]) -> bool:
        if self._entry.key not in inside:
            text = f"sampan: key {self._entry.key.decode(errors='replace')!r} is gone"
            raise errors.LockLostError(wire.NOT_FOUND, text)
        return len(inside) >= self._count

    async def _follow(
        self,
        inside: set[bytes],
        revision: int,
        done: Callable[[set[bytes]], bool],
        lease: LeaseState | None,
    ) -> None:
        """Follow who is inside, from a revision on, until `done`. Everybody sees the same history,
        so nobody misses a moment that others saw, unless it was compacted before."""
        while not done(inside):
            try:
                await self._watch(inside, revision, done, lease)
                return
            except errors.WatchCompactedError as error:
                revision = error.compact_revision  # what is left of history begins here
            with suppress(errors.CompactedError):  # again: the next watch tells where it begins now
                inside = await self._inside_at(revision)

    async def _inside_at(self, revision: int) -> set[bytes]:
        line = await self._client.get(self._line, prefix=True, keys_only=True, revision=revision)
        return self._standing(line.kvs)

    def _standing(self, kvs: Sequence[KeyValue]) -> set[bytes]:
        return {kv.key for kv in kvs if stands_in(kv, (self._line,))}

    async def _watch(
        self,
        inside: set[bytes],
        revision: int,
        done: Callable[[set[bytes]], bool],
        lease: LeaseState | None,
    ) -> None:
        watch = self._client.watch(self._line, prefix=True, start_revision=revision + 1)
        with ExitStack() as stack:
            stack.callback(watch.cancel)
            if lease is not None:
                stack.enter_context(lease.when_lost(watch.cancel))
            async for response in watch:
                for event in response.events:
                    if event.type == "DELETE":
                        inside.discard(event.kv.key)
                    inside |= self._standing([event.kv])
                    if done(inside):
                        return
        if lease is not None:
            lease.check()


class Barrier:
    """Stops all who come to it while it is held closed; `AsyncBarrier` says more."""

    def __init__(self, client: Client, name: Bytes) -> None:
        """See `AsyncBarrier`."""
        self._inner = AsyncBarrier(Blocking(client), name)

    def hold(self) -> None:
        """Close it. It may be closed already."""
        finish(self._inner.hold())

    def release(self) -> None:
        """Open it, whoever closed it."""
        finish(self._inner.release())

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it is open. Raises TimeoutError when it was closed for `timeout_s`."""
        finish(self._inner.wait(), timeout_s)


class DoubleBarrier:
    """Lets `count` participants begin and end together; `AsyncDoubleBarrier` says more."""

    def __init__(self, client: Client, name: Bytes, lease: Lease | int, count: int) -> None:
        """See `AsyncDoubleBarrier`."""
        self._inner = AsyncDoubleBarrier(Blocking(client), name, lease, count)

    def enter(self, timeout_s: float | None = None) -> None:
        """Wait until all have entered. Raises TimeoutError when they did not in `timeout_s`."""
        finish(self._inner.enter(), timeout_s)

    def leave(self, timeout_s: float | None = None) -> None:
        """Wait until all have left. Raises TimeoutError when they did not in `timeout_s`."""
        finish(self._inner.leave(), timeout_s)
