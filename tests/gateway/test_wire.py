"""A gateway's port, as clients see it that do what well-behaved ones do not. What etcd 3.5 answers
was tried with the same frames."""

import gzip
import struct

import pytest
from sampan.config import limits
from sampan.gateway.wire.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    LONG,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Fault,
    frame,
)

from .raw import HELLO, Client, message, settings

MOST = limits.GRPC_MESSAGE_BYTES_MAX


@pytest.fixture
def client(port):
    with Client(port) as client:
        yield client


def body(data, ended=True, stream_id=1):
    return frame(DATA, END_STREAM if ended else 0, stream_id, data)


# -- answers


def test_an_answer(client):
    client.send(client.request(1, b"hello"))
    heads, data = client.answer(1)
    assert heads == [
        {":status": "200", "content-type": "application/grpc"},
        {"grpc-status": "0"},
    ]
    assert data == message(b"hello")


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        ("application/grpc+proto", "application/grpc+proto"),
        ("application/grpc+json", "application/grpc+json"),
        ("application/grpc;x=y", "application/grpc+x=y"),
    ],
)
def test_the_content_type_is_echoed(client, sent, answered):
    client.send(client.request(1, content_type=sent))
    assert client.answer(1)[0][0]["content-type"] == answered


def test_the_second_message_of_a_unary_call_is_ignored(client):
    client.send(client.head(1) + body(message(b"one") + message(b"two")))
    assert client.answer(1)[1] == message(b"one")
    client.send(client.head(3) + body(message(b"one"), ended=False, stream_id=3))
    assert client.answer(3)[1] == message(b"one")
    assert client.next(RST_STREAM)[2:] == (3, LONG.pack(Fault.NO_ERROR))
    client.send(body(message(b"two"), stream_id=3) + client.request(5, b"x"))
    assert client.answer(5)[1] == message(b"x")


def test_messages_cut_into_frames(client):
    data = message(b"a" * 10) + message(b"") + message(b"b")
    client.send(client.head(1, path="/test.Echo/Stream"))
    for i in range(len(data)):
        client.send(body(data[i : i + 1], ended=False))
    client.send(body(b""))
    assert client.answer(1)[1] == data


def test_padding_and_continuation(client):
    block = client.encoder.encode([(":method", "POST"), (":scheme", "http")])
    more = client.encoder.encode(
        [(":path", "/test.Echo/Unary"), ("content-type", "application/grpc")]
    )
    client.send(
        frame(HEADERS, 0x8, 1, b"\x04" + block + bytes(4))
        + frame(CONTINUATION, END_HEADERS, 1, more)
        + frame(DATA, 0x8 | END_STREAM, 1, b"\x02" + message(b"hello") + bytes(2))
    )
    assert client.answer(1)[1] == message(b"hello")


def test_a_compressed_request(client):
    client.send(client.head(1, grpc_encoding="gzip") + body(message(gzip.compress(b"hello"), 1)))
    assert client.answer(1)[1] == message(b"hello")


# -- errors


@pytest.mark.parametrize(
    ("options", "data", "code", "text"),
    [
        ({}, b"", 2, "EOF"),
        ({}, message(b"hello")[:-1], 2, "unexpected EOF"),
        ({}, b"\0\0", 2, "unexpected EOF"),
        ({"path": "/test.Echo/Stream"}, b"\0\0", 13, "unexpected EOF"),
        ({}, message(b"", 2), 13, "grpc: received unexpected payload format 2"),
        (
            {},
            message(b"hello", 1),
            13,
            "grpc: compressed flag set with identity or empty encoding",
        ),
        (
            {"grpc_encoding": "foo"},
            message(b""),
            12,
            'grpc: Decompressor is not installed for grpc-encoding "foo"',
        ),
        (
            {},
            struct.pack(">BL", 0, MOST + 1),
            8,
            f"grpc: received message larger than max ({MOST + 1} vs. {MOST})",
        ),
        (
            {"grpc_encoding": "gzip"},
            message(gzip.compress(bytes(MOST + 1)), 1),
            8,
            f"grpc: received message larger than max ({MOST + 1} vs. {MOST})",
        ),
        ({"path": "/no"}, message(b""), 8, 'malformed method name: "/no"'),
        ({"path": "/a/b/c"}, message(b""), 12, "unknown service a/b"),
    ],
)
def test_an_error_is_one_frame(client, options, data, code, text):
    client.send(client.head(1, **options) + body(data) + client.request(3, b"x"))
    heads, data = client.answer(1)
    (head,) = heads
    assert not data
    assert head[":status"] == "200"
    assert head["content-type"] == "application/grpc"
    assert (head["grpc-status"], head["grpc-message"]) == (str(code), text)
    assert client.answer(3)[1] == message(b"x"), "the connection goes on"


