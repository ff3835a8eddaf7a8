"""What an AsyncClient's user and a node see of each other."""

import asyncio

import msgpack
import pytest
from sampan.client import AsyncClient, NotAppliedError, errors, ops
from sampan.client.types import KeyValue, PutResponse, ResponseHeader

from .fake_node import (
    LEADER_CHANGED,
    NO_LEADER,
    SILENCE,
    STOPPED,
    TOO_MANY_REQUESTS,
)
from .scenario import LONG_S, fail_first, run, silent


def test_put_get_delete_with_everything_that_comes_back(node):
    async def scenario(client):
        put = await client.put("k", b"v1")
        assert put == PutResponse(ResponseHeader(77, 1, 2, 5), None)
        again = await client.put(b"k", "v2", prev_kv=True, lease=9)
        assert again.prev_kv == KeyValue(b"k", 2, 2, 1, 0, b"v1")
        found = await client.get("k")
        assert found.header.revision == 3
        assert found.kvs == [KeyValue(b"k", 2, 3, 2, 9, b"v2")]
        assert (found.count, found.more) == (1, False)
        gone = await client.delete("k", prev_kv=True)
        assert (gone.deleted, gone.prev_kvs) == (1, found.kvs)
        assert (await client.get("k", serializable=True)).kvs == []
        assert (await client.delete("k")).deleted == 0

    run([node], scenario)
    assert node.requests("serializable") == [["range", b"k"]]


