"""Nodes that die, stop, come back or follow another leader, as an AsyncClient's user sees it."""

import asyncio
import errno
import os
import subprocess
import sys
import textwrap
import threading

import pytest
from sampan.client import AsyncClient, _routes, errors
from sampan.client._link import INFLIGHT_MESSAGES_MAX
from sampan.transport import tcp

from .fake_node import STOPPED, FakeNode
from .scenario import LONG_S, run, silent


def test_writes_without_numbers_to_a_node_that_dies_are_unknown_at_once(node):
    node.behave = silent

    async def scenario(client):
        put = asyncio.ensure_future(client.put("k", "v"))
        await asyncio.to_thread(node.wait_for, lambda fake: fake.requests("write"))
        node.kill()
        with pytest.raises(errors.ConnectionLostError, match="connection lost"):
            await put

    run([node], scenario, timeout_s=LONG_S, exactly_once=False)


def test_reads_under_way_to_a_node_that_dies_are_answered_by_another(node, other):
    node.behave = other.behave = silent

    async def scenario(client):
        get = asyncio.ensure_future(client.get("k"))
        while not (node.requests("read") or other.requests("read")):
            await asyncio.sleep(0.001)
        asked, spare = (node, other) if node.requests("read") else (other, node)
        spare.behave = lambda header, requests: None
        asked.kill()
        assert (await get).header.member_id == spare.member_id

    run([node, other], scenario, timeout_s=LONG_S)


def test_writes_and_linearizable_reads_prefer_the_leader(node, other):
    node.leader_id = other.leader_id = 2

    async def scenario(client):
        for each in (node, other):
            await client.status(each.endpoint)
        for i in range(5):
            assert (await client.put(f"k{i}", "v")).header.member_id == 2
            assert (await client.get(f"k{i}")).header.member_id == 2
        node.leader_id = other.leader_id = 1
        await client.put("k", "the reply tells of the new leader")
        assert (await client.put("k", "v")).header.member_id == 1
        other.leader_id = 0
        node.kill()
        assert (await client.get("k")).header.member_id == 2
        assert (await client.put("k", "v")).header.member_id == 2

    run([node, other], scenario, timeout_s=LONG_S)


@pytest.mark.parametrize("kind", ["write", "read"])
def test_the_first_request_waits_until_the_leader_is_known(node, other, kind, monkeypatch):
    monkeypatch.setattr(_routes, "HELLO_S", LONG_S)
    node.leader_id = other.leader_id = 2
    said = threading.Event()

    def slow_leader(header, requests):
        if header[2] == "maintenance":
            said.wait()

    other.behave = slow_leader

    async def scenario(client):
        call = client.put("k", "v") if kind == "write" else client.get("k")
        answer = asyncio.ensure_future(call)
        await asyncio.to_thread(node.wait_for, lambda fake: fake.requests("maintenance"))
        await asyncio.to_thread(other.wait_for, lambda fake: fake.requests("maintenance"))
        said.set()
        assert (await answer).header.member_id == 2

    run([node, other], scenario, timeout_s=LONG_S)
    assert node.requests(kind) == [], "a follower may be far behind"
    assert node.openings == 0


def test_the_first_request_waits_for_a_leader_that_connects_last(node, monkeypatch):
    monkeypatch.setattr(_routes, "HELLO_S", LONG_S)
    node.leader_id = 2
    leader = FakeNode(2)
    leader.kill()

    async def scenario(client):
        answer = asyncio.ensure_future(client.put("k", "v"))
        await client.status(node.endpoint)  # so the client knows who leads
        with FakeNode(2, leader.port):
            assert (await answer).header.member_id == 2

    run([node, leader], scenario, timeout_s=LONG_S)
    assert node.requests("write") == []
    assert node.openings == 0


def test_a_leader_that_is_none_of_the_endpoints_is_not_waited_for(node, other, monkeypatch):
    monkeypatch.setattr(_routes, "HELLO_S", LONG_S)
    node.leader_id = other.leader_id = 3

    async def scenario(client):
        assert (await client.put("k", "v")).header.member_id in (1, 2)

    run([node, other], scenario, timeout_s=LONG_S / 2)


def test_a_node_that_does_not_say_who_leads_is_not_waited_for_long(node, other):
    node.leader_id = other.leader_id = 1
    other.behave = silent

    async def scenario(client):
        assert (await client.put("k", "v")).header.member_id == 1

    run([node, other], scenario, timeout_s=LONG_S)


