"""The core listens to no peer that comes back without what it acknowledged."""

import pytest
from sampan.actors import acquaintance
from sampan.actors.entries import CLAIM
from sampan.actors.peer_memory import Life, PeerMemory
from sampan.config.limits import LOG_MARK_S
from sampan.raft import MessageType
from sampan.transport.codec import pack

from .helpers import take, tick, turn
from .test_raft_core import (
    NEW_LOG,
    NEW_STATE,
    THREE,
    acknowledge,
    entries,
    lead,
    message,
    new_core,
    play,
    started,
)


@pytest.fixture
def leading(log):
    core = lead(log)
    take(core)
    return core


def starts(core, life, peer=3):
    return turn(core, ("reportc", ("started", peer, life)))


def is_heard(core, peer=3):
    """Whether nonsense of this peer is looked at."""
    before = core.dropped
    turn(core, ("recvc", (peer, [b"nonsense"], "")))
    return core.dropped > before


def test_at_its_start_it_tells_where_its_log_ends(log):
    _, out = started(log, ((4, 2, 7), (2, 1), entries(6, term=3, first=3)), (5, 3, THREE, (), None))
    assert out.on("logendc") == [(4, 8)]
    _, out = started(log, ((2, 0, 5), (0, 0), entries(5)), (900, 3, THREE, (), (900, 3)), members=3)
    assert out.on("logendc") == [(3, 900)], "a snapshot counts"
    _, out = started(log, NEW_LOG, NEW_STATE, members=3)
    assert out.on("logendc") == [(0, 0)]


def test_a_leader_knows_what_was_acknowledged_to_it(leading):
    play(leading, turn(leading, ("propc", (7, b"x"))))
    play(leading, acknowledge(leading, 3, 6))
    ((peer, epoch, why),) = starts(leading, Life(2, 20, 3, 5)).on("refusec")
    assert (peer, epoch) == (3, 20)
    assert "is an older copy of itself: its log ends at index 5" in why
    assert not is_heard(leading)
    assert starts(leading, Life(3, 30, 3, 6)).on("refusec") == []
    assert is_heard(leading), "the newest copy was put back"


def answers(core, index, *, reject=False, times=1, after_s=0.0):
    """What member 3 answers, so often; returns who is refused then."""
    core.now += after_s
    m = message(MessageType.MsgAppResp, from_=3, term=3, index=index, reject=reject)
    return [
        each for _ in range(times) for each in turn(core, ("recvc", (3, [m], ""))).on("refusec")
    ]


@pytest.mark.parametrize(
    ("beyond", "reject", "words"),
    [
        (30, False, "3 acknowledges index 35, last index is 5"),
        (0, True, "it rejects index 5, which it has acknowledged"),
    ],
)
def test_who_committed_what_the_leader_never_had_is_of_another_history(
    leading, beyond, reject, words
):
    starts(leading, Life(2, 20, 3, 36))
    nonsense = {"index": 5 + beyond, "reject": reject}
    answers(leading, 5)
    assert answers(leading, **nonsense, times=9) == [], "they may be late, or broken"
    answers(leading, 5, after_s=acquaintance.DOUBT_S)
    assert answers(leading, **nonsense) == []
    assert answers(leading, 6, reject=True, times=9) == [], "it has not got that yet"
    assert answers(leading, **nonsense, after_s=acquaintance.DOUBT_S) == [], "two, as before"
    ((peer, epoch, why),) = answers(leading, **nonsense)
    assert (peer, epoch) == (3, 20)
    assert words in why
    assert "Restore all members from the same backup" in why
    assert not is_heard(leading)


def test_late_answers_to_a_leader_of_before_doubt_nobody(log):
    """It has started again in its term, without what it had not written."""
    core, out = started(log, ((3, 1, 2), (0, 0), entries(2, term=3)), (2, 3, THREE, (), None))
    play(core, out)
    assert answers(core, 9, times=9) == []
    assert answers(core, 9, times=9, after_s=acquaintance.DOUBT_S) == []


