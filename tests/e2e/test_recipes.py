"""Recipes while the leader is killed."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import errors
from sampan.client.recipes import Election, Lock, stm

TTL_S = 60
WAIT_S = 180.0


@pytest.fixture
def cluster(make_cluster):
    return make_cluster(placement="fused", separate=True).start()


@pytest.mark.parametrize("placement", ["fused"])
def test_holders_and_transactions_outlive_the_leader(cluster):
    """Locks stay with their holders, those who wait get them, observers see who leads, and what
    transactions count is neither lost nor counted twice."""

    def count(txn):
        txn.put("counter", str(int(txn.get("counter") or 0) + 1))

    def count_up(client):
        counted = unknown = 0
        while counted < 40:
            try:
                stm(client, count)
            except errors.UnknownOutcomeError:
                unknown += 1
            else:
                counted += 1
        return counted, unknown

    with (
        cluster.client(timeout_s=WAIT_S) as client,
        client.lease(TTL_S) as first,
        client.lease(TTL_S) as second,
        ThreadPoolExecutor(5) as pool,
    ):
        lock, waits = (Lock(client, "locks/one", lease) for lease in (first, second))
        election = Election(client, "elections/one", first)
        token = lock.lock()
        election.campaign("before")
        seen = Election(client, "elections/one").observe()
        assert next(seen).value == b"before"
        waiting = pool.submit(waits.lock)
        counting = [pool.submit(count_up, client) for _ in range(3)]
        while client.get("locks/one/", prefix=True).count < 2 or not client.get("counter").count:
            pass
        cluster.kill_node(cluster.wait_leader())
        election.proclaim("after")
        assert next(seen).value == b"after"
        assert lock.held
        assert not waiting.done()
        assert client.txn([lock.guard()], []).succeeded
        lock.unlock()
        assert waiting.result() > token
        assert waits.held
        waits.unlock()
        done = [each.result() for each in counting]
        counted, unknown = (sum(column) for column in zip(*done, strict=True))
        assert counted <= int(client.get("counter").kvs[0].value) <= counted + unknown
