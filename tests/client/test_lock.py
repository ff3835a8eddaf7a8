"""Locks on a real node, of threads and of tasks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress

import pytest
from sampan.client import AsyncClient, Client, errors, ops
from sampan.client import lease as lease_module
from sampan.client.recipes import AsyncLock, Lock

TTL_S = 60
"""Of leases that must not end while a test runs."""
NAME = "locks/one"


@pytest.fixture
def often(monkeypatch):
    """Leases that no busy machine loses are renewed often, so that an end is noticed at once."""
    monkeypatch.setattr(lease_module, "RENEWALS", 200)


@pytest.fixture
def client(real):
    with Client([real], timeout_s=30) as client:
        yield client


@pytest.fixture
def lease(client):
    with client.lease(TTL_S) as lease:
        yield lease


@pytest.fixture
def other(client):
    """A lock of somebody else."""
    with client.lease(TTL_S) as lease:
        yield Lock(client, NAME, lease)


def keys(client):
    found = client.get(NAME + "/", prefix=True, sort_by="create")
    return [kv.key for kv in found.kvs]


def wait_lined_up(client, count):
    """Wait until so many hold or wait for the lock."""
    with client.watch(NAME + "/", prefix=True) as changes:
        while len(keys(client)) < count:
            next(changes)


def write(client, lock, value="x"):
    """A write that the cluster only applies while the lock is held."""
    return client.txn([lock.guard()], [ops.put("guarded", value)]).succeeded


def test_a_lock_and_what_its_holder_has(client, lease):
    lock = Lock(client, NAME, lease)
    assert not lock.held
    assert lock.token == 0
    with pytest.raises(errors.LockLostError, match="is not held"):
        lock.guard()
    with lock:
        assert lock.held
        lock.check()
        assert keys(client) == [lock.key] == [f"{NAME}/{lease.id:x}".encode()]
        [kv] = client.get(lock.key).kvs
        assert (kv.create_revision, kv.lease) == (lock.token, lease.id)
        assert write(client, lock)
        assert lock.lock() == lock.token, "it is held already"
    assert keys(client) == []
    assert (lock.held, lock.token) == (False, 0)
    with pytest.raises(errors.LockLostError, match="is not held"):
        lock.unlock()
    with pytest.raises(errors.LockLostError, match="is not held"):
        lock.check()


def test_each_holder_has_a_greater_token(client, lease, other):
    tokens = []
    for lock in [Lock(client, NAME, lease), other] * 2:
        with lock:
            tokens.append(lock.token)
    assert tokens == sorted(set(tokens))


def test_trying_takes_what_is_free_and_leaves_no_trace_otherwise(client, lease, other):
    lock = Lock(client, NAME, lease)
    assert lock.try_lock()
    assert lock.try_lock(), "it is held already"
    assert not other.try_lock()
    assert not other.held
    assert keys(client) == [lock.key]
    lock.unlock()
    assert other.try_lock()
    other.unlock()


def test_a_timeout_takes_the_place_back(client, lease, other):
    with Lock(client, NAME, lease) as lock:
        with pytest.raises(TimeoutError):
            other.lock(timeout_s=0.05)
        assert keys(client) == [lock.key]
    assert other.lock(timeout_s=TTL_S) == other.token
    other.unlock()


def test_those_who_wait_get_it_in_the_order_in_which_they_came(real, client, lease):
    held = []

    def hold(lock):
        with lock:
            held.append(lock.key)

    with ExitStack() as leases, ThreadPoolExecutor(3) as pool:
        first = Lock(client, NAME, lease)
        first.lock()
        locks = [Lock(client, NAME, leases.enter_context(client.lease(TTL_S))) for _ in range(3)]
        waiting = []
        for i, lock in enumerate(locks):
            waiting.append(pool.submit(hold, lock))
            wait_lined_up(client, i + 2)
        first.unlock()
        for each in waiting:
            each.result()
    assert held == [lock.key for lock in locks]


def test_who_waits_does_not_get_it_because_one_before_it_gave_up(client, lease, other):
    third = client.lease(TTL_S)
    with third, Lock(client, NAME, lease) as lock, ThreadPoolExecutor(2) as pool:
        second = pool.submit(other.lock)
        wait_lined_up(client, 2)
        last = Lock(client, NAME, third)

        def lock_and_look():
            with last:
                return keys(client)

        waiting = pool.submit(lock_and_look)
        wait_lined_up(client, 3)
        client.delete(other.key)
        lock.unlock()
        with pytest.raises(errors.LockLostError):
            second.result()
        assert waiting.result() == [last.key]


def test_who_lost_it_cannot_write_and_learns_of_it_at_the_end(client, other):
    def deposed(lease):
        with Lock(client, NAME, lease) as lock, ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(other.lock)
            wait_lined_up(client, 2)
            client.delete(lock.key)
            assert waiting.result() > lock.token
            assert not write(client, lock, "late")
            assert write(client, other, "now")
            other.unlock()

    with client.lease(TTL_S) as kept, pytest.raises(errors.LockLostError, match="is gone"):
        deposed(kept)
    assert client.get("guarded").kvs[0].value == b"now"


def test_a_lease_that_ends_ends_the_lock(client, often):
    lease = client.lease(TTL_S)
    lock = Lock(client, NAME, lease)
    lock.lock()
    client.lease_revoke(lease.id)
    assert lease.wait_lost() is not None
    assert not lock.held
    assert lock.token, "what it was is still known, and refused"
    assert not write(client, lock)
    with pytest.raises(errors.LockLostError):
        lock.check()
    with pytest.raises(errors.LockLostError):
        lock.lock()
    with pytest.raises(errors.LockLostError):
        lock.unlock()
    with pytest.raises(errors.LockLostError):
        lock.lock()


def test_who_waits_learns_that_its_lease_ended(client, lease, often):
    waits = client.lease(TTL_S)
    with Lock(client, NAME, lease), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Lock(client, NAME, waits).lock)
        wait_lined_up(client, 2)
        client.lease_revoke(waits.id)
        with pytest.raises(errors.LockLostError):
            waiting.result()


def test_a_key_that_went_with_its_lease_says_so(client, lease):
    lock = Lock(client, NAME, lease)
    lock.lock()
    lease.revoke()
    with pytest.raises(errors.LockLostError, match="was revoked"):
        lock.unlock()


def test_who_waits_learns_that_its_lease_was_revoked(client, lease):
    waits = client.lease(TTL_S)
    with Lock(client, NAME, lease), ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Lock(client, NAME, waits).lock)
        wait_lined_up(client, 2)
        waits.revoke()
        with pytest.raises(errors.LockLostError, match="was revoked"):
            waiting.result()


def test_a_failure_in_the_block_is_what_is_raised(client, lease):
    def fail():
        with Lock(client, NAME, lease) as lock:
            client.delete(lock.key)
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        fail()


def test_tasks_exclude_each_other(real):
    inside, seen = [], []

    async def hold(client):
        async with await client.lease(TTL_S) as lease, AsyncLock(client, NAME, lease) as lock:
            inside.append(lock.token)
            assert len(inside) == 1
            await client.put("inside", "")
            seen.append(inside.pop())

    async def main():
        async with AsyncClient([real], timeout_s=30) as client:
            await asyncio.gather(*[hold(client) for _ in range(10)])

    asyncio.run(main())
    assert seen == sorted(set(seen))
    assert len(seen) == 10


def test_a_task_that_is_cancelled_takes_its_place_back(real, client, lease):
    async def main():
        async with AsyncClient([real], timeout_s=30) as tasks, await tasks.lease(TTL_S) as waits:
            lock = AsyncLock(tasks, NAME, waits)
            assert not await lock.try_lock()
            waiting = asyncio.ensure_future(lock.lock())
            async with tasks.watch(NAME + "/", prefix=True) as changes:
                while len((await tasks.get(NAME + "/", prefix=True)).kvs) < 2:
                    await anext(changes)
            waiting.cancel()
            with suppress(asyncio.CancelledError):
                await waiting
            assert waiting.cancelled()

    with Lock(client, NAME, lease) as lock:
        asyncio.run(main())
        assert keys(client) == [lock.key]


def test_a_task_that_waits_learns_that_its_lease_ended(real, client, lease, often):
    async def main():
        async with AsyncClient([real], timeout_s=30) as tasks:
            waits = await tasks.lease(TTL_S)
            waiting = asyncio.ensure_future(AsyncLock(tasks, NAME, waits).lock())
            async with tasks.watch(NAME + "/", prefix=True) as changes:
                while len((await tasks.get(NAME + "/", prefix=True)).kvs) < 2:
                    await anext(changes)
            await tasks.lease_revoke(waits.id)
            with pytest.raises(errors.LockLostError):
                await waiting

    with Lock(client, NAME, lease):
        asyncio.run(main())