def test_damaged_gzip(client):
    client.send(client.head(1, grpc_encoding="gzip") + body(message(b"hello", 1)))
    (head,), _ = client.answer(1)
    assert head["grpc-status"] == "13"
    assert head["grpc-message"].startswith("grpc: failed to decompress the received message")


@pytest.mark.parametrize(
    "options",
    [
        {"content_type": "application/json"},
        {"content_type": "application/grpc-web"},
        {"method": "GET"},
        {"grpc_timeout": "5x"},
        {"grpc_timeout": "123456789S"},
    ],
)
def test_what_is_no_grpc_is_reset(client, options):
    client.send(client.request(1, **options))
    assert client.next(RST_STREAM).code == Fault.PROTOCOL_ERROR


def test_a_fault_of_ours_ends_one_call(client):
    client.send(client.request(1, b"no number", path="/test.Echo/Sized"))
    assert client.next(RST_STREAM).code == Fault.INTERNAL_ERROR
    client.send(client.request(3, b"x"))
    assert client.answer(3)[1] == message(b"x")


def test_a_deadline(client):
    client.send(client.request(1, path="/test.Echo/Never", grpc_timeout="20m"))
    client.send(client.request(3, path="/test.Echo/Never", grpc_timeout="10m"))
    client.send(client.head(5, path="/test.Echo/Silent", grpc_timeout="15000u"))
    ended = set()
    for _ in range(3):
        got = client.next(HEADERS)
        head = dict(client.decoder.decode(got.payload))
        ended.add((got.stream_id, head["grpc-status"], head["grpc-message"]))
    assert ended == {(stream_id, "4", "context deadline exceeded") for stream_id in (1, 3, 5)}


def test_a_deadline_after_everybodys_time(client):
    client.send(client.request(1, b"x", grpc_timeout="99999999H"))
    client.send(client.request(3, b"y", grpc_timeout="60S"))
    assert client.answer(3)[1] == message(b"y")


# -- those who do not read


def test_an_answer_waits_for_the_window(port):
    with Client(port, HELLO + settings(_4=0)) as client:
        client.send(client.request(1, b"50000", path="/test.Echo/Sized"))
        assert client.next(HEADERS).flags == END_HEADERS
        client.send(frame(PING, 0, 0, bytes(8)))
        assert client.next(PING, DATA).kind == PING
        client.widen(60_000, 1)
        assert client.answer(1)[1] == message(bytes(50_000))


def test_a_stream_whose_answers_nobody_takes_is_not_read(port):
    """An echo of what is sent for ever stops at the windows."""
    with Client(port, HELLO + settings(_4=0)) as client:
        client.send(client.head(1, path="/test.Echo/Stream"))
        window, piece = limits.HTTP_WINDOW_BYTES, message(bytes(16_000))
        client.next(SETTINGS)
        for _ in range(window // len(piece)):
            client.send(body(piece, ended=False))
        client.send(frame(PING, 0, 0, bytes(8)))
        got = client.next(PING, WINDOW_UPDATE)
        while got.kind == WINDOW_UPDATE:
            assert got.stream_id == 0
            got = client.next(PING, WINDOW_UPDATE)


def test_too_many_pings_end_the_connection(client):
    client.send(frame(PING, 0, 0, bytes(8)) * 6)
    away = client.next(GOAWAY)
    assert away.code == Fault.ENHANCE_YOUR_CALM
    assert away.payload[8:] == b"too_many_pings"
    assert not [got for got in client.frames() if got.kind != PING], "it ends"


def test_a_reset_call_is_cancelled_and_others_go_on(client):
    client.send(client.head(1, path="/test.Echo/Stream") + body(message(b"a"), ended=False))
    client.next(DATA)
    client.send(frame(RST_STREAM, 0, 1, LONG.pack(8)) + body(message(b"b"), ended=False))
    client.send(client.request(3, b"x"))
    assert client.answer(3)[1] == message(b"x")
