"""etcd's Watch service before a real node."""

import pytest
from sampan.client.types import KeyValue
from sampan.client.watch import EventType, WatchEvent
from sampan.gateway import messages as pb
from sampan.gateway.services.watch import _fragments

WATCH = "/etcdserverpb.Watch/Watch"


class Watching:
    """A watch stream in a coroutine."""

    def __init__(self, services, **metadata):
        self.services = services
        self.call, self.stream = services.open(WATCH, **metadata)

    def create(self, key, **options):
        create = pb.WatchCreateRequest(key=key, **options)
        self.send(create_request=create)

    def send(self, **request):
        self.stream.message(pb.WatchRequest(**request).SerializeToString())

    async def next(self):
        return pb.WatchResponse.FromString(await self.call.sent.get())

    async def put(self, key, value):
        request = pb.PutRequest(key=key, value=value)
        done = await self.services.call("/etcdserverpb.KV/Put", request, pb.PutResponse)
        return done.header.revision

    async def delete(self, key):
        request = pb.DeleteRangeRequest(key=key)
        path = "/etcdserverpb.KV/DeleteRange"
        await self.services.call(path, request, pb.DeleteRangeResponse)


@pytest.fixture
def watching(services, request):
    """Runs a test's coroutine with a stream and a key of its own."""

    def run(body, **metadata):
        async def whole():
            watching = Watching(services, **metadata)
            try:
                await body(watching, request.node.name.encode())
            finally:
                watching.stream.cancelled()

        services.run(whole())

    return run


def test_events_of_a_key(watching):
    async def body(w, key):
        w.create(key)
        created = await w.next()
        assert (created.watch_id, created.created, created.canceled) == (0, True, False)
        assert created.header.revision > 0
        assert created.header.cluster_id != 0
        revision = await w.put(key, b"1")
        told = await w.next()
        (event,) = told.events
        assert (event.type, event.kv.value, event.kv.mod_revision) == (0, b"1", revision)
        await w.delete(key)
        (event,) = (await w.next()).events
        assert (event.type, event.kv.key, event.kv.create_revision) == (1, key, 0)

    watching(body)


def test_the_past_filters_and_previous_values(watching):
    async def body(w, key):
        first = await w.put(key, b"1")
        await w.put(key, b"2")
        await w.delete(key)
        w.create(key, start_revision=first, prev_kv=True, filters=[1])
        assert (await w.next()).created
        events = []
        while len(events) < 2:
            events += (await w.next()).events
        assert [(e.kv.value, e.prev_kv.value) for e in events] == [(b"1", b""), (b"2", b"1")]
        w.create(key, start_revision=first, filters=[0])
        assert (await w.next()).watch_id == 1
        (event,) = (await w.next()).events
        assert event.type == 1

    watching(body)


def test_ids(watching):
    async def body(w, key):
        w.create(key, watch_id=-2)
        assert (await w.next()).watch_id == -2
        w.create(key, watch_id=-2)
        refused = await w.next()
        assert (refused.watch_id, refused.created, refused.canceled) == (-1, True, True)
        assert refused.cancel_reason == "mvcc: duplicate watch ID provided on the WatchStream"
        w.create(b"b", range_end=b"a")
        refused = await w.next()
        assert (refused.watch_id, refused.cancel_reason) == (-1, "mvcc: watcher range is empty")
        w.create(key)
        w.create(key)
        assert {(await w.next()).watch_id, (await w.next()).watch_id} == {0, 1}

    watching(body)


def test_cancel(watching):
    async def body(w, key):
        w.send(cancel_request=pb.WatchCancelRequest(watch_id=77))  # is not answered
        w.create(key)
        assert (await w.next()).created
        w.send(cancel_request=pb.WatchCancelRequest(watch_id=0))
        canceled = await w.next()
        assert (canceled.canceled, canceled.cancel_reason, canceled.watch_id) == (True, "", 0)
        await w.put(key, b"1")
        w.create(key)  # what it tells comes after all that was said before
        assert (await w.next()).created

    watching(body)


