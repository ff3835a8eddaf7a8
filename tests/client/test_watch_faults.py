"""Watches when nodes fail, refuse, fall silent or forget: they deliver, resume or raise."""

import asyncio
import threading
from fractions import Fraction

import pytest
from sampan.client import AsyncClient, Client, watch_engine
from sampan.client.errors import (
    ClientClosedError,
    ConnectionLostError,
    InvalidRequestError,
    NoLeaderError,
    ReadTimeoutError,
    UnreachableError,
    WatchCanceledError,
    WatchCompactedError,
)
from sampan.client.recipes import Queue
from sampan.config import limits
from sampan.transport.watches import FRAGMENT, PREV_KV, REQUIRE_LEADER

from .fake_node import NO_LEADER, SILENCE, TOO_MANY_REQUESTS, FakeNode
from .scenario import LONG_S, run


def event(revision, value=b"v"):
    return [0, [b"k", 2, revision, revision - 1, 0, value]]


def created(node):
    """(start revision, watch id) of each create request that a node got."""
    return [(each[3], each[5]) for each in node.requests("watch") if each[0] == "create"]


def on_create(*responses):
    """What follows the answer to a create: each response with the watch's id in its place."""

    def push(header, requests):
        return [
            [[name, request[5], *rest] for name, *rest in responses]
            for request in requests
            if header[2] == "watch" and request[0] == "create"
        ]

    return push


def revisions(response):
    return [each.kv.mod_revision for each in response.events]


def only_watches(behave):
    return lambda header, requests: behave(requests) if header[2] == "watch" else None


def test_a_node_that_dies_is_replaced_and_the_watch_goes_on_after_what_it_told():
    with FakeNode(1) as one, FakeNode(2) as two:
        for node in (one, two):
            node.push = on_create(("events", 5, False, [event(4), event(5)]))

        async def scenario(client):
            watch = client.watch("k", start_revision=4, timeout_s=LONG_S)
            assert revisions(await anext(watch)) == [4, 5]
            first, second = (one, two) if created(one) else (two, one)
            second.push = on_create(("events", 6, False, [event(6)]))
            first.kill()
            assert revisions(await anext(watch)) == [6]
            assert [start for start, _ in created(second)] == [6]

        run([one, two], scenario)


def test_a_watch_of_what_comes_goes_on_from_its_creation():
    with FakeNode(1) as one, FakeNode(2) as two:
        one.store.revision = two.store.revision = 7

        async def scenario(client):
            async with client.watch("k", timeout_s=LONG_S) as watch:
                first, second = (one, two) if created(one) else (two, one)
                second.push = on_create(("events", 8, False, [event(8)]))
                first.kill()
                assert revisions(await anext(watch)) == [8]
            assert [start for start, _ in created(first) + created(second)] == [0, 8]

        run([one, two], scenario)


def test_a_watch_goes_on_after_the_progress_that_it_was_told():
    """What was before may be compacted by then."""
    with FakeNode(1) as one, FakeNode(2) as two:
        for node in (one, two):
            node.push = on_create(("progress", 7))

        async def scenario(client):
            watch = client.watch("k", start_revision=4, timeout_s=LONG_S)
            assert (await anext(watch)).is_progress
            first, second = (one, two) if created(one) else (two, one)
            second.push = on_create(("events", 8, False, [event(8)]))
            first.kill()
            assert revisions(await anext(watch)) == [8]
            assert [start for start, _ in created(second)] == [8]

        run([one, two], scenario)


def test_a_watch_on_which_nothing_happens_goes_on_from_what_its_node_said_last(monkeypatch):
    """All before may be compacted by then."""
    monkeypatch.setattr(limits, "WATCH_KEEPALIVE_S", 0.02)
    with FakeNode(1) as one, FakeNode(2) as two:
        one.store.revision = two.store.revision = 7

        async def scenario(client):
            async with client.watch("k", timeout_s=LONG_S) as watch:
                first, second = (one, two) if created(one) else (two, one)
                first.behave = only_watches(lambda requests: [[0, 90, 1, 80]] * len(requests))
                while watch._watch.next != 81:
                    await asyncio.sleep(0.01)
                second.push = on_create(("events", 81, False, [event(81)]))
                first.kill()
                assert revisions(await anext(watch)) == [81]
            assert [start for start, _ in created(second)] == [81]

        run([one, two], scenario)


def test_a_quiet_watch_outlives_the_compaction_of_what_it_was_not_for(real, monkeypatch):
    monkeypatch.setattr(limits, "WATCH_KEEPALIVE_S", 0.02)
    with Client([real], timeout_s=LONG_S) as client, client.watch("quiet") as watch:
        for i in range(5):
            put = client.put("busy", str(i))
        while watch._watch.next <= put.header.revision:
            threading.Event().wait(0.01)
        client.compact(put.header.revision, physical=True)
        link = client._dispatcher.links[0]
        client._loop.call_threadsafe(link._lost, ConnectionLostError, "cut by the test")
        client.put("quiet", "no more")
        assert [each.kv.value for each in next(watch).events] == [b"no more"]


