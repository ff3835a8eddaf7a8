"""etcd's Lock and Election services before a real node."""

import asyncio

import pytest
from sampan.gateway import messages as pb

from .calls import Failed

LOCK, ELECTION = "/v3lockpb.Lock/", "/v3electionpb.Election/"


def grant(services):
    path = "/etcdserverpb.Lease/LeaseGrant"
    return services.ask(path, pb.LeaseGrantRequest(TTL=60), pb.LeaseGrantResponse).ID


def test_a_lock_goes_from_one_to_the_next(services):
    one, two = grant(services), grant(services)

    async def both():
        first = await services.call(LOCK + "Lock", pb.LockRequest(name=b"l", lease=one),
                                    pb.LockResponse)  # fmt: skip
        assert first.key == b"l/%x" % one
        waiting = asyncio.ensure_future(
            services.call(LOCK + "Lock", pb.LockRequest(name=b"l", lease=two), pb.LockResponse)
        )
        path = "/etcdserverpb.KV/Range"
        queue = pb.RangeRequest(key=b"l/", range_end=b"l0")
        while (await services.call(path, queue, pb.RangeResponse)).count < 2:
            assert not waiting.done()
        await services.call(LOCK + "Unlock", pb.UnlockRequest(key=first.key), pb.UnlockResponse)
        return await waiting

    second = services.run(both())
    assert second.key == b"l/%x" % two
    assert second.header.revision > 0


def test_who_brings_no_lease_gets_one(services):
    path = LOCK + "Lock"
    key = services.ask(path, pb.LockRequest(name=b"own"), pb.LockResponse).key
    lease = int(key.removeprefix(b"own/"), 16)
    asked = pb.LeaseTimeToLiveRequest(ID=lease)
    path = "/etcdserverpb.Lease/LeaseTimeToLive"
    left = services.ask(path, asked, pb.LeaseTimeToLiveResponse)
    assert left.grantedTTL == 60


def test_errors_have_code_2(services):
    with pytest.raises(Failed) as raised:
        services.ask(LOCK + "Lock", pb.LockRequest(name=b"l", lease=999), pb.LockResponse)
    assert raised.value.args == (2, "etcdserver: requested lease not found")
    with pytest.raises(Failed) as raised:
        services.ask(ELECTION + "Leader", pb.LeaderRequest(name=b"none"), pb.LeaderResponse)
    assert raised.value.args == (2, "election: no leader")


def test_an_election(services):
    lease = grant(services)

    async def whole():
        campaign = pb.CampaignRequest(name=b"e", lease=lease, value=b"first")
        call, observer = services.open(ELECTION + "Observe")
        observer.message(pb.LeaderRequest(name=b"e").SerializeToString())
        won = await services.call(ELECTION + "Campaign", campaign, pb.CampaignResponse)
        assert won.leader.key == b"e/%x" % lease
        second = b"second" * 20_000  # larger than what our own client decodes whole
        proclaim = pb.ProclaimRequest(leader=won.leader, value=second)
        seen = [pb.LeaderResponse.FromString(await call.sent.get()).kv.value]
        await services.call(ELECTION + "Proclaim", proclaim, pb.ProclaimResponse)
        seen.append(pb.LeaderResponse.FromString(await call.sent.get()).kv.value)
        found = await services.call(
            ELECTION + "Leader", pb.LeaderRequest(name=b"e"), pb.LeaderResponse
        )
        assert (found.kv.value, found.kv.lease) == (second, lease)
        resign = pb.ResignRequest(leader=won.leader)
        await services.call(ELECTION + "Resign", resign, pb.ResignResponse)
        with pytest.raises(Failed, match="not leader"):
            await services.call(ELECTION + "Proclaim", proclaim, pb.ProclaimResponse)
        observer.cancelled()
        return seen

    assert services.run(whole()) == [b"first", b"second" * 20_000]


def test_a_candidate_that_goes_away_leaves_the_queue(services):
    one, two = grant(services), grant(services)

    async def whole():
        first = pb.LockRequest(name=b"q", lease=one)
        await services.call(LOCK + "Lock", first, pb.LockResponse)
        waiting = services.methods[LOCK + "Lock"]
        call, _ = services.open(ELECTION + "Observe")
        waiting.handler(call, pb.LockRequest(name=b"q", lease=two).SerializeToString())
        queue = pb.RangeRequest(key=b"q/", range_end=b"q0")

        async def count():
            return (await services.call("/etcdserverpb.KV/Range", queue, pb.RangeResponse)).count

        while await count() < 2:
            pass
        call.on_cancelled()
        while await count() > 1:
            pass

    services.run(whole())
