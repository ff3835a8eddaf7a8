"""How nodes are reached: names, addresses, and what errors say of them."""

import socket
import threading

import pytest
from sampan.client import Client, _link, errors
from sampan.transport import streams, tcp
from sampan.transport.tcp import Address
from sampan.transport.zmtp import UNBOUNDED, Engine

from ..ports import free_port
from .scenario import LONG_S


@pytest.fixture
def names(monkeypatch):
    """What names mean, by host: addresses, or what is called instead of an answer."""
    known, resolve = {}, tcp.resolve

    def answer(endpoint, flags=0):
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        if host not in known:
            return resolve(endpoint, flags)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "not an address")
        found = known[host]
        if callable(found):
            found()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        family = {True: socket.AF_INET6, False: socket.AF_INET}
        return [Address(family[":" in each], (each, int(port))) for each in found]

    monkeypatch.setattr(tcp, "resolve", answer)
    return known


class Peer:
    """A port at which something else than a node answers."""

    def __init__(self, converse):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._converse = converse
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            with accepted:
                self._converse(accepted)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


def speak_http(connection):
    connection.recv(10)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def shake_hands_and_fall_silent(connection):
    """As a process that was stopped: its machine still acknowledges everything."""
    engine = Engine(b"ROUTER", UNBOUNDED)
    connection.sendall(engine.greeting)
    while not engine.ready:
        engine.receive(connection.recv(1000))
        connection.sendall(b"".join(engine.taken_answers()))
    while connection.recv(1000):
        pass


@pytest.mark.parametrize("first", [True, False])
def test_a_name_whose_resolver_is_silent_costs_only_its_own_endpoint(node, names, first):
    answers = threading.Event()
    names["silent.test"] = answers.wait
    endpoints = [node.endpoint, "silent.test:1"][:: -1 if first else 1]
    with Client(endpoints, timeout_s=LONG_S) as client:
        for i in range(5):
            client.put("k", str(i))
        with pytest.raises(errors.UnreachableError, match=r"silent\.test:1"):
            client.status("silent.test:1", timeout_s=0.01)
    answers.set()  # everything else, the end of the client, too, happened before


def test_all_addresses_of_a_name_are_tried(node, names):
    names["two.test"] = ["::1", "127.0.0.1"]  # and the node listens on one of them
    with Client([f"two.test:{node.port}"], timeout_s=LONG_S) as client:
        client.put("k", "v")


def test_an_error_says_what_was_tried_and_why_it_failed(names):
    port = free_port()
    names["two.test"] = ["127.0.0.2", "127.0.0.1"]
    names["none.test"] = lambda: None
    endpoints = [f"two.test:{port}", f"none.test:{port}", "127.0.0.1:1"]
    with (
        Client(endpoints, timeout_s=1.0) as client,
        pytest.raises(errors.UnreachableError) as caught,
    ):
        client.get("k")
    for told in (
        f"127.0.0.2:{port}: Connection refused",
        f"127.0.0.1:{port}: Connection refused",
        f"none.test:{port}: Name or service not known",
        "127.0.0.1:1: Connection refused",
    ):
        assert told in str(caught.value)


def test_what_is_no_node_is_told_at_once():
    with Peer(speak_http) as peer, Client([peer.endpoint], timeout_s=LONG_S) as client:
        for call in (client.get, client.delete):
            with pytest.raises(errors.UnreachableError, match="does not speak ZeroMQ"):
                call("k")


def test_what_says_nothing_at_all_is_left(node, monkeypatch):
    monkeypatch.setattr(streams, "HANDSHAKE_S", 0.1)
    with (
        Peer(lambda connection: [connection.recv(100) for _ in range(2)]) as peer,
        Client([peer.endpoint], timeout_s=1.5) as client,
        pytest.raises(errors.UnreachableError, match="no handshake"),
    ):
        client.get("k")


def why_not(call):
    """What a call that is not answered says of the endpoints."""
    with pytest.raises(errors.NotAppliedError) as caught:
        call("k", timeout_s=0.1)
    assert caught.value.tried in str(caught.value)
    return caught.value.tried


def test_a_port_where_nobody_answers_clients_is_told(monkeypatch):
    monkeypatch.setattr(_link, "TICK_S", 0.02)
    monkeypatch.setattr(_link, "MUTE_S", 0.1)
    with Peer(shake_hands_and_fall_silent) as peer, Client([peer.endpoint]) as client:
        while not client._dispatcher.links[0].mute:
            why_not(client.get)
        told = f"{peer.endpoint}: connected, but has never answered: is it the port for members"
        for call in (client.get, client.delete):
            assert told in why_not(call)


def test_a_node_that_had_no_time_to_answer_is_not_taken_for_such_a_port(monkeypatch):
    monkeypatch.setattr(_link, "MUTE_S", 1e9)
    with Peer(shake_hands_and_fall_silent) as peer, Client([peer.endpoint]) as client:
        while not client._dispatcher.links[0].ready:
            threading.Event().wait(0.01)
        for call in (client.get, client.delete):
            assert why_not(call) == f"tcp://{peer.endpoint}"


def test_a_node_that_stands_still_is_left_though_its_machine_answers(node, monkeypatch):
    monkeypatch.setattr(_link, "SILENCE_S", 0.3)
    monkeypatch.setattr(_link, "TICK_S", 0.02)
    with Peer(shake_hands_and_fall_silent) as peer, Client([peer.endpoint]) as client:
        with pytest.raises(errors.ReadTimeoutError):
            client.get("k", timeout_s=0.1)
        while "nothing was heard" not in client._dispatcher.links[0].trouble:
            threading.Event().wait(0.01)


def test_a_node_that_has_nothing_to_say_is_not_left(node, monkeypatch):
    monkeypatch.setattr(_link, "SILENCE_S", 0.3)
    monkeypatch.setattr(_link, "TICK_S", 0.02)
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        client.put("k", "v")
        link = client._dispatcher.links[0]
        stream = link._outgoing._stream
        heard = [stream.heard_at]
        while len(heard) < 6:  # answers to its questions
            if stream.heard_at != heard[-1]:
                heard.append(stream.heard_at)
            threading.Event().wait(0.01)
        assert link._outgoing._stream is stream
