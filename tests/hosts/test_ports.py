"""A node's doors against libzmq's sockets, and against those who misuse them."""

import select
import socket
import struct
import time
from contextlib import ExitStack, contextmanager, suppress

import pytest
import structlog
import zmq
from sampan.config import limits
from sampan.hosts import ports
from sampan.hosts.ports import ClientPort, PeerPort
from sampan.transport import streams, tcp
from sampan.transport.codec import pack
from sampan.transport.polling import Poller
from structlog.testing import capture_logs

WAIT_S = 30.0
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(16) + b"\0" + bytes(31)
READY = b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"


class Opened:
    """A port in a loop, and what it delivered."""

    def __init__(self, port):
        self.poller = Poller()
        self.port = port
        self.taken, self.came = [], []
        port.open(self.poller, self._take)

    def _take(self, item):
        (self.came if item[0] == "camec" else self.taken).append(item)

    def run_until(self, condition):
        give_up = time.monotonic() + WAIT_S
        while not (found := condition()):
            assert time.monotonic() < give_up
            self.poller.wait(0.01)
            self.port.tick()
        return found

    def of(self, channel):
        return [message for name, message in self.taken if name == channel]

    def close(self):
        self.port.close()
        self.poller.close()


@pytest.fixture
def client_port():
    opened = Opened(ClientPort("127.0.0.1:0", structlog.get_logger()))
    yield opened
    opened.close()


@pytest.fixture
def peer_port():
    opened = Opened(PeerPort("127.0.0.1:0", structlog.get_logger()))
    yield opened
    opened.close()


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@contextmanager
def dealer_of(context, address, routing_id=b""):
    with context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        if routing_id:
            dealer.setsockopt(zmq.ROUTING_ID, routing_id)
        dealer.connect(f"tcp://{address}")
        yield dealer


@contextmanager
def raw_client(opened, said=GREETING + READY):
    """A connection that speaks for itself; it has said this much."""
    host, port = opened.port.address.split(":")
    with socket.create_connection((host, int(port)), timeout=WAIT_S) as connection:
        connection.sendall(said)
        yield connection


def is_closed(connection):
    """Whether the other end has closed it; what it said before is taken."""
    connection.setblocking(False)
    try:
        return not connection.recv(1 << 20)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def ask(opened, connection, body=b"x"):
    """Send one message by a raw connection; returns the client's id as the node has it."""
    before = len(opened.of("clientc"))
    connection.sendall(b"\x01\x01h\x00" + bytes((len(body),)) + body)
    opened.run_until(lambda: len(opened.of("clientc")) > before)
    return opened.of("clientc")[-1][0]


# -- clients


def test_who_is_beside_the_node_comes_by_a_file(context, tmp_path):
    beside = str(tmp_path / "clients")
    opened = Opened(ClientPort("127.0.0.1:0", structlog.get_logger(), beside=beside))
    try:
        with context.socket(zmq.DEALER) as dealer:
            dealer.linger = 0
            dealer.connect(f"ipc://{beside}")
            dealer.send_multipart([b"header", b"body"])
            ((client, *frames),) = opened.run_until(lambda: opened.of("clientc"))
            assert frames == [b"header", b"body"]
            assert opened.came == [("camec", (client, "127.0.0.1"))]
            opened.port.replyc(("replyc", (client, b"answer", b"to it")))
            opened.port.send()
            opened.run_until(lambda: dealer.poll(0))
            assert dealer.recv_multipart() == [b"answer", b"to it"]
        with pytest.raises(tcp.BindError, match=f"cannot bind {beside}: Address already in use"):
            tcp.listen_beside(beside)
    finally:
        opened.close()


