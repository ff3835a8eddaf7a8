"""Queues that any number of clients fill and empty (etcd's `recipes.Queue`, `PriorityQueue`).

An item is a key. Its name begins with its priority, then the store's revision before it was put:
who begins to put after another has finished gets a later name, and no two have to agree on a number
first. The first item is then the first key, which is found without sorting.
"""

import re
import secrets

from ...transport.watches import prefix_end
from .. import errors
from ..ops import Bytes, create_revision, delete, get, mod_revision, put, to_bytes
from ..sync import Client
from ..types import KeyValue
from ._calls import Blocking, Calls, finish, to_the_end, within

PRIORITY_MAX = (1 << 64) - 1
_ITEM = re.compile(rb"[0-9a-f]{16}-[0-9a-f]{16}")
_URGENT = re.compile(rb"[0-9a-f]{16}\.[0-9a-f]{16}-[0-9a-f]{16}")
"""What follows the queue's prefix in the name of an item, without a priority and with one."""


async def _enqueue(client: Calls, prefix: bytes, value: Bytes) -> None:
    now = (await client.txn([], [get(prefix)])).header.revision
    key = b"%s%016x-%s" % (prefix, now, secrets.token_hex(8).encode())
    await client.txn([], [put(key, value)])


async def _claim(client: Calls, kv: KeyValue) -> bool:
    claim = client.txn([mod_revision(kv.key) == kv.mod_revision], [delete(kv.key)])
    answer, cancelled = await to_the_end(client, claim)
    if cancelled is not None:
        if answer.succeeded:  # nobody gets it: back to where it was
            back = client.txn([create_revision(kv.key) == 0], [put(kv.key, kv.value)])
            await to_the_end(client, back)
        raise cancelled
    return answer.succeeded


async def _first(
    client: Calls, line: bytes, item: re.Pattern[bytes]
) -> tuple[KeyValue | None, int]:
    """(the first item, the revision as of which it was looked for). What lies under the prefix for
    another name, as the items of `jobs/1` do for `jobs`, is passed over, a name at a time."""
    at, end = line, prefix_end(line)
    while True:
        found = await client.get(at, range_end=end, limit=1)
        if not found.kvs or item.fullmatch(found.kvs[0].key, len(line)):
            return (found.kvs[0] if found.kvs else None), found.header.revision
        name, is_longer, _ = found.kvs[0].key[len(line) :].partition(b"/")
        at = line + name + (b"0" if is_longer else b"\x00")  # "0" follows "/"


async def _dequeue(client: Calls, line: bytes, item: re.Pattern[bytes]) -> bytes:
    while True:
        first, revision = await _first(client, line, item)
        if first is not None:
            if await _claim(client, first):
                return first.value
            continue
        watch = client.watch(line, prefix=True, start_revision=revision + 1, no_delete=True)
        try:
            async for response in watch:
                if any(item.fullmatch(event.kv.key, len(line)) for event in response.events):
                    break
        except errors.WatchCompactedError:
            continue  # look again
        finally:
            watch.cancel()


class AsyncPriorityQueue:
    """Items by priority, the smallest first; those of the same in the order of their arrival."""

    def __init__(self, client: Calls, name: Bytes) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the queue.
        """
        self._client = client
        self._line = to_bytes(name) + b"/"

    async def enqueue(self, value: Bytes, priority: int) -> None:
        """Put an item.

        Raises:
            ValueError: the priority is negative or has more than 64 bits.
        """
        if not 0 <= priority <= PRIORITY_MAX:
            raise ValueError(f"a priority is 0 to {PRIORITY_MAX}, not {priority}")
        await _enqueue(self._client, b"%s%016x." % (self._line, priority), value)

    async def dequeue(self, timeout_s: float | None = None) -> bytes:
        """Take the first item; waits for one. No two get the same. Cancelled it puts back what it
        took.

        Raises:
            TimeoutError: there was none for `timeout_s`.
            errors.UnknownOutcomeError: an item may have been taken, and is lost then.
        """
        async with within(timeout_s):
            return await _dequeue(self._client, self._line, _URGENT)


class AsyncQueue:
    """Items in the order of their arrival."""

    def __init__(self, client: Calls, name: Bytes) -> None:
        """
        Args:
            client: an `AsyncClient`.
            name: of the queue.
        """
        self._client = client
        self._line = to_bytes(name) + b"/"

    async def enqueue(self, value: Bytes) -> None:
        """Put an item."""
        await _enqueue(self._client, self._line, value)

    async def dequeue(self, timeout_s: float | None = None) -> bytes:
        """Take the first item; waits for one. No two get the same. Cancelled it puts back what it
        took.

        Raises:
            TimeoutError: there was none for `timeout_s`.
            errors.UnknownOutcomeError: an item may have been taken, and is lost then.
        """
        async with within(timeout_s):
            return await _dequeue(self._client, self._line, _ITEM)


class PriorityQueue:
    """Items by priority, the smallest first. Any thread may use it."""

    def __init__(self, client: Client, name: Bytes) -> None:
        """See `AsyncPriorityQueue`."""
        self._inner = AsyncPriorityQueue(Blocking(client), name)

    def enqueue(self, value: Bytes, priority: int) -> None:
        """Put an item."""
        finish(self._inner.enqueue(value, priority))

    def dequeue(self, timeout_s: float | None = None) -> bytes:
        """Take the first item. Raises TimeoutError when there was none for `timeout_s`."""
        return finish(self._inner.dequeue(), timeout_s)


class Queue:
    """Items in the order of their arrival. Any thread may use it."""

    def __init__(self, client: Client, name: Bytes) -> None:
        """See `AsyncQueue`."""
        self._inner = AsyncQueue(Blocking(client), name)

    def enqueue(self, value: Bytes) -> None:
        """Put an item."""
        finish(self._inner.enqueue(value))

    def dequeue(self, timeout_s: float | None = None) -> bytes:
        """Take the first item. Raises TimeoutError when there was none for `timeout_s`."""
        return finish(self._inner.dequeue(), timeout_s)
