"""etcd's Cluster and Maintenance services before a real node."""

import asyncio

import pytest
from sampan.client._lane import Lane
from sampan.gateway import messages as pb
from sampan.gateway.backend import Connection
from sampan.transport import errors as wire
from sampan.transport.requests import KIND_WRITE

from .calls import Failed

CLUSTER, MAINTENANCE = "/etcdserverpb.Cluster/", "/etcdserverpb.Maintenance/"


@pytest.fixture
def member(services):
    def member(name, **fields):
        request = getattr(pb, f"Member{name}Request")(**fields)
        path = f"{CLUSTER}Member{name}"
        return services.ask(path, request, getattr(pb, f"Member{name}Response"))

    return member


@pytest.fixture
def maintenance(services):
    def maintenance(name, **fields):
        request = getattr(pb, f"{name}Request")(**fields)
        return services.ask(MAINTENANCE + name, request, getattr(pb, f"{name}Response"))

    return maintenance


@pytest.mark.parametrize("linearizable", [False, True])
def test_the_members(member, linearizable):
    listed = member("List", linearizable=linearizable)
    assert listed.header.revision == 0
    (one,) = listed.members
    assert (one.name, one.ID) == ("a", listed.header.member_id)
    assert one.peerURLs[0].startswith("http://127.0.0.1:")


def test_a_learner_comes_and_goes(member):
    added = member("Add", peerURLs=["http://127.0.0.1:1"], isLearner=True)
    assert added.member.isLearner
    assert list(added.member.peerURLs) == ["http://127.0.0.1:1"]
    assert len(added.members) == 2
    moved = member("Update", ID=added.member.ID, peerURLs=["http://127.0.0.1:2"])
    (learner,) = [each for each in moved.members if each.isLearner]
    assert list(learner.peerURLs) == ["http://127.0.0.1:2"]
    with pytest.raises(Failed, match="in sync with leader"):
        member("Promote", ID=added.member.ID)
    assert len(member("Remove", ID=added.member.ID).members) == 1


def test_refusals(member):
    for name, fields, code, text in (
        ("Remove", {"ID": 77}, 5, "etcdserver: member not found"),
        ("Promote", {"ID": 77}, 5, "etcdserver: member not found"),
        ("Add", {"peerURLs": ["127.0.0.1:1"]}, 3, "etcdserver: given member URLs are invalid"),
        ("Add", {"peerURLs": ["http://x"]}, 3, "etcdserver: given member URLs are invalid"),
    ):
        with pytest.raises(Failed) as raised:
            member(name, **fields)
        assert raised.value.args == (code, text)


def test_status(maintenance):
    status = maintenance("Status")
    assert status.leader == status.header.member_id
    assert status.version.startswith("3.6.")
    assert status.dbSize > 0
    assert status.raftAppliedIndex > 0
    assert list(status.errors) == []


def test_hashes(maintenance):
    found = maintenance("HashKV")
    assert (found.hash > 0, found.hash_revision) == (True, found.header.revision)
    assert maintenance("Hash").hash == found.hash
    assert found.compact_revision == -1 or found.compact_revision > 0


def test_alarms(maintenance):
    assert list(maintenance("Alarm").alarms) == []
    assert list(maintenance("Alarm", action=2).alarms) == []
    with pytest.raises(Failed):
        maintenance("Alarm", action=1)


def test_defragment(maintenance):
    assert not maintenance("Defragment").HasField("header")


def test_move_leader(maintenance):
    with pytest.raises(Failed) as raised:
        maintenance("MoveLeader", targetID=77)
    assert raised.value.args == (9, "etcdserver: bad leader transferee")


def test_an_unhealthy_cluster_is_told_at_once(services):
    """Our own clients wait for it."""

    async def tried_again():
        loop = asyncio.get_running_loop()
        connection = Connection(loop, services.endpoint, "", exactly_once=True)
        connection.dispatcher.close()
        return connection.lanes[KIND_WRITE].sends_again(wire.UNHEALTHY)

    assert services.run(tried_again()) is False
    assert Lane(KIND_WRITE).sends_again(wire.UNHEALTHY) is True