@pytest.mark.parametrize("routing_id", [b"", b"chosen"])
def test_messages_both_ways_with_libzmq(client_port, context, routing_id):
    opened = client_port
    with dealer_of(context, opened.port.address, routing_id) as dealer:
        for sent in ([b"header", b"body"], [b"", bytes(256), b""], [b"x", bytes(4 << 20)]):
            dealer.send_multipart(sent)
            opened.run_until(lambda: opened.taken)
            ((who, *received),) = opened.of("clientc")
            assert received == sent
            assert {type(frame) for frame in received} == {bytes}
            opened.taken.clear()
            opened.port.replyc(("replyc", (who, *sent)))
            opened.port.send()
            opened.run_until(lambda: dealer.poll(0))
            assert dealer.recv_multipart() == sent
    opened.run_until(lambda: opened.of("gonec"))
    assert opened.of("gonec") == [who]
    opened.port.replyc(("replyc", (who, b"", b"late")))
    assert opened.port.gone == 1


def test_what_a_client_calls_itself_does_not_matter(client_port, context):
    """Two with the same routing id are two; libzmq would refuse the second, or cut the first."""
    opened, address = client_port, client_port.port.address
    with dealer_of(context, address, b"same") as one, dealer_of(context, address, b"same") as two:
        for dealer, body in ((one, b"1"), (two, b"2")):
            dealer.send_multipart([b"", body])
            opened.run_until(lambda n=int(body): len(opened.taken) == n)
        ids = {body: who for who, _, body in opened.of("clientc")}
        assert len(set(ids.values())) == 2
        for body, who in ids.items():
            opened.port.replyc(("replyc", (who, b"", b"to " + body)))
        opened.port.send()
        for dealer, body in ((one, b"1"), (two, b"2")):
            opened.run_until(lambda dealer=dealer: dealer.poll(0))
            assert dealer.recv_multipart() == [b"", b"to " + body]


def test_libzmq_connects_again_by_itself(client_port, context):
    opened = client_port
    with dealer_of(context, opened.port.address) as dealer:
        dealer.send_multipart([b"", b"before"])
        opened.run_until(lambda: opened.of("clientc"))
        address = opened.port.address
        opened.port.close()
        opened.port = ClientPort(address, structlog.get_logger())
        opened.port.open(opened.poller, opened.taken.append)
        dealer.send_multipart([b"", b"after"])
        opened.run_until(lambda: opened.of("clientc")[-1][-1] == b"after")


@pytest.mark.parametrize(
    "said",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        GREETING + b"\x04\x00",
        GREETING + READY + b"\x08\x00",
        GREETING + READY + b"\x02" + (limits.CLIENT_FRAME_BYTES_MAX + 1).to_bytes(8, "big"),
        GREETING + READY + b"\x01\x00" * (limits.CLIENT_FRAMES_MAX + 1),
    ],
)
def test_who_does_not_keep_to_the_protocol_is_cut_and_nobody_else(client_port, said):
    opened = client_port
    with raw_client(opened) as other, raw_client(opened, said) as connection:
        opened.run_until(lambda: is_closed(connection))
        ask(opened, other)


def test_a_message_without_end_is_bounded(client_port):
    frame = b"\x03" + (1 << 20).to_bytes(8, "big") + bytes(1 << 20)
    opened = client_port
    with raw_client(opened) as connection:
        connection.setblocking(False)
        sent = 0

        def cut():
            nonlocal sent
            try:
                sent += connection.send(frame[sent % len(frame) :])
            except BlockingIOError:
                return False
            except ConnectionError:
                return True
            return False

        opened.run_until(cut)
    assert sent < 4 * limits.CLIENT_MESSAGE_BYTES_MAX, "more than the kernel holds"
    assert opened.of("clientc") == []


@pytest.fixture
def hurried(monkeypatch):
    """In each turn there is time for one of those who are served after the others."""
    monkeypatch.setattr(limits, "STRANGERS_TURN_S", 0.0)
    opened = Opened(ClientPort("127.0.0.1:0", structlog.get_logger()))
    yield opened
    opened.close()


