"""Limits of one client: the rate holds in the long run, bursts pass, others are not touched."""

import pytest
from sampan.actors.client_limits import ClientLimits, Rates, written_keys
from sampan.actors.node import Node
from sampan.config import limits
from sampan.security.auth import Auth
from sampan.transport import errors
from sampan.transport.codec import pack, unpack

from .helpers import turn
from .test_node import SETTINGS

PUT = ("put", b"k", b"v")
RANGE = ("range", b"k")


def test_a_burst_passes_and_then_the_rate_holds():
    bounds = ClientLimits(Rates(10, 0))
    assert [bounds.admits(b"a", (RANGE,), 0, 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not bounds.admits(b"a", (RANGE,), 0, 0.0)
    assert bounds.admits(b"b", (RANGE,), 0, 0.0)
    passed = sum(bounds.admits(b"a", (RANGE,), 0, 0.01 * i) for i in range(1, 1001))
    assert passed == pytest.approx(100, abs=2)
    assert [bounds.admits(b"a", (RANGE,), 0, 1000.0) for _ in range(11)].count(True) == 10


def test_a_message_larger_than_the_burst_passes_and_is_paid_for():
    bounds = ClientLimits(Rates(10, 0))
    assert bounds.admits(b"a", (RANGE,) * 40, 0, 0.0)
    assert not bounds.admits(b"a", (RANGE,), 0, 2.9)
    assert bounds.admits(b"a", (RANGE,), 0, 3.1)


def test_keys_are_what_is_written():
    bounds = ClientLimits(Rates(0, 2))
    assert all(bounds.admits(b"a", (RANGE,), 0, 0.0) for _ in range(100))
    assert bounds.admits(b"a", (PUT, PUT), 0, 0.0)
    assert not bounds.admits(b"a", (PUT,), 0, 0.0)
    assert bounds.admits(b"a", (PUT,), 0, 0.6)


def test_leases_are_what_is_granted():
    bounds = ClientLimits(Rates(leases=2))
    grant, renewal = ("lease_grant", 0, 60), ("lease_keep_alive", 1)
    assert all(bounds.admits(b"a", (renewal, (), None, PUT), 0, 0.0) for _ in range(100))
    assert bounds.admits(b"a", (grant, PUT, grant), 0, 0.0)
    assert not bounds.admits(b"a", (grant,), 0, 0.0)
    assert bounds.admits(b"b", (grant,), 0, 0.0)
    assert bounds.admits(b"a", (grant,), 0, 0.6)


def test_counting_keys_of_anything_that_decodes():
    inner = ("txn", (), (PUT, RANGE), (("delete", b"a"),))
    assert written_keys(("txn", (), (PUT, inner), ())) == 3
    for odd in (None, (), 7, (7,), ("txn",), ("txn", 1, 2, 3), ("txn", (), (7, None), b"")):
        assert written_keys(odd) == 0


def test_clients_that_come_and_go_are_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS_MAX", 10)
    bounds = ClientLimits(Rates(1, 0))
    for i in range(100):
        assert bounds.admits(b"%d" % i, (RANGE,), 0, 0.0)
    assert len(bounds._buckets) == 10


def test_a_node_refuses_what_is_too_much(log):
    node = Node(SETTINGS._replace(rates=Rates(2)), log)
    turn(node, ("softstatec", (1, 2, "follower")), now=100.0)

    def ask(kind, request, client=b"c"):
        return "clientc", (client, pack((1, 1, kind)), pack([request]))

    out = turn(node, ask("write", PUT), ask("read", RANGE), ask("write", PUT))
    ((client, _, body),) = out.on("replyc")
    assert (client, unpack(body)) == (b"c", errors.TOO_MANY_REQUESTS)
    out = turn(
        node, ask("maintenance", ("member_list",)), ask("write", PUT, client=b"d"), now=100.1
    )
    assert [client for client, _, _ in out.on("replyc")] == [b"c"]
    assert len(out.on("propc")) == 1
    assert len(turn(node, ask("write", PUT), now=101.0).on("propc")) == 1


def test_bytes_are_those_of_requests_and_answers():
    bounds = ClientLimits(Rates(size=100))
    assert bounds.admits("u", (PUT,), 60, 0.0)
    bounds.charge("u", 240, 0.0)
    assert not bounds.admits("u", (PUT,), 1, 1.9)
    assert bounds.admits("v", (PUT,), 1, 1.9)
    assert bounds.admits("u", (PUT,), 1, 2.1)


def test_what_a_large_answer_cost_is_paid_before_the_next_request(log):
    node = Node(SETTINGS._replace(rates=Rates(size=1000)), log)
    turn(node, ("softstatec", (1, 2, "follower")), now=100.0)

    def ask(now):
        message = ("clientc", (b"c", pack((1, 1, "serializable")), pack([RANGE])))
        return turn(node, message, now=now)

    ((_, ((read_id, *_),)),) = ask(100.0).on("readc")
    turn(node, ("resultc", ("read", [(read_id, bytes(5000))])), now=100.0)
    ((_, _, body),) = ask(102.0).on("replyc")
    assert unpack(body) == errors.TOO_MANY_REQUESTS
    assert ask(105.0).on("readc")


def test_a_client_has_so_many_watches_and_no_more(log):
    node = Node(SETTINGS._replace(client_watches_max=2), log)
    turn(node, ("authc", ("auth", Auth().dump())))

    def ask(client, *requests):
        message = ("clientc", (client, pack((1, 1, "watch")), pack(requests)))
        ((_, number, _),) = turn(node, message).on("watchc")
        out = turn(node, ("eventc", ("taken", number, 5, 0)))
        return [result[0] for result in unpack(out.on("replyc")[0][2])]

    create, refused = ("create", b"k"), errors.TOO_MANY_REQUESTS.code
    assert ask(b"c", create, create, create) == [0, 0, refused]
    assert ask(b"d", create) == [0]
    assert ask(b"c", ("cancel", 0), create, create) == [0, 0, refused]
    turn(node, ("gonec", b"c"))
    assert ask(b"c", create, create, create) == [0, 0, refused]
