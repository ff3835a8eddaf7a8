"""Those who give up while nobody answers: what they leave in the line ends with their lease."""

import asyncio
import threading
from contextlib import suppress

import pytest
from sampan.client import Client, errors
from sampan.client.recipes import AsyncLock, DoubleBarrier, Election, Lock
from sampan.client.recipes._calls import to_the_end
from sampan.client.recipes._place import Place

from .fake_node import SILENCE
from .scenario import LONG_S, run

TIMEOUT_S = 0.3
NO_SPACE = [8, "etcdserver: mvcc: database space exceeded", "not applied"]
KEY = [b"line/7", 1, 1, 1, 7, b""]


def answers(node, *, transactions):
    """Have a node know of leases, and answer transactions with `transactions`, in turn."""
    left = list(transactions)

    def behave(header, requests):
        if requests[0][0].startswith("lease_"):
            return [[0, 1, 7, 60]]
        if header[2] == "maintenance":
            return None
        return left.pop(0) if left else SILENCE

    node.behave = behave


def check_given_up(lease):
    with pytest.raises(errors.LeaseLostError, match="was given up, since 'line/7' could not be"):
        lease.check()
    assert not lease.alive


each_who_waits = pytest.mark.parametrize(
    "wait",
    [
        lambda client, lease: Lock(client, "line", lease).try_lock(),
        lambda client, lease: Lock(client, "line", lease).lock(),
        lambda client, lease: Election(client, "line", lease).campaign("me"),
        lambda client, lease: DoubleBarrier(client, "line", lease, 2).enter(),
    ],
    ids=["try_lock", "lock", "campaign", "enter"],
)


@each_who_waits
def test_a_lease_is_given_up_with_a_place_that_cannot_be_taken_back(node, wait):
    answers(node, transactions=[])
    with Client([node.endpoint], timeout_s=TIMEOUT_S) as client:
        lease = client.lease(60, timeout_s=30)
        with pytest.raises(errors.RequestTimeoutError):
            wait(client, lease)
        check_given_up(lease)


TAKE = [
    lambda client, lease: Lock(client, "line", lease).lock(),
    lambda client, lease: Lock(client, "line", lease).try_lock(),
    lambda client, lease: Election(client, "line", lease).campaign("me"),
]
TAKE_IDS = ["lock", "try_lock", "campaign"]


def first_in_line(header, requests):
    """Behaviour of a node where whoever lines up is the first, and whoever leaves had a place."""
    name, *rest = requests[0]
    if name.startswith("lease_"):
        return [[0, 1, 7, 60]]
    if name != "txn":
        return None
    lines_up = rest[1][0][0] == "put"
    return [[0, 9, True, [[0, 9], [0, 9, 0, False, []]] if lines_up else [[0, 9, 1]]]]


def lose_when_asked(node, lease):
    """Have a lease end while the node answers whatever is asked next."""
    answer = node.behave

    def behave(header, requests):
        lease.give_up("was lost")
        return answer(header, requests)

    node.behave = behave


@pytest.mark.parametrize("take", TAKE, ids=TAKE_IDS)
def test_who_comes_first_after_its_lease_was_lost_gets_nothing(node, take):
    """Somebody else may have been first since."""
    node.behave = first_in_line
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lease = client.lease(60)
        lose_when_asked(node, lease)
        with pytest.raises(errors.LockLostError, match="was lost"):
            take(client, lease)


def test_who_becomes_first_after_its_lease_was_lost_is_told_so(node):
    async def scenario(client):
        lease = await client.lease(60)
        place = Place(client, KEY[0], b"line/", lease, errors.LockLostError)
        place.revision = KEY[1]
        lose_when_asked(node, lease)
        with pytest.raises(errors.LockLostError, match="was lost"):
            await place.wait_first()

    answers(node, transactions=[[[0, 9, True, [[0, 9, 0, False, []], [0, 9, 1, False, [KEY]]]]]])
    run([node], scenario, timeout_s=LONG_S)


