"""The gateway as grpcio, C core's client, sees it."""

import grpc
import pytest


@pytest.fixture
def channel(port):
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel


def same(data):
    return data


def unary(channel, method, data=b"", **options):
    return channel.unary_unary(method, same, same)(data, timeout=180, **options)


def stream(channel, method, messages):
    return channel.stream_stream(method, same, same)(iter(messages), timeout=180)


def test_messages_of_any_size(channel):
    for size in (0, 1, 16_378, 16_379, 16_380, 65_531, 1_500_000):
        message = bytes(i % 251 for i in range(size))
        assert unary(channel, "/test.Echo/Unary", message) == message
    assert len(unary(channel, "/test.Echo/Sized", b"4000000")) == 4_000_000


def test_an_answer_in_a_later_turn(channel):
    assert unary(channel, "/test.Echo/Later", b"x") == b"x"


def test_a_stream(channel):
    messages = [b"a", b"", b"b" * 1_000_000, b"c"]
    assert list(stream(channel, "/test.Echo/Stream", messages)) == messages


def test_gzip(channel):
    message = b"z" * 100_000
    gzip = grpc.Compression.Gzip
    assert unary(channel, "/test.Echo/Unary", message, compression=gzip) == message


def test_metadata(channel):
    metadata = [("token", "abc")]
    assert unary(channel, "/test.Echo/Metadata", b"token", metadata=metadata) == b"abc"


@pytest.mark.parametrize(
    ("method", "data", "code", "text"),
    [
        ("/test.Echo/Fail", "schön: 100 %\n".encode(), 9, "schön: 100 %\n"),
        ("/no.Service/Unary", b"", 12, "unknown service no.Service"),
        ("/test.Echo/No", b"", 12, "unknown method No for service test.Echo"),
        ("/nothing", b"", 8, 'malformed method name: "/nothing"'),
        (
            "/test.Echo/Unary",
            bytes(2_097_153),
            8,
            "grpc: received message larger than max (2097153 vs. 2097152)",
        ),
    ],
)
def test_errors(channel, method, data, code, text):
    with pytest.raises(grpc.RpcError) as caught:
        unary(channel, method, data)
    assert (caught.value.code().value[0], caught.value.details()) == (code, text)


def test_the_connection_survives_an_error(channel):
    with pytest.raises(grpc.RpcError):
        unary(channel, "/test.Echo/Unary", bytes(2_097_153))
    assert unary(channel, "/test.Echo/Unary", b"x") == b"x"


def test_the_deadline_is_kept(channel):
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/test.Echo/Never", same, same)(b"", timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
