"""The calls of one connection, without a socket: what they count comes back to nothing."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.config import limits
from sampan.gateway.grpc import Unary
from sampan.gateway.wire.frames import DATA, END_STREAM, HEADERS, LONG, RST_STREAM, frame
from sampan.gateway.wire.grpc_calls import Routes
from sampan.gateway.wire.http2_link import Http2Link, Shared

from .echo_server import METHODS, app
from .raw import HELLO, Wire, message, split
from .test_http2 import hostile


class Transport:
    """Takes everything."""

    def __init__(self):
        self.out = b""

    def write(self, data):
        self.out += data

    def abort(self):
        pass

    pause_reading = resume_reading = abort

    def is_closing(self):
        return False

    def get_write_buffer_size(self):
        return 0


class Log:
    def __init__(self):
        self.faults = []

    def exception(self, event, **values):
        self.faults.append((event, values))


def served(play, *, secure=False, methods=METHODS):
    """Run `play(link, transport)` in a loop; what is left of its calls, and the faults."""

    async def run():
        shared, transport = Shared(Routes(methods), app, Log()), Transport()
        link = Http2Link(transport, shared, "peer:1", secure=secure)
        result = play(link, transport)
        await asyncio.sleep(0)
        link.connection_lost()
        await asyncio.sleep(0)
        return result, (shared.totals.calls, shared.totals.unfinished), shared.log.faults

    return asyncio.run(run())


PATHS = st.sampled_from(
    ["/test.Echo/Unary", "/test.Echo/Never", "/test.Echo/Stream", "/test.Echo/Silent", "/no/no"]
)


@st.composite
def calls(draw):
    """Pieces of calls, some of them whole, some reset, in any order."""
    wire, pieces = Wire(), [HELLO]
    for i in range(draw(st.integers(1, 5))):
        stream_id = 2 * i + 1
        encoding = draw(st.sampled_from(["identity", "gzip"]))
        ended = draw(st.booleans())
        head = wire.head(stream_id, path=draw(PATHS), ended=ended, grpc_encoding=encoding)
        pieces.append(head)
        for _ in range(draw(st.integers(0, 3))):
            data = message(draw(st.binary(max_size=40)), draw(st.sampled_from([0, 0, 0, 1])))
            cut = draw(st.integers(0, len(data)))
            flags = draw(st.sampled_from([0, 0, END_STREAM]))
            pieces += [
                frame(DATA, 0, stream_id, data[:cut]),
                frame(DATA, flags, stream_id, data[cut:]),
            ]
        if draw(st.booleans()):
            pieces.append(frame(RST_STREAM, 0, stream_id, LONG.pack(8)))
    return pieces


@given(calls() | st.lists(hostile(), max_size=3), st.booleans())
def test_nothing_is_left_of_calls_that_are_over(pieces, secure):
    def play(link, _):
        for piece in pieces:
            link.data_received(piece)

    _, left, faults = served(play, secure=secure)
    assert left == (0, 0)
    assert not faults


def statuses(out):
    wire = Wire()
    heads = [wire.decoder.decode(got.payload) for got in split(out)[0] if got.kind == HEADERS]
    return [dict(head).get("grpc-status") for head in heads]


def test_calls_beyond_what_all_connections_may_have(monkeypatch):
    monkeypatch.setattr(limits, "HTTP_CALLS_MAX", 2)

    def play(link, transport):
        wire = Wire()
        link.data_received(HELLO + wire.request(1, path="/test.Echo/Never"))
        link.data_received(wire.request(3, path="/test.Echo/Never"))
        link.data_received(wire.request(5))
        link.data_received(frame(RST_STREAM, 0, 3, LONG.pack(8)) + wire.request(7))
        return statuses(transport.out)

    found, left, _ = served(play)
    assert found == ["8", None, "0"], "refused, then served: a head and a status"
    assert left == (0, 0)


@pytest.mark.parametrize("late", ["reply", "finish", "send"])
def test_an_answer_that_comes_too_late_needs_no_care(late):
    kept = []
    method = Unary("/kept/call", lambda call, _: kept.append(call))

    def play(link, transport):
        link.data_received(HELLO + Wire().request(1, path="/kept/call"))
        link.data_received(frame(RST_STREAM, 0, 1, LONG.pack(8)))
        before = len(transport.out)
        getattr(kept[0], late)(*([] if late == "finish" else [b"late"]))
        return len(transport.out) - before

    found, left, faults = served(play, methods=[method])
    assert found == 0
    assert left == (0, 0)
    assert not faults


def test_the_answer_to_a_lone_call_leaves_at_once_and_others_together():
    kept = []
    method = Unary("/kept/call", lambda call, _: kept.append(call))

    def play(link, transport):
        wire = Wire()
        link.data_received(HELLO + wire.request(1, path="/kept/call"))
        kept.pop().reply(b"lone")
        alone = statuses(transport.out)
        link.data_received(wire.request(3, path="/kept/call") + wire.request(5, path="/kept/call"))
        before = len(transport.out)
        kept.pop().reply(b"one of two")
        return alone, len(transport.out) - before

    (alone, more), left, _ = served(play, methods=[method])
    assert alone == [None, "0"]
    assert more == 0, "the other one may be answered in the same turn"
    assert left == (0, 0)
