"""etcd's RangeStream before a real node: its pieces together are what Range answers."""

import asyncio

import pytest
from sampan.client._scan import PAGE_BYTES
from sampan.gateway import messages as pb

PATH = "/etcdserverpb.KV/RangeStream"


def put(kv, key, value):
    return kv("Put", pb.PutRequest(key=kv.prefix + key, value=value), pb.PutResponse)


def request(kv, **options):
    return pb.RangeRequest(key=kv.prefix, range_end=kv.prefix + b"\xff", **options)


async def stream(services, asked):
    """(the pieces, the status)."""
    call, opened = services.open(PATH)
    opened.message(asked.SerializeToString())
    status = await call.status
    pieces = [call.sent.get_nowait() for _ in range(call.sent.qsize())]
    return [pb.RangeStreamResponse.FromString(piece).range_response for piece in pieces], status


def streamed(kv, **options):
    """The pieces as one."""
    pieces, status = kv.services.run(stream(kv.services, request(kv, **options)))
    assert status == (0, "")
    assert not any(piece.HasField("header") or piece.count or piece.more for piece in pieces[:-1])
    together = pb.RangeResponse()
    for piece in pieces:
        together.MergeFrom(piece)
    return together


@pytest.fixture(scope="module")
def many(services):
    """A prefix of 300 keys, and a revision before their last change."""
    found = type("Prefixed", (), {"services": services, "prefix": b"many/"})
    ask = services.ask
    for number in range(300):
        key = b"many/%03d" % number
        ask("/etcdserverpb.KV/Put", pb.PutRequest(key=key, value=b"v"), pb.PutResponse)
    changed = pb.PutRequest(key=b"many/007", value=b"changed")
    found.before = ask("/etcdserverpb.KV/Put", changed, pb.PutResponse).header.revision - 1
    return found


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 1},
        {"limit": 16},
        {"limit": 17},
        {"limit": 299},
        {"limit": 300},
        {"limit": 1000},
        {"limit": -3},
        {"keys_only": True},
        {"count_only": True},
        {"count_only": True, "limit": 2},
        {"serializable": True, "limit": 100},
        {"sort_target": 0, "sort_order": 1},
    ],
    ids=str,
)
def test_its_pieces_are_what_range_answers(many, options):
    asked = request(many, **options)
    whole = many.services.ask("/etcdserverpb.KV/Range", asked, pb.RangeResponse)
    if options.get("count_only"):
        assert whole.count == 300
    assert streamed(many, **options) == whole
    past = request(many, **options, revision=many.before)
    whole = many.services.ask("/etcdserverpb.KV/Range", past, pb.RangeResponse)
    assert streamed(many, **options, revision=many.before) == whole


def test_nothing_is_one_message(kv):
    together = streamed(kv)
    assert (together.count, len(together.kvs), together.header.revision > 0) == (0, 0, True)


def test_it_is_the_state_of_one_revision_whatever_is_written_meanwhile(many):
    services = many.services

    async def read():
        before = await services.call("/etcdserverpb.KV/Range", request(many), pb.RangeResponse)
        call, opened = open_for_one_at_a_time(services, request(many))
        first = await call.sent.get()
        rewritten = pb.PutRequest(key=b"many/299", value=b"new")
        await services.call("/etcdserverpb.KV/Put", rewritten, pb.PutResponse)
        await services.call(
            "/etcdserverpb.KV/DeleteRange", pb.DeleteRangeRequest(key=b"many/298"),
            pb.DeleteRangeResponse,
        )  # fmt: skip
        together = pb.RangeStreamResponse.FromString(first)
        async for piece in rest(call, opened):
            together.MergeFromString(piece)
        return before, together.range_response

    before, found = services.run(read())
    assert found == before


def test_without_an_order_it_is_that_of_the_keys_whatever_the_target(many):
    assert streamed(many, sort_target=3) == streamed(many)


def open_for_one_at_a_time(services, asked):
    """A call whose client takes one message, and no other before `on_writable`."""
    call, opened = services.open(PATH)
    send = call.send

    def send_one(message):
        send(message)
        call.writable = False

    call.send = send_one
    opened.message(asked.SerializeToString())
    return call, opened


async def rest(call, opened):
    """What a client gets that goes on reading, until the end."""
    while not call.status.done():
        call.writable = True
        opened.on_writable()
        reading = asyncio.ensure_future(call.sent.get())
        await asyncio.wait({reading, call.status}, return_when=asyncio.FIRST_COMPLETED)
        if reading.done():
            yield reading.result()
        reading.cancel()


def test_large_values_come_in_several_messages_and_only_as_they_are_read(kv):
    for number in range(8):
        put(kv, b"%d" % number, b"v" * (PAGE_BYTES - 100))

    async def read():
        call, opened = open_for_one_at_a_time(kv.services, request(kv))
        pieces = []
        while len(pieces) < 8:
            pieces.append(await call.sent.get())
            assert call.sent.empty(), "nobody has read the one before"
            call.writable = True
            opened.on_writable()
        assert await call.status == (0, "")
        return pieces

    pieces = kv.services.run(read())
    assert all(PAGE_BYTES - 100 < len(piece) < PAGE_BYTES + 100 for piece in pieces)
    assert pb.RangeStreamResponse.FromString(pieces[-1]).range_response.count == 8


def test_a_client_that_is_gone_is_sent_nothing_more(many):
    async def leave():
        call, opened = open_for_one_at_a_time(many.services, request(many))
        await call.sent.get()
        opened.cancelled()
        call.writable = True
        opened.on_writable()
        await stream(many.services, request(many))  # long enough for another piece
        return call

    call = many.services.run(leave())
    assert call.sent.empty()
    assert not call.status.done()


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"sort_order": 2}, (12, "RangeStream does not support custom sort orders")),
        (
            {"sort_order": 1, "sort_target": 3},
            (12, "RangeStream does not support custom sort orders"),
        ),
        ({"sort_order": 9}, (3, "etcdserver: invalid sort option")),
        ({"min_mod_revision": 1}, (12, "RangeStream does not support revision filters")),
        ({"revision": 10**9}, (11, "etcdserver: mvcc: required revision is a future revision")),
    ],
)
def test_refusals_are_etcds(kv, options, status):
    asked = request(kv, **options)
    assert kv.services.run(stream(kv.services, asked)) == ([], status)


def test_an_empty_key_is_refused(services):
    refusal = (3, "etcdserver: key is not provided")
    assert services.run(stream(services, pb.RangeRequest())) == ([], refusal)


def test_a_compaction_on_the_way_ends_it_with_etcds_error(many):
    services = many.services
    asked = request(many, revision=many.before)

    async def read():
        call, opened = open_for_one_at_a_time(services, asked)
        first = await call.sent.get()
        newest = await services.call("/etcdserverpb.KV/Range", request(many), pb.RangeResponse)
        compacted = pb.CompactionRequest(revision=newest.header.revision)
        await services.call("/etcdserverpb.KV/Compact", compacted, pb.CompactionResponse)
        async for _ in rest(call, opened):
            pass
        return first, call.status.result()

    first, status = services.run(read())
    assert len(pb.RangeStreamResponse.FromString(first).range_response.kvs) == 16
    assert status == (11, "etcdserver: mvcc: required revision has been compacted")
