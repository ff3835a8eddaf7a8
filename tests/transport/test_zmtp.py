"""The ZMTP engine: whatever is cut wherever, the same comes out, and nothing else is raised."""

import struct
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.transport.zmtp import (
    COMMAND_BYTES_MAX,
    UNBOUNDED,
    Bounds,
    Engine,
    MalformedError,
    NotZmtpError,
    ProtocolError,
    RefusedError,
    TooMuchError,
    encode,
)

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)
READY = b"\x04\x29\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER\x08Identity\x00\x00\x00\x00"
BOUNDS = Bounds(frame_bytes=1000, message_bytes=1500, message_frames=3)


def command(name, body=b""):
    return bytes((4, 1 + len(name) + len(body), len(name))) + name + body


def wire(*messages):
    parts = []
    for message in messages:
        encode(parts, message)
    return b"".join(parts)


def receive(pieces, bounds=UNBOUNDED, kind=b"ROUTER"):
    """An engine that got these, and the messages it made of them."""
    engine = Engine(kind, bounds)
    messages = [message for piece in pieces for message in engine.receive(piece)]
    return engine, messages


def cut(data, at):
    """`data` in pieces, cut at these places."""
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


frames = st.one_of(
    st.binary(max_size=20),
    st.sampled_from([bytes(n) for n in (255, 256, 257, 1000)]),
)
messages = st.lists(st.lists(frames, min_size=1, max_size=5), max_size=6)
cuts = st.lists(st.integers(0, 2**16), max_size=12)


def test_what_is_said_first():
    engine = Engine(b"DEALER", UNBOUNDED)
    assert engine.greeting == GREETING
    assert engine.receive(GREETING) == []
    assert engine.taken_answers() == [READY]
    assert not engine.ready
    engine.receive(READY.replace(b"DEALER", b"ROUTER"))
    assert engine.ready
    assert engine.peer == {b"socket-type": b"ROUTER", b"identity": b""}


@given(messages, cuts)
def test_messages_are_the_same_wherever_the_stream_is_cut(sent, at):
    stream = GREETING + READY + wire(*sent)
    engine, received = receive(cut(stream, at))
    assert received == sent
    assert engine.error is None
    assert engine.missing == 0


def test_a_stream_cut_at_every_byte():
    sent = [[b"header", bytes(300)], [b""], [b"a", b"", b"c" * 255]]
    stream = GREETING + READY + wire(*sent[:2]) + command(b"PING", b"\0\1ctx") + wire(sent[2])
    for place in range(len(stream) + 1):
        engine, received = receive((stream[:place], stream[place:]))
        assert received == sent
        assert b"".join(engine.taken_answers()) == READY.replace(b"DEALER", b"ROUTER") + command(
            b"PONG", b"ctx"
        )
    engine, received = receive([bytes((byte,)) for byte in stream])
    assert received == sent


def test_a_large_frame_in_pieces_is_not_copied_again():
    size = 1 << 20
    engine, _ = receive([GREETING, READY])
    stream = wire([b"header", bytes(size)])
    engine.receive(stream[:1000])
    assert engine.missing == size - (1000 - 8 - 9)
    for at in range(1000, len(stream) - 1, 9999):
        assert engine.receive(stream[at : min(at + 9999, len(stream) - 1)]) == []
    ((_, body),) = engine.receive(stream[-1:])
    assert type(body) is bytearray
    assert len(body) == size


@given(st.binary(max_size=400), cuts, st.sampled_from([b"", GREETING, GREETING + READY]))
def test_anything_is_a_message_or_a_typed_error_wherever_it_is_cut(data, at, before):
    whole, expected = receive([before + data], BOUNDS)
    engine, received = receive(cut(before + data, at), BOUNDS)
    assert received == expected
    assert str(engine.error) == str(whole.error)
    assert engine.error is None or isinstance(engine.error, ProtocolError)
    assert b"".join(engine.taken_answers()) == b"".join(whole.taken_answers())
    if engine.error is not None:
        assert engine.receive(wire([b"more"])) == [], "nothing comes after an error"


heads = st.builds(
    lambda flags, size, body: struct.pack(">BQ", flags | 2, size) + body,
    st.integers(0, 255), st.one_of(st.integers(0, 300), st.integers(0, 2**64 - 1)),
    st.binary(max_size=300),
)  # fmt: skip
shorts = st.builds(
    lambda flags, body: bytes((flags, len(body))) + body,
    st.sampled_from([0, 1, 4]), st.binary(max_size=60),
)  # fmt: skip
commands = st.builds(
    command, st.sampled_from([b"PING", b"PONG", b"READY", b"ERROR", b"X", b""]),
    st.binary(max_size=30),
)  # fmt: skip