def test_options_travel_as_the_protocol_orders_them(node):
    async def scenario(client):
        await client.put("k", "", ignore_value=True, ignore_lease=True)
        await client.get(
            "a",
            prefix=True,
            limit=5,
            revision=7,
            sort_by="mod",
            sort_order="descend",
            keys_only=True,
            count_only=True,
            min_mod_revision=1,
            max_mod_revision=2,
            min_create_revision=3,
            max_create_revision=4,
        )
        await client.get("", prefix=True)
        await client.get("b", from_key=True, sort_order="ascend")
        await client.get("b", range_end="c")
        await client.delete(b"a\xff", prefix=True)
        await client.delete(b"\xff", prefix=True, prev_kv=True)

    run([node], scenario)
    assert node.requests("write") == [
        ["put", b"k", b"", 0, 6],
        ["delete", b"a\xff", b"b", 0],
        ["delete", b"\xff", b"\0", 1],
    ]
    assert node.requests("read") == [
        ["range", b"a", b"b", 5, 7, 3, 3, 2, 1, 2, 3, 4],
        ["range", b"\0", b"\0", 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ["range", b"b", b"\0", 0, 0, 0, 0, 1, 0, 0, 0, 0],
        ["range", b"b", b"c", 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


@pytest.mark.parametrize(
    "options", [{"sort_by": "size"}, {"sort_order": "up"}, {"prefix": True, "from_key": True}]
)
def test_options_that_make_no_sense_raise_before_anything_is_sent(node, options):
    async def scenario(client):
        with pytest.raises(ValueError, match="one of"):
            await client.get("k", **options)
        with pytest.raises(TypeError, match="no option"):
            await client.get("k", linearizable=True)

    run([node], scenario)
    assert node.messages == []


def test_a_transaction_runs_one_branch_and_types_each_response(node):
    async def scenario(client):
        create = ([ops.version("k") == 0], [ops.put("k", "v")], [ops.get("k"), ops.delete("k")])
        first = await client.txn(*create)
        assert first.succeeded
        assert first.responses[0].header.revision == first.header.revision == 2
        second = await client.txn(*create)
        assert not second.succeeded
        assert second.responses[0].kvs[0].value == b"v"
        assert second.responses[1].deleted == 1
        nested = await client.txn([], [ops.txn([ops.value("k") != "x"], [ops.get("k")])])
        assert nested.responses[0].responses[0].count == 0

    run([node], scenario)
    assert [request[0] for request in node.requests("write")] == ["txn", "txn"]
    assert [request[0] for request in node.requests("read")] == ["txn"]  # it only reads


def test_compares_travel_as_the_protocol_orders_them():
    assert tuple(ops.version("k") > 1) == (0, 1, b"k", 1, b"")
    assert tuple(ops.create_revision("k") < 2) == (1, 2, b"k", 2, b"")
    assert tuple(ops.mod_revision("k") != 3) == (2, 3, b"k", 3, b"")
    assert tuple(ops.value("k", range_end="l") == "v") == (3, 0, b"k", b"v", b"l")
    assert tuple(ops.lease("k") == 0) == (4, 0, b"k", 0, b"")
    with pytest.raises(TypeError, match="int, bytes or str"):
        ops.value("k") == None  # noqa: B015, E711


def test_status_of_each_node_and_the_member_list(node, other):
    async def scenario(client):
        for each in (node, other):
            status = await client.status(each.endpoint)
            assert status.header.member_id == each.member_id
            assert status.fields["version"] == "0.1.0"
        assert [member.id for member in (await client.member_list()).members] == [1, 2]
        with pytest.raises(ValueError, match="is not one of"):
            await client.status("127.0.0.1:1")

    run([node, other], scenario)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
@pytest.mark.parametrize("scheme", ["", "tcp://", "http://"])
def test_endpoints_as_users_write_them(node, scheme, name):
    async def main():
        async with AsyncClient([f"{scheme}{name}:{node.port}"]) as client:
            await client.put("k", "v")

    asyncio.run(main())


@pytest.mark.parametrize(
    "endpoints",
    [[], iter([]), ["host"], ["https://h:1"], ["h:0x1"], "h:1", ["h:1", "a b:1"], ["*:1"]],
)
def test_endpoints_that_are_none(endpoints):
    with pytest.raises(ValueError, match=r"endpoint|HOST:PORT"):
        AsyncClient(endpoints)


# ---- batching -----------------------------------------------------------------------------------


def test_calls_of_one_turn_travel_in_one_message_a_kind(node):
    async def scenario(client):
        await client.put("warm", "up")
        puts = [client.put(f"k{i}", "v") for i in range(50)]
        gets = [client.get(f"k{i}") for i in range(30)]
        revisions = [each.header.revision for each in await asyncio.gather(*puts, *gets)]
        assert revisions[:50] == list(range(3, 53))

    run([node], scenario)
    assert node.sizes("write") == [1, 50]
    assert node.sizes("read") == [30]


@pytest.mark.parametrize(
    ("count", "value_bytes", "sizes"), [(2500, 10, [1000, 1000, 500]), (5, 400_000, [2, 2, 1])]
)
def test_messages_are_bounded_in_requests_and_bytes(node, count, value_bytes, sizes):
    async def scenario(client):
        await client.put("warm", "up")
        await asyncio.gather(*[client.put(f"k{i}", b"v" * value_bytes) for i in range(count)])

    run([node], scenario)
    assert node.sizes("write")[1:] == sizes


def test_bytes_under_way_are_bounded(node):
    async def scenario(client):
        await client.put("k", b"v")
        node.behave = silent
        puts = [asyncio.ensure_future(client.put("k", b"v" * 1_000_000)) for _ in range(40)]
        sent = 17  # 16 MiB and what went over it
        await asyncio.to_thread(node.wait_for, lambda fake: len(fake.requests("write")) == 1 + sent)
        assert len(client._dispatcher.lanes["write"].queue) == 40 - sent
        await client.aclose()
        results = await asyncio.gather(*puts, return_exceptions=True)
        unknown = [isinstance(each, errors.UnknownOutcomeError) for each in results]
        assert sum(unknown) == sent

    run([node], scenario, timeout_s=LONG_S)


def test_a_request_too_large_is_refused_before_it_is_sent(node):
    async def scenario(client):
        with pytest.raises(errors.RequestTooLargeError, match="etcdserver: request is too large"):
            await client.put("k", b"v" * (3 << 19))

    run([node], scenario)
    assert node.messages == []


def test_each_message_reports_the_reply_bytes_received_so_far(node):
    async def scenario(client):
        for i in range(4):
            await client.put(f"k{i}", "v" * i)
            await client.get("k", prefix=True)

    run([node], scenario)
    reported = [header[4] for header, _ in node.messages]
    assert reported == [sum(node.sent_bytes[:i]) for i in range(1, 9)]  # the session's comes first


# ---- errors and retries -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cls"),
    [
        (
            [11, "etcdserver: mvcc: required revision has been compacted", "not applied"],
            "Compacted",
        ),
        ([3, "etcdserver: key is not provided", "not applied"], "EmptyKey"),
        ([3, "some text of tomorrow", "not applied"], "InvalidRequest"),
        ([9, "some text of tomorrow", "not applied"], "NotApplied"),
        ([9, "some text of tomorrow", "unknown"], "UnknownOutcome"),
        ([14, "etcdserver: request timed out", "unknown"], "RequestTimeout"),
        (LEADER_CHANGED, "LeaderChanged"),
    ],
)
@pytest.mark.parametrize("whole_message", [False, True])
def test_errors_of_a_node_are_typed(node, error, cls, whole_message):
    node.behave = lambda header, requests: error if whole_message else [error] * len(requests)

    async def scenario(client):
        with pytest.raises(errors.SampanError) as caught:
            await client.put("k", "v")
        assert type(caught.value).__name__ == f"{cls}Error"
        assert (caught.value.code, caught.value.text, str(caught.value)) == (*error[:2], error[1])

    run([node], scenario, exactly_once=False)
    assert len(node.messages) == 1


def test_one_failure_in_a_message_leaves_the_others_alone(node):
    empty = [3, "etcdserver: key is not provided", "not applied"]
    node.behave = lambda header, requests: [
        node.execute(each) if each[1] else empty for each in requests
    ]

    async def scenario(client):
        good, bad, also_good = await asyncio.gather(
            client.put("a", ""), client.put("", ""), client.put("b", ""), return_exceptions=True
        )
        assert (good.header.revision, also_good.header.revision) == (2, 3)
        assert isinstance(bad, errors.EmptyKeyError)

    run([node], scenario)


@pytest.mark.parametrize("error", [NO_LEADER, STOPPED, TOO_MANY_REQUESTS])
def test_what_was_not_applied_is_sent_again(node, error):
    node.behave = fail_first(3, error)

    async def scenario(client):
        assert (await client.put("k", "v")).header.revision == 2

    run([node], scenario)
    assert node.requests("write") == [["put", b"k", b"v"]] * 4


def test_an_unknown_write_without_a_number_is_never_sent_again_but_a_read_is(node):
    node.behave = fail_first(1, LEADER_CHANGED)

    async def scenario(client):
        with pytest.raises(errors.LeaderChangedError):
            await client.put("k", "v")
        node.behave = fail_first(2, LEADER_CHANGED)
        assert (await client.get("k")).count == 0

    run([node], scenario, exactly_once=False)
    assert node.openings == 0
    assert node.sizes("write") == [1]
    assert node.sizes("read") == [1, 1, 1]


def test_deadlines_tell_what_is_known(node):
    async def scenario(client):
        await client.put("k", "v")
        node.behave = fail_first(10**9, NO_LEADER)
        # Or unknown: when the last attempt was under way at the deadline.
        with pytest.raises((errors.NoLeaderError, errors.RequestTimeoutError)):
            await client.put("k", "v", timeout_s=1.0)
        node.behave = silent
        with pytest.raises(errors.RequestTimeoutError, match="may or may not"):
            await client.put("k", "v", timeout_s=0.1)
        with pytest.raises(errors.ReadTimeoutError):
            await client.get("k", timeout_s=0.1)
        node.behave = lambda header, requests: None
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)
    assert [header[3] for header, _ in node.messages][-1] == pytest.approx(LONG_S * 500, rel=0.05)


def test_a_call_without_any_time_is_not_sent(node):
    async def scenario(client):
        await client.put("k", "v")
        with pytest.raises(errors.UnreachableError):
            await client.put("k", "w", timeout_s=0)
        with pytest.raises(errors.UnreachableError):
            await client.get("k", timeout_s=0)
        assert (await client.get("k")).kvs[0].value == b"v"

    run([node], scenario)
    assert len(node.requests("write")) == 1
    assert len(node.requests("read")) == 1


def test_a_write_that_was_refused_and_then_sent_again_is_unknown_at_its_deadline(node):
    async def scenario(client):
        await client.put("k", "v")
        answers = [NO_LEADER]
        node.behave = lambda header, requests: [answers.pop()] if answers else SILENCE
        with pytest.raises(errors.RequestTimeoutError):
            await client.put("k", "v", timeout_s=0.5)

    run([node], scenario)
    assert len(node.requests("write")) == 1 + 2


def test_without_a_node_nothing_was_applied():
    async def main():
        async with AsyncClient(["127.0.0.1:1"], timeout_s=0.1) as client:
            for call in (client.put("k", "v"), client.get("k"), client.status("127.0.0.1:1")):
                with pytest.raises(errors.UnreachableError, match=r"tcp://127.0.0.1:1"):
                    await call

    asyncio.run(main())


@pytest.mark.parametrize(
    "reply",
    [
        lambda header: [b""],
        lambda header: [b"", b"", b""],
        lambda header: [b"\xc1", b"\xc1"],
        lambda header: [msgpack.packb(7), msgpack.packb([])],
        lambda header: [msgpack.packb([2, header[1], 77, 1, 1, 1]), msgpack.packb([[0, 1]])],
        lambda header: [msgpack.packb([1, header[1], 1, 1]), msgpack.packb([[0, 1]])],
        lambda header: [msgpack.packb([1, header[1], 1, 1, "x", 1]), msgpack.packb([[0, 1]])],
        lambda header: [msgpack.packb([1, [], 77, 1, 1, 1]), msgpack.packb([[0, 1]])],
        lambda header: [msgpack.packb([1, {}, 77, 1, 1, 1]), msgpack.packb([[0, 1]])],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), b"\x91"],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), b"\xdd\xff\xff\xff\xff"],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), msgpack.packb([])],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), msgpack.packb([[0, 1]] * 2)],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), msgpack.packb([5])],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), msgpack.packb([[7]])],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), msgpack.packb([[0]])],
        lambda header: [msgpack.packb([1, header[1], 77, 1, 1, 1]), msgpack.packb([[0, 1, 7]])],
    ],
)
def test_malformed_replies_fail_the_write_and_nothing_else(node, reply):
    node.raw_reply = reply

    async def scenario(client):
        with pytest.raises(errors.MalformedReplyError):
            await client.put("k", "v")
        node.raw_reply = None
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S, exactly_once=False)


