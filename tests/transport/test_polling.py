"""A loop within a loop: those who are served after the others."""

import select
import socket

import pytest
from sampan.transport import polling
from sampan.transport.polling import Poller
from sampan.transport.streams import READ

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is one loop for all")
TURN_S = 0.001


class Clock:
    """Time that passes while somebody works."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(polling, "monotonic", lambda: self.now)

    def work(self, seconds):
        self.now += seconds


@pytest.fixture
def pairs():
    made = [socket.socketpair() for _ in range(4)]
    yield made
    for pair in made:
        for end in pair:
            end.close()


@pytest.fixture
def outer():
    made = Poller()
    yield made
    made.close()


def served(loop, pairs, names, took_s, clock):
    """Who of these was called for, in order; each works for so long, and always has more to do."""
    called = []

    def handler(name):
        def handle(_events):
            called.append(name)
            clock.work(took_s)

        return handle

    for (mine, theirs), name in zip(pairs, names, strict=True):
        theirs.send(b"x")
        loop.watch(mine.fileno(), READ, handler(name))
    return called


def test_others_do_not_wait_for_those_within(outer, pairs, monkeypatch):
    clock = Clock(monkeypatch)
    inner = outer.inner(TURN_S)
    late = served(inner, pairs[:3], "abc", TURN_S, clock)
    soon = served(outer, pairs[3:], "d", 0, clock)
    for turn in range(1, 7):
        outer.wait(0)
        assert len(soon) == turn
        assert len(late) == turn
    assert sorted(late[:3]) == sorted(late[3:]) == ["a", "b", "c"], "each had its turn"
    inner.close()
    outer.wait(0)
    assert len(late) == 6


def test_who_is_quick_is_served_in_one_turn(outer, pairs, monkeypatch):
    clock = Clock(monkeypatch)
    inner = outer.inner(TURN_S)
    called = served(inner, pairs, "abcd", TURN_S / 4, clock)
    outer.wait(0)
    assert sorted(called) == ["a", "b", "c", "d"]
    inner.close()


def test_who_has_gone_meanwhile_is_not_called(outer, pairs, monkeypatch):
    clock = Clock(monkeypatch)
    inner = outer.inner(TURN_S)
    called = served(inner, pairs, "abcd", TURN_S, clock)
    outer.wait(0)
    for mine, _ in pairs:
        inner.unwatch(mine.fileno())
    outer.wait(0)
    assert len(called) == 1
    inner.close()
