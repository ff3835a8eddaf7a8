"""Clients that say nothing: asked whether they live, and given up."""

import asyncio
from contextlib import suppress

import pytest
from sampan.config import limits
from sampan.gateway.wire.frames import ACK, DATA, GOAWAY, HEADERS, PING, frame
from sampan.gateway.wire.server import Gateway

from .echo_server import METHODS, app
from .raw import HELLO, Wire, split

SOON_S, NEVER_S = 0.05, 3600.0


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """What each test does not wait for never comes."""
    for name in ("HTTP_HELLO_S", "HTTP_PING_S", "HTTP_PING_TIMEOUT_S", "HTTP_IDLE_S"):
        monkeypatch.setattr(limits, name, NEVER_S)
    return lambda *names: [monkeypatch.setattr(limits, name, SOON_S) for name in names]


def talk(client, log):
    """Run `client(reader, writer)` against a gateway."""

    async def run():
        gateway = Gateway(METHODS, app, log)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", await gateway.listen("127.0.0.1", 0)
        )
        async with asyncio.timeout(60):
            result = await client(reader, writer)
        await hang_up(writer)
        await gateway.aclose()
        return result

    return asyncio.run(run())


async def hang_up(writer):
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


async def until(reader, kind):
    """The next frame of a kind, or None at the end."""
    rest = b""
    while data := await reader.read(65536):
        found, rest = split(rest + data)
        for got in found:
            if got.kind == kind:
                return got
    return None


@pytest.mark.parametrize("said", [b"", b"PRI * HT", b"GET / HTTP/1.1\r\nho", HELLO[:20]])
def test_who_does_not_say_what_he_wants_is_given_up(patience, log, said):
    patience("HTTP_HELLO_S")

    async def client(reader, writer):
        writer.write(said)
        return await reader.read()

    assert talk(client, log) == b""


def test_a_request_has_to_arrive(patience, log):
    patience("HTTP_HELLO_S")

    async def client(reader, writer):
        writer.write(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n123")
        return await reader.read()

    assert talk(client, log) == b""


def test_an_answer_may_take_its_time(patience, log):
    """Watches over HTTP/1.1 are silent for hours."""
    patience("HTTP_HELLO_S", "HTTP_IDLE_S", "HTTP_PING_S", "HTTP_PING_TIMEOUT_S")

    async def client(reader, writer):
        writer.write(b"GET /never HTTP/1.1\r\nhost: x\r\n\r\n")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(), 10 * SOON_S)
        return "still there"

    assert talk(client, log) == "still there"


def test_an_idle_http_1_connection_is_closed(patience, log):
    patience("HTTP_IDLE_S")

    async def client(reader, writer):
        writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
        return await reader.read()

    assert talk(client, log).startswith(b"HTTP/1.1 200")


def test_a_client_that_died_is_noticed(patience, log):
    patience("HTTP_PING_S", "HTTP_PING_TIMEOUT_S")

    async def client(reader, writer):
        writer.write(HELLO + Wire().head(1, path="/test.Echo/Silent"))
        asked = await until(reader, PING)
        return asked, await until(reader, GOAWAY)

    asked, left = talk(client, log)
    assert asked is not None
    assert left is None


def test_a_client_that_lives_is_left_alone(patience, log, monkeypatch):
    patience("HTTP_PING_S")
    monkeypatch.setattr(limits, "HTTP_PING_TIMEOUT_S", 3.0)  # nobody is to miss it by chance

    async def client(reader, writer):
        wire = Wire()
        writer.write(HELLO + wire.head(1, path="/test.Echo/Silent"))
        for _ in range(2):
            asked = await until(reader, PING)
            writer.write(frame(PING, ACK, 0, asked.payload))
        writer.write(wire.request(3, b"x"))
        return await until(reader, DATA)

    assert talk(client, log).payload.endswith(b"x")


def test_a_gateway_that_stops_says_good_bye(log):
    async def run():
        gateway = Gateway(METHODS, app, log)
        port = await gateway.listen("127.0.0.1", 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HELLO + Wire().request(1, b"x"))
        await until(reader, HEADERS)
        stopping = asyncio.ensure_future(gateway.aclose())
        away = await until(reader, GOAWAY)
        await hang_up(writer)
        await stopping
        return away

    assert asyncio.run(asyncio.wait_for(run(), 60)).code == 0