def test_half_a_response_is_told_again_as_a_whole():
    with FakeNode(1) as one, FakeNode(2) as two:
        for node in (one, two):
            node.push = on_create(("events", 5, True, [event(5, b"1")]))

        async def scenario(client):
            watch = client.watch("k", start_revision=5, timeout_s=LONG_S)
            waiting = asyncio.ensure_future(anext(watch))
            while not created(one) + created(two):
                await asyncio.sleep(0.01)
            first, second = (one, two) if created(one) else (two, one)
            second.push = on_create(
                ("events", 5, True, [event(5, b"1")]), ("events", 5, False, [event(5, b"2")])
            )
            first.kill()
            response = await waiting
            assert [each.kv.value for each in response.events] == [b"1", b"2"]
            assert created(second)[0][0] == 5

        run([one, two], scenario)


def test_a_node_that_lost_its_leader_is_left():
    with FakeNode(1) as one, FakeNode(2) as two:
        for node in (one, two):
            node.push = on_create(
                ("events", 5, False, [event(5)]), ("canceled", 5, 0, NO_LEADER[1])
            )

        async def scenario(client):
            watch = client.watch("k", start_revision=5, timeout_s=LONG_S)
            assert revisions(await anext(watch)) == [5]
            first, second = (one, two) if created(one) else (two, one)
            second.push = on_create(("events", 6, False, [event(6)]))
            assert revisions(await anext(watch)) == [6]
            assert created(second)[0][0] == 6
            assert len(created(first)) == 1

        run([one, two], scenario)


def test_a_node_that_forgot_the_watches_gets_them_again(monkeypatch):
    monkeypatch.setattr(limits, "WATCH_KEEPALIVE_S", 0.02)
    with FakeNode() as node:
        node.push = on_create(("events", 5, False, [event(5)]))

        async def scenario(client):
            watch = client.watch("k", start_revision=5, timeout_s=LONG_S)
            await anext(watch)
            node.store.revision = 6
            node.push = on_create(("events", 6, False, [event(6)]))
            node.store.watches = 0
            assert revisions(await anext(watch)) == [6]
            (_, old), (start, new) = created(node)[:2]
            assert (start, new != old) == (6, True)

        run([node], scenario)


def test_a_node_that_does_not_answer_is_left(monkeypatch):
    monkeypatch.setattr(limits, "WATCH_KEEPALIVE_S", 0.02)
    monkeypatch.setattr(watch_engine, "ANSWER_S", 0.2)
    with FakeNode(1) as one, FakeNode(2) as two:

        async def scenario(client):
            async with client.watch("k", timeout_s=LONG_S) as watch:
                first, second = (one, two) if created(one) else (two, one)
                second.push = on_create(("events", 2, False, [event(2)]))
                first.behave = only_watches(lambda requests: SILENCE)
                assert revisions(await anext(watch)) == [2]

        run([one, two], scenario)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (lambda requests: [NO_LEADER] * len(requests), NoLeaderError),
        (lambda requests: SILENCE, (UnreachableError, ReadTimeoutError)),
    ],
)
def test_without_a_node_that_takes_it_a_watch_raises_in_time(monkeypatch, answer, error):
    monkeypatch.setattr(watch_engine, "ANSWER_S", 0.1)
    with FakeNode() as node:
        node.behave = only_watches(answer)

        async def scenario(client):
            with pytest.raises(error):
                await anext(client.watch("k", timeout_s=3.0))
            assert len(created(node)) > 1, "it tried more than once"

        run([node], scenario)


def test_an_end_without_return():
    with FakeNode() as node:

        async def scenario(client):
            node.push = on_create(("canceled", 5, 0, "permission denied"))
            with pytest.raises(WatchCanceledError, match="permission denied"):
                await anext(client.watch("k"))
            node.push = on_create(("canceled", 5, 9, "compacted"))
            with pytest.raises(WatchCompactedError) as caught:
                await anext(client.watch("k", start_revision=3))
            assert caught.value.compact_revision == 9
            assert len(created(node)) == 2

        run([node], scenario)