@given(st.lists(st.one_of(heads, shorts, commands), max_size=8), cuts, st.booleans())
def test_likewise_for_almost_right_frames(pieces, at, shaken):
    data = GREETING + (READY if shaken else b"") + b"".join(pieces)
    whole, expected = receive([data], BOUNDS)
    engine, received = receive(cut(data, at), BOUNDS)
    assert received == expected
    assert (str(engine.error), type(engine.error)) == (str(whole.error), type(whole.error))
    for message in received:
        assert len(message) <= BOUNDS.message_frames + 1
        assert sum(map(len, message)) <= BOUNDS.message_bytes + 255


@pytest.mark.parametrize(
    ("said", "error", "text"),
    [
        (b"GET / HTTP/1.1\r\n", NotZmtpError, "does not speak ZeroMQ"),
        (b"\x01\x00", NotZmtpError, "does not speak ZeroMQ"),
        (b"\xff" + bytes(7) + b"\x01\x7e", NotZmtpError, "does not speak ZeroMQ"),
        (b"\xff" + bytes(8) + b"\x7f\x01", NotZmtpError, "version 1"),
        (GREETING.replace(b"NULL", b"CURV"), RefusedError, "mechanism CURV, not NULL"),
        (GREETING + READY.replace(b"DEALER", b"PUBSUB"), RefusedError, "'PUBSUB'"),
        (GREETING + command(b"ERROR", b"\x03bad"), RefusedError, "refused: bad"),
        (GREETING + command(b"HELLO"), MalformedError, "HELLO"),
        (GREETING + command(b"READY", b"\x0bSocket"), MalformedError, "cut off"),
        (GREETING + b"\0\1x", MalformedError, "before the handshake's end"),
        (GREETING + b"\x06" + bytes(6) + b"\x20\0", TooMuchError, "command of 8192"),
        (GREETING + READY + b"\x08\0", MalformedError, "flags 0x08"),
        (GREETING + READY + b"\x05\0", MalformedError, "flags 0x05"),
        (GREETING + READY + b"\x04\0", MalformedError, "without its name"),
        (GREETING + READY + command(b"PING", b"x"), MalformedError, "PING of 1"),
        (GREETING + READY + command(b"PING", bytes(19)), MalformedError, "PING of 19"),
        (GREETING + READY + b"\x02" + bytes(6) + b"\x03\xe9", TooMuchError, "frame of 1001"),
        (GREETING + READY + b"\x82" + bytes(6) + b"\x03\xe9", MalformedError, "0x82"),
        (GREETING + READY + wire([bytes(800), bytes(800)]), TooMuchError, "over 1500 bytes"),
        (GREETING + READY + wire([b""] * 4), TooMuchError, "over 3 frames"),
    ],
)  # fmt: skip
def test_refused(said, error, text):
    engine, received = receive([said], BOUNDS)
    assert type(engine.error) is error
    assert text in str(engine.error)
    assert received == []


def test_what_came_before_an_error_is_not_lost():
    engine, received = receive([GREETING + READY + wire([b"a", b"b"]) + b"\x08\0"])
    assert received == [[b"a", b"b"]]
    assert isinstance(engine.error, MalformedError)


def test_a_socket_that_does_not_fit_is_told():
    engine, _ = receive([GREETING + READY.replace(b"DEALER", b"PUBSUB")])
    assert engine.taken_answers()[-1] == command(b"ERROR", b"\x11unfit socket type")


def test_a_message_without_end_is_bounded():
    """Neither its frames nor its bytes pile up."""
    engine, _ = receive([GREETING, READY], BOUNDS)
    taken = 0
    while engine.error is None:
        engine.receive(b"\x01\x00")
        taken += 1
    assert taken == BOUNDS.message_frames + 1


def test_a_command_in_the_middle_of_a_message():
    """libzmq sends its PINGs between two frames."""
    stream = GREETING + READY + b"\1\1a" + command(b"PING", b"\0\1") + b"\0\1b"
    engine, received = receive([stream])
    assert received == [[b"a", b"b"]]
    assert engine.taken_answers()[-1] == command(b"PONG")


def test_commands_of_later_versions_are_passed_over():
    engine, received = receive([GREETING + READY + command(b"LATER", b"x") + wire([b"a"])])
    assert received == [[b"a"]]
    assert engine.error is None
    assert COMMAND_BYTES_MAX >= 255