def test_nothing_is_sent_to_a_node_that_still_believes_in_the_leader_that_died(node, other):
    node.leader_id, other.leader_id = 0, 2  # as before an election, when the client connects

    async def probed(times):
        target = len(node.requests("maintenance")) + times
        await asyncio.to_thread(
            node.wait_for, lambda fake: len(fake.requests("maintenance")) >= target
        )

    async def scenario(client):
        for each in (node, other):
            await client.status(each.endpoint)
        await client.get("k")
        node.leader_id = 2
        other.kill()
        get = asyncio.ensure_future(client.get("k"))
        await probed(2)  # so the client knows
        put = asyncio.ensure_future(client.put("k", "v"))
        await probed(2)
        assert node.requests("write") == node.requests("read") == []
        node.leader_id = 0
        assert (await put).header.member_id == (await get).header.member_id == 1

    run([node, other], scenario, timeout_s=LONG_S)


def test_a_leader_that_only_this_client_lost_is_reached_through_another_node(node, other):
    node.leader_id = other.leader_id = 2

    async def scenario(client):
        for each in (node, other):
            await client.status(each.endpoint)
        other.kill()
        assert (await client.get("k")).header.member_id == 1

    run([node, other], scenario, timeout_s=LONG_S)


@pytest.mark.parametrize("believed", [0, 1])
def test_a_leader_that_stops_is_passed_over_for_a_node_that_does_not(node, other, believed):
    node.leader_id, other.leader_id = 1, believed
    node.behave = lambda header, requests: (
        None if header[2] == "maintenance" else [STOPPED] * len(requests)
    )

    async def scenario(client):
        for each in (node, other):
            await client.status(each.endpoint)
        assert (await client.put("k", "v")).header.member_id == 2

    run([node, other], scenario, timeout_s=LONG_S)
    assert len(node.requests("write")) <= 1


def test_a_node_that_comes_back_is_used_again(node):
    async def scenario(client):
        await client.put("k", "v")
        node.kill()
        put = asyncio.ensure_future(client.put("k", "v2"))
        with FakeNode(port=node.port, store=node.store) as again:
            assert (await put).header.revision == 3
            assert again.requests("write") == [["put", b"k", b"v2"]]
            assert again.messages[0][0][4] == 0, "received_bytes begins anew"

    run([node], scenario, timeout_s=LONG_S)


def test_a_connection_that_cannot_be_begun_is_tried_again(node, other, monkeypatch):
    """As when the process has no descriptors left for a moment."""
    dial, failed = tcp.dial, []

    def fail_once(*arguments):
        if not failed:
            failed.append(arguments)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return dial(*arguments)

    monkeypatch.setattr(tcp, "dial", fail_once)

    async def scenario(client):
        for each in (node, other):
            await client.status(each.endpoint)

    run([node, other], scenario, timeout_s=LONG_S)
    assert failed


def test_closing_ends_calls_under_way(node):
    node.behave = silent

    async def main():
        client = AsyncClient([node.endpoint], timeout_s=LONG_S)
        sent = asyncio.ensure_future(client.put("k", "v"))
        await asyncio.to_thread(node.wait_for, lambda fake: fake.requests("write"))
        read = asyncio.ensure_future(client.get("k"))
        await asyncio.sleep(0)
        await client.aclose()
        await client.aclose()
        with pytest.raises(errors.ConnectionLostError, match="closed"):
            await sent
        with pytest.raises(errors.ClientClosedError):
            await read
        with pytest.raises(errors.ClientClosedError):
            await client.put("k", "v")
        unused = AsyncClient([node.endpoint])
        await unused.aclose()
        with pytest.raises(errors.ClientClosedError):
            await unused.get("k")

    asyncio.run(main())


def test_a_client_says_so_when_it_was_forked(node):
    script = f"""
        import asyncio, os, sys
        from sampan.client import AsyncClient, Client, errors

        async def main():
            async with AsyncClient(["{node.endpoint}"]) as client:
                with Client(["{node.endpoint}"]) as blocking:
                    await client.put("k", "v")
                    blocking.put("k", "v")
                    child = os.fork()
                    if child == 0:
                        try:
                            await client.put("k", "v")
                        except errors.ClientClosedError as error:
                            assert "fork" in str(error)
                        try:
                            blocking.put("k", "v")
                        except errors.ClientClosedError as error:
                            blocking.close()
                            os._exit(7)
                        os._exit(1)
                    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
                    await client.put("k", "v")
                    blocking.put("k", "v")

        asyncio.run(main())
        """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=180, env=os.environ
    )


def test_what_is_asked_of_one_node_leaves_as_soon_as_there_is_room(node):
    goes_on = threading.Event()

    def wait_first(header, requests):
        goes_on.wait()

    async def scenario(client):
        await client.status(node.endpoint)
        node.behave = wait_first
        reads = []
        for _ in range(INFLIGHT_MESSAGES_MAX):
            reads.append(asyncio.ensure_future(client.get("k")))
            await asyncio.sleep(0.001)
        status = asyncio.ensure_future(client.status(node.endpoint, timeout_s=10))
        await asyncio.sleep(0.01)
        assert not client._dispatcher.links[0].has_room()
        goes_on.set()
        await asyncio.gather(*reads, status)

    run([node], scenario, timeout_s=LONG_S)
