"""Barriers, queues and locks of readers and writers, on a real node."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import AsyncClient, Client, errors
from sampan.client import lease as lease_module
from sampan.client.recipes import (
    AsyncBarrier,
    AsyncDoubleBarrier,
    AsyncPriorityQueue,
    AsyncQueue,
    AsyncRWLock,
    Barrier,
    DoubleBarrier,
    Election,
    Lock,
    PriorityQueue,
    Queue,
    RWLock,
)

TTL_S = 60


@pytest.fixture
def often(monkeypatch):
    """Leases that no busy machine loses are renewed often, so that an end is noticed at once."""
    monkeypatch.setattr(lease_module, "RENEWALS", 200)


@pytest.fixture
def client(real):
    with Client([real], timeout_s=30) as client:
        client.delete("r/", prefix=True)
        yield client


@pytest.fixture
def leases(client):
    made = [client.lease(TTL_S) for _ in range(3)]
    yield made
    for lease in made:
        lease.revoke()


def wait_count(client, prefix, count):
    """Wait until there are so many keys."""
    with client.watch(prefix, prefix=True) as changes:
        while client.get(prefix, prefix=True, count_only=True).count != count:
            next(changes)


def run_tasks(real, scenario):
    async def main():
        async with AsyncClient([real], timeout_s=30) as client:
            return await scenario(client)

    return asyncio.run(main())


class CompactedOnce:
    """A client whose first watch finds that what it waits for was compacted, and happens before
    that."""

    def __init__(self, client, happens):
        self._client = client
        self._happens = happens
        self.watches = 0

    def __getattr__(self, name):
        return getattr(self._client, name)

    def watch(self, key, **options):
        self.watches += 1
        return self if self.watches == 1 else self._client.watch(key, **options)

    def __next__(self):
        self._happens()
        raise errors.WatchCompactedError("compacted", 5, self._client.get("r").header)

    def cancel(self):
        pass


class SlowToTell:
    """A client that tells of transactions, which are applied, only when `tell` is set."""

    def __init__(self, client):
        self._client = client
        self.applied, self.tell = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name):
        return getattr(self._client, name)

    async def txn(self, *branches):
        answer = await self._client.txn(*branches)
        self.applied.set()
        await self.tell.wait()
        return answer


class CompactedMeanwhile:
    """A client before whose first watch something happens, and the history of it is compacted."""

    def __init__(self, client, happens):
        self._client = client
        self._happens = happens

    def __getattr__(self, name):
        return getattr(self._client, name)

    def watch(self, key, **options):
        happens, self._happens = self._happens, None
        if happens is not None:
            happens()
            self._client.compact(self._client.put("r/now", "").header.revision)
        return self._client.watch(key, **options)


class TestWhenWhatIsWaitedForWasCompacted:
    def test_a_lock(self, client, leases):
        holder = Lock(client, "r/lock", leases[0])
        holder.lock()
        waits = Lock(CompactedOnce(client, holder.unlock), "r/lock", leases[1])
        assert waits.lock() > 0
        waits.unlock()

    def test_a_barrier(self, client):
        barrier = Barrier(client, "r/barrier")
        barrier.hold()
        Barrier(CompactedOnce(client, barrier.release), "r/barrier").wait()

    def test_a_queue(self, client):
        queue = Queue(client, "r/queue")
        later = CompactedOnce(client, lambda: queue.enqueue("item"))
        assert Queue(later, "r/queue").dequeue() == b"item"

    def test_a_double_barrier(self, client, leases):
        second = DoubleBarrier(client, "r/double", leases[1], 2)

        meanwhile = CompactedMeanwhile(client, second.enter)
        first = DoubleBarrier(meanwhile, "r/double", leases[0], 2)
        first.enter()
        meanwhile._happens = second.leave
        first.leave()

    def test_who_observes_an_election(self, client, leases):
        election = Election(client, "r/election", leases[0])
        observes = CompactedOnce(client, lambda: election.campaign("me"))
        assert next(Election(observes, "r/election").observe()).value == b"me"
        election.resign()


class TestBarrier:
    def test_it_is_open_unless_it_is_held(self, client):
        barrier = Barrier(client, "r/barrier")
        barrier.wait()
        barrier.hold()
        barrier.hold()
        with pytest.raises(TimeoutError):
            barrier.wait(timeout_s=0.05)
        barrier.release()
        barrier.wait()
        barrier.release()

    def test_all_go_on_when_it_opens(self, real, client):
        async def scenario(tasks):
            barrier = AsyncBarrier(tasks, "r/barrier")
            await barrier.hold()
            waiting = [asyncio.ensure_future(barrier.wait()) for _ in range(5)]
            done, _ = await asyncio.wait(waiting, timeout=0.05)
            assert not done
            await AsyncBarrier(tasks, "r/barrier").release()
            await asyncio.gather(*waiting)

        run_tasks(real, scenario)


class TestDoubleBarrier:
    def test_a_lease_that_was_revoked_elsewhere_is_a_loss(self, client, leases):
        client.lease_revoke(leases[0].id)
        with pytest.raises(errors.LeaseLostError):
            DoubleBarrier(client, "r/double", leases[0], 2).enter(timeout_s=60)

    def test_all_enter_together_and_leave_together_and_do_it_again(self, client, leases):
        seen = []

        def take_part(lease):
            barrier = DoubleBarrier(client, "r/double", lease, len(leases))
            for turn in range(3):
                seen.append(("before", turn))
                barrier.enter()
                seen.append(("inside", turn))
                barrier.leave()

        with ThreadPoolExecutor(3) as pool:
            for each in [pool.submit(take_part, lease) for lease in leases]:
                each.result()
        for turn in range(3):
            last_before = max(i for i, what in enumerate(seen) if what == ("before", turn))
            first_inside = seen.index(("inside", turn))
            assert last_before < first_inside
            if turn:
                last_inside = max(i for i, w in enumerate(seen) if w == ("inside", turn - 1))
                assert last_inside < seen.index(("before", turn))

    def test_a_timeout_takes_the_entrance_back(self, client, leases):
        with pytest.raises(TimeoutError):
            DoubleBarrier(client, "r/double", leases[0], 2).enter(timeout_s=0.05)
        assert client.get("r/double/", prefix=True).count == 0

    def test_one_too_many_is_refused(self, client, leases):
        first, second = (DoubleBarrier(client, "r/double", lease, 2) for lease in leases[:2])
        with ThreadPoolExecutor(2) as pool:
            for each in [pool.submit(barrier.enter) for barrier in (first, second)]:
                each.result()
            with pytest.raises(errors.BarrierFullError, match="2 others are in r/double"):
                DoubleBarrier(client, "r/double", leases[2], 2).enter()
            for each in [pool.submit(barrier.leave) for barrier in (first, second)]:
                each.result()

    def test_who_dies_inside_does_not_keep_the_others(self, client, leases):
        barriers = [DoubleBarrier(client, "r/double", lease, 3) for lease in leases]
        with ThreadPoolExecutor(3) as pool:
            for each in [pool.submit(barrier.enter) for barrier in barriers]:
                each.result()
            leaving = [pool.submit(barrier.leave) for barrier in barriers[:2]]
            wait_count(client, "r/double/", 1)
            assert not any(each.done() for each in leaving)
            leases[2].revoke()
            for each in leaving:
                each.result()

    def test_who_waits_learns_that_its_lease_ended(self, client, leases, often):
        short = client.lease(TTL_S)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(DoubleBarrier(client, "r/double", short, 2).enter)
            wait_count(client, "r/double/", 1)
            client.lease_revoke(short.id)
            with pytest.raises(errors.LeaseLostError):
                waiting.result()

    def test_tasks(self, real, client):
        async def take_part(tasks):
            async with await tasks.lease(TTL_S) as lease:
                barrier = AsyncDoubleBarrier(tasks, "r/double", lease, 5)
                await barrier.enter()
                await barrier.leave()

        async def scenario(tasks):
            await asyncio.gather(*[take_part(tasks) for _ in range(5)])

        run_tasks(real, scenario)

    def test_a_barrier_for_nobody(self, client, leases):
        with pytest.raises(ValueError, match="at least one"):
            DoubleBarrier(client, "r/double", leases[0], 0)


class TestQueue:
    def test_first_in_first_out(self, client):
        queue = Queue(client, "r/queue")
        for i in range(20):
            queue.enqueue(str(i))
        assert [int(queue.dequeue()) for _ in range(20)] == list(range(20))
        with pytest.raises(TimeoutError):
            queue.dequeue(timeout_s=0.05)

    def test_who_waits_gets_what_comes(self, client):
        queue = Queue(client, "r/queue")
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(queue.dequeue)
            queue.enqueue("item")
            assert waiting.result() == b"item"

    def test_many_fill_and_empty_it_and_nothing_is_lost_or_doubled(self, real, client):
        async def scenario(tasks):
            queue = AsyncQueue(tasks, "r/queue")
            taking = [asyncio.ensure_future(queue.dequeue()) for _ in range(30)]
            await asyncio.gather(*[queue.enqueue(str(i)) for i in range(30)])
            return await asyncio.gather(*taking)

        assert sorted(map(int, run_tasks(real, scenario))) == list(range(30))
        assert client.get("r/", prefix=True).count == 0

    def test_who_is_cancelled_while_it_takes_an_item_puts_it_back(self, real, client):
        async def scenario(tasks):
            slow = SlowToTell(tasks)
            queue = AsyncQueue(slow, "r/queue")
            for value in ("first", "second"):
                await AsyncQueue(tasks, "r/queue").enqueue(value)
            before = (await tasks.get("r/queue", prefix=True)).kvs
            taking = asyncio.ensure_future(queue.dequeue())
            await slow.applied.wait()
            assert (await tasks.get("r/queue", prefix=True)).count == 1
            taking.cancel()
            await asyncio.sleep(0)
            taking.cancel()
            await asyncio.sleep(0)
            slow.tell.set()
            with pytest.raises(asyncio.CancelledError):
                await taking
            after = (await tasks.get("r/queue", prefix=True)).kvs
            assert [(kv.key, kv.value) for kv in after] == [(kv.key, kv.value) for kv in before]
            assert await queue.dequeue() == b"first"

        run_tasks(real, scenario)

    @pytest.mark.parametrize("timeout_s", [float("nan"), -1.0])
    def test_timeouts_that_are_none(self, client, timeout_s):
        with pytest.raises(ValueError, match="timeout_s"):
            Queue(client, "r/queue").dequeue(timeout_s=timeout_s)

    def test_priorities(self, real, client):
        queue = PriorityQueue(client, "r/priority")
        for value, priority in [("c", 300), ("a", 5), ("d", 2**64 - 1), ("b", 5)]:
            queue.enqueue(value, priority)
        assert [queue.dequeue() for _ in range(4)] == [b"a", b"b", b"c", b"d"]
        for wrong in (-1, 2**64):
            with pytest.raises(ValueError, match="a priority is"):
                queue.enqueue("x", wrong)

        async def scenario(tasks):
            queue = AsyncPriorityQueue(tasks, "r/priority")
            await queue.enqueue("second", 2)
            await queue.enqueue("first", 1)
            return [await queue.dequeue() for _ in range(2)]

        assert run_tasks(real, scenario) == [b"first", b"second"]


class TestRWLock:
    def test_readers_share_and_a_writer_does_not(self, client, leases):
        reader, other, writer = (RWLock(client, "r/rw", lease) for lease in leases)
        with reader.read, other.read:
            assert not writer.write.try_lock()
        with writer.write as lock:
            assert not reader.read.try_lock()
            assert not other.write.try_lock()
            assert client.txn([lock.guard()], []).succeeded

    def test_who_comes_later_waits_for_a_writer_that_waits(self, client, leases):
        first, writer, later = (RWLock(client, "r/rw", lease) for lease in leases)
        order = []

        def hold(lock, name):
            with lock:
                order.append(name)

        first.read.lock()
        with ThreadPoolExecutor(2) as pool:
            writing = pool.submit(hold, writer.write, "writer")
            wait_count(client, "r/rw/", 2)
            reading = pool.submit(hold, later.read, "reader")
            wait_count(client, "r/rw/", 3)
            first.read.unlock()
            writing.result()
            reading.result()
        assert order == ["writer", "reader"]

    def test_tasks(self, real, client):
        inside = []

        async def read(tasks):
            async with await tasks.lease(TTL_S) as lease, AsyncRWLock(tasks, "r/rw", lease).read:
                inside.append("r")
                await tasks.get("x")
                assert "w" not in inside
                inside.remove("r")

        async def write(tasks):
            async with await tasks.lease(TTL_S) as lease, AsyncRWLock(tasks, "r/rw", lease).write:
                inside.append("w")
                await tasks.get("x")
                assert inside == ["w"]
                inside.remove("w")

        async def scenario(tasks):
            await asyncio.gather(*[role(tasks) for role in (read, write, read, read, write)])

        run_tasks(real, scenario)
        assert inside == []
