"""CURVE: whatever is cut wherever the same comes out, libzmq agrees, and nobody else gets in."""

import time
from itertools import pairwise

import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st
from sampan.transport import curve, tcp
from sampan.transport.curve import CurveClient, CurveServer, _seal, new_pair
from sampan.transport.names import Names
from sampan.transport.polling import Poller
from sampan.transport.streams import READ, Outgoing, Stream
from sampan.transport.zmtp import (
    UNBOUNDED,
    Bounds,
    Engine,
    Known,
    MalformedError,
    Null,
    ProtocolError,
    RefusedError,
    TooMuchError,
    command,
    last_head,
)

WAIT_S = 30.0
SERVER, CLIENT, STRANGER = new_pair(), new_pair(), new_pair()
NAMES = {CLIENT.public: "carol"}
AT_MOST = curve._SCRATCH_BYTES - curve._MAC_BYTES - 1
"""The longest frame that goes through a connection's buffer."""
MESSAGES = [
    [b"header", b"body"], [b""], [b"", bytes(255), bytes(256), b""], [b"x", bytes(1 << 20)],
    [b"y" * AT_MOST, b"z" * (AT_MOST + 1), b"y" * (AT_MOST - 1)],
]  # fmt: skip
BOUNDS = Bounds(frame_bytes=1000, message_bytes=1500, message_frames=3)


def server(bounds=UNBOUNDED, pairs=(SERVER,), names=NAMES):
    return Engine(b"ROUTER", bounds, CurveServer(pairs, names.get))


def client(pair=CLIENT, key=SERVER.public, mechanism=None, kind=b"DEALER"):
    mechanism = mechanism or CurveClient(key, pair, lambda: None)
    return Engine(kind, UNBOUNDED, mechanism)


def shake(one, other):
    """Let two ends talk until neither has anything to say; what each of them said."""
    said = {one: [one.greeting], other: [other.greeting]}
    told = {one: 0, other: 0}
    while any(told[end] < len(said[end]) for end in said):
        for me, you in ((one, other), (other, one)):
            for data in said[me][told[me] :]:
                told[me] += 1
                you.receive(data)
                said[you] += you.taken_answers()
    return said[one], said[other]


def wire(engine, *messages):
    parts = []
    for message in messages:
        engine.encode(parts, message)
    return b"".join(parts)


