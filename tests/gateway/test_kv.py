"""etcd's KV service before a real node: what its clients see, and where a good guess is wrong."""

import pytest
from sampan.gateway import messages as pb

from .calls import Failed


def put(kv, key, value, **options):
    return kv("Put", pb.PutRequest(key=kv.prefix + key, value=value, **options), pb.PutResponse)


def get(kv, key, **options):
    return kv("Range", pb.RangeRequest(key=kv.prefix + key, **options), pb.RangeResponse)


def test_put_and_range(kv):
    first = put(kv, b"a", b"1")
    second = put(kv, b"a", b"2", prev_kv=True)
    assert second.header.revision == first.header.revision + 1
    assert second.prev_kv.value == b"1"
    found = get(kv, b"a")
    assert (found.count, found.more) == (1, False)
    (pair,) = found.kvs
    assert (pair.key, pair.value, pair.version) == (kv.prefix + b"a", b"2", 2)
    assert (pair.create_revision, pair.mod_revision) == (
        first.header.revision, second.header.revision
    )  # fmt: skip
    assert found.header.cluster_id == first.header.cluster_id != 0
    assert (found.header.member_id, found.header.raft_term > 0) == (1, True)


def test_range_options(kv):
    for number in range(5):
        last = put(kv, b"%d" % number, b"v" * (5 - number))
    end = kv.prefix + b"\xff"
    limited = get(kv, b"", range_end=end, limit=2)
    assert (len(limited.kvs), limited.more, limited.count) == (2, True, 5)
    down = get(kv, b"", range_end=end, sort_order=2, sort_target=4)
    assert [pair.value for pair in down.kvs] == [b"v" * n for n in (5, 4, 3, 2, 1)]
    names = get(kv, b"", range_end=end, keys_only=True, serializable=True)
    assert {pair.value for pair in names.kvs} == {b""}
    counted = get(kv, b"", range_end=end, count_only=True)
    assert (counted.count, len(counted.kvs)) == (5, 0)
    newest = get(kv, b"", range_end=end, min_mod_revision=last.header.revision)
    assert (len(newest.kvs), newest.count) == (1, 5)


def test_a_large_range(kv):
    """Larger than what our own client decodes at once."""
    for number in range(80):
        put(kv, b"%02d" % number, b"v" * 1_000)
    found = get(kv, b"", range_end=kv.prefix + b"\xff")
    assert [pair.key for pair in found.kvs] == [kv.prefix + b"%02d" % n for n in range(80)]
    assert all(pair.value == b"v" * 1_000 for pair in found.kvs)


def test_negative_numbers_and_unknown_orders_are_none(kv):
    put(kv, b"a", b"1")
    request = pb.RangeRequest(key=kv.prefix, range_end=kv.prefix + b"\xff", revision=-7, limit=-1)
    request.sort_order = 9
    assert kv("Range", request, pb.RangeResponse).kvs[0].value == b"1"


def test_refusals_have_etcds_codes_and_texts(kv):
    refused = [
        (pb.PutRequest(value=b"v"), 3, "etcdserver: key is not provided"),
        (
            pb.PutRequest(key=kv.prefix + b"no", ignore_value=True),
            3, "etcdserver: key not found",
        ),
        (
            pb.PutRequest(key=b"k", value=b"v", ignore_value=True),
            3, "etcdserver: value is provided",
        ),
        (pb.PutRequest(key=b"k", lease=77), 5, "etcdserver: requested lease not found"),
        (pb.PutRequest(key=b"k", value=b"v" * 1_600_000), 3, "etcdserver: request is too large"),
    ]  # fmt: skip
    for request, code, text in refused:
        with pytest.raises(Failed) as raised:
            kv("Put", request, pb.PutResponse)
        assert raised.value.args == (code, text)
    with pytest.raises(Failed) as raised:
        get(kv, b"a", revision=1_000_000)
    assert raised.value.args == (
        11, "etcdserver: mvcc: required revision is a future revision"
    )  # fmt: skip