def test_what_contradicts_the_committed_log_is_told_once_a_minute(log):
    warned = []
    log.warning = lambda event, **values: warned.append((event, values))
    core, out = started(log, ((3, 1, 2), (0, 0), entries(2, term=3)), (2, 3, THREE, (), None))
    play(core, out)
    beyond = message(MessageType.MsgHeartbeat, from_=2, term=3, commit=9)
    for _ in range(3):
        turn(core, ("recvc", (2, [beyond], "")))
    assert core.dropped == 3
    ((event, told),) = warned
    assert (event, told["peer"]) == ("raft rpc dropped", 2)
    assert "tocommit(9) is out of range [lastIndex(2)]" in told["error"]
    turn(core, ("recvc", (2, [beyond], "")), now=core.now + acquaintance.UNSAFE_TOLD_S)
    assert len(warned) == 2


def test_what_was_not_committed_may_be_gone_in_a_later_term(leading):
    play(leading, turn(leading, ("propc", (7, b"x"))))
    leading.handle("recvc", (3, [message(MessageType.MsgAppResp, from_=3, term=3, index=5)], ""))
    assert starts(leading, Life(2, 20, 4, 5)).on("refusec") == []


def test_a_new_leader_knows_it_still(leading):
    play(leading, turn(leading, ("propc", (7, b"x"))))
    play(leading, acknowledge(leading, 3, 6))
    tick(leading, leading.now + 1)
    heartbeat = message(MessageType.MsgHeartbeat, from_=2, term=4, commit=6)
    play(leading, turn(leading, ("recvc", (2, [heartbeat], ""))))
    assert starts(leading, Life(2, 20, 9, 5)).on("refusec") != []
    assert starts(leading, Life(2, 20, 9, 6)).on("refusec") == []


def test_what_is_known_survives_a_restart(leading, log):
    play(leading, turn(leading, ("propc", (7, b"x"))))
    play(leading, acknowledge(leading, 3, 6))
    out = starts(leading, Life(5, 50, 3, 6))
    assert [m[0] for m in out.on("readyc")] == ["peers"], "at once"
    play(leading, turn(leading, ("propc", (8, b"y"))))
    play(leading, acknowledge(leading, 3, 7))
    noted = tick(leading, leading.now + LOG_MARK_S).on("readyc")
    (packed,) = [m[1] for m in noted if m[0] == "peers"]
    core = new_core(log, 3)
    disk = ((3, 1, 7), (0, 0), entries(7, term=3))
    turn(core, ("knownc", packed), ("reportc", ("started", 3, Life(6, 60, 3, 6))))
    out = turn(core, ("logc", disk), ("statec", (7, 3, THREE, (), None)))
    assert out.on("refusec") != [], "it was heard before this core knew anything"
    assert starts(core, Life(5, 51, 3, 7)).on("refusec") != []
    assert starts(core, Life(6, 61, 3, 7)).on("refusec") == []


def test_what_a_member_claims_says_nothing_of_the_start_before(log):
    """It may have claimed it in the start in which it is met: one that has just been added, with an
    empty log, and whose link to this member came up late."""
    claim = (3, 5, 0, pack((CLAIM, 3, 4, 99)))
    disk = ((3, 0, 5), (0, 0), (*entries(4, term=3), claim))
    core, out = started(log, disk, (4, 3, THREE, (), None), members=3)
    play(core, out)
    assert starts(core, Life(1, 20, 0, 0)).on("refusec") == []


def test_a_start_that_is_known_is_not_judged_again(leading):
    """It has acknowledged more since than its log held when it started."""
    starts(leading, Life(2, 20, 3, 5))
    play(leading, turn(leading, ("propc", (7, b"x"))))
    play(leading, acknowledge(leading, 3, 6))
    tick(leading, leading.now + LOG_MARK_S)
    assert starts(leading, Life(2, 20, 3, 5)).on("refusec") == []


def test_an_idle_core_notes_nothing(leading):
    tick(leading, leading.now + LOG_MARK_S)
    for n in range(2, 5):
        out = tick(leading, leading.now + n * LOG_MARK_S)
        assert [m for m in out.on("readyc") if m[0] == "peers"] == []
    assert PeerMemory().packed() == pack([])
