"""What many clients leave unread, all together, and whether those that read notice."""

import asyncio
from contextlib import suppress

import pytest
from sampan.config import limits
from sampan.gateway.wire.frames import DATA, END_STREAM, HEADERS
from sampan.gateway.wire.server import Gateway
from sampan.gateway.wire.unread import LOOK_S, Unread

from .echo_server import METHODS, app
from .raw import HELLO, Wire, settings, split
from .test_silence import hang_up

ANSWER = 40_000
"""Fits into a connection's first window."""
STALLED = 6
ASKED = 4
BOUND = 8 * ANSWER
"""Of what STALLED clients ask for it is a third."""
PATIENCE_S = 0.5


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(limits, "HTTP_UNREAD_BYTES_MAX", BOUND)
    monkeypatch.setattr(limits, "HTTP_CROWDED_BYTES", BOUND // 2)
    monkeypatch.setattr(limits, "HTTP_CROWDED_S", PATIENCE_S)


def serve(log, play):
    """Run `play(connect, unread)` beside a gateway; `connect(said)` is a client's two sides."""

    async def run():
        gateway = Gateway(METHODS, app, log)
        port = await gateway.listen("127.0.0.1", 0)
        writers = []

        async def connect(said):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writers.append(writer)
            writer.write(said)
            return reader

        async with asyncio.timeout(60):
            await play(connect, gateway._shared.unread)
        for writer in writers:
            await hang_up(writer)
        await gateway.aclose()

    asyncio.run(run())


def ask(wire, count=1, first=1):
    ids = range(first, first + 2 * count, 2)
    return b"".join(wire.request(i, b"%d" % ANSWER, path="/test.Echo/Sized") for i in ids)


async def answer(reader):
    """How many bytes of data come before the end of an answer."""
    got, rest = 0, b""
    while data := await reader.read(65536):
        found, rest = split(rest + data)
        for each in found:
            got += len(each.payload) * (each.kind == DATA)
            if each.kind == HEADERS and each.flags & END_STREAM:
                return got
    raise EOFError


async def gone(reader):
    """Reads what there is until the server has hung up."""
    with suppress(ConnectionError):
        while await reader.read(65536):
            pass


def test_many_that_do_not_read_are_bounded_and_cut_and_others_served(log):
    async def play(connect, unread):
        stalled = [
            await connect(HELLO + settings(_4=0) + ask(Wire(), ASKED)) for _ in range(STALLED)
        ]
        waiting = [asyncio.ensure_future(gone(reader)) for reader in stalled]
        most = got = 0
        while not got:  # refused as long as there is no room
            reader = await connect(HELLO + ask(Wire()))
            unread._count()
            most = max(most, unread._counted)
            got = await answer(reader)
            await asyncio.sleep(0.02)
        assert got == ANSWER + 5
        assert most <= BOUND + ANSWER
        while unread._counted > limits.HTTP_CROWDED_BYTES:
            await asyncio.sleep(0.01)
        assert unread._counted > 0, "those that are not too much are left alone"
        for each in waiting:
            each.cancel()
        await asyncio.wait(waiting)

    serve(log, play)


def test_what_is_no_grpc_is_refused_likewise(log, monkeypatch):
    monkeypatch.setattr(limits, "HTTP_CROWDED_S", 3600.0)

    async def play(connect, unread):
        await connect(HELLO + settings(_4=0) + ask(Wire(), ASKED))
        while unread._counted + unread._since < ASKED * ANSWER:
            await asyncio.sleep(0.01)
        request = b"GET /sized?%d HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        reader = await connect(request % ANSWER)
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        monkeypatch.setattr(limits, "HTTP_UNREAD_BYTES_MAX", ASKED * ANSWER - 1)
        reader = await connect(request % ANSWER)
        assert (await reader.read()).startswith(b"HTTP/1.1 429")
        reader = await connect(request % 10)
        assert (await reader.read()).endswith(bytes(10))

    serve(log, play)


class Loop:
    """A clock that the test moves."""

    def __init__(self):
        self.now, self.due = 0.0, None

    def time(self):
        return self.now

    def call_later(self, seconds, call):
        self.due = (self.now + seconds, call)
        return self.due

    def pass_time(self, seconds):
        until = self.now + seconds
        while self.due is not None and self.due[0] <= until:
            (self.now, call), self.due = self.due, None
            call()
        self.now = until


class Reader:
    def __init__(self, unread, taken=0):
        self.peer, self.unread, self.taken = "peer", unread, taken
        self.cut = False

    def abort(self):
        self.cut = True


@pytest.fixture
def crowd(log):
    loop = Loop()
    return loop, Unread(loop, log)


def leave(unread, *sizes):
    readers = [Reader(size) for size in sizes]
    for reader in readers:
        unread.leaves(reader)
    return readers


def test_who_takes_something_is_not_cut(crowd):
    loop, unread = crowd
    slow, still = leave(unread, BOUND, BOUND // 4)
    for _ in range(20):
        loop.pass_time(LOOK_S)
        slow.taken += 1
    assert (slow.cut, still.cut) == (False, True)


def test_those_that_hold_most_go_first_and_no_more_than_need_be(crowd):
    loop, unread = crowd
    readers = leave(unread, 1, BOUND // 4, BOUND // 3, BOUND // 5)
    loop.pass_time(PATIENCE_S + 2 * LOOK_S)
    assert [each.cut for each in readers] == [False, False, True, False]


def test_nobody_is_cut_while_it_is_not_much(crowd):
    loop, unread = crowd
    (only,) = leave(unread, BOUND // 2)
    loop.pass_time(60)
    assert not only.cut


def test_the_room_of_one_is_what_all_have_left(crowd):
    """One alone may leave half of it, of two each a third."""
    for count in (1, 2, 3):
        _, unread = crowd = (Loop(), Unread(Loop(), None))
        readers = leave(unread, *[0] * count)
        refused = set()
        while len(refused) < count:
            for reader in readers:
                if unread.has_room(reader, 1_000_000):
                    reader.unread += BOUND // 100
                else:
                    refused.add(reader)
        for reader in readers:
            assert reader.unread == pytest.approx(BOUND / (count + 1), rel=0.1)
        assert crowd[1].has_room(Reader(0), BOUND)


def test_who_has_read_all_is_looked_at_no_longer(crowd):
    loop, unread = crowd
    (reader,) = leave(unread, 5)
    reader.unread = 0
    loop.pass_time(LOOK_S)
    assert loop.due is None
