"""Limits of one client: the rate holds in the long run, bursts pass, others are not touched."""

import pytest
from sampan.actors.client_limits import ClientLimits, client_limits, written_keys
from sampan.actors.node import Node
from sampan.config import limits
from sampan.transport import errors
from sampan.transport.codec import pack, unpack

from .helpers import turn
from .test_node import SETTINGS

PUT = ("put", b"k", b"v")
RANGE = ("range", b"k")


def test_no_limits_cost_nothing():
    assert client_limits(0, 0) is None


def test_a_burst_passes_and_then_the_rate_holds():
    bounds = ClientLimits(10, 0)
    assert [bounds.admits(b"a", (RANGE,), 0.0) for _ in range(11)] == [True] * 10 + [False]
    assert not bounds.admits(b"a", (RANGE,), 0.0)
    assert bounds.admits(b"b", (RANGE,), 0.0)
    passed = sum(bounds.admits(b"a", (RANGE,), 0.01 * i) for i in range(1, 1001))
    assert passed == pytest.approx(100, abs=2)
    assert [bounds.admits(b"a", (RANGE,), 1000.0) for _ in range(11)].count(True) == 10


def test_a_message_larger_than_the_burst_passes_and_is_paid_for():
    bounds = ClientLimits(10, 0)
    assert bounds.admits(b"a", (RANGE,) * 40, 0.0)
    assert not bounds.admits(b"a", (RANGE,), 2.9)
    assert bounds.admits(b"a", (RANGE,), 3.1)


def test_keys_are_what_is_written():
    bounds = ClientLimits(0, 2)
    assert all(bounds.admits(b"a", (RANGE,), 0.0) for _ in range(100))
    assert bounds.admits(b"a", (PUT, PUT), 0.0)
    assert not bounds.admits(b"a", (PUT,), 0.0)
    assert bounds.admits(b"a", (PUT,), 0.6)


def test_counting_keys_of_anything_that_decodes():
    inner = ("txn", (), (PUT, RANGE), (("delete", b"a"),))
    assert written_keys(("txn", (), (PUT, inner), ())) == 3
    for odd in (None, (), 7, (7,), ("txn",), ("txn", 1, 2, 3), ("txn", (), (7, None), b"")):
        assert written_keys(odd) == 0


def test_clients_that_come_and_go_are_forgotten(monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS_MAX", 10)
    bounds = ClientLimits(1, 0)
    for i in range(100):
        assert bounds.admits(b"%d" % i, (RANGE,), 0.0)
    assert len(bounds._buckets) == 10


def test_a_node_refuses_what_is_too_much(log):
    node = Node(SETTINGS._replace(client_requests_per_s=2), log)
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