@pytest.mark.parametrize("take", TAKE, ids=TAKE_IDS)
def test_who_has_lost_its_lease_does_not_line_up(node, take):
    node.behave = first_in_line
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lease = client.lease(60)
        lease.give_up("was lost")
        with pytest.raises(errors.LockLostError, match="was lost"):
            take(client, lease)
    asked = [rest[1][0][0] for name, *rest in node.requests("write") if name == "txn"]
    assert "put" not in asked


def test_a_place_that_could_be_taken_back_costs_no_lease(node):
    answers(node, transactions=[SILENCE, [[0, 9, True, [[0, 9, 1]]]]])
    with Client([node.endpoint], timeout_s=TIMEOUT_S) as client:
        lease = client.lease(60, timeout_s=30)
        with pytest.raises(errors.RequestTimeoutError):
            Lock(client, "line", lease).lock()
        lease.check()


@each_who_waits
def test_a_put_that_may_come_after_its_place_was_taken_back_costs_the_lease(node, wait):
    """By another node, say: what was not there yet could not be deleted."""
    answers(node, transactions=[SILENCE, [[0, 9, False, []]]])
    with Client([node.endpoint], timeout_s=TIMEOUT_S, exactly_once=False) as client:
        lease = client.lease(60, timeout_s=30)
        with pytest.raises(errors.RequestTimeoutError):
            wait(client, lease)
        with pytest.raises(errors.LeaseLostError, match="since 'line/7' may yet be put"):
            lease.check()


@each_who_waits
def test_a_put_that_was_refused_costs_no_lease(node, wait):
    answers(node, transactions=[[NO_SPACE], [[0, 9, False, []]]])
    with Client([node.endpoint], timeout_s=30) as client:
        lease = client.lease(60)
        with pytest.raises(errors.NoSpaceError):
            wait(client, lease)
        lease.check()


@pytest.mark.parametrize("leave", ["unlock", "try_lock"])
def test_who_cannot_leave_gives_the_lease_up_too(node, leave):
    others = [b"line/1", 1, 1, 1, 1, b""]
    first = KEY if leave == "unlock" else others
    found = [0, 9, 1, False, [first]]
    answers(node, transactions=[[[0, 9, True, [[0, 9], found]]]])
    with Client([node.endpoint], timeout_s=TIMEOUT_S) as client:
        lease = client.lease(60, timeout_s=30)
        lock = Lock(client, "line", lease)
        if leave == "unlock":
            first[1] = 9
            lock.lock()
        with pytest.raises(errors.RequestTimeoutError):
            getattr(lock, leave)()
        check_given_up(lease)


def test_a_task_that_is_cancelled_again_still_takes_its_place_back(node):
    cancelled_twice = threading.Event()
    silent = [SILENCE]

    def fails(header, requests):
        if silent:
            return silent.pop()
        cancelled_twice.wait()
        return [[13, "failed", "unknown"]]

    async def scenario(client):
        lease = await client.lease(60)
        node.behave = fails
        locking = asyncio.ensure_future(AsyncLock(client, "line", lease).lock())
        await asyncio.to_thread(node.wait_for, lambda fake: len(fake.requests("write")) == 2)
        locking.cancel()
        await asyncio.to_thread(node.wait_for, lambda fake: len(fake.requests("write")) == 3)
        locking.cancel()
        await asyncio.sleep(0)
        cancelled_twice.set()
        with pytest.raises(asyncio.CancelledError):
            await locking
        check_given_up(lease)

    answers(node, transactions=[])
    run([node], scenario, timeout_s=LONG_S, exactly_once=False)


def test_a_cancelled_task_is_cancelled_though_its_last_call_fails():
    async def main():
        started, go = asyncio.Event(), asyncio.Event()

        async def fails():
            started.set()
            await go.wait()
            raise errors.RequestTimeoutError(4, "too late")

        async def goes_on_after_errors():
            with suppress(errors.SampanError):
                await to_the_end(None, fails())

        task = asyncio.create_task(goes_on_after_errors())
        await started.wait()
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait([task])
        assert task.cancelled()

    asyncio.run(main())
