"""The HTTP/2 engine by itself. h2spec asks what the protocol says, this what stays bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.config import limits
from sampan.gateway.wire.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME_BYTES_MAX,
    GOAWAY,
    HEADERS,
    LONG,
    PING,
    RST_STREAM,
    SETTINGS,
    WINDOW_BYTES,
    WINDOW_UPDATE,
    Fault,
    frame,
)
from sampan.gateway.wire.hpack import literal
from sampan.gateway.wire.http2 import Closed, Connection, Data, Request, Reset, Writable

from .raw import HELLO, Wire, settings, split

HEAD, TRAILERS = literal(":status", "200"), literal("grpc-status", "0")
KINDS = st.integers(0, 11)


def connected(hello=HELLO):
    connection = Connection()
    connection.receive(hello, 0.0)
    connection.take()
    return connection


def sent(connection):
    """All it has to send, whatever the room."""
    out = b""
    while more := connection.take():
        out += more
    return split(out)[0]


def of(kind, frames):
    return [got for got in frames if got.kind == kind]


def closed_with(connection):
    """The code it closed the connection with, if it did."""
    codes = [event.code for event in connection.events() if isinstance(event, Closed)]
    assert len(codes) <= 1
    if codes:
        frames = sent(connection)
        assert frames[-1].kind == GOAWAY
        assert frames[-1].code == codes[0]
    return codes[0] if codes else None


def opened(connection, wire, stream_id=1):
    connection.receive(wire.request(stream_id), 0.0)
    return next(e.stream for e in connection.events() if isinstance(e, Request))


# -- cut anywhere


def session():
    wire = Wire()
    first = wire.request(1, b"one")
    block = wire.encoder.encode([(":method", "POST"), (":scheme", "http"), (":path", "/a")])
    return HELLO + b"".join(
        (
            first,
            frame(PING, 0, 0, b"12345678"),
            frame(HEADERS, 0, 3, block[:1]),
            frame(CONTINUATION, END_HEADERS, 3, block[1:]),
            frame(DATA, END_STREAM, 3, b"two"),
            settings(_4=100),
            wire.head(5),
            frame(RST_STREAM, 0, 5, LONG.pack(8)),
            wire.request(7, b"x" * 16_000),
            frame(GOAWAY, 0, 0, bytes(8)),
        )
    )


def replay(pieces):
    connection, events = Connection(), []
    for piece in pieces:
        connection.receive(piece, 0.0)
        for event in connection.events():
            if isinstance(event, Data) and event.ended:
                connection.respond(event.stream, HEAD, b"answer", TRAILERS)
            stream = getattr(event, "stream", None)
            events.append((type(event), stream and stream.id, *event[1:]))
    return events, sorted(sent(connection))  # acknowledgements may come before or after answers


def test_it_does_not_matter_where_the_bytes_are_cut():
    data = session()
    whole = replay([data])
    assert [kind for kind, *_ in whole[0]] == [
        *(Request, Data, Request, Data, Request, Reset, Request, Data)
    ]
    for cut in range(len(data)):
        assert replay([data[:cut], data[cut:]]) == whole
    assert replay([data[i : i + 1] for i in range(len(data))]) == whole


# -- whatever comes


@st.composite
def hostile(draw):
    """Frames that are nearly right: of any kind, flags and stream, with what may fit or not."""
    wire, out = Wire(), [HELLO if draw(st.booleans()) else b""]
    for stream_id in draw(st.lists(st.sampled_from([0, 1, 1, 3, 3, 5, 2, 2**31 - 1]), max_size=12)):
        payload = draw(
            st.binary(max_size=20)
            | st.just(wire.encoder.encode([(":method", "POST"), (":path", "/a"), ("te", "x")]))
            | st.sampled_from([LONG.pack(2**31 - 1), LONG.pack(0), bytes(5), bytes(8)])
        )
        kind, flags = draw(KINDS), draw(st.sampled_from([0, 1, 4, 5, 8, 0x20, 0xFF]))
        out.append(draw(st.sampled_from([wire.request(max(stream_id, 1)), b""])))
        out.append(frame(kind, flags, stream_id, payload))
    data = b"".join(out)
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(max_size=3)) + data[at:]


@given(st.lists(hostile(), max_size=3), st.booleans())
def test_nothing_that_comes_raises(pieces, answered):
    connection, ended = Connection(), False
    for piece in pieces:
        connection.receive(piece, 0.0)
        for event in connection.events():
            assert not ended, "an event after Closed"
            ended = isinstance(event, Closed)
            if isinstance(event, Data | Request) and answered:
                connection.respond(event.stream, HEAD, b"answer", TRAILERS)
    out = sent(connection)
    assert connection.unsent == 0
    assert (out[-1].kind == GOAWAY) is connection.closed


# -- windows


@given(
    st.lists(st.integers(0, 50_000), min_size=1, max_size=6),
    st.integers(0, 70_000),
    st.lists(st.tuples(st.integers(0, 6), st.integers(1, 40_000)), max_size=40),
)
def test_answers_stay_within_the_windows(sizes, initial, updates):
    connection, wire = connected(HELLO + settings(_4=initial)), Wire()
    ids = range(1, 2 * len(sizes), 2)
    windows = dict.fromkeys(ids, initial) | {0: WINDOW_BYTES}
    bodies = dict.fromkeys(ids, 0)
    ended = set()

    def read():
        for got in sent(connection):
            if got.kind == DATA:
                assert len(got.payload) <= FRAME_BYTES_MAX
                assert got.stream_id not in ended
                windows[0] -= len(got.payload)
                windows[got.stream_id] -= len(got.payload)
                bodies[got.stream_id] += len(got.payload)
                assert min(windows.values()) >= 0
            if got.flags & END_STREAM and got.kind in (DATA, HEADERS):
                ended.add(got.stream_id)

    for stream_id, size in zip(ids, sizes, strict=True):
        stream = opened(connection, wire, stream_id)
        connection.respond(stream, HEAD, bytes(size), TRAILERS)
        read()
    for which, more in updates:
        stream_id = 0 if which >= len(sizes) else 2 * which + 1
        windows[stream_id] += more
        connection.receive(frame(WINDOW_UPDATE, 0, stream_id, LONG.pack(more)), 0.0)
        read()
    for stream_id in (0, *ids):
        windows[stream_id] += 400_000
        connection.receive(frame(WINDOW_UPDATE, 0, stream_id, LONG.pack(400_000)), 0.0)
    read()
    assert list(bodies.values()) == sizes
    assert ended == set(ids)
    assert connection.unsent == 0
    assert not connection.streams


def test_a_smaller_window_holds_up_what_is_queued():
    """A window may become negative (6.9.2): nothing leaves until it is positive again."""
    connection, wire = connected(), Wire()
    stream = opened(connection, wire)
    connection.send_data(stream, bytes(60_000))
    assert sum(len(got.payload) for got in of(DATA, sent(connection))) == 60_000
    connection.receive(settings(_4=10), 0.0)
    connection.send_data(stream, b"more")
    connection.receive(frame(WINDOW_UPDATE, 0, 1, LONG.pack(59_990)), 0.0)
    assert not of(DATA, sent(connection))
    connection.receive(frame(WINDOW_UPDATE, 0, 1, LONG.pack(1)), 0.0)
    assert [got.payload for got in of(DATA, sent(connection))] == [b"m"]


def test_settings_are_acknowledged_before_the_data_that_they_let_pass():
    """At once (6.5.3): a client may wait for that, and for data only then."""
    connection, wire = connected(HELLO + settings(_4=0)), Wire()
    stream = opened(connection, wire)
    connection.send_head(stream, HEAD)
    connection.send_data(stream, b"more")
    assert not of(DATA, sent(connection))
    connection.receive(settings(_4=1), 0.0)
    acknowledged, data = sent(connection)
    assert (acknowledged.kind, acknowledged.flags) == (SETTINGS, ACK)
    assert (data.kind, data.payload) == (DATA, b"m")


def test_who_writes_too_much_is_told_when_there_is_room_again():
    connection, wire = connected(), Wire()
    stream = opened(connection, wire)
    while not stream.full:
        connection.send_data(stream, bytes(10_000))
    assert stream.queued <= limits.HTTP_QUEUE_BYTES_MAX + 10_000
    sent(connection)
    assert not connection.has_events
    for stream_id in (0, 1):
        connection.receive(frame(WINDOW_UPDATE, 0, stream_id, LONG.pack(1_000_000)), 0.0)
    sent(connection)
    assert connection.events() == [Writable(stream)]
    assert not stream.full


def test_what_is_made_for_a_socket_is_bounded():
    """A large answer becomes frames as the socket takes them."""
    connection, wire = connected(HELLO + settings(_4=2**31 - 1)), Wire()
    connection.receive(frame(WINDOW_UPDATE, 0, 0, LONG.pack(2**30)), 0.0)
    connection.respond(opened(connection, wire), HEAD, bytes(5_000_000), TRAILERS)
    while out := connection.take():
        assert len(out) < limits.HTTP_OUT_BYTES + 2 * FRAME_BYTES_MAX
    assert connection.unsent == 0


def test_streams_take_turns():
    connection, wire = connected(), Wire()
    for stream_id in (1, 3, 5):
        connection.receive(frame(WINDOW_UPDATE, 0, 0, LONG.pack(WINDOW_BYTES)), 0.0)
        connection.respond(opened(connection, wire, stream_id), HEAD, bytes(200_000), TRAILERS)
    ids = [got.stream_id for got in of(DATA, sent(connection))]
    assert ids.count(3) > 1
    assert ids.count(5) > 1


def test_a_client_without_a_table_is_told_that_ours_is_empty():
    connection, wire = connected(HELLO + settings(_1=0)), Wire()
    wire.decoder.max_allowed_table_size = 0
    wire.decoder.header_table_size = 0
    for stream_id in (1, 3):
        connection.respond(opened(connection, wire, stream_id), HEAD, b"x", TRAILERS)
    blocks = [got.payload for got in of(HEADERS, sent(connection))]
    assert blocks[0] == b"\x20" + HEAD
    assert [wire.decoder.decode(b)[0] for b in blocks] == 2 * [
        (":status", "200"),
        ("grpc-status", "0"),
    ]


def test_a_long_status_text_goes_on():
    connection, wire = connected(), Wire()
    block = literal("grpc-message", "x" * 40_000)
    connection.send_head(opened(connection, wire), block, ended=True)
    frames = sent(connection)
    assert [(got.kind, got.flags) for got in frames] == [
        (HEADERS, END_STREAM),
        (CONTINUATION, 0),
        (CONTINUATION, END_HEADERS),
    ]
    assert b"".join(got.payload for got in frames) == block


# -- what the client may send


def test_a_held_stream_gets_no_more_than_its_window():
    connection, wire = connected(), Wire()
    connection.receive(wire.head(1), 0.0)
    stream = connection.events()[0].stream
    connection.hold(stream)
    piece = frame(DATA, 0, 1, bytes(FRAME_BYTES_MAX))
    for _ in range(limits.HTTP_WINDOW_BYTES // FRAME_BYTES_MAX):
        connection.receive(piece, 0.0)
    assert not [got for got in of(WINDOW_UPDATE, sent(connection)) if got.stream_id]
    connection.release(stream)
    updates = [got for got in of(WINDOW_UPDATE, sent(connection)) if got.stream_id]
    assert sum(LONG.unpack(got.payload)[0] for got in updates) == limits.HTTP_WINDOW_BYTES
    connection.hold(stream)
    for _ in range(limits.HTTP_WINDOW_BYTES // FRAME_BYTES_MAX + 1):
        connection.receive(piece, 0.0)
    assert of(RST_STREAM, sent(connection))[0].code == Fault.FLOW_CONTROL_ERROR


def test_a_client_that_was_answered_early_is_told_to_stop_and_may_be_late():
    connection, wire = connected(), Wire()
    connection.receive(wire.head(1), 0.0)
    stream = connection.events()[0].stream
    connection.send_head(stream, HEAD, ended=True)
    assert of(RST_STREAM, sent(connection))[0].code == Fault.NO_ERROR
    connection.receive(frame(DATA, END_STREAM, 1, b"late"), 0.0)
    connection.receive(frame(WINDOW_UPDATE, 0, 1, LONG.pack(1)), 0.0)
    assert not sent(connection)
    assert not connection.has_events
    assert not connection.streams


# -- bounds


def test_a_flood_of_resets_ends_the_connection():
    connection, wire = connected(), Wire()
    for stream_id in range(1, 4 * limits.HTTP_NUISANCES_MAX, 2):
        connection.receive(wire.head(stream_id) + frame(RST_STREAM, 0, stream_id, bytes(4)), 0.0)
        assert not connection.streams
        if connection.closed:
            break
    assert closed_with(connection) == Fault.ENHANCE_YOUR_CALM
    assert stream_id > 2 * limits.HTTP_STREAMS_MAX, "all calls may be given up at once"


def test_resets_at_a_reasonable_rate_are_fine():
    connection, wire = connected(), Wire()
    for i in range(2 * limits.HTTP_NUISANCES_MAX):
        reset = wire.head(2 * i + 1) + frame(RST_STREAM, 0, 2 * i + 1, bytes(4))
        connection.receive(reset, i / (limits.HTTP_NUISANCES_PER_S / 2))
    assert closed_with(connection) is None


@pytest.mark.parametrize(
    "nuisance",
    [frame(DATA, 0, 1), settings(), frame(2, 0, 9, bytes(5)), frame(0xFA, 0, 0, b"?")],
    ids=["empty data", "settings", "priority", "unknown"],
)
def test_a_flood_of_frames_that_carry_nothing_ends_the_connection(nuisance):
    connection = connected()
    connection.receive(Wire().head(1), 0.0)
    for _ in range(3 * limits.HTTP_NUISANCES_MAX // 1_000):
        connection.receive(nuisance * 1_000, 0.0)
        connection.take()
    codes = [event.code for event in connection.events() if isinstance(event, Closed)]
    assert codes == [Fault.ENHANCE_YOUR_CALM]


def test_header_blocks_have_an_end():
    connection, wire = connected(), Wire()
    connection.receive(frame(HEADERS, 0, 1, wire.encoder.encode([(":method", "POST")])), 0.0)
    piece = frame(CONTINUATION, 0, 1, literal("x", "y" * 1_000))
    for _ in range(limits.HTTP_HEADER_BYTES_MAX // 1_000 + 1):
        connection.receive(piece, 0.0)
    assert closed_with(connection) == Fault.ENHANCE_YOUR_CALM


def test_too_many_headers_end_their_stream_only():
    connection, wire = connected(), Wire()
    block = b"".join(literal("x", "y") for _ in range(limits.HTTP_HEADER_BYTES_MAX // 34 + 1))
    connection.receive(frame(HEADERS, END_HEADERS, 1, block[:FRAME_BYTES_MAX]), 0.0)
    assert of(RST_STREAM, sent(connection))[0].code == Fault.ENHANCE_YOUR_CALM
    assert opened(connection, wire, 3)


def test_streams_beyond_the_limit_are_refused():
    connection, wire = connected(), Wire()
    for i in range(limits.HTTP_STREAMS_MAX + 1):
        connection.receive(wire.head(2 * i + 1), 0.0)
    refused = of(RST_STREAM, sent(connection))
    assert [(got.stream_id, got.code) for got in refused] == [
        (2 * limits.HTTP_STREAMS_MAX + 1, Fault.REFUSED_STREAM)
    ]
    assert len(connection.streams) == limits.HTTP_STREAMS_MAX


# -- pings, as etcd was seen to take them


def pinged(connection, times):
    for i, now in enumerate(times):
        connection.receive(frame(PING, 0, 0, bytes(8)), now)
        if connection.closed:
            assert closed_with(connection) == Fault.ENHANCE_YOUR_CALM
            return i + 1
    assert len(of(PING, sent(connection))) == len(times)
    return None


def test_six_pings_beside_an_open_watch_are_too_many():
    connection = connected()
    connection.receive(Wire().head(1), 0.0)
    assert pinged(connection, [i / 20 for i in range(6)]) == 4


def test_pings_without_a_call_are_too_many():
    assert pinged(connected(), range(6)) == 4


def test_pings_as_often_as_allowed_are_answered():
    connection = connected()
    connection.receive(Wire().head(1), 0.0)
    assert pinged(connection, [6.0 * i for i in range(20)]) is None


def test_pings_after_answers_are_welcome():
    """Clients measure the way by pings while data comes."""
    connection = connected()
    connection.receive(Wire().head(1), 0.0)
    stream = connection.events()[0].stream
    for i in range(20):
        connection.send_data(stream, b"event")
        connection.receive(frame(PING, 0, 0, bytes(8)), i / 100)
    assert closed_with(connection) is None


def test_pings_between_the_pieces_of_one_answer_are_welcome():
    """Go's client measures the way at each piece of a large answer."""
    connection, wire = connected(), Wire()
    connection.respond(opened(connection, wire), HEAD, bytes(1_000_000), TRAILERS)
    while of(DATA, sent(connection)):
        connection.receive(frame(PING, 0, 0, bytes(8)), 0.0)
        assert closed_with(connection) is None
        for stream_id in (0, 1):
            connection.receive(frame(WINDOW_UPDATE, 0, stream_id, LONG.pack(50_000)), 0.0)


def test_a_ping_of_ours_is_not_answered_by_a_ping():
    connection = connected()
    connection.ping()
    asked = of(PING, sent(connection))[0]
    connection.receive(frame(PING, ACK, 0, asked.payload), 0.0)
    assert not sent(connection)


# -- the end


def test_closing_ends_all_streams():
    connection, wire = connected(), Wire()
    stream = opened(connection, wire)
    connection.close()
    assert connection.events() == [Reset(stream), Closed(0, "")]
    connection.respond(stream, HEAD, b"late", TRAILERS)
    connection.receive(wire.request(3), 0.0)
    assert [got.kind for got in sent(connection)] == [GOAWAY]
    assert not connection.has_events
