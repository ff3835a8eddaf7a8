"""How much a node holds for its clients, and whom it may refuse when that is too little."""

import pytest
from sampan.actors.node import Node
from sampan.config import limits
from sampan.transport import errors
from sampan.transport.codec import pack

from .helpers import tick, turn
from .test_node import RANGE, SETTINGS, ask, replies


@pytest.fixture
def node(log):
    return Node(SETTINGS, log)


def test_the_answer_of_an_applied_write_is_sent_whatever_its_size(node):
    """Only a read may be told that it did not happen."""
    gone = pack([(0, 2, 1, [(b"k", 2, 2, 1, 0, bytes(40 << 20))])])
    delete = [("delete", b"k", b"", 1)]
    leader = ("softstatec", (1, 2, "follower"))
    out = turn(node, leader, *(ask("write", delete, message_id=n) for n in (1, 2)))
    ((batch_id, _),) = out.on("propc")
    out = turn(node, ("resultc", ("write", batch_id, [gone, gone])))
    assert [body for _, _, body in out.on("replyc")] == [gone, gone]


def test_reads_under_way_are_bounded_in_bytes(node):
    """They wait as long as there is no leader, and a message may be large."""
    turn(node, ("softstatec", (2, 0, "follower")))
    body = pack([("range", bytes([1]) * 1_000_000)])
    count = limits.PENDING_BYTES_MAX // len(body)
    for n in range(count):
        assert turn(node, ask("read", body, message_id=n)) == []
    out = turn(node, ask("read", body))
    assert replies(out) == [(b"c", 1, tuple(errors.TOO_MANY_REQUESTS))]


def test_reads_under_way_are_bounded_in_number(node, monkeypatch):
    monkeypatch.setattr(limits, "PENDING_READS_MAX", 3)
    out = turn(node, *(ask("read", [RANGE], message_id=n) for n in range(4)))
    assert replies(out) == [(b"c", 3, tuple(errors.TOO_MANY_REQUESTS))]


def test_windows_of_clients_that_come_and_go_are_forgotten(node, monkeypatch):
    monkeypatch.setattr(limits, "CLIENTS_MAX", 10)
    turn(node, *(ask("serializable", [RANGE], client=b"%d" % n) for n in range(100)))
    assert list(node._windows) == [b"%d" % n for n in range(90, 100)]


def test_reads_of_which_some_are_answered_later_are_let_go_one_by_one(node, monkeypatch):
    monkeypatch.setattr(limits, "PENDING_READS_MAX", 3)
    turn(node, ("softstatec", (2, 2, "follower")))
    out = turn(node, *(ask("read", [RANGE], message_id=n) for n in range(3)))
    out = turn(node, ("readstatec", (out.on("readindexc")[0], 7)))
    ((_, reads),) = out.on("readc")
    first, second, third = ((read_id, pack([(0, 2, 0, False, ())])) for read_id, *_ in reads)
    out = turn(node, ("resultc", ("read", [first, second])))
    assert [message_id for _, message_id, _ in replies(out)] == [0, 1]
    assert not node.idle
    more = turn(node, *(ask("read", [RANGE], message_id=n) for n in (3, 4, 5)))
    assert [message_id for _, message_id, _ in replies(more)] == [5], "two have left, no more"
    out = turn(node, ("resultc", ("read", [third])))
    assert [message_id for _, message_id, _ in replies(out)] == [2]


def test_a_large_answer_that_comes_too_late_is_not_held(node):
    result = pack([(0, 2, 1, False, [(b"k", 2, 2, 1, 0, bytes(limits.LARGE_ANSWER_BYTES))])])
    out = turn(node, ask("serializable", [RANGE]))
    ((_, ((read_id, deadline, *_, client),)),) = out.on("readc")
    assert client == b"c"
    assert replies(tick(node, deadline)) == [(b"c", 1, tuple(errors.READ_TIMEOUT))]
    assert turn(node, ("resultc", ("read", [(read_id, result)]))) == [("leftc", [read_id])]