def test_a_compacted_start(watching):
    async def body(w, key):
        await w.put(key, b"1")
        revision = await w.put(key, b"2")
        compact = pb.CompactionRequest(revision=revision)
        await w.services.call("/etcdserverpb.KV/Compact", compact, pb.CompactionResponse)
        w.create(key, start_revision=revision - 1)
        assert (await w.next()).created
        canceled = await w.next()
        assert (canceled.canceled, canceled.compact_revision) == (True, revision)
        assert (canceled.cancel_reason, canceled.header.revision) == ("", 0)

    watching(body)


def test_a_negative_start(watching):
    async def body(w, key):
        w.create(key, start_revision=-1)
        refused = await w.next()
        assert (refused.created, refused.canceled, refused.watch_id) == (True, True, -1)
        text = "etcdserver: mvcc: required revision has been compacted"
        assert refused.cancel_reason == text

    watching(body)


def test_progress(watching):
    async def body(w, key):
        w.send(progress_request=pb.WatchProgressRequest())  # nobody watches
        told = await w.next()
        assert (told.watch_id, len(told.events)) == (-1, 0)
        w.create(key)
        w.create(key)
        assert (await w.next()).created
        assert (await w.next()).created
        revision = await w.put(key + b"/other", b"1")
        w.send(progress_request=pb.WatchProgressRequest())
        told = await w.next()
        assert (told.watch_id, told.created, told.canceled) == (-1, False, False)
        assert told.header.revision >= revision

    watching(body)


def test_the_end_of_a_watch_tells_nothing_that_nobody_asked_for(watching):
    """What comes under no watch's id, and was not asked for, ends a stream of npm's client."""

    async def body(w, key):
        w.create(key)
        w.create(key)
        assert [(await w.next()).watch_id for _ in range(2)] == [0, 1]
        w.send(cancel_request=pb.WatchCancelRequest(watch_id=0))
        assert (await w.next()).canceled
        await w.put(key, b"1")
        told = await w.next()
        assert (told.watch_id, len(told.events)) == (1, 1)

    watching(body)


def test_a_watch_that_is_canceled_holds_up_no_progress(watching):
    async def body(w, key):
        w.create(key)
        assert (await w.next()).created
        w.send(progress_request=pb.WatchProgressRequest())
        w.send(cancel_request=pb.WatchCancelRequest(watch_id=0))
        assert (await w.next()).canceled
        assert (await w.next()).watch_id == -1

    watching(body)


def test_progress_waits_for_a_watch_that_has_fallen_behind(watching):
    """What was told for all is true for all: no event of before comes after it."""

    async def body(w, key):
        w.create(key)
        assert (await w.next()).created
        w.call.writable = False
        newest = [await w.put(key, b"x" * 400_000) for _ in range(20)][-1]
        w.send(progress_request=pb.WatchProgressRequest())
        w.create(key + b"/other")
        w.call.writable = True
        w.stream.on_writable()
        seen, told = 0, None
        while told is None:
            response = await w.next()
            if response.watch_id == -1:
                told = response.header.revision
            seen = max([seen, *(event.kv.mod_revision for event in response.events)])
        assert (seen, told >= newest) == (newest, True)

    watching(body)


def test_a_slow_reader_gets_everything_in_order(watching):
    async def body(w, key):
        w.create(key)
        assert (await w.next()).created
        w.call.writable = False
        revisions = [await w.put(key, b"x" * 400_000) for _ in range(30)]
        w.create(key + b"/other")  # answered behind the others
        seen = []
        w.call.writable = True
        w.stream.on_writable()
        while len(seen) < len(revisions):
            seen += [e.kv.mod_revision for e in (await w.next()).events]
        assert seen == revisions

    watching(body)


def test_the_end_of_the_requests_is_not_the_end(watching):
    async def body(w, key):
        w.create(key)
        w.stream.end()
        assert (await w.next()).created
        await w.put(key, b"1")
        assert len((await w.next()).events) == 1

    watching(body)


def test_fragments():
    def event(size):
        return WatchEvent(EventType.PUT, KeyValue(b"k", 1, 1, 1, 0, b"v" * size), None)

    sizes = [[len(e.kv.value) for e in part] for part in _fragments(list(map(event, (
        1_000_000, 1_000_000, 2_000_000, 10, 10))))]  # fmt: skip
    assert sizes == [[1_000_000], [1_000_000], [2_000_000], [10, 10]]
