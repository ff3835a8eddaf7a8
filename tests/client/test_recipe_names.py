"""Recipes whose names lie inside each other are strangers."""

import pytest
from sampan.client import Client
from sampan.client.recipes import (
    Barrier,
    DoubleBarrier,
    Election,
    Lock,
    PriorityQueue,
    Queue,
    RWLock,
)

from .scenario import LONG_S

INSIDE = ["{}/1", "{}/f00d", "{}/0000000000000001", "{}/read", "{}/write", "{}/sub/sub", "{}/ÿ"]


@pytest.fixture
def client(real):
    with Client([real], timeout_s=LONG_S) as client, client.lease(60):
        yield client
        client.delete("n", prefix=True)


@pytest.fixture
def leases(client):
    with client.lease(60) as one, client.lease(60) as other:
        yield one, other


def occupy(client, name, lease):
    """Everything that can be under a name."""
    Lock(client, f"{name}/lock", lease).lock()
    Lock(client, name, lease).lock()
    Election(client, f"{name}/election", lease).campaign("foreign")
    RWLock(client, f"{name}/rw", lease).read.lock()
    DoubleBarrier(client, f"{name}/double", lease, 1).enter()
    Barrier(client, f"{name}/barrier").hold()
    for queue in (f"{name}/queue", name):
        Queue(client, queue).enqueue("foreign")
        PriorityQueue(client, queue).enqueue("foreign", 1)
    client.put(f"{name}/anything", "at all", lease=lease.id)


@pytest.mark.parametrize("inside", INSIDE)
def test_what_is_inside_a_name_does_not_meet_what_has_it(client, leases, inside):
    mine, others = leases
    occupy(client, inside.format("n/x"), others)
    lock = Lock(client, "n/x", mine)
    assert lock.lock(timeout_s=LONG_S) > 0
    lock.unlock()
    assert lock.try_lock()
    lock.unlock()
    election = Election(client, "n/x", mine)
    assert election.leader() is None
    election.campaign("mine", timeout_s=LONG_S)
    assert election.leader().value == b"mine"
    assert next(election.observe()).value == b"mine"
    election.resign()
    if inside not in ("{}/read", "{}/write"):  # which are the names of its sides
        both = RWLock(client, "n/x", mine)
        for side in (both.read, both.write):
            side.lock(timeout_s=LONG_S)
            side.unlock()
    double = DoubleBarrier(client, "n/x", mine, 1)
    double.enter(timeout_s=LONG_S)
    double.leave(timeout_s=LONG_S)
    Barrier(client, "n/x").wait(timeout_s=LONG_S)


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("kind", [Queue, PriorityQueue])
def test_a_queue_gives_only_its_own_items(client, leases, inside, kind):
    occupy(client, inside.format("n/q"), leases[0])
    other = PriorityQueue if kind is Queue else Queue
    put(other(client, "n/q"), "of the other kind")
    queue = kind(client, "n/q")
    for item in ("one", "two"):
        put(queue, item)
    assert [queue.dequeue(timeout_s=LONG_S) for _ in range(2)] == [b"one", b"two"]
    put(other(client, "n/q"), "of the other kind, again")
    with pytest.raises(TimeoutError):
        queue.dequeue(timeout_s=0.01)


def put(queue, item):
    queue.enqueue(item, *([7] if isinstance(queue, PriorityQueue) else []))


def test_who_waits_still_waits_for_those_before(client, leases):
    """With somebody else's keys between them."""
    one, other = leases
    first = Lock(client, "n/x", one)
    first.lock()
    occupy(client, "n/x/1", one)
    second = Lock(client, "n/x", other)
    assert not second.try_lock()
    with pytest.raises(TimeoutError):
        second.lock(timeout_s=0.05)
    first.unlock()
    second.lock(timeout_s=LONG_S)
