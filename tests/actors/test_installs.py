"""How the core has snapshots installed: the state first, then the log, one snapshot at a time."""

import pytest
from sampan.raft import ConfState, Message, MessageType, Snapshot, SnapshotMetadata
from sampan.transport.raft_messages import decode_message, encode_message

from .helpers import turn
from .test_raft_core import THREE, entries, message, play, started


@pytest.fixture
def follower(log):
    core, out = started(log, ((2, 0, 4), (0, 0), entries(4)), (4, 1, THREE, (), None), members=3)
    play(core, out)
    return core


def snapshot(index):
    """The message by which the leader of term 3 sends one, and what the applier is asked then."""
    name = f"snap-3-{index}"
    metadata = SnapshotMetadata(ConfState(voters=[1, 2, 3]), index, 3)
    m = Message(MessageType.MsgSnap, 1, 2, 3, snapshot=Snapshot(name.encode(), metadata))
    return ("recvc", (2, [encode_message(m)], name)), ("install", name, index, 3)


def resets(out):
    """(number, where the log begins) of the writes that make it begin anew."""
    return [(m[1], m[4]) for m in out.on("readyc") if m[4] is not None]


def test_a_snapshot_is_installed_before_the_log_is_reset(follower):
    sent, install = snapshot(100)
    later = message(MessageType.MsgHeartbeat, term=3, commit=4)
    out = play(follower, turn(follower, sent, ("recvc", (2, [later], ""))))
    assert out.on("applyc") == [install]
    assert resets(out) == []
    out = play(follower, turn(follower, ("advancec", ("installed", 100))))
    assert [start for _, start in resets(out)] == [(100, 3)]
    (status,) = [m[2] for m in turn(follower, ("statusc", 1)).on("statusrc")]
    assert (status["commit"], status["raft_index"]) == (100, 100)


def test_the_next_snapshot_waits_until_the_log_begins_behind_the_last(follower):
    """Killed in between, the state would be ahead of the log by a snapshot that nobody knows."""
    first, install_first = snapshot(100)
    second, install_second = snapshot(200)
    out = play(follower, turn(follower, first))
    assert out.on("applyc") == [install_first]
    assert play(follower, turn(follower, second)).on("applyc") == []
    out = play(follower, turn(follower, ("advancec", ("installed", 100))), wal=False)
    ((number, start),) = resets(out)
    assert start == (100, 3)
    assert out.on("applyc") == []
    out = play(follower, turn(follower, ("advancec", ("durable", number))))
    assert out.on("applyc") == [install_second]
    out = play(follower, turn(follower, ("advancec", ("installed", 200))))
    assert [start for _, start in resets(out)] == [(200, 3)]
    sent = [decode_message(data) for m in out.on("readyc") for _, data in m[6]]
    assert [(m.type, m.index) for m in sent] == [(MessageType.MsgAppResp, 200)]


def test_a_log_that_begins_anew_at_a_start_comes_before_a_snapshot_too(log):
    state = (900, 3, THREE, (), (900, 3))
    core, out = started(log, ((2, 0, 4), (0, 0), entries(4)), state, members=3)
    ((number, start),) = resets(out)
    assert start == (900, 3)
    sent, install = snapshot(1000)
    assert play(core, turn(core, sent), wal=False).on("applyc") == []
    out = play(core, turn(core, ("advancec", ("durable", number))))
    assert out.on("applyc") == [install]