def cut(data, at):
    places = [0, *sorted(place % (len(data) + 1) for place in at), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


# -- two engines


def test_both_know_who_the_other_is():
    mine, theirs = server(), client()
    shake(mine, theirs)
    assert mine.ready
    assert theirs.ready
    assert mine.known == Known(CLIENT.public, "carol")
    assert theirs.known.key == SERVER.public
    assert mine.peer[b"socket-type"] == b"DEALER"
    assert mine.receive(wire(theirs, *MESSAGES)) == MESSAGES
    assert theirs.receive(wire(mine, *MESSAGES)) == MESSAGES


frames = st.one_of(
    st.binary(max_size=20), st.sampled_from([bytes(n) for n in (222, 223, 255, 1000)])
)
messages = st.lists(st.lists(frames, min_size=1, max_size=5), max_size=6)
cuts = st.lists(st.integers(0, 2**16), max_size=12)


@given(messages, cuts, cuts)
@settings(max_examples=50)
def test_the_same_comes_out_wherever_the_stream_is_cut(sent, hello_at, at):
    mine, theirs = server(), client()
    for piece in cut(theirs.greeting, hello_at):
        mine.receive(piece)
    theirs.receive(mine.greeting)
    while not theirs.ready:
        for piece in cut(b"".join(theirs.taken_answers()), hello_at):
            mine.receive(piece)
        for piece in cut(b"".join(mine.taken_answers()), hello_at):
            theirs.receive(piece)
    stream = wire(theirs, *sent)
    assert [m for piece in cut(stream, at) for m in mine.receive(piece)] == sent
    assert mine.error is None
    assert mine.missing == 0


def test_a_stream_cut_at_every_byte():
    sent = [[b"header", bytes(300)], [b""], [b"a", b"", b"c" * 255]]
    for byte in range(0, 800, 7):  # every seventh: a pair of engines each
        mine, theirs = server(), client()
        shake(mine, theirs)
        stream = wire(theirs, *sent[:2]) + theirs.ping() + wire(theirs, sent[2])
        pieces = (stream[:byte], stream[byte:])
        assert [m for piece in pieces for m in mine.receive(piece)] == sent
        (pong,) = mine.taken_answers()
        assert theirs.receive(pong) == []
        assert theirs.error is None
    mine, theirs = server(), client()
    shake(mine, theirs)
    stream = wire(theirs, *sent)
    assert [m for byte in stream for m in mine.receive(bytes((byte,)))] == sent


# -- who does not get in


def test_a_stranger_is_refused_and_told():
    mine, theirs = server(), client(STRANGER)
    shake(mine, theirs)
    assert isinstance(mine.error, RefusedError)
    assert not mine.ready
    assert mine.known is None
    assert isinstance(theirs.error, RefusedError)
    assert str(theirs.error) == "refused: this end's key"


def test_who_knows_another_server_does_not_get_past_hello():
    mine, theirs = server(), client(key=STRANGER.public)
    shake(mine, theirs)
    assert str(mine.error) == "a HELLO for another key"


def test_any_of_the_own_pairs_is_as_good():
    old = new_pair()
    for key in (old.public, SERVER.public):
        mine, theirs = server(pairs=(SERVER, old)), client(key=key)
        shake(mine, theirs)
        assert mine.ready
        assert theirs.ready


def test_no_keys_against_keys():
    for mine, theirs in (
        (server(), client(mechanism=Null())),
        (client(), Engine(b"ROUTER", UNBOUNDED)),
    ):
        shake(mine, theirs)
        assert "it has no keys" in str(mine.error)
        assert "it asks for keys" in str(theirs.error)
        assert not mine.ready


def test_a_socket_that_does_not_fit_is_told():
    mine, theirs = server(), client()
    theirs._socket_type = b"PUBSUB"
    shake(mine, theirs)
    assert isinstance(mine.error, RefusedError)
    assert "unfit" in str(theirs.error)


def test_a_name_that_the_peer_gives_itself_means_nothing():
    mine, theirs = server(), Engine(b"DEALER", UNBOUNDED)
    assert mine.known is None
    assert Engine(b"ROUTER", UNBOUNDED).known is None
    shake(mine, theirs)
    assert mine.known is None


def test_a_recorded_handshake_opens_on_no_other_connection():
    mine, theirs = server(), client()
    said, _ = shake(theirs, mine)
    recorded = b"".join(said) + wire(theirs, [b"put"])
    replayed = server()
    assert replayed.receive(recorded) == []
    assert str(replayed.error) == "a cookie of another connection"
    assert not replayed.ready


def test_a_recorded_message_is_taken_once():
    mine, theirs = server(), client()
    shake(mine, theirs)
    recorded = wire(theirs, [b"put"])
    assert mine.receive(recorded) == [[b"put"]]
    assert mine.receive(recorded) == []
    assert str(mine.error) == "a frame that was sent before"


def test_messages_in_another_order_are_refused():
    mine, theirs = server(), client()
    shake(mine, theirs)
    first, second = wire(theirs, [b"1"]), wire(theirs, [b"2"])
    assert mine.receive(second) == [[b"2"]]
    assert mine.receive(first) == []
    assert isinstance(mine.error, MalformedError)


def test_a_message_does_not_come_back_as_an_answer():
    mine, theirs = server(), client()
    shake(mine, theirs)
    wire(theirs, [b"1"])
    assert theirs.receive(wire(theirs, [b"2"])) == []
    assert "does not open" in str(theirs.error)


def test_a_vouch_of_another_connection_is_refused():
    """Who has a client's INITIATE, and not its secret, makes nothing of it."""

    thief = CurveClient(SERVER.public, CLIENT._replace(secret=STRANGER.secret), lambda: None)
    mine, theirs = server(), client(mechanism=thief)
    shake(mine, theirs)
    assert "a vouch that does not open" in str(mine.error)


@pytest.mark.parametrize("place", range(0, 200, 13))
def test_one_bit_anywhere_is_noticed(place):
    mine, theirs = server(), client()
    mine.receive(theirs.greeting)
    theirs.receive(mine.greeting)
    (hello,) = theirs.taken_answers()
    bent = bytearray(hello)
    bent[place] ^= 1
    mine.receive(bytes(bent))
    padding = range(11, 83)  # which says nothing
    assert (mine.error is not None) == (place not in padding) or mine.missing
    assert not mine.ready


def test_a_key_of_which_nothing_secret_comes():
    mine = server()
    mine.receive(client().greeting)
    mine.receive(command(b"HELLO", b"\1\0" + bytes(72) + bytes(32) + bytes(7) + b"\1" + bytes(80)))
    assert str(mine.error) == "a key that is none"


@given(
    st.binary(max_size=400),
    cuts,
    st.sampled_from([b"HELLO", b"INITIATE", b"READY", b"MESSAGE", b""]),
)
def test_anything_is_a_typed_error_wherever_it_is_cut(data, at, name):
    mine = server(BOUNDS)
    said = client().greeting + (command(name, data) if name else data)
    received = [m for piece in cut(said, at) for m in mine.receive(piece)]
    assert received == []
    assert not mine.ready
    assert mine.error is None or isinstance(mine.error, ProtocolError)


@given(st.binary(max_size=300), cuts, st.booleans())
def test_likewise_after_the_handshake(data, at, sealed):
    mine, theirs = server(BOUNDS), client()
    shake(mine, theirs)
    if sealed:  # what opens, and is no message or command that is right
        mechanism = theirs._mechanism
        parts = []
        mechanism.encode(parts, [data])
        parts[1] = _seal(data or b"\0", mechanism._says + parts[0][-8:], mechanism._shared)
        data = last_head(16 + len(parts[1])) + parts[0][-16:] + parts[1]
    received = [m for piece in cut(data, at) for m in mine.receive(piece)]
    assert mine.error is None or isinstance(mine.error, ProtocolError)
    assert sealed or received == []


@pytest.mark.parametrize(
    ("messages", "error", "text"),
    [
        ([[bytes(1001)]], TooMuchError, "frame of 1001"),
        ([[bytes(800), bytes(800)]], TooMuchError, "over 1500 bytes"),
        ([[b""] * 4], TooMuchError, "over 3 frames"),
        ([[bytes(1000)]], None, "None"),
    ],
)
def test_bounds_are_of_what_is_in_it(messages, error, text):
    mine, theirs = server(BOUNDS), client()
    shake(mine, theirs)
    mine.receive(wire(theirs, *messages))
    assert type(mine.error) is (error or type(None))
    assert text in str(mine.error)


def test_a_frame_beyond_the_bounds_is_not_waited_for():
    mine, theirs = server(BOUNDS), client()
    shake(mine, theirs)
    mine.receive(wire(theirs, [bytes(2000)])[:50])
    assert isinstance(mine.error, TooMuchError)


def test_nothing_that_is_not_sealed_passes():
    mine, theirs = server(), client()
    shake(mine, theirs)
    assert mine.receive(b"\0\5plain") == []
    assert str(mine.error) == "a frame that is not sealed"


# -- over TCP, and with libzmq


class Owner:
    def __init__(self):
        self.messages, self.lost = [], []

    def on_ready(self, _link):
        pass

    def on_messages(self, _link, messages):
        self.messages += messages

    def on_lost(self, _link, why):
        self.lost.append(why)

    on_over = on_lost

    def on_taken(self, _stream):
        pass


@pytest.fixture
def poller():
    poller = Poller()
    yield poller
    poller.close()


@pytest.fixture
def make():
    """Makes libzmq's sockets, which live as long as the test."""
    context, kept = zmq.Context(), []

    def socket(kind):
        kept.append(context.socket(kind))
        return kept[-1]

    yield socket
    context.destroy(linger=0)


def run_until(poller, condition, *links):
    give_up = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < give_up
        poller.wait(0.01)
        for link in links:
            link.tick()


def test_to_libzmq(poller, make):
    """It listens, and answers what is asked in between, which is sealed, too."""
    router = make(zmq.ROUTER)
    router.curve_server = True
    router.curve_secretkey, router.curve_publickey = SERVER.secret, SERVER.public
    router.bind("tcp://127.0.0.1:0")
    endpoint = router.get(zmq.LAST_ENDPOINT).decode().removeprefix("tcp://")
    owner = Owner()
    link = Outgoing(
        poller, Names(), endpoint, owner, bounds=UNBOUNDED, silence_s=WAIT_S,
        mechanism=lambda: CurveClient(SERVER.public, CLIENT, lambda: None),
    )  # fmt: skip
    run_until(poller, lambda: link.ready, link)
    for sent in MESSAGES:
        assert link.send(sent)
        run_until(poller, lambda: router.poll(0), link)
        who, *received = router.recv_multipart()
        assert received == sent
        router.send_multipart([who, *sent])
    run_until(poller, lambda: len(owner.messages) == len(MESSAGES), link)
    heard_at = link._stream.heard_at
    link._stream.ping()
    run_until(poller, lambda: link._stream.heard_at > heard_at, link)
    assert (owner.messages, owner.lost) == (MESSAGES, [])
    link.close()


class Listening:
    """An end that listens, with a stream for each connection."""

    def __init__(self, poller, names=NAMES):
        (self.listener,) = tcp.listen("127.0.0.1:0")
        self.address = tcp.name_of(self.listener)
        self.owner, self.streams = Owner(), []
        self.poller, self.names = poller, names
        poller.watch(self.listener.fileno(), READ, self.accept)

    def accept(self, _events):
        accepted = tcp.accept(self.listener, 3)
        self.streams.append(Stream(self.poller, accepted, server(names=self.names), self.owner))

    def close(self):
        for stream in self.streams:
            stream.close()
        self.poller.unwatch(self.listener.fileno())
        self.listener.close()


@pytest.fixture
def listening(poller):
    listening = Listening(poller)
    yield listening
    listening.close()


def dealer(make, address, pair=CLIENT, key=SERVER.public):
    dealer = make(zmq.DEALER)
    dealer.curve_serverkey = key
    dealer.curve_publickey, dealer.curve_secretkey = pair
    dealer.setsockopt(zmq.HEARTBEAT_IVL, 10)
    dealer.setsockopt(zmq.HEARTBEAT_TIMEOUT, int(1000 * WAIT_S))
    dealer.connect(f"tcp://{address}")
    return dealer


def test_from_libzmq(poller, make, listening):
    socket = dealer(make, listening.address)
    for number, sent in enumerate(MESSAGES, 1):
        socket.send_multipart(sent)
        run_until(poller, lambda: len(listening.owner.messages) == number)  # noqa: B023
        (stream,) = listening.streams
        stream.put(sent)
        stream.flush()
        run_until(poller, lambda: socket.poll(0))
        assert socket.recv_multipart() == sent
    assert listening.owner.messages == MESSAGES
    assert listening.streams[0].known == Known(CLIENT.public, "carol")
    assert listening.owner.lost == []


def test_libzmq_understands_that_its_key_is_refused(poller, make, listening):
    socket = dealer(make, listening.address, STRANGER)
    monitor = socket.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
    socket.connect(f"tcp://{listening.address}")
    run_until(poller, lambda: monitor.poll(0))
    socket.disable_monitor()
    monitor.close(linger=0)
    assert "its key is not accepted" in listening.owner.lost
    assert listening.owner.messages == []


def test_a_plain_libzmq_gets_nowhere(poller, make, listening):
    plain = make(zmq.DEALER)
    plain.connect(f"tcp://{listening.address}")
    plain.send(b"hello")
    run_until(poller, lambda: listening.owner.lost)
    assert listening.owner.messages == []
    assert listening.streams[0].known is None


def test_public_of():
    assert curve.public_of(SERVER.secret) == SERVER.public