@pytest.mark.parametrize(
    "result", [[0], [0, 1, 1, False], [0, 1, 1, False, [[b"k", 1, 1, 1, 0]]], [0, 1, 1, False, 7]]
)
def test_a_malformed_result_of_a_read(node, result):
    node.behave = lambda header, requests: [result] * len(requests)

    async def scenario(client):
        with pytest.raises(errors.MalformedReplyError):
            await client.get("k")

    run([node], scenario, timeout_s=LONG_S)


def test_a_reply_to_nothing_is_passed_over(node):
    async def scenario(client):
        await client.put("k", "v")
        reply = [msgpack.packb([1, 999, 77, 1, 1, 1]), msgpack.packb([[0, 1]])]
        node.raw_reply = lambda header: reply
        with pytest.raises(errors.RequestTimeoutError):
            await client.put("k", "v", timeout_s=0.1)
        node.raw_reply = None
        await client.put("k", "v")

    run([node], scenario, timeout_s=LONG_S)


def test_a_cancelled_call_disturbs_nobody(node):
    node.behave = silent

    async def scenario(client):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.put("k", "v"), 0.05)
        node.behave = lambda header, requests: None
        cancelled = asyncio.ensure_future(client.put("never", "sent"))
        kept = asyncio.ensure_future(client.put("k", "v"))
        await asyncio.sleep(0)
        cancelled.cancel()
        assert (await kept).header.revision == 2

    run([node], scenario)