def who_are_served_after_the_others(opened):
    return {stream for stream in opened.port._streams.values() if stream.few}


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is one loop for all")
def test_a_friend_does_not_wait_for_strangers(hurried):
    with ExitStack() as stack:
        friend = stack.enter_context(raw_client(hurried))
        who = ask(hurried, friend)
        strangers = [stack.enter_context(raw_client(hurried, GREETING[:9])) for _ in range(8)]
        hurried.run_until(lambda: len(hurried.port._streams) == 9)
        for stranger in strangers:
            stranger.sendall(b"\0")
        friend.sendall(b"\1\1h\0\1y")
        select.select([hurried.port._streams[who]._socket], [], [], WAIT_S)
        hurried.poller.wait(WAIT_S)
        assert hurried.of("clientc")[-1] == (who, b"h", b"y")
        assert len(hurried.port._streams) >= 8, "one of them had its turn, and was cut"
        hurried.run_until(lambda: len(hurried.port._streams) == 1)


def test_who_talks_nonsense_is_served_after_the_others(client_port):
    with raw_client(client_port) as one, raw_client(client_port) as other:
        who = ask(client_port, one)
        ask(client_port, other)
        assert not who_are_served_after_the_others(client_port)
        client_port.port.strangec(("strangec", who))
        client_port.port.strangec(("strangec", b"somebody who has left"))
        assert who_are_served_after_the_others(client_port) == {client_port.port._streams[who]}
        assert ask(client_port, one) == who, "still served"


def test_a_peer_that_talks_nonsense_is_served_after_the_others(peer_port):
    header = pack((2, 1, 1, 1, 1, 1, 0, 0, 0, "raft", 1, 1, 1))
    with raw_client(peer_port) as one:
        one.sendall(b"\1" + bytes((len(header),)) + header + b"\0\0")
        peer_port.run_until(lambda: len(peer_port.of("peerc")) == 1)
        assert not who_are_served_after_the_others(peer_port)
        one.sendall(b"\1\1h\0\1x")
        peer_port.run_until(lambda: len(peer_port.of("peerc")) == 2)
        assert len(who_are_served_after_the_others(peer_port)) == 1


def test_who_does_not_shake_hands_in_time_is_cut(client_port, monkeypatch):
    monkeypatch.setattr(ports, "HANDSHAKE_S", 0.1)
    opened = client_port
    with (
        raw_client(opened, b"") as silent,
        raw_client(opened, GREETING) as half,
        raw_client(opened) as whole,
    ):
        client = ask(opened, whole)
        opened.run_until(lambda: is_closed(silent) and is_closed(half))
        assert ask(opened, whole) == client
    assert opened.of("gonec") == [], "nobody waits for those"


def half_open_settings(connection):
    tcp_level = socket.IPPROTO_TCP
    return {
        "asks": connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        "after_s": connection.getsockopt(tcp_level, socket.TCP_KEEPIDLE),
        "times": connection.getsockopt(tcp_level, socket.TCP_KEEPCNT),
        "gone_ms": connection.getsockopt(tcp_level, socket.TCP_USER_TIMEOUT),
    }


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone tells all of it")
def test_the_kernel_notices_who_is_gone_without_a_word():
    """A client in half a minute, a peer in the time of an election, both ways."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = tcp.Address(socket.AF_INET, listener.getsockname())
        for silence_s in (ports.PEER_SILENCE_S, ports.CLIENT_SILENCE_S):
            dialled, accepted = tcp.dial(address, silence_s), tcp.accept(listener, silence_s)
            with dialled, accepted:
                for connection in (dialled, accepted):
                    assert half_open_settings(connection) == {
                        "asks": 1,
                        "after_s": silence_s / 3,
                        "times": 2,
                        "gone_ms": silence_s * 1000,
                    }


# -- clients that do not read


def leave_unread(opened, connection, size):
    """Ask by a raw connection for a reply of this size; returns its stream."""
    client = ask(opened, connection)
    opened.port.replyc(("replyc", (client, b"", bytes(size))))
    opened.port.send()
    return opened.port._streams.get(client)


UNREAD = 16 << 20
"""More than the kernel's buffers hold."""


