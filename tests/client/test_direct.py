"""Lone calls of the blocking client, which its callers make themselves."""

import os
import signal
import threading
from functools import partial

import pytest
from sampan.client import Client, _direct, errors

from .fake_node import LEADER_CHANGED, NO_LEADER, SESSION_EXPIRED, SILENCE
from .scenario import LONG_S, fail_first

TRIES = 5_000
TIMEOUTS = (errors.ReadTimeoutError, errors.RequestTimeoutError)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The second lone call makes for the connection already."""
    monkeypatch.setattr(_direct, "LONE_CALLS", 2)
    monkeypatch.setattr(_direct, "RETRY_S", 0.0)


def lines(client):
    return [link.line for link in client._dispatcher.links if link.line is not None]


def lone(client, *, writes=True):
    """Until calls are made by their callers. Which calls are cannot be seen from outside."""
    for _ in range(TRIES):
        client.get("k")
        if writes:
            client.put("k", "v")
        if lines(client) and (not writes or lines(client)[0].session.id):
            return
    raise AssertionError("no lone call got a connection of its own")


def last(node, kind="write"):
    return [(header, body) for header, body in list(node.messages) if header[2] == kind][-1]


def test_lone_calls_take_a_connection_of_their_own(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        link, loop_ids = client._dispatcher.links[0], client._dispatcher.links[0]._last_id
        put = client.put("a", "v", prev_kv=True)
        assert (put.header.member_id, put.prev_kv) == (1, None)
        assert client.get("a", serializable=True).kvs[0].value == b"v"
        assert client.delete("a").deleted == 1
        assert client.txn([], [("put", b"a", b"w")]).succeeded
        assert link._last_id == loop_ids
    assert last(node)[0][1] > 2


def test_numbers_of_lone_writes_follow_each_other(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        for _ in range(3):
            client.put("a", "v")
        stamps = [tuple(h[5:]) for h, _ in list(node.messages) if h[2] == "write"][-3:]
    assert [(n, below) for _, n, below in stamps] == [
        (stamps[0][1] + i, stamps[0][1] + i) for i in range(3)
    ]
    assert len({session for session, _, _ in stamps}) == 1


def test_what_is_no_success_is_tried_again(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        node.behave = fail_first(1, NO_LEADER)
        assert client.get("k").kvs[0].value == b"v"
        node.behave = fail_first(1, NO_LEADER)
        client.put("k", "w")
        assert client.get("k").kvs[0].value == b"w"


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("error", [LEADER_CHANGED, None])
def test_a_write_of_unknown_outcome_is_sent_again_with_its_number(node, applied, error):
    """It is answered with an error, or with nothing that is a reply."""
    seen = []

    def behave(header, requests):
        if header[2] != "write":
            return None
        seen.append(tuple(header[5:]))
        if len(seen) > 1:
            return None
        if applied:
            node.apply(header, requests)
        return error or "no reply"

    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        before = node.store.revision
        node.behave = behave
        assert client.put("once", "v").header.revision == before + 1
    assert len(seen) == 2
    assert len(set(seen)) == 1


def test_a_session_that_ended_is_replaced(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        node.store.sessions.clear()
        assert client.put("k", "w").prev_kv is None
        lone(client)
        client.put("k", "x")
        assert client.get("k").kvs[0].value == b"x"
    assert [h for h, _ in node.messages if h[2] == "write"]
    assert SESSION_EXPIRED[1].startswith("sampan: session expired")


@pytest.mark.parametrize("kind", ["read", "write"])
def test_a_call_to_a_node_that_dies_is_answered_by_another(node, other, kind):
    asked = threading.Event()

    def behave(header, requests):
        if header[2] != kind:
            return None
        asked.set()
        return SILENCE

    other.leader_id = node.member_id
    with Client([node.endpoint, other.endpoint], timeout_s=LONG_S) as client:
        lone(client)

        def die():
            asked.wait()
            node.leader_id = other.leader_id = other.member_id
            node.kill()

        killer = threading.Thread(target=die)
        node.behave = behave
        killer.start()
        if kind == "write":
            assert client.put("k", "w").header.member_id == other.member_id
            assert last(node)[0][5:7] == last(other)[0][5:7]  # its session and number
        else:
            assert client.get("k").header.member_id == other.member_id
        killer.join()


def test_a_leader_that_is_another_now_is_followed(node, other):
    other.leader_id = node.member_id
    with Client([node.endpoint, other.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        node.leader_id = other.leader_id = other.member_id
        answers = [client.put("k", "w").header.member_id for _ in range(4)]
    assert answers[-1] == other.member_id


def test_calls_end_in_their_time(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        node.behave = lambda header, requests: SILENCE if header[2] != "maintenance" else None
        with pytest.raises(errors.ReadTimeoutError):
            client.get("k", timeout_s=0.1)
        node.behave = lambda header, requests: None
        lone(client)
        node.behave = lambda header, requests: SILENCE if header[2] == "write" else None
        with pytest.raises(errors.RequestTimeoutError):
            client.put("k", "x", timeout_s=0.1)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_signals_do_not_prolong_a_call(node, kind):
    """The kernel begins a wait anew when a signal was handled in it."""
    ended, most, sent = threading.Event(), 1_000, 0

    def send():
        nonlocal sent
        while sent < most and not ended.wait(0.02):
            os.kill(os.getpid(), signal.SIGUSR1)
            sent += 1

    sender = threading.Thread(target=send)
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with Client([node.endpoint], timeout_s=LONG_S) as client:
            lone(client)
            node.behave = lambda header, requests: SILENCE if header[2] == kind else None
            sender.start()
            call = {"read": client.get, "write": partial(client.put, value="v")}[kind]
            with pytest.raises(TIMEOUTS):
                call("k", timeout_s=0.3)
    finally:
        ended.set()
        if sender.is_alive():
            sender.join()  # no signal without its handler
        signal.signal(signal.SIGUSR1, before)
    assert sent < most


def test_a_client_without_sessions_says_what_is_unknown(node):
    with Client([node.endpoint], timeout_s=LONG_S, exactly_once=False) as client:
        lone(client, writes=False)
        client.put("k", "v")
        node.behave = lambda header, requests: "no reply" if header[2] == "write" else None
        with pytest.raises(errors.MalformedReplyError):
            client.put("k", "x")
        node.behave = lambda header, requests: None
        assert client.get("k").kvs[0].value == b"v"


def test_closing_ends_a_lone_call(node):
    asked = threading.Event()

    def behave(header, requests):
        if header[2] == "read":
            asked.set()
            return SILENCE
        return None

    client = Client([node.endpoint], timeout_s=LONG_S)
    lone(client)
    node.behave = behave

    def close():
        asked.wait()
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    with pytest.raises(errors.ClientClosedError):
        client.get("k")
    closer.join()


def test_closing_ends_a_connection_that_is_being_made(node, monkeypatch):
    making = []
    monkeypatch.setattr(
        _direct._Connecting, "on_ready", lambda _, outgoing: making.append(outgoing)
    )
    client = Client([node.endpoint], timeout_s=LONG_S)
    while not making:
        client.get("k")
    client.close()
    assert not any(outgoing.ready for outgoing in making)


def test_what_cannot_travel_is_refused_as_ever(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        with pytest.raises(TypeError, match="64 bits"):
            client.get("k", limit=2**70)
        with pytest.raises(TypeError, match="64 bits"):
            client.put("k", "v", lease=2**70)
        with pytest.raises(errors.RequestTooLargeError):
            client.put("k", b"v" * (2 << 20))
        assert client.get("k").kvs[0].value == b"v"


def test_threads_share_a_client(node):
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)
        wrong = []

        def work(name):
            for i in range(200):
                client.put(name, str(i))
                if client.get(name).kvs[0].value != str(i).encode():
                    wrong.append((name, i))

        threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert not wrong


class Interrupted(Exception):
    pass


@pytest.fixture
def sockets(monkeypatch):
    """Those of all lines, closed at the end: who is interrupted while it closes one does not."""
    made = []
    init = _direct.Line.__init__

    def keep(line, link, connected, engine):
        made.append(connected)
        init(line, link, connected, engine)

    monkeypatch.setattr(_direct.Line, "__init__", keep)
    yield made
    for each in made:
        each.close()


def test_an_interrupted_call_spoils_no_other(node, sockets):
    """An exception comes at another point of a call each time, as Ctrl-C may. Afterwards every
    answer is that of its question."""

    def handler(*_):
        raise Interrupted

    before = signal.signal(signal.SIGALRM, handler)
    interrupted = 0
    try:
        with Client([node.endpoint], timeout_s=LONG_S) as client:
            lone(client)
            for i in range(2_000):
                name = f"k{i % 7}"
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0.00002 + 0.000003 * (i % 149))
                    client.put(name, str(i))
                    found = client.get(name)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interrupted:
                    interrupted += 1
                    continue
                assert found.kvs[0].key == name.encode()
                assert found.kvs[0].value == str(i).encode()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert interrupted
    assert len(sockets) > 1


def test_a_handler_that_calls_within_a_call_is_answered(node):
    values = []
    with Client([node.endpoint], timeout_s=LONG_S) as client:
        lone(client)

        def handler(*_):
            values.append(client.get("k").kvs[0].value)

        def behave(header, requests):
            if header[2] == "write":
                node.behave = lambda header, requests: None
                os.kill(os.getpid(), signal.SIGUSR1)
            return

        before = signal.signal(signal.SIGUSR1, handler)
        try:
            node.behave = behave
            client.put("other", "v")
        finally:
            signal.signal(signal.SIGUSR1, before)
    assert values == [b"v"]
