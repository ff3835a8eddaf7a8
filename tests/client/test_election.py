"""Elections on a real node, of threads and of tasks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import AsyncClient, Client, errors, ops
from sampan.client import lease as lease_module
from sampan.client.recipes import AsyncElection, Election

TTL_S = 60
NAME = "elections/one"


@pytest.fixture
def often(monkeypatch):
    """Leases that no busy machine loses are renewed often, so that an end is noticed at once."""
    monkeypatch.setattr(lease_module, "RENEWALS", 200)


@pytest.fixture
def client(real):
    with Client([real], timeout_s=30) as client:
        yield client


@pytest.fixture
def first(client):
    with client.lease(TTL_S) as lease:
        yield Election(client, NAME, lease)


@pytest.fixture
def second(client):
    with client.lease(TTL_S) as lease:
        yield Election(client, NAME, lease)


def wait_candidates(client, count):
    with client.watch(NAME + "/", prefix=True) as changes:
        while len(client.get(NAME + "/", prefix=True).kvs) < count:
            next(changes)


def test_a_leadership(client, first):
    assert first.leader() is None
    assert not first.leads
    token = first.campaign("me")
    assert first.leads
    assert first.token == token
    leader = first.leader()
    assert (leader.key, leader.value, leader.create_revision) == (first.key, b"me", token)
    first.proclaim("still me")
    assert first.leader().value == b"still me"
    assert first.campaign("again") == token
    assert first.leader().value == b"again"
    assert client.txn([first.guard()], [ops.put("guarded", "")]).succeeded
    first.check()
    first.resign()
    assert first.leader() is None
    assert (first.leads, first.token) == (False, 0)
    first.resign()
    for call in (lambda: first.proclaim("x"), first.guard, first.check):
        with pytest.raises(errors.NotLeaderError, match="was not elected"):
            call()


def test_the_next_leads_when_the_first_resigns(client, first, second):
    token = first.campaign("one")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(second.campaign, "two")
        wait_candidates(client, 2)
        assert second.leader().value == b"one"
        assert not second.leads
        first.resign()
        assert waiting.result() > token
    assert second.leader().value == b"two"
    second.resign()


def test_a_timeout_withdraws(client, first, second):
    first.campaign("one")
    with pytest.raises(TimeoutError):
        second.campaign("two", timeout_s=0.05)
    assert [kv.key for kv in client.get(NAME + "/", prefix=True).kvs] == [first.key]
    first.resign()


def test_who_was_deposed_cannot_proclaim(client, first, second):
    first.campaign("one")
    client.delete(first.key)
    second.campaign("two")
    with pytest.raises(errors.NotLeaderError):
        first.proclaim("one again")
    assert not client.txn([first.guard()], [ops.put("guarded", "late")]).succeeded
    with pytest.raises(errors.NotLeaderError):
        first.resign()
    assert second.leader().value == b"two"
    second.resign()


def test_a_candidate_whose_lease_ends_learns_of_it(client, first, often):
    first.campaign("one")
    lease = client.lease(TTL_S)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Election(client, NAME, lease).campaign, "two")
        wait_candidates(client, 2)
        client.lease_revoke(lease.id)
        with pytest.raises(errors.NotLeaderError):
            waiting.result()
    first.resign()


def test_a_candidate_needs_a_lease_and_an_observer_does_not(client):
    election = Election(client, NAME)
    assert election.leader() is None
    with pytest.raises(ValueError, match="needs a lease"):
        election.campaign("me")


def test_observing_tells_every_leader_from_no_leader_on(client, first, second):
    seen = Election(client, NAME).observe()
    with ThreadPoolExecutor(1) as pool:
        nobody = pool.submit(next, seen)
        first.campaign("one")
        assert nobody.result().value == b"one"
        first.proclaim("one more")
        assert next(seen).value == b"one more"
        waiting = pool.submit(second.campaign, "two")
        wait_candidates(client, 2)
        first.resign()
        waiting.result()
    leader = next(seen)
    assert (leader.key, leader.value) == (second.key, b"two")
    seen.close()
    second.resign()


def test_tasks_lead_one_after_the_other_and_an_observer_sees_each(real):
    led = []

    async def lead(client, name):
        async with await client.lease(TTL_S) as lease:
            election = AsyncElection(client, NAME, lease)
            led.append(await election.campaign(name))
            assert (await election.leader()).value == name.encode()
            await election.resign()

    async def observe(client, last):
        seen = AsyncElection(client, NAME).observe()
        tokens = []
        async for leader in seen:
            tokens.append(leader.create_revision)
            if leader.value == last:
                await seen.aclose()
        return tokens

    async def main():
        async with AsyncClient([real], timeout_s=30) as client:
            observing = asyncio.ensure_future(observe(client, b"last"))
            await asyncio.gather(*[lead(client, f"c{i}") for i in range(5)])
            async with await client.lease(TTL_S) as lease:
                election = AsyncElection(client, NAME, lease)
                led.append(await election.campaign("last"))
                tokens = await observing
            assert tokens == sorted(tokens)
            assert set(tokens) <= set(led)
            assert tokens[-1] == led[-1]
            assert led == sorted(led)

    asyncio.run(main())