def test_who_leaves_much_unread_asks_for_no_more(client_port):
    opened = client_port
    with raw_client(opened) as slow, raw_client(opened) as other:
        stream = leave_unread(opened, slow, UNREAD)
        slow.sendall(b"\x01\x01h\x00\x04more")
        ask(opened, other)
        ask(opened, other)
        assert b"more" not in [message[-1] for message in opened.of("clientc")]
        read = 0

        def all_read():
            nonlocal read
            slow.setblocking(False)
            try:
                read += len(slow.recv(1 << 20))
            except BlockingIOError:
                return False
            return read > UNREAD

        opened.run_until(all_read)
        opened.run_until(lambda: opened.of("clientc")[-1][-1] == b"more")
        opened.run_until(lambda: not stream.unsent)


def test_it_is_told_when_large_answers_have_left(client_port):
    opened = client_port
    with raw_client(opened) as slow, raw_client(opened) as quick:
        clients = {each: ask(opened, each) for each in (slow, quick)}
        opened.port.largec(("largec", (1, clients[slow], b"", bytes(UNREAD))))
        opened.port.largec(("largec", (2, clients[quick], b"", bytes(100_000))))
        opened.port.send()
        opened.run_until(lambda: opened.of("leftc"))
        assert opened.of("leftc") == [[2]], "who reads nothing of a small one holds nothing"
        opened.port.largec(("largec", (3, clients[slow], b"", bytes(100_000))))
        opened.port.send()
        stream = opened.port._streams[clients[slow]]
        held = stream.unsent

        def some_read():
            slow.setblocking(False)
            try:
                slow.recv(1 << 20)
            except BlockingIOError:
                return False
            return opened.of("leftc")[1:]

        assert held > limits.CLIENT_UNREAD_BYTES
        opened.run_until(some_read)
        assert opened.of("leftc") == [[2], [1, 3]]
        assert stream.unsent <= limits.CLIENT_UNREAD_BYTES
        opened.port.largec(("largec", (4, clients[slow], b"", bytes(UNREAD))))
        opened.port.send()
        slow.close()
        opened.run_until(lambda: opened.of("gonec"))
        assert opened.of("leftc")[2:] == [[4]]
        opened.port.largec(("largec", (5, clients[slow], b"", bytes(UNREAD))))
        assert opened.of("leftc")[3:] == [[5]]


