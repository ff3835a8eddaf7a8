"""etcd's Lease service before a real node."""

import pytest
from sampan.gateway import messages as pb

from .calls import Failed

LEASE = "/etcdserverpb.Lease/"


@pytest.fixture
def ask(services):
    def ask(name, **fields):
        request, response = getattr(pb, f"{name}Request"), getattr(pb, f"{name}Response")
        return services.ask(LEASE + name, request(**fields), response)

    return ask


def test_from_grant_to_revoke(ask, services):
    granted = ask("LeaseGrant", TTL=60, ID=4711)
    assert (granted.ID, granted.TTL) == (4711, 60)
    put = pb.PutRequest(key=b"leased", value=b"1", lease=4711)
    services.ask("/etcdserverpb.KV/Put", put, pb.PutResponse)
    left = ask("LeaseTimeToLive", ID=4711, keys=True)
    assert (left.ID, left.grantedTTL, list(left.keys)) == (4711, 60, [b"leased"])
    assert 0 < left.TTL <= 60
    assert 4711 in [each.ID for each in ask("LeaseLeases").leases]
    with pytest.raises(Failed) as raised:
        ask("LeaseGrant", TTL=60, ID=4711)
    assert raised.value.args == (9, "etcdserver: lease already exists")
    assert ask("LeaseRevoke", ID=4711).header.revision == granted.header.revision + 2
    with pytest.raises(Failed) as raised:
        ask("LeaseRevoke", ID=4711)
    assert raised.value.args == (5, "etcdserver: requested lease not found")


@pytest.mark.parametrize("ttl", [0, -1])
def test_no_time_to_live_is_the_least(ask, ttl):
    granted = ask("LeaseGrant", TTL=ttl)
    assert granted.ID != 0
    assert granted.TTL == 2
    ask("LeaseRevoke", ID=granted.ID)


def test_a_negative_id(ask):
    assert ask("LeaseGrant", TTL=60, ID=-5).ID == -5
    assert -5 in [each.ID for each in ask("LeaseLeases").leases]
    ask("LeaseRevoke", ID=-5)


def test_a_lease_that_is_not_there(ask):
    missing = ask("LeaseTimeToLive", ID=12345)
    assert (missing.TTL, missing.grantedTTL) == (-1, 0)


def test_too_large(ask):
    with pytest.raises(Failed) as raised:
        ask("LeaseGrant", TTL=9_000_000_001)
    assert raised.value.args == (11, "etcdserver: too large lease TTL")


def test_keep_alive(ask, services):
    granted = ask("LeaseGrant", TTL=60)

    async def keep_alive():
        call, stream = services.open(LEASE + "LeaseKeepAlive")
        for lease in (granted.ID, 12345, granted.ID):
            stream.message(pb.LeaseKeepAliveRequest(ID=lease).SerializeToString())
        stream.end()
        answers = [
            pb.LeaseKeepAliveResponse.FromString(await call.sent.get()) for _ in range(3)
        ]  # fmt: skip
        return [(each.ID, each.TTL) for each in answers], await call.status

    answers, status = services.run(keep_alive())
    assert answers == [(granted.ID, 60), (12345, 0), (granted.ID, 60)]
    assert status == (0, "")
    ask("LeaseRevoke", ID=granted.ID)
