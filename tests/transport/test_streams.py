"""Connections over TCP: against libzmq, against nobody, and against a DNS that says nothing."""

import select
import socket
import sys
import threading
import time
from contextlib import ExitStack

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from sampan.transport import streams, tcp
from sampan.transport.names import Names
from sampan.transport.polling import Poller
from sampan.transport.streams import Outgoing, Stream
from sampan.transport.zmtp import UNBOUNDED, Bounds, Engine, encode

WAIT_S = 30.0
MESSAGES = [[b"header", b"body"], [b""], [b"", bytes(255), bytes(256), b""], [b"x", bytes(3 << 20)]]


class Owner:
    """What a connection told."""

    def __init__(self):
        self.ready = 0
        self.messages = []
        self.lost = []

    def on_ready(self, _link):
        self.ready += 1

    def on_messages(self, _link, messages):
        self.messages += messages

    def on_lost(self, _link, why):
        self.lost.append(why)

    def on_over(self, _stream, why):
        self.lost.append(why)


class World:
    """A loop, its names and what is connected in it."""

    def __init__(self):
        self.poller = Poller()
        self.names = Names()
        self.links = []

    def connect(self, endpoint, names=None, bounds=UNBOUNDED):
        owner = Owner()
        link = Outgoing(
            self.poller, names or self.names, endpoint, owner, bounds=bounds, silence_s=3
        )
        self.links.append(link)
        return link, owner

    def run_until(self, condition):
        give_up = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < give_up
            self.poller.wait(0.01)
            for link in self.links:
                link.tick()

    def close(self):
        for link in self.links:
            link.close()
        self.poller.close()


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


@pytest.fixture
def context():
    context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def router(context):
    router = context.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:0")
    return router


def endpoint_of(router):
    return router.get(zmq.LAST_ENDPOINT).decode().removeprefix("tcp://")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def address_of(listener):
    return f"127.0.0.1:{listener.getsockname()[1]}"


def test_messages_both_ways_with_libzmq(world, router):
    link, owner = world.connect(endpoint_of(router))
    assert not link.send([b"before the handshake"])
    world.run_until(lambda: link.ready)
    for sent in MESSAGES:
        assert link.send(sent)
        world.run_until(lambda: router.poll(0))
        who, *received = router.recv_multipart()
        assert received == sent
        router.send_multipart([who, *sent])
    world.run_until(lambda: len(owner.messages) == len(MESSAGES))
    assert owner.messages == MESSAGES
    assert (owner.ready, owner.lost) == (1, [])


def test_libzmq_asks_whether_it_is_there(world, context):
    """With heartbeats of 10 ms and a limit of 300 it would end the connection."""
    router = context.socket(zmq.ROUTER)
    router.setsockopt(zmq.HEARTBEAT_IVL, 10)
    router.setsockopt(zmq.HEARTBEAT_TIMEOUT, 300)
    monitor = router.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    router.bind("tcp://127.0.0.1:0")
    link, owner = world.connect(endpoint_of(router))
    world.run_until(lambda: link.ready)
    until = time.monotonic() + 1
    world.run_until(lambda: time.monotonic() > until)
    assert not monitor.poll(0)
    router.disable_monitor()
    monitor.close(linger=0)
    router.close(linger=0)
    assert owner.lost == []


def test_the_end_of_a_connection_is_told_once(world, context, router):
    link, owner = world.connect(endpoint_of(router))
    world.run_until(lambda: link.ready)
    router.close(linger=0)
    world.run_until(lambda: owner.lost)
    assert not link.ready
    assert not link.send([b"late"])
    link.tick()
    assert owner.lost == [f"{link.endpoint}: connection closed"]


def test_a_socket_that_does_not_fit(world, context):
    publisher = context.socket(zmq.PUB)
    publisher.bind("tcp://127.0.0.1:0")
    _, owner = world.connect(endpoint_of(publisher))
    world.run_until(lambda: owner.lost)
    publisher.close(linger=0)
    assert owner.ready == 0


def test_what_is_beyond_the_bounds_ends_the_connection(world, router):
    link, owner = world.connect(endpoint_of(router), bounds=Bounds(1000, 1000, 2))
    world.run_until(lambda: link.ready)
    link.send([b"who?"])
    world.run_until(lambda: router.poll(0))
    who, _ = router.recv_multipart()
    router.send_multipart([who, bytes(1001)])
    world.run_until(lambda: owner.lost)
    assert owner.lost == [f"{link.endpoint}: a frame of 1001 bytes, more than 1000"]


