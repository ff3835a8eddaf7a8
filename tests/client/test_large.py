"""Large answers stay packed until somebody looks."""

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampan.client import _large, errors
from sampan.client._decode import range_response
from sampan.client._io import Unwatched
from sampan.client._large import LARGE_BYTES, unpack_results
from sampan.client._link import Call, Reply
from sampan.client.types import KeyValue, KeyValues
from sampan.transport import codec
from sampan.transport.codec import CodecError, PackedArray, pack, split_array

REPLY = Reply(1, 2, 3, 1)
RANGE, PUT, DELETE = ("range", b"a", b"b"), ("put", b"a", b"v"), ("delete", b"a", b"b")


def kvs_of(count, size=300):
    return tuple((b"%08d" % n, n, n + 1, 1, 0, bytes([n % 256]) * size) for n in range(count))


def calls_of(*requests):
    return [Call(Unwatched(), request, 0, 0.0) for request in requests]


def test_the_keys_of_a_large_range_are_those_that_travelled():
    kvs = kvs_of(5_000)
    body = pack([(0, 77, 5_000, True, kvs)])
    (result,) = unpack_results(bytearray(body), calls_of(RANGE))
    found = range_response((REPLY, result))
    assert (found.header.revision, found.count, found.more) == (77, 5_000, True)
    assert len(found.kvs) == 5_000
    assert [type(kv) for kv in found.kvs] == [KeyValue] * 5_000
    assert list(found.kvs) == list(kvs) == list(found.kvs)
    assert found.kvs[-1].key == b"00004999"
    assert list(found.kvs) == list(kvs)  # now that all are decoded
    assert found.kvs == KeyValues(kvs)
    assert pickle.loads(pickle.dumps(found.kvs)) == KeyValues(kvs)


def test_results_of_all_sizes_share_a_message():
    few, many = kvs_of(2), kvs_of(1_000)
    results = (
        (0, 5, 1_000, False, many), (0, 6), (0, 6, 2, False, few), (2, "no", "failed"),
        (0, 7, 1_000, many), (0, 8, 1_000, False, many),
    )  # fmt: skip
    calls = calls_of(RANGE, PUT, RANGE, RANGE, DELETE, RANGE)
    found = unpack_results(pack(results), calls)
    assert [type(each) for each in found] == [tuple] * 6
    assert found[1:5] == results[1:5]
    for index in (0, 5):
        assert isinstance(found[index][4], PackedArray)
        assert tuple(range_response((REPLY, found[index])).kvs) == many


def test_few_keys_are_decoded_however_large_they_are():
    kvs = kvs_of(3, 100_000)
    (result,) = unpack_results(pack([(0, 1, 3, False, kvs)]), calls_of(RANGE))
    assert result[4] == kvs


def test_many_small_answers_are_decoded_at_once(monkeypatch):
    monkeypatch.delattr(codec, "split_array")
    results = tuple((0, n, 1, False, kvs_of(1)) for n in range(500))
    body = pack(results)
    assert len(body) > LARGE_BYTES
    assert unpack_results(body, calls_of(*[RANGE] * 500)) == results


def test_a_large_range_among_many_small_ones_stays_packed():
    many, few = kvs_of(1_000), kvs_of(1)
    results = [(0, 5, 1, False, few)] * 50 + [(0, 5, 1_000, False, many)]
    found = unpack_results(pack(results), calls_of(*[RANGE] * 51))
    assert found[:50] == tuple(results[:50])
    assert isinstance(found[50][4], PackedArray)


def test_an_error_for_the_whole_message_is_told_apart():
    error = (14, "t" * LARGE_BYTES, "unknown")
    assert unpack_results(pack(error), calls_of(RANGE)) == error


def test_a_range_whose_last_element_is_no_array_is_decoded_whole():
    result = (0, 1, 2, False, b"x" * LARGE_BYTES)
    assert unpack_results(pack([result]), calls_of(RANGE)) == (result,)


@pytest.mark.parametrize("kv", [(b"k", 1, 1, 1, 0), 5, (b"k", 1, 1, 1, 0, b"v", 1), b"six___"])
def test_what_is_no_kv_is_told_when_it_is_looked_at(kv):
    kvs = (*kvs_of(500), kv)
    found = range_response(
        (REPLY, unpack_results(pack([(0, 1, 5, True, kvs)]), calls_of(RANGE))[0])
    )
    with pytest.raises(errors.MalformedReplyError):
        list(found.kvs)
    with pytest.raises(errors.MalformedReplyError):
        found.kvs[0]


@pytest.mark.parametrize("damage", [lambda body: body[:-1], lambda body: body + b"\x01"])
def test_kvs_that_are_cut_or_have_something_behind_are_refused(damage):
    body = damage(pack([(0, 1, 500, False, kvs_of(500))]))
    found = range_response((REPLY, unpack_results(body, calls_of(RANGE))[0]))
    with pytest.raises(errors.MalformedReplyError):
        list(found.kvs)


@given(st.lists(st.integers() | st.binary() | st.lists(st.binary(max_size=9), max_size=5)))
@settings(max_examples=300, deadline=None)
def test_arrays_are_split_into_their_elements(monkeypatched_pieces, values):
    values = [v % 2**63 if isinstance(v, int) else v for v in values]
    parts = split_array(memoryview(pack(values)))
    assert [bytes(part) for part in parts] == [pack(value) for value in values]


@pytest.fixture(scope="module", params=[1, 7, 1 << 16])
def monkeypatched_pieces(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codec, "_PIECE_BYTES", request.param)
        yield


@given(st.binary(max_size=60))
@settings(max_examples=500, deadline=None)
def test_whatever_comes_is_split_or_refused(monkeypatched_pieces, data):
    try:
        parts = split_array(memoryview(data))
    except CodecError:
        return
    assert sum(map(len, parts)) < max(1, len(data))


def test_a_large_answer_is_decoded_a_piece_at_a_time():
    (result,) = unpack_results(pack([(0, 1, 1_000, False, kvs_of(1_000))]), calls_of(RANGE))
    pieces = list(_large.PackedKvs(result[4]).pieces())
    assert len(pieces) > 3
    assert sum(map(len, pieces)) == 1_000