def test_who_holds_large_answers_is_cut_first_when_all_leave_much_unread(client_port, monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS_UNREAD_BYTES_MAX", UNREAD * 2)
    opened = client_port
    connections = [raw_client(opened) for _ in range(4)]
    with ExitStack() as stack, capture_logs():
        first, *others = (stack.enter_context(each) for each in connections)
        streams = [leave_unread(opened, first, UNREAD)]
        for each in others:
            client = ask(opened, each)
            opened.port.largec(("largec", (len(streams), client, b"", bytes(UNREAD))))
            streams.append(opened.port._streams[client])
        opened.port.send()
        now = time.monotonic()
        for stream, ago_s in zip(streams, (2, 2, 2, -60), strict=True):
            stream.moved_at = now - ago_s * ports.CROWDED_S
        opened.port.tick()
        assert opened.of("gonec") == [stream.key for stream in streams[1:3]]


def test_who_reads_nothing_is_cut_in_the_end(client_port, monkeypatch):
    monkeypatch.setattr(ports.ClientPort, "silence_s", 3)
    opened = client_port
    with raw_client(opened) as slow, raw_client(opened) as other, capture_logs():
        stream = leave_unread(opened, slow, UNREAD)
        assert stream.unsent
        stream.moved_at -= 4
        opened.run_until(lambda: opened.of("gonec") == [stream.key])
        ask(opened, other)


def test_who_reads_nothing_is_cut_soon_when_all_leave_much_unread(client_port, monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS_UNREAD_BYTES_MAX", UNREAD)
    opened = client_port
    with raw_client(opened) as slow, raw_client(opened) as slower, capture_logs():
        first, second = (leave_unread(opened, each, UNREAD) for each in (slower, slow))
        for stream in (first, second):
            stream.moved_at -= 2 * ports.CROWDED_S
        first.moved_at -= 1
        opened.run_until(lambda: opened.of("gonec"))
        assert opened.of("gonec") == [first.key], "there is room for the other one now"


def test_who_is_gone_before_its_answer_is_forgotten(client_port):
    """What waits for it must not be waited for."""
    with raw_client(client_port) as connection:
        who = ask(client_port, connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    port = client_port.port
    select.select([port._streams[who]._socket], [], [], WAIT_S)  # the kernel has heard it
    port.replyc(("replyc", (who, b"h", b"answer")))
    port.send()
    assert (port._streams, port._slow, port._answered, port._large) == ({}, {}, {}, {})


def test_who_would_get_more_than_its_window_is_cut(client_port, monkeypatch):
    monkeypatch.setattr(limits, "REPLY_WINDOW_BYTES", UNREAD // 2)
    opened = client_port
    with raw_client(opened) as slow:
        stream = leave_unread(opened, slow, UNREAD)
        opened.port.replyc(("replyc", (stream.key, b"", b"small replies pass")))
        assert stream.open
        opened.port.replyc(("replyc", (stream.key, b"", bytes(UNREAD))))
        assert not stream.open
        assert opened.of("gonec") == [stream.key]


# -- descriptors


def test_a_reserve_of_descriptors_is_kept(client_port, monkeypatch):
    opened, port = client_port, client_port.port
    with raw_client(opened) as first, capture_logs() as logs:
        client = ask(opened, first)
        port._log = structlog.get_logger()
        free = tcp.lowest_free(first)
        monkeypatch.setattr(port, "_descriptor_max", free + 4)
        others = [raw_client(opened) for _ in range(8)]
        connections = [other.__enter__() for other in others]
        opened.run_until(lambda: logs)
        for _ in range(10):
            opened.port.tick()
            opened.poller.wait(0.01)
        assert ask(opened, first) == client, "who was there is served"
        assert len(logs) == 1
        assert "out of descriptors" in logs[0]["event"]
        assert len(port._streams) < 9
        monkeypatch.setattr(port, "_descriptor_max", free + 100)
        opened.run_until(lambda: len(port._streams) == 9)
        ask(opened, connections[-1])
        for other in others:
            other.__exit__(None, None, None)


# -- peers


def test_peers_send_on_links_and_receive_on_the_port(peer_port, context):
    opened, port = peer_port, peer_port.port
    with context.socket(zmq.ROUTER) as router, dealer_of(context, port.address) as dealer:
        router.linger = 0
        router.bind("tcp://127.0.0.1:0")
        endpoint = router.get(zmq.LAST_ENDPOINT).decode().removeprefix("tcp://")
        dealer.send_multipart([b"header", bytes(300)])
        opened.run_until(lambda: opened.taken)
        assert opened.taken == [("peerc", [b"header", bytes(300)])]
        assert port.linkc(("linkc", (7, [b"nobody"]))), "a peer that was removed is not told of"
        port.linksc(("linksc", {2: (endpoint, "")}))
        assert not port.linkc(("linkc", (2, [b"early"])))
        opened.run_until(lambda: port.linkc(("linkc", (2, [b"header", b"body"]))))
        opened.run_until(lambda: router.poll(0))
        assert router.recv_multipart()[1:] == [b"header", b"body"]
        router.unbind(f"tcp://{endpoint}")
        router.close(linger=0)
        with capture_logs():
            opened.run_until(lambda: not port.linkc(("linkc", (2, [b"lost"]))))
            with context.socket(zmq.ROUTER) as again:
                again.linger = 0
                again.bind(f"tcp://{endpoint}")
                opened.run_until(lambda: port.linkc(("linkc", (2, [b"header", b"again"]))))
                opened.run_until(lambda: again.poll(0))
                assert again.recv_multipart()[-1] == b"again"
        port.linksc(("linksc", {}))


def test_who_pings_and_never_reads_is_not_heard_for_ever(peer_port):
    """Where it only listens a door has something to say, too: an answer to each of its PINGs."""
    ping = b"\4\7\4PING\0\0"
    with raw_client(peer_port) as one:
        peer_port.run_until(lambda: any(s.ready for s in peer_port.port._streams.values()))
        (stream,) = peer_port.port._streams.values()
        stream._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        one.setblocking(False)

        def is_full():
            with suppress(BlockingIOError):
                one.send(ping * 10_000)
            return not stream._watched & streams.READ or not stream.open

        peer_port.run_until(is_full)
        assert stream.unsent < 1 << 20


def test_a_peer_that_takes_nothing_is_given_up(peer_port, monkeypatch):
    """A process that was stopped: its kernel takes what fits into its buffers, and no more."""
    opened, port = peer_port, peer_port.port
    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs() as logs:
        port._log = structlog.get_logger()
        host, number = listener.getsockname()
        port.linksc(("linksc", {2: (f"{host}:{number}", "")}))
        peer, _ = listener.accept()
        with peer:
            peer.sendall(GREETING + READY.replace(b"DEALER", b"ROUTER"))
            send = ("linkc", (2, [b"header", bytes(limits.PEER_FRAME_BYTES_MAX)]))
            opened.run_until(lambda: port.linkc(send))
            opened.run_until(lambda: not port.linkc(send))
            stream = port._links[2]._connection._stream
            assert stream.unsent > limits.PEER_QUEUE_BYTES
            stream.moved_at -= ports.PEER_SILENCE_S + 1
            opened.run_until(lambda: logs)
            assert "nothing was taken for 3 s" in logs[0]["why"]
        listener.settimeout(WAIT_S)
        opened.run_until(lambda: port._links[2]._connection._stream is not stream)


def test_a_peer_that_was_killed_is_known_to_be_gone_at_once(peer_port, monkeypatch):
    """Its kernel closes the connection and refuses the next, which is not waited with."""
    monkeypatch.setattr(ports, "RECONNECT_S", 1e6)
    opened, port = peer_port, peer_port.port
    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs():
        host, number = listener.getsockname()
        port.linksc(("linksc", {2: (f"{host}:{number}", "")}))
        peer, _ = listener.accept()
        assert opened.of("linkedc") == [], "no handshake yet"
        peer.sendall(GREETING + READY.replace(b"DEALER", b"ROUTER"))
        opened.run_until(lambda: port.linkc(("linkc", (2, [b"x"]))))
        assert opened.of("linkedc") == [(2, True)]
        listener.close()
        peer.close()
        opened.run_until(lambda: opened.of("brokenc"))
    assert opened.of("brokenc") == [2]
    assert opened.of("linkedc") == [(2, True), (2, False)]


def test_an_attempt_that_nobody_answers_is_followed_by_the_next_at_once(peer_port, monkeypatch):
    """Connections are asked for every second, or the end of a cut would be noticed late."""
    monkeypatch.setattr(ports, "RECONNECT_S_MAX", 0.05)
    opened, port = peer_port, peer_port.port
    with socket.create_server(("127.0.0.1", 0)) as listener, capture_logs():
        host, number = listener.getsockname()
        port.linksc(("linksc", {2: (f"{host}:{number}", "")}))
        link = port._links[2]
        first = link._connection
        link._began_at -= streams.CONNECT_S
        first._give_up("timed out")
        assert link._connection is first
        link.tick()
        assert link._connection is not first
    assert opened.of("linkedc") == [(2, False)]
