"""What users write, as type checkers read it: `make check` runs pyright and mypy on it, strictly.

Nothing runs it: whether it works is for the other tests.
"""

import asyncio
from typing import assert_type

from sampan import AsyncClient, Client
from sampan.client import NotAppliedError, UnknownOutcomeError, ops
from sampan.client.recipes import (
    AsyncBarrier,
    AsyncDoubleBarrier,
    AsyncElection,
    AsyncLock,
    AsyncPriorityQueue,
    AsyncQueue,
    AsyncRWLock,
    AsyncTransaction,
    Barrier,
    Election,
    Lock,
    PriorityQueue,
    Queue,
    RWLock,
    async_stm,
    stm,
)

ENDPOINTS = ["127.0.0.1:2378", "127.0.0.1:22378"]


async def tasks() -> None:
    async with AsyncClient(ENDPOINTS, timeout_s=2.0) as client:
        assert_type((await client.put("k", b"v", prev_kv=True)).header.revision, int)
        for kv in (await client.get("k", prefix=True, limit=3)).kvs:
            assert_type(kv.value, bytes)
        async for kv in client.scan("users/", prefix=True):
            assert_type(kv.key, bytes)
        done = await client.txn([ops.version("k") == 0], [ops.put("k", "v")], [ops.get("k")])
        assert_type(done.succeeded, bool)
        async with client.watch("k", start_revision=done.header.revision + 1) as watch:
            async for response in watch:
                for event in response.events:
                    assert_type(event.kv.value, bytes)
        async with await client.lease(10) as lease:
            async with AsyncLock(client, "jobs", lease) as lock:
                await client.txn([lock.guard()], [ops.put("k", "v", lease=lease.id)])
            await AsyncQueue(client, "q").enqueue("item")
            assert_type(await AsyncPriorityQueue(client, "p").dequeue(), bytes)
            await AsyncElection(client, "el", lease).campaign("me")
            await AsyncBarrier(client, "b").wait(timeout_s=1)
            await AsyncDoubleBarrier(client, "d", lease, count=2).enter()
            async with AsyncRWLock(client, "rw", lease).read:
                pass
        assert_type(await async_stm(client, count), int)


async def count(txn: AsyncTransaction) -> int:
    found = int(await txn.get("n") or 0) + 1
    txn.put("n", str(found))
    return found


def threads() -> int:
    try:
        with Client(ENDPOINTS) as client, client.lease(10) as lease:
            with Lock(client, "jobs", lease) as lock:
                assert_type(lock.token, int)
            with RWLock(client, "rw", 10).write:
                pass
            Election(client, "el", lease).campaign("me", timeout_s=1.0)
            Barrier(client, "b").hold()
            assert_type(Queue(client, "q").dequeue(timeout_s=1.0), bytes)
            PriorityQueue(client, "p").enqueue("item", 1)
            with client.watch("k") as watch:
                for response in watch:
                    assert_type(response.header.revision, int)
            return stm(client, lambda txn: int(txn.get("n") or 0))
    except UnknownOutcomeError as error:
        assert_type(error.text, str)
    except NotAppliedError:
        raise
    return 0


if __name__ == "__main__":
    asyncio.run(tasks())
    threads()
