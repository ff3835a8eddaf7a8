"""Watches of both clients on a real node."""

import asyncio
import threading

import msgpack
import pytest
import zmq
from sampan.client import AsyncClient, Client, ops
from sampan.client.errors import ClientClosedError, UnreachableError, WatchCompactedError
from sampan.client.watch import EventType
from sampan.config import limits

from .real_node import real_node

WAIT_S = 180.0


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


def test_an_answer_to_a_progress_request_follows_all_events_before_it(node):
    async def scenario(client):
        async with client.watch("progress") as watch:
            put = await client.put("progress", "v")
            watch.request_progress()
            first, second = await anext(watch), await anext(watch)
        assert told(first.events) == [(EventType.PUT, b"progress", put.header.revision, b"v")]
        assert second.is_progress
        assert second.header.revision >= put.header.revision

    run(node, scenario)


def test_puts_or_deletions_alone(node):
    async def scenario(client):
        puts = client.watch("filter", no_delete=True, start_revision=1)
        deletions = client.watch("filter", no_put=True, start_revision=1)
        for n in range(3):
            await client.put("filter", str(n))
            await client.delete("filter")
        assert {e.type for e in await take(puts, 3)} == {EventType.PUT}
        assert {e.type for e in await take(deletions, 3)} == {EventType.DELETE}

    run(node, scenario)


def test_a_watch_of_the_future_is_silent_until_then(node):
    async def scenario(client):
        now = (await client.put("future", "0")).header.revision
        async with client.watch("future", start_revision=now + 3) as watch:
            watch.request_progress()
            for n in range(1, 6):
                await client.put("future", str(n))
            first = await anext(watch)
            assert not first.is_progress or first.header.revision >= now + 2
            events = list(first.events)
            events += await take(watch, 3 - len(events))
        assert [e.kv.value for e in events] == [b"3", b"4", b"5"]

    run(node, scenario)


def test_what_was_compacted_is_an_error_that_tells_where_to_go_on(node):
    async def scenario(client):
        first = (await client.put("compacted", "0")).header.revision
        last = (await client.put("compacted", "1")).header.revision
        await client.compact(last)
        watch = client.watch("compacted", start_revision=first)
        with pytest.raises(WatchCompactedError) as caught:
            await anext(watch)
        assert caught.value.compact_revision == last
        again = client.watch("compacted", start_revision=caught.value.compact_revision)
        assert [e.kv.value for e in await take(again, 1)] == [b"1"]

    run(node, scenario)


def test_a_canceled_watch_ends_and_others_go_on(node):
    async def scenario(client):
        async with client.watch("c") as one, client.watch("c") as other:
            one.cancel()
            await client.put("c", "v")
            assert [r async for r in one] == []
            await take(other, 1)

    run(node, scenario)


def test_a_slow_reader_pauses_its_watch_and_misses_nothing(node):
    """More than a watch may leave unread, and more than fits the node's window."""

    async def scenario(client):
        count, size = 60, 200_000
        async with client.watch("slow") as slow, client.watch("slow") as quick:
            for n in range(count):
                await client.put("slow", b"%d " % n + bytes(size))
            await take(quick, count)
            events = await take(slow, count)
        assert [int(e.kv.value.split()[0]) for e in events] == list(range(count))

    run(node, scenario)


def test_closing_the_client_ends_its_watches(node):
    async def scenario(client):
        other = AsyncClient([node])
        async with other.watch("closed") as watch:
            waiting = asyncio.create_task(anext(watch))
            await asyncio.sleep(0)
            await other.aclose()
            with pytest.raises(ClientClosedError):
                await waiting

    run(node, scenario)


def test_the_blocking_client_watches_too(node):
    with Client([node], timeout_s=WAIT_S) as client:
        with client.watch("sync/", prefix=True) as watch:
            put = client.put("sync/a", "1")
            (event,) = next(watch).events
            assert (event.kv.value, event.kv.mod_revision) == (b"1", put.header.revision)
            watch.request_progress()
            assert next(watch).is_progress
            threading.Timer(0, watch.cancel).start()
            assert list(watch) == []
        past = client.watch("sync/a", start_revision=put.header.revision)
        assert next(past).events == [event]
    with pytest.raises(ClientClosedError):
        next(past)


def test_nobody_to_watch_is_an_error_in_time():
    with Client(["127.0.0.1:1"], timeout_s=0.1) as client, pytest.raises(UnreachableError):
        next(client.watch("k"))


def test_entering_ends_when_the_watch_is_canceled_meanwhile():
    async def both():
        async with AsyncClient(["127.0.0.1:1"], timeout_s=WAIT_S) as client:
            watch = client.watch("k")
            entering = asyncio.create_task(watch.__aenter__())
            await asyncio.sleep(0)
            watch.cancel()
            await asyncio.wait_for(entering, WAIT_S)

    asyncio.run(both())
    with Client(["127.0.0.1:1"], timeout_s=WAIT_S) as client:
        watch = client.watch("k")
        entering = threading.Thread(target=watch.__enter__, daemon=True)
        entering.start()
        watch.cancel()
        entering.join(WAIT_S)
        assert not entering.is_alive()


class Raw:
    """A connection that speaks docs/protocol.md by itself, and reads and reports when it likes."""

    def __init__(self, context, endpoint):
        self.socket = context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(f"tcp://{endpoint}")
        self.received = self.last_id = 0
        self.pushed = []
        """Responses of watches, in order."""

    def ask(self, kind, *requests, report=True):
        """The results; what was pushed before them is in `pushed`."""
        self.last_id += 1
        header = [1, self.last_id, kind, 0, self.received if report else 0]
        self.socket.send_multipart([msgpack.packb(header), msgpack.packb(requests)])
        while True:
            answered, body = self.take()
            if answered:
                return body

    def take(self):
        assert self.socket.poll(WAIT_S * 1000)
        header, body = self.socket.recv_multipart()
        self.received += len(body)
        decoded = msgpack.unpackb(body)
        if msgpack.unpackb(header)[1] == 0:
            self.pushed += decoded
            return False, None
        return True, decoded


def test_a_connection_that_reports_nothing_stalls_alone_and_misses_nothing(node):
    count, size = 200, 50_000
    with (
        zmq.Context() as context,
        Client([node], timeout_s=WAIT_S) as client,
        client.watch("raw") as other,
    ):
        raw = Raw(context, node)
        with raw.socket:
            ((code, revision, watch_id),) = raw.ask("watch", ["create", b"raw"])
            for n in range(count):
                client.put("raw", b"%d " % n + bytes(size))
            seen = 0
            while seen < count:
                seen += len(next(other).events)
            raw.ask("maintenance", ["status"], report=False)
            unread = sum(len(str(each)) > size for each in raw.pushed)
            assert 0 < unread < 2 * limits.WATCH_WINDOW_BYTES // size, "not all of it"
            while len(events_of(raw.pushed)) < count:
                raw.ask("watch", ["ack"])
            assert [int(e[1][5].split()[0]) for e in events_of(raw.pushed)] == list(range(count))
            assert (code, watch_id) == (0, 0)
            assert events_of(raw.pushed)[0][1][2] > revision


def events_of(pushed):
    return [event for name, _, _, _, events in pushed if name == "events" for event in events]
