"""What a user types by mistake, prints, logs or imports."""

import copy
import logging
import pickle
import subprocess
import sys

import pytest
import sampan
from sampan.client import AsyncClient, Client, ops
from sampan.client.recipes import (
    AsyncLock,
    AsyncQueue,
    DoubleBarrier,
    Election,
    Lock,
    RWLock,
)
from sampan.client.types import DeleteResponse, PutResponse, RangeResponse

from .fake_node import FakeNode
from .scenario import LONG_S, run


@pytest.fixture
def client(real):
    with Client([real], timeout_s=LONG_S) as client:
        yield client


def test_clients_are_at_the_top():
    assert (sampan.Client, sampan.AsyncClient) == (Client, AsyncClient)
    with pytest.raises(AttributeError, match="no attribute 'Clint'"):
        sampan.Clint  # noqa: B018
    quiet = "import sampan, sys; sys.exit('sampan.client' in sys.modules)"
    subprocess.run([sys.executable, "-c", quiet], check=True, timeout=60)


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_a_client_is_not_copied(client, copying):
    for original in (client, AsyncClient(["127.0.0.1:1"])):
        with pytest.raises(TypeError, match="share it, or make another"):
            copying(original)
    client.get("the original still works")


@pytest.mark.parametrize("ttl_s", [0.5, "10", None, True])
def test_a_time_to_live_that_is_no_whole_number(client, ttl_s):
    with pytest.raises(TypeError, match="whole"):
        client.lease(ttl_s)
    if ttl_s is not None:
        with pytest.raises(TypeError, match="whole"):
            Lock(client, "habits/lock", ttl_s)


def test_a_time_to_live_of_nothing(client):
    with pytest.raises(ValueError, match="at least 1"):
        Lock(client, "habits/lock", 0)


def test_a_timeout_that_is_no_number(client):
    for make in (Client, AsyncClient):
        with pytest.raises(TypeError, match="timeout_s is a number of seconds, not '3'"):
            make(["127.0.0.1:1"], timeout_s="3")
    for call in (client.get, client.watch, client.scan, client.compact):
        with pytest.raises(TypeError, match="timeout_s is a number"):
            list(call(1 if call == client.compact else "k", timeout_s="3"))


def test_locks_with_leases_of_their_own(client):
    with Lock(client, "habits/lock", 10) as lock:
        assert lock.held
        other = Lock(client, "habits/lock", 10)
        assert not other.try_lock()
        assert client.get(lock.key).kvs[0].lease in client.leases().leases
        assert len(client.leases().leases) == 1, "who gave up has given his back"
    assert client.leases().leases == []
    assert other.lock(timeout_s=LONG_S) > 0
    other.unlock()
    both = RWLock(client, "habits/rw", 10)
    with both.read, pytest.raises(TimeoutError):
        both.write.lock(timeout_s=0.05)
    with both.write:
        pass
    election = Election(client, "habits/election", 10)
    assert election.campaign("me", timeout_s=LONG_S) == election.token
    assert election.leader().value == b"me"
    election.resign()
    double = DoubleBarrier(client, "habits/double", 10, 1)
    for _ in range(2):
        double.enter(timeout_s=LONG_S)
        double.leave(timeout_s=LONG_S)
    assert client.leases().leases == []


def test_tasks_wait_with_a_timeout_too(real):
    node = FakeNode.__new__(FakeNode)
    node.port = int(real.rpartition(":")[2])

    async def scenario(client):
        async with AsyncLock(client, "habits/tasks", 10):
            with pytest.raises(TimeoutError):
                await AsyncLock(client, "habits/tasks", 10).lock(timeout_s=0.05)
        with pytest.raises(TimeoutError):
            await AsyncQueue(client, "habits/queue").dequeue(timeout_s=0.05)
        assert (await client.leases()).leases == []

    run([node], scenario, timeout_s=LONG_S)


def test_what_things_say_they_are(client, real):
    assert repr(client) == f"<Client of tcp://{real}: open>"
    assert repr(AsyncClient(["h:1"])) == "<AsyncClient of tcp://h:1: open>"
    with client.lease(60) as lease:
        assert f"<Lease {lease.id:x}: " in repr(lease)
        assert "s left of 60" in repr(lease)
        with Lock(client, "habits/lock", lease) as lock:
            assert repr(lock) == f"<Lock 'habits/lock': held, token {lock.token}>"
        assert repr(lock) == "<Lock 'habits/lock': not held>"
        assert repr(Election(client, "el", lease)) == "<Election 'el': does not lead>"
    assert "was revoked" in repr(lease)
    with client.watch("ships/", prefix=True) as watch:
        assert repr(watch) == "<SyncWatch of all that begin with b'ships/': open>"
    assert repr(watch) == "<SyncWatch of all that begin with b'ships/': canceled>"
    assert repr(ops.version("k")) == "version(b'k')"
    assert repr(ops.mod_revision("k") < 7) == "mod_revision(b'k') < 7"
    with Client([real]) as other:
        pass
    assert repr(other).endswith(": closed>")


def test_what_a_transaction_and_a_node_answer(client):
    sub = ops.txn([], [ops.delete("habits/none")])
    answer = client.txn([], [ops.put("habits/k", "v"), ops.get("habits/k"), sub])
    put, found, inner = answer.responses
    assert isinstance(put, PutResponse)
    assert isinstance(found, RangeResponse)
    assert isinstance(inner.responses[0], DeleteResponse)
    status = client.status()
    assert (status.leader, status.name) == (status.header.member_id, "a")
    assert status.revision == status.header.revision > 1
    assert status.version == sampan.__version__


def test_failovers_are_logged_and_nothing_is_said_unasked(caplog, capfd):
    caplog.set_level(logging.INFO, "sampan.client")
    with FakeNode() as node, Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")
        node.kill()
        with FakeNode(port=node.port, store=node.store):
            client.put("k", "v")
    told = [record.getMessage() for record in caplog.records]
    assert f"connected to tcp://{node.endpoint}" in told
    assert any("lost" in each and node.endpoint in each for each in told)
    assert any("leads" in each for each in told)
    assert capfd.readouterr().err == ""
