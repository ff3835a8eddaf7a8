"""A client speaks to one cluster, and to one history of it."""

import asyncio

import pytest
from sampan.client import Client, _link, _routes
from sampan.client.errors import LeaseLostError, OtherClusterError, RevisionsWentBackError

from .fake_node import FakeNode
from .scenario import LONG_S, run


@pytest.fixture
def stranger():
    """Of another cluster, with the same id in it as `node` in its own."""
    with FakeNode() as node:
        node.cluster_id = 78
        yield node


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch):
    """The first endpoint is waited for also on a machine that is busy with something else, and
    nothing goes on only because some time has passed."""
    for name in ("SETTLE_S", "HELLO_S", "HOLD_S"):
        monkeypatch.setattr(_routes, name, LONG_S)


def requests(node):
    return [header[2] for header, _ in node.messages if header[2] != "maintenance"]


@pytest.mark.parametrize("turn", range(4))
def test_of_two_clusters_in_a_list_the_first_one_is_the_clients(node, stranger, turn):
    nodes = [node, stranger] if turn % 2 else [stranger, node]
    with Client([each.endpoint for each in nodes], timeout_s=LONG_S) as client:
        for i in range(5):
            assert client.get("k", serializable=True).header.cluster_id == nodes[0].cluster_id
            assert client.put("k", str(i)).header.cluster_id == nodes[0].cluster_id
    assert requests(nodes[1]) == []
    assert nodes[1].openings == 0


def test_asking_a_node_of_another_cluster_for_itself_says_so(node, stranger):
    endpoints = [node.endpoint, stranger.endpoint]
    with Client(endpoints, timeout_s=LONG_S) as client:
        client.get("k")
        with pytest.raises(OtherClusterError, match=r"cluster 4e.* is 4d"):
            client.status(stranger.endpoint)


def test_calls_and_watches_end_when_only_another_cluster_is_left(node, stranger):
    async def scenario(client):
        async with client.watch("k", timeout_s=1.0) as watch:
            node.kill()
            calls = (client.put("k", "v"), client.get("k"), anext(watch))
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, OtherClusterError)
                assert str(stranger.port) in str(error)

    run([node, stranger], scenario, timeout_s=1.0)
    assert requests(stranger) == []


def test_a_node_that_comes_back_as_another_cluster_gets_nothing(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")
        node.kill()
        with FakeNode(port=node.port) as again:
            again.cluster_id = 78
            for call in (client.get, lambda k, **o: client.put(k, "v", **o)):
                with pytest.raises(OtherClusterError):
                    call("k", timeout_s=LONG_S)
            assert requests(again) == []


def test_an_endpoint_that_comes_back_to_the_cluster_is_used_again(node, stranger, monkeypatch):
    monkeypatch.setattr(_link, "FOREIGN_S", 0.02)

    async def scenario(client):
        await client.put("k", "v")
        node.leader_id = stranger.leader_id = stranger.member_id = 2
        stranger.cluster_id = node.cluster_id
        while (await client.get("k")).header.member_id != 2:
            await asyncio.sleep(0.01)

    stranger.store = node.store
    run([node, stranger], scenario, timeout_s=LONG_S)


def older_copy(node):
    """The node after its directory was put back from a copy."""
    node.kill()
    again = FakeNode(port=node.port, store=node.store)
    node.store.revision -= 5
    return again


@pytest.mark.parametrize("kind", ["write", "read", "local", "none"])
def test_a_cluster_that_was_put_back_ends_everything(node, kind):
    node.store.revision = 50

    async def scenario(client):
        async with client.watch("k", timeout_s=LONG_S) as watch:
            await client.put("k", "v")
            with older_copy(node):
                call = {
                    "write": lambda: client.put("k", "v"),
                    "read": lambda: client.get("k"),
                    "local": lambda: client.get("k", serializable=True),
                    "none": None,
                }[kind]
                if kind in ("write", "read"):
                    with pytest.raises(RevisionsWentBackError, match="was at 51"):
                        await call()
                elif call:
                    await call()
                with pytest.raises(RevisionsWentBackError):
                    await anext(watch)
                for later in (client.put("k", "v"), client.get("k", serializable=True)):
                    with pytest.raises(RevisionsWentBackError):
                        await later

    run([node], scenario, timeout_s=LONG_S)


def test_leases_are_lost_with_the_history_that_they_are_of(node):
    node.store.revision = 50
    grant = node.execute

    def behave(header, asked):
        renewed = [0, node.store.revision, 7, 60]
        return [renewed if each[0].startswith("lease_") else grant(each) for each in asked]

    node.behave = behave
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lease = client.lease(60)
        with older_copy(node), pytest.raises(RevisionsWentBackError):
            client.get("k")
        assert not lease.alive
        with pytest.raises(LeaseLostError, match="put back"):
            lease.check()


def test_a_node_that_is_behind_is_not_a_cluster_that_went_back(node, other):
    node.store.revision = 50
    other.leader_id = 1
    other.behave = lambda header, asked: (
        [[0, 40, 0, False, []] for _ in asked] if header[2] == "serializable" else None
    )

    async def scenario(client):
        await client.put("k", "v")
        for each in (node, other):
            await client.status(each.endpoint)
        client._dispatcher.routes._home = next(
            link for link in client._dispatcher.links if link.member_id == 2
        )
        local = await client.get("k", serializable=True)
        assert local.header.revision == 40
        while not any(request == ["alarm_list"] for request in node.requests("read")):
            await asyncio.sleep(0.01)
        assert (await client.put("k", "v")).header.revision == 52

    run([node, other], scenario, timeout_s=LONG_S)


def test_answers_that_overtake_each_other_prove_nothing(node):
    """A read that was sent before a write was answered may tell of the time before it."""

    async def scenario(client):
        await client.put("k", "v")
        late = node.store.revision
        node.behave = lambda header, asked: (
            [[0, late, 0, False, []]] * len(asked) if header[2] == "read" else None
        )
        read = asyncio.ensure_future(client.get("k"))
        await asyncio.sleep(0)
        write = asyncio.ensure_future(client.put("k", "v"))
        assert (await write).header.revision == late + 1
        assert (await read).header.revision == late

    run([node], scenario, timeout_s=LONG_S)