def test_what_cannot_travel_fails_alone(node):
    async def scenario(client):
        good, bad, also_good = await asyncio.gather(
            client.put("a", ""),
            client.put("b", "", lease=2**70),
            client.put("c", ""),
            return_exceptions=True,
        )
        assert isinstance(bad, TypeError)
        assert "integers of at most 64 bits" in str(bad)
        assert (good.header.revision, also_good.header.revision) == (2, 3)
        with pytest.raises(TypeError):
            await client.txn([], [("put", object(), b"")])

    run([node], scenario, timeout_s=LONG_S)


@pytest.mark.parametrize("text", [None, 7, bytearray(b"k"), memoryview(b"k"), ["k"]])
def test_keys_and_values_that_are_none(node, text):
    async def scenario(client):
        for call in (client.get, client.delete, lambda text: client.put("k", text), ops.version):
            with pytest.raises(TypeError, match="keys and values are bytes or str, not "):
                await call(text)

    run([node], scenario)
    assert node.messages == []


def test_a_flag_is_true_or_false(node):
    assert ops.put("k", "v", prev_kv=2) == ("put", b"k", b"v", 0, 1)
    assert ops.delete("k", prev_kv=[]) == ("delete", b"k", b"", 0)


def test_another_loop_is_refused_and_nothing_is_sent(node):
    async def main(client):
        await client.put("k", "v")

    client = AsyncClient([node.endpoint])
    with asyncio.Runner() as first, asyncio.Runner() as second:
        first.run(main(client))
        for call in (client.put, lambda key, _: client.aclose(), watch(client)):
            with pytest.raises(RuntimeError, match="another event loop"):
                second.run(call("other", "loop"))
        first.run(main(client))
        first.run(client.aclose())
        with pytest.raises(errors.ClientClosedError):
            second.run(main(client))
    assert node.requests("write") == [["put", b"k", b"v"]] * 2