def test_what_was_received_is_reported_before_the_node_would_stall():
    with FakeNode() as node:
        big = b"v" * (watch_engine.ACK_BYTES // 2)
        node.push = on_create(*(("events", n, False, [event(n, big)]) for n in range(2, 7)))

        async def scenario(client):
            watch = client.watch("k", start_revision=2)
            await anext(watch)
            await asyncio.to_thread(
                node.wait_for, lambda node: ["ack"] in node.requests("watch"), LONG_S
            )
            received = [h[4] for h, body in node.messages if h[2] == "watch" and body == [["ack"]]]
            assert received[0] > watch_engine.ACK_BYTES

        run([node], scenario)


def test_responses_that_are_none_break_the_connection_and_the_watch_goes_on():
    with FakeNode() as node:
        node.push = on_create(("events", 5, False, "nonsense"))

        async def scenario(client):
            watch = client.watch("k", start_revision=5, timeout_s=LONG_S)
            waiting = asyncio.ensure_future(anext(watch))
            while not created(node):
                await asyncio.sleep(0.01)
            node.push = on_create(("events", 5, False, [event(5)]))
            assert revisions(await waiting) == [5]

        run([node], scenario)


def test_progress_that_was_asked_for_is_asked_again_elsewhere():
    with FakeNode(1) as one, FakeNode(2) as two:

        def push(header, requests):
            return [[["progress", -1, 7]]] if ["progress"] in requests else []

        async def scenario(client):
            async with client.watch("k", start_revision=5, timeout_s=LONG_S) as watch:
                first, second = (one, two) if created(one) else (two, one)
                second.push = push
                watch.request_progress()
                await asyncio.to_thread(
                    first.wait_for, lambda node: ["progress"] in node.requests("watch"), LONG_S
                )
                first.kill()
                response = await anext(watch)
                assert (response.is_progress, response.header.revision) == (True, 7)

        run([one, two], scenario)


def watches(client):
    """Those that a client's engine has."""
    engine = client._dispatcher.watches
    return set() if engine is None else engine._watches


def test_a_watch_whose_context_is_not_entered_is_none(node):
    node.behave = only_watches(lambda requests: SILENCE)

    async def scenario(client):
        entering = asyncio.ensure_future(client.watch("k", timeout_s=LONG_S).__aenter__())
        await asyncio.to_thread(node.wait_for, created)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert not watches(client)

    run([node], scenario)
    with Client([node.endpoint]) as client:
        watch = client.watch("k", timeout_s=LONG_S)

        def interrupt():
            raise KeyboardInterrupt

        watch._changed.wait = interrupt
        with pytest.raises(KeyboardInterrupt):
            watch.__enter__()
        client.get("what was asked for before is done")
        assert not watches(client)


def test_a_watch_that_is_canceled_before_it_began_never_begins(node):
    async def scenario(client):
        watch = client.watch("k")
        watch.cancel()
        watch.request_progress()
        assert [response async for response in watch] == []
        async with watch:
            pass
        assert not watches(client)

    run([node], scenario)
    with Client([node.endpoint]) as client:
        watch = client.watch("k")
        watch.cancel()
        assert next(watch, None) is None
        with pytest.raises(TimeoutError):
            Queue(client, "q").dequeue(timeout_s=0)
        client.get("what was asked for before is done")
        assert not watches(client)
    assert node.store.watches == 0


def test_a_watch_that_is_canceled_on_its_way_to_the_engine(node):
    async def scenario(client):
        watch = client.watch("k")
        engine = client._engine()
        engine.cancel(watch._watch)
        engine.start(watch._watch)
        assert not watches(client)

    run([node], scenario)


def test_what_cannot_travel_ends_the_watch_and_nothing_else(node):
    with Client([node.endpoint]) as client:
        with pytest.raises(InvalidRequestError, match="cannot travel: Fraction"):
            next(client.watch("k", start_revision=Fraction(1)))
        with client.watch("k", prev_kv=2**70):
            client.put("k", "v")
    flags = [request[4] for request in node.requests("watch") if request[0] == "create"]
    assert flags == [PREV_KV + FRAGMENT + REQUIRE_LEADER]


def test_a_watch_of_a_closed_client_says_so_each_time(node):
    async def ends(watch):
        raised = []
        for _ in range(3):
            with pytest.raises(ClientClosedError) as caught:
                await anext(watch)
            raised.append(caught.value)
        assert len(set(map(id, raised))) == 3, "each with its own traceback"

    async def main():
        async with AsyncClient([node.endpoint]) as used, used.watch("k") as began:
            unused = AsyncClient([node.endpoint])
            await unused.aclose()
            await ends(unused.watch("k"))
            await used.aclose()
            await ends(began)
            await ends(used.watch("k"))

    asyncio.run(main())


def test_what_a_busy_node_refuses_to_hear_is_said_again():
    """A cancel, or the watch would stay on the node; a question for progress."""
    with FakeNode() as node:

        async def scenario(client):
            async with client.watch("k", timeout_s=LONG_S) as watch:
                refusals = [TOO_MANY_REQUESTS] * 4
                node.behave = only_watches(
                    lambda requests: [refusals.pop()] * len(requests) if refusals else None
                )
                watch.request_progress()
                while len(node.requests("watch")) < 4:
                    await asyncio.sleep(0.001)
                watch.cancel()

            def answered(name):
                return [each[0] for each in node.requests("watch")].count(name) > 1

            while refusals or not answered("cancel"):
                await asyncio.sleep(0.001)

        run([node], scenario)