def test_what_does_not_parse(kv):
    async def garbage():
        from .calls import FakeCall

        call = FakeCall()
        kv.services.methods["/etcdserverpb.KV/Put"].handler(call, b"\xff\xff\xff")
        return await call.status

    code, text = kv.services.run(garbage())
    assert code == 13
    assert text.startswith("grpc: error unmarshalling request")


def test_delete(kv):
    put(kv, b"a", b"1")
    put(kv, b"b", b"2")
    request = pb.DeleteRangeRequest(key=kv.prefix, range_end=kv.prefix + b"\xff", prev_kv=True)
    gone = kv("DeleteRange", request, pb.DeleteRangeResponse)
    assert (gone.deleted, [pair.value for pair in gone.prev_kvs]) == (2, [b"1", b"2"])
    again = kv("DeleteRange", request, pb.DeleteRangeResponse)
    assert (again.deleted, again.header.revision) == (0, gone.header.revision)


def txn(kv, compares=(), success=(), failure=()):
    request = pb.TxnRequest()
    request.compare.extend(compares)
    request.success.extend(success)
    request.failure.extend(failure)
    return kv("Txn", request, pb.TxnResponse)


def test_txn_and_its_headers(kv):
    put(kv, b"a", b"1")
    key = kv.prefix + b"a"
    inner = pb.TxnRequest(success=[pb.RequestOp(request_range=pb.RangeRequest(key=key))])
    done = txn(
        kv,
        [pb.Compare(target=3, key=key, value=b"1"), pb.Compare(target=0, result=1, key=key)],
        [
            pb.RequestOp(request_put=pb.PutRequest(key=key, value=b"2", prev_kv=True)),
            pb.RequestOp(request_txn=inner),
            pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=kv.prefix + b"x")),
        ],
    )
    assert done.succeeded
    put_done, nested, deleted = done.responses
    assert put_done.response_put.prev_kv.value == b"1"
    assert put_done.response_put.header.cluster_id == 0
    assert put_done.response_put.header.revision == done.header.revision
    assert nested.response_txn.HasField("header")
    assert nested.response_txn.header.revision == 0
    assert nested.response_txn.responses[0].response_range.kvs[0].value == b"2"
    assert deleted.response_delete_range.deleted == 0


def test_a_compare_takes_the_field_of_its_target(kv):
    put(kv, b"a", b"1")
    key = kv.prefix + b"a"
    held = [
        pb.Compare(target=0, result=0, key=key, version=1),
        pb.Compare(target=0, result=1, key=key, create_revision=55),  # not its field: zero
        pb.Compare(target=2, result=1, key=key, mod_revision=-3),  # nothing is below zero
        pb.Compare(target=1, result=3, key=key, create_revision=-3),
        pb.Compare(target=4, result=0, key=key, lease=0),
    ]
    assert txn(kv, held).succeeded
    for each in (
        pb.Compare(target=2, result=0, key=key, mod_revision=-3),
        pb.Compare(target=2, result=2, key=key, mod_revision=-3),
        pb.Compare(target=3, result=3, key=kv.prefix + b"missing", value=b"x"),
    ):
        assert not txn(kv, [each]).succeeded


def test_txn_refusals(kv):
    same = pb.RequestOp(request_put=pb.PutRequest(key=kv.prefix + b"a", value=b"1"))
    for operations, text in (
        ([pb.RequestOp()], "etcdserver: key not found"),
        ([same, same], "etcdserver: duplicate key given in txn request"),
        ([same] * 129, "etcdserver: too many operations in txn request"),
    ):
        with pytest.raises(Failed) as raised:
            txn(kv, success=operations)
        assert raised.value.args == (3, text)


@pytest.mark.parametrize("physical", [False, True])
def test_compact(kv, physical):
    put(kv, b"a", b"1")
    revision = put(kv, b"a", b"2").header.revision
    request = pb.CompactionRequest(revision=revision, physical=physical)
    done = kv("Compact", request, pb.CompactionResponse)
    assert done.header.revision >= revision
    for again in (revision, 0, -5):
        with pytest.raises(Failed) as raised:
            kv("Compact", pb.CompactionRequest(revision=again), pb.CompactionResponse)
        assert raised.value.args == (
            11, "etcdserver: mvcc: required revision has been compacted"
        )  # fmt: skip