def watch(client):
    async def first(key, _):
        await anext(client.watch(key))

    return first


@pytest.mark.parametrize("timeout_s", [-1, float("nan"), float("inf")])
def test_timeouts_that_are_none(timeout_s):
    async def main():
        with pytest.raises(ValueError, match="timeout_s"):
            AsyncClient(["127.0.0.1:1"], timeout_s=timeout_s)
        async with AsyncClient(["127.0.0.1:1"]) as client:
            with pytest.raises(ValueError, match="timeout_s"):
                await client.put("k", "v", timeout_s=timeout_s)

    asyncio.run(main())


def test_calls_that_ran_out_of_time_are_not_kept():
    async def main():
        async with AsyncClient(["127.0.0.1:1"]) as client:
            calls = [client.put("k", "v" * 100, timeout_s=0.01) for _ in range(100)]
            ended = await asyncio.gather(*calls, return_exceptions=True)
            assert all(isinstance(each, errors.UnreachableError) for each in ended)
            lane = client._dispatcher.lanes["write"]
            assert (len(lane.queue), lane.size) == (0, 0)

    asyncio.run(main())


def test_the_tree_of_errors_has_two_branches():
    for name, cls in vars(errors).items():
        if isinstance(cls, type) and issubclass(cls, errors.SampanError):
            assert name in errors.__doc__
            branches = (errors.NotAppliedError, errors.UnknownOutcomeError)
            assert sum(issubclass(cls, each) for each in branches) <= 1
    assert issubclass(errors.CompactedError, NotAppliedError)
