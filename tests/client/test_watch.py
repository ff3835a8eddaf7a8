"""Watches of both clients on a real node."""

import asyncio

import pytest
from sampan.client import AsyncClient, ops
from sampan.client.watch import EventType

from .real_node import real_node

WAIT_S = 60.0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    with real_node(tmp_path_factory.mktemp("node")) as endpoint:
        yield endpoint


def run(endpoint, scenario):
    async def main():
        async with AsyncClient([endpoint], timeout_s=WAIT_S) as client:
            await asyncio.wait_for(scenario(client), WAIT_S)

    asyncio.run(main())


async def take(watch, count):
    """The first `count` events."""
    events = []
    while len(events) < count:
        events += (await anext(watch)).events
    assert len(events) == count
    return events


def told(events):
    return [(e.type, e.kv.key, e.kv.mod_revision, e.kv.value) for e in events]


def test_a_watch_tells_of_puts_and_deletions_from_its_creation_on(node):
    async def scenario(client):
        await client.put("live/a", "before")
        async with client.watch("live/", prefix=True, prev_kv=True) as watch:
            put = await client.put("live/a", "1")
            await client.put("other", "x")
            created = await client.put("live/b", "2")
            gone = await client.delete("live/a")
            events = await take(watch, 3)
        assert told(events) == [
            (EventType.PUT, b"live/a", put.header.revision, b"1"),
            (EventType.PUT, b"live/b", created.header.revision, b"2"),
            (EventType.DELETE, b"live/a", gone.header.revision, b""),
        ]
        assert [e.prev_kv and e.prev_kv.value for e in events] == [b"before", None, b"1"]
        assert [e.is_create for e in events] == [False, True, False]

    run(node, scenario)


def test_a_transaction_is_one_response(node):
    async def scenario(client):
        async with client.watch("txn/", prefix=True) as watch:
            await client.txn([], [ops.put(f"txn/{n}", "v") for n in range(100)])
            assert len((await anext(watch)).events) == 100

    run(node, scenario)


def test_a_watch_tells_of_the_past_first(node):
    async def scenario(client):
        first = (await client.put("past", "0")).header.revision
        for n in range(1, 50):
            await client.put("past", str(n))
        async with client.watch("past", start_revision=first) as watch:
            await client.put("past", "50")
            events = await take(watch, 51)
        assert [e.kv.value for e in events] == [b"%d" % n for n in range(51)]

    run(node, scenario)