def test_nobody_is_there(world, listener):
    address = address_of(listener)
    listener.close()
    _, owner = world.connect(address)
    world.run_until(lambda: owner.lost)
    assert owner.lost == [f"{address}: Connection refused"]


def test_something_else_is_there(world, listener):
    link, owner = world.connect(address_of(listener))
    accepted, _ = listener.accept()
    with accepted:
        accepted.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        world.run_until(lambda: owner.lost)
    assert owner.lost == [f"{link.endpoint}: it does not speak ZeroMQ"]


def test_somebody_is_there_who_says_nothing(world, listener, monkeypatch):
    monkeypatch.setattr(streams, "HANDSHAKE_S", 0.05)
    link, owner = world.connect(address_of(listener))
    world.run_until(lambda: owner.lost)
    assert owner.lost == [f"{link.endpoint}: no handshake"]


@pytest.mark.skipif(sys.platform != "linux", reason="others refuse what comes beyond the queue")
def test_somebody_is_there_whose_kernel_says_nothing(world, monkeypatch):
    """A listener whose queue is full: what comes beyond vanishes, as in a silent network."""
    monkeypatch.setattr(streams, "CONNECT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as queue:
        for _ in range(8):
            waiting = queue.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(full.getsockname())
        address = address_of(full)
        _, owner = world.connect(address)
        world.run_until(lambda: owner.lost)
    assert owner.lost == [f"{address}: timed out"]


class Told(Names):
    """Names that are known beforehand."""

    def __init__(self, *known):
        super().__init__()
        self.known = [tcp.Address(socket.AF_INET, address) for address in known]

    def addresses(self, endpoint):
        return self.known


def test_all_addresses_of_a_name_are_tried(world, router, listener):
    dead = listener.getsockname()
    listener.close()
    host, port = endpoint_of(router).split(":")
    link, owner = world.connect("name:1", Told(dead, (host, int(port))))
    world.run_until(lambda: link.ready)
    assert owner.lost == []


def test_an_error_names_all_that_was_tried(world, listener):
    dead = listener.getsockname()
    listener.close()
    _, owner = world.connect("name:1", Told(dead, ("127.0.0.2", dead[1])))
    world.run_until(lambda: owner.lost)
    refused = {f"{host}:{dead[1]}: Connection refused" for host in ("127.0.0.1", "127.0.0.2")}
    assert set(owner.lost[0].split("; ")) == refused


@pytest.fixture
def silent_dns(monkeypatch):
    """A resolver that says nothing of names until it is let go."""
    go, resolve = threading.Event(), tcp.resolve

    def ask(endpoint, flags=0):
        if not flags:
            assert go.wait(WAIT_S)
            endpoint = endpoint.replace("name", "127.0.0.1")
        return resolve(endpoint, flags)

    monkeypatch.setattr(tcp, "resolve", ask)
    yield go
    go.set()


def test_a_silent_dns_stops_nothing(world, router, silent_dns, monkeypatch):
    monkeypatch.setattr(streams, "CONNECT_S", 0.1)
    endpoint = endpoint_of(router)
    named = endpoint.replace("127.0.0.1", "name")
    _, silent = world.connect(named)
    link, _ = world.connect(endpoint)
    world.run_until(lambda: link.ready)
    world.run_until(lambda: silent.lost)
    assert silent.lost == [f"{named}: its name was not resolved in time"]
    silent_dns.set()
    world.run_until(lambda: world.names.addresses(named))
    link, _ = world.connect(named)
    world.run_until(lambda: link.ready)
    silent_dns.clear()
    link, _ = world.connect(named)  # by the last good answer
    world.run_until(lambda: link.ready)


def test_a_name_that_does_not_exist(world):
    _, owner = world.connect("no-such-host.invalid:1")
    world.run_until(lambda: owner.lost)
    assert owner.lost[0].startswith("no-such-host.invalid:1: ")


def test_a_socket_file_that_nobody_has_bound(world, tmp_path):
    path = str(tmp_path / "clients")
    _, owner = world.connect(f"ipc://{path}")
    world.run_until(lambda: owner.lost)
    assert owner.lost == [f"{path}: No such file or directory"]
    with tcp.listen_beside(path) as listener:
        link, owner = world.connect(f"ipc://{path}")
        world.run_until(lambda: link._stream is not None)
        listener.accept()[0].close()
        world.run_until(lambda: owner.lost)
    assert len(owner.lost) == 1


def test_all_addresses_of_a_name_are_bound(monkeypatch):
    both = [("127.0.0.1", 0), ("127.0.0.2", 0)]
    known = [tcp.Address(socket.AF_INET, address) for address in both]
    monkeypatch.setattr(tcp, "resolve", lambda *_: known)
    listeners = tcp.listen("name:0")
    port = listeners[0].getsockname()[1]
    assert [listener.getsockname() for listener in listeners] == [(h, port) for h, _ in both]
    for host, _ in both:
        socket.create_connection((host, port), timeout=WAIT_S).close()
    for listener in listeners:
        listener.close()


def test_an_address_that_this_machine_does_not_have_is_passed_over(monkeypatch):
    known = [("192.0.2.1", 0), ("127.0.0.1", 0)]  # the first is for documentation
    found = [tcp.Address(socket.AF_INET, address) for address in known]
    monkeypatch.setattr(tcp, "resolve", lambda *_: found)
    (listener,) = tcp.listen("name:0")
    assert listener.getsockname()[0] == "127.0.0.1"
    listener.close()
    found.pop()
    with pytest.raises(tcp.BindError, match=r"cannot bind name:0 \(192.0.2.1:0\): Cannot"):
        tcp.listen("name:0")


def test_a_taken_address_is_an_error(listener):
    address = address_of(listener)
    with pytest.raises(tcp.BindError, match=f"cannot bind {address}: Address already in use"):
        tcp.listen(address)


class Sink:
    """A socket that takes as much as it is told, then is full."""

    def __init__(self, rooms):
        self.taken = bytearray()
        self._rooms = iter(rooms)

    def fileno(self):
        return 0

    def send(self, data):
        room = next(self._rooms, 2**30)
        if not room:
            raise BlockingIOError
        self.taken += data[:room]
        return min(room, len(data))

    def sendmsg(self, buffers):
        return self.send(b"".join(buffers))


class Still:
    """A loop in which nothing happens."""

    def watch(self, *_):
        pass

    unwatch = watch


@given(
    st.lists(st.lists(st.sampled_from([b"", b"a", bytes(300), bytes(70_000)]), min_size=1)),
    st.lists(st.sampled_from([0, 1, 5, 64, 1000, 100_000])),
)
def test_what_is_sent_is_whole_however_little_is_taken_at_once(messages, rooms):
    sink = Sink(rooms)
    stream = Stream(Still(), sink, Engine(b"DEALER", UNBOUNDED), Owner())
    for message in messages:
        stream.put(message)
        stream.flush()
    while stream.unsent:
        stream.flush()
    assert stream.parts == 0
    receiver = Engine(b"ROUTER", UNBOUNDED)
    ready = Engine(b"DEALER", UNBOUNDED)
    ready.receive(receiver.greeting)
    (said,) = ready.taken_answers()
    assert receiver.receive(bytes(sink.taken[:64]) + said + bytes(sink.taken[64:])) == messages


def test_one_turn_takes_a_bounded_number_of_messages():
    """However small they are; who sends larger ones is read in larger pieces soon."""
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        owner = Owner()
        owner.on_taken = owner.on_over
        stream = Stream(Still(), near, Engine(b"ROUTER", UNBOUNDED), owner)
        ready = Engine(b"DEALER", UNBOUNDED)
        ready.receive(ready.greeting)
        far.send(ready.greeting + ready.taken_answers()[0] + bytes(1 << 16))  # empty messages
        before = 0
        for _ in range(4):
            stream._receive()
            assert len(owner.messages) - before <= streams.RECEIVE_FEW_BYTES // 2
            assert len(owner.messages) > before
            before = len(owner.messages)
        while select.select([near], [], [], 0)[0]:
            stream._receive()
        parts = []
        encode(parts, [b"x" * 1000])
        for _ in range(6):
            far.send(b"".join(parts))
            stream._receive()
        assert stream._read_bytes == streams.RECEIVE_BYTES


def test_one_turn_sends_a_bounded_part():
    sink = Sink([])
    stream = Stream(Still(), sink, Engine(b"DEALER", UNBOUNDED), Owner())
    stream.put([bytes(10 * streams.SEND_TURN_BYTES)])
    stream.flush()
    assert len(sink.taken) <= streams.SEND_TURN_BYTES + 64
    assert stream.unsent > 8 * streams.SEND_TURN_BYTES
