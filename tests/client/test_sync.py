"""What users of the blocking client see, from one thread and from many."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import Client, errors, ops
from sampan.client.types import KeyValue

from .fake_node import NO_LEADER, SILENCE


def test_every_call(node):
    with Client([node.endpoint]) as client:
        assert client.put("k", "v").header.revision == 2
        assert client.get("k").kvs == [KeyValue(b"k", 2, 2, 1, 0, b"v")]
        assert client.get("k", serializable=True).count == 1
        assert client.txn([ops.version("k") == 1], [ops.get("k")]).succeeded
        assert client.delete("k").deleted == 1
        assert client.status().fields["version"] == "0.1.0"
        assert client.status(node.endpoint).header.member_id == 1
        assert len(client.member_list().members) == 2


def test_many_threads_share_one_client(node):
    with Client([node.endpoint]) as client, ThreadPoolExecutor(16) as pool:

        def work(thread: int) -> None:
            for i in range(50):
                client.put(f"{thread}/{i}", str(i))
                assert client.get(f"{thread}/{i}").kvs[0].value == str(i).encode()

        list(pool.map(work, range(16)))
    assert len(node.store.data) == 16 * 50
    assert node.store.revision == 1 + 16 * 50


def test_calls_of_threads_that_wait_together_travel_together(node):
    with Client([node.endpoint]) as client, ThreadPoolExecutor(20) as pool:
        client.put("warm", "up")
        gate, held = threading.Event(), threading.Event()
        client._loop.call_threadsafe(lambda: (held.set(), gate.wait()))
        assert held.wait(10)
        calls = [pool.submit(client.put, f"k{i}", "v") for i in range(20)]
        while len(client._loop._ready) < 20:
            threading.Event().wait(0.001)
        gate.set()
        for call in calls:
            call.result(timeout=30)
    assert node.sizes("write") == [1, 20]


def test_errors_and_deadlines(node):
    with Client([node.endpoint], timeout_s=30) as client:
        client.put("warm", "up")
        node.behave = lambda header, requests: SILENCE
        with pytest.raises(errors.RequestTimeoutError):
            client.put("k", "v", timeout_s=0.2)
        node.behave = lambda header, requests: [NO_LEADER] * len(requests)
        # The second when the last attempt was under way at the deadline.
        with pytest.raises((errors.NoLeaderError, errors.ReadTimeoutError)):
            client.get("k", timeout_s=1.0)
        with pytest.raises(ValueError, match="not one of"):
            client.status("h:1")
    with pytest.raises(ValueError, match="at least one endpoint"):
        Client([])


def test_closing_ends_the_calls_of_other_threads(node):
    node.behave = lambda header, requests: SILENCE
    client = Client([node.endpoint], timeout_s=120)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.put, "k", "v")
        node.wait_for(lambda fake: fake.requests("write"))
        client.close()
        with pytest.raises(errors.ConnectionLostError):
            call.result(timeout=30)
    client.close()
    with pytest.raises(errors.ClientClosedError):
        client.put("k", "v")
    with pytest.raises(errors.ClientClosedError) as first:
        client.status()
    with pytest.raises(errors.ClientClosedError) as second:
        client.status()
    assert first.value is not second.value, "each has its own traceback"


def test_a_deadline_in_a_month(node):
    with Client([node.endpoint], timeout_s=31 * 24 * 3600.0) as client:
        client.put("k", "v")
        client.get("k")


def test_endpoints_that_can_be_listed_only_once(node):
    with Client(each for each in [node.endpoint]) as client:
        client.put("k", "v")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_bug_in_the_clients_thread_leaves_nobody_waiting(node):
    node.behave = lambda header, requests: SILENCE
    with Client([node.endpoint], timeout_s=120) as client, ThreadPoolExecutor(1) as pool:
        call = pool.submit(client.put, "k", "v")
        node.wait_for(lambda fake: fake.requests("write"))
        client._loop.call_threadsafe(lambda: 1 // 0)
        with pytest.raises(errors.ConnectionLostError, match="ZeroDivisionError"):
            call.result(timeout=30)
        with pytest.raises(errors.ClientClosedError, match="ZeroDivisionError"):
            client.get("k")
