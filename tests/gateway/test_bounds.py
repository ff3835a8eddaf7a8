"""What one client can make the gateway hold, and whether others notice."""

import socket
import ssl
import subprocess
from contextlib import suppress

import pytest
from sampan.config import limits
from sampan.gateway.wire.frames import (
    DATA,
    END_STREAM,
    GOAWAY,
    HEADERS,
    RST_STREAM,
    SETTINGS,
    Fault,
    frame,
)

from .authority import Authority
from .conftest import echo_server
from .raw import HELLO, Client, message, settings

MIB = limits.MIB
HANDSHAKE = 22
"""TLS's type of record."""


@pytest.fixture
def server(loop):
    with echo_server(loop) as server:
        yield server


def memory(server):
    """Resident bytes."""
    ps = ["ps", "-o", "rss=", "-p", str(server.pid)]
    return int(subprocess.check_output(ps)) * limits.KIB


def others_are_served(server):
    with Client(server.port) as client:
        client.send(client.request(1, b"x"))
        assert client.answer(1)[1] == message(b"x")


def test_ten_thousand_streams_on_one_connection(server):
    count = 10_000
    with Client(server.port) as client:
        client.widen(MIB)
        before = memory(server)
        for i in range(count):
            head = client.head(2 * i + 1, path="/test.Echo/Stream")
            client.send(head + frame(DATA, 0, 2 * i + 1, message(b"a")))
        answered = {client.next(DATA).stream_id for _ in range(count)}
        assert len(answered) == count
        assert memory(server) - before < 64 * MIB
        others_are_served(server)
        for i in range(count):
            client.send(frame(DATA, END_STREAM, 2 * i + 1, message(b"b")))
        ended = 0
        while ended < count:
            ended += bool(client.next(HEADERS).flags & END_STREAM)


def test_a_flood_of_resets(server):
    before = memory(server)
    with Client(server.port) as client:
        try:
            for i in range(0, 100_000, 100):
                client.send(b"".join(map(client_reset(client), range(i, i + 100))))
        except OSError:
            pass  # the server has hung up
        assert GOAWAY in {got.kind for got in until_closed(client)}
    assert memory(server) - before < 64 * MIB
    others_are_served(server)


def client_reset(client):
    def reset(i):
        stream_id = 2 * i + 1
        return client.head(stream_id, path="/test.Echo/Never") + frame(
            RST_STREAM, 0, stream_id, bytes(4)
        )

    return reset


def until_closed(client):
    try:
        yield from client.frames()
    except ConnectionError:
        return


def test_a_client_that_asks_and_never_reads(server):
    """The gateway stops reading what it says, where the socket is full and the windows are not."""
    before = memory(server)
    with Client(server.port) as client:
        client.widen(2**30)
        client.socket.settimeout(2)
        assert sent_until_blocked(client, 100_000) < 100_000
        assert memory(server) - before < 16 * MIB
        others_are_served(server)


def sent_until_blocked(client, count):
    """Requests sent before nobody took any more."""
    for i in range(count):
        try:
            client.send(client.request(2 * i + 1, bytes(1_000)))
        except TimeoutError:
            return i
    return count


def test_answers_that_nobody_reads(server):
    """Beyond half of the bound on all, calls end with an error instead of an answer."""
    before = memory(server)
    with Client(server.port, HELLO + settings(_4=0)) as client:
        client.next(SETTINGS)
        calls = limits.HTTP_UNREAD_BYTES_MAX // (4 * MIB)
        for i in range(calls):
            client.send(client.request(2 * i + 1, b"%d" % (4 * MIB), path="/test.Echo/Sized"))
        refused = heads = 0
        while heads < calls:
            got = client.next(HEADERS)
            heads += 1
            if got.flags & END_STREAM:
                refused += 1
                head = dict(client.decoder.decode(got.payload))
                assert head["grpc-status"] == "8"
                assert head["grpc-message"] == "etcdserver: too many requests"
        assert refused == pytest.approx(calls / 2, abs=2)
        assert memory(server) - before < 1.2 * limits.HTTP_UNREAD_BYTES_MAX / 2
        others_are_served(server)


def test_json_answers_that_nobody_reads(loop, tmp_path):
    """The same of what is no gRPC, over TLS: streams end."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    tls.set_alpn_protocols(["h2"])
    asked = {"method": "GET", "path": f"/sized?{4 * MIB}", "content_type": "text/plain"}
    with echo_server(loop, *Authority(tmp_path).issue("server")) as server:
        before = memory(server)
        with Client(server.port, HELLO + settings(_4=0), tls) as client:
            client.next(SETTINGS)
            calls = limits.HTTP_UNREAD_BYTES_MAX // (4 * MIB)
            for i in range(calls):
                client.send(client.head(2 * i + 1, ended=True, **asked))
            refused = 0
            while refused < calls / 2 - 2:
                got = client.next(RST_STREAM)
                assert got.code == Fault.ENHANCE_YOUR_CALM
                refused += 1
            assert memory(server) - before < 1.2 * limits.HTTP_UNREAD_BYTES_MAX / 2


def test_requests_that_never_end(server):
    """Beyond the bound, calls with a part of a message end with an error."""
    before = memory(server)
    part = bytes(16_000)
    pieces = MIB // len(part)
    with Client(server.port) as client:
        calls = limits.HTTP_UNFINISHED_BYTES_MAX // MIB + 20
        for i in range(calls):
            client.send(
                client.head(2 * i + 1) + frame(DATA, 0, 2 * i + 1, message(bytes(2 * MIB))[:5])
            )
            for _ in range(pieces):
                client.send(frame(DATA, 0, 2 * i + 1, part))
        head = dict(client.decoder.decode(client.next(HEADERS).payload))
        assert head["grpc-status"] == "8"
        assert memory(server) - before < 1.2 * limits.HTTP_UNFINISHED_BYTES_MAX
        others_are_served(server)


def test_connections_that_say_nothing(server):
    before = memory(server)
    idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
    started = [Client(server.port) for _ in range(200)]
    others_are_served(server)
    assert memory(server) - before < 16 * MIB
    for sock in [*idle, *(client.socket for client in started)]:
        sock.close()


def test_an_http_1_client_that_asks_and_never_reads(server):
    """Its requests wait in its own socket once its answers do not leave."""
    before = memory(server)
    request = b"GET /%s HTTP/1.1\r\nhost: x\r\n\r\n" % (b"x" * 4_000)
    with socket.create_connection(("127.0.0.1", server.port), timeout=2) as client:
        with pytest.raises(TimeoutError):
            client.sendall(request * 25_000)
        assert memory(server) - before < 16 * MIB
        others_are_served(server)


def test_handshakes_that_never_end(loop, tmp_path):
    certificate = Authority(tmp_path).issue("server")
    with echo_server(loop, *certificate) as server:
        before = memory(server)
        half_open = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(500)]
        hello = client_hello()
        for sock in half_open:
            sock.sendall(hello)
            assert sock.recv(5)[0] == HANDSHAKE
        assert memory(server) - before < 64 * MIB
        for sock in half_open:
            sock.close()


def client_hello():
    """What a client says first."""
    told = ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), told, server_hostname="x")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return told.read()
