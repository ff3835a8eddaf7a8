"""Bytes from outside become plain values or a CodecError; nothing else escapes or explodes."""

import contextlib
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampan.config import limits
from sampan.transport.codec import CodecError, pack, unpack, unpack_header, unpack_requests

LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.binary(max_size=40)
    | st.text(max_size=20)
)  # fmt: skip
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_round_trip(value):
    assert unpack(pack(value)) == value


@given(st.binary(max_size=200))
@settings(max_examples=1000, deadline=None)
def test_only_the_typed_error_escapes(data):
    with contextlib.suppress(CodecError):
        unpack(data)


@given(VALUES, st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=500, deadline=None)
def test_damaged_messages(value, at, byte):
    data = bytearray(pack(value))
    data[at % len(data)] = byte
    for damaged in (bytes(data), bytes(data[:-1]), bytes(data) + b"\0"):
        with contextlib.suppress(CodecError):
            unpack(damaged)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # an array of four thousand million
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\x91" * 100_000 + b"\x90",
        b"\xd4\x05\x00",  # ext
        b"\xd6\xff\x00\x00\x00\x00",  # timestamp
        b"\xc7\x00\xff",
        b"\x81\x01\x02",  # an integer as a key
        b"\xa1\xff",  # not UTF-8
        b"\x90\x90",  # something after the value
        b"\x92\x01",  # cut
    ],
)
def test_what_is_refused(data):
    with pytest.raises(CodecError):
        unpack(data)


def test_arrays_have_a_bound():
    assert len(unpack(pack([0] * limits.BODY_REQUESTS_MAX))) == limits.BODY_REQUESTS_MAX
    with pytest.raises(CodecError):
        unpack(pack([0] * (limits.BODY_REQUESTS_MAX + 1)))


def test_a_bomb_costs_little_memory():
    """Two MiB of the values that cost most to hold."""
    bombs = [
        pack([[]] * limits.BODY_REQUESTS_MAX),
        b"\xdc\x27\x10" + (b"\xdc\x00\xc8" + b"\x90" * 200) * 10_000,
        b"\xdc\x03\xe8" + (b"\xde\x00\xc8" + b"".join(b"\xa2%02x\x80" % n for n in range(200))) * 2,
    ]
    tracemalloc.start()
    try:
        for bomb in bombs:
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            with contextlib.suppress(CodecError):
                unpack(bomb)
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak < 16 * max(len(bomb), limits.MIB), (len(bomb), peak)
    finally:
        tracemalloc.stop()


def peak_bytes(decode, data):
    """The most memory that decoding took; it fails."""
    tracemalloc.start()
    try:
        with pytest.raises(CodecError):
            decode(data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("head", [b"\xdc\x27\x10", b"\xdc\x01\x2c", b"\xdd\x00\x00\x27\x10"])
@pytest.mark.parametrize("first", [b"", b"\x01"])
def test_heads_of_arrays_that_never_come_take_no_memory(head, first):
    """Three kilobytes of what announces 10,000 elements a thousand times."""
    bomb = (head + first) * (3_000 // len(head + first))
    assert peak_bytes(unpack_requests, bomb) < 4 * limits.MIB
    assert peak_bytes(unpack_requests, pack([0] * 9_999)[:-1] + bomb) < 4 * limits.MIB
    assert peak_bytes(unpack_header, bomb) < 100_000
    assert peak_bytes(unpack_header, bomb[:200]) < 100_000


REQUESTS = [
    ("put", b"k", b"\xdc\xdd" * 20),
    ("txn", (), tuple(("put", b"%d" % n, b"v") for n in range(200)), ()),
]


@pytest.mark.parametrize("copies", [1, 7, 40, 5_000])
def test_requests_are_the_same_however_they_are_decoded(copies):
    requests = (REQUESTS * copies)[: limits.BODY_REQUESTS_MAX]
    assert list(unpack_requests(pack(requests))) == requests == list(unpack(pack(requests)))
    plain = [("put", b"k", b"v")] * copies
    assert list(unpack_requests(pack(plain))) == plain


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b + b"\x01", lambda b: b"\x81" + b[1:], lambda b: b"\x92" + b[1:],
     lambda b: b"\xdd\xff\xff\xff\xff" + b[1:], lambda b: b"\xdc\x00\x00" + b[1:]],
)  # fmt: skip
def test_requests_that_are_not_an_array_of_as_many(damage):
    body = pack([REQUESTS[0]])
    with pytest.raises(CodecError):
        unpack_requests(damage(body))


def test_an_array_in_a_request_has_a_bound():
    requests = [
        REQUESTS[0],
        ("txn", (), tuple([("put", b"k", b"v")] * (limits.REQUEST_ARRAY_MAX + 1))),
    ]
    with pytest.raises(CodecError, match="max_array_len"):
        unpack_requests(pack(requests))


@pytest.mark.parametrize("value", [object(), {1, 2}, 1j, 2**64])
def test_what_cannot_travel_is_not_packed(value):
    with pytest.raises((TypeError, OverflowError, ValueError)):
        pack(value)
