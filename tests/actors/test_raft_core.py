"""The core's actor with a WAL writer and an applier that a test plays."""

import pytest
from sampan.actors.actor import Impossible
from sampan.actors.core_config import CoreSettings
from sampan.actors.raft_core import RaftCore
from sampan.config.limits import ASKED_S, HOLD_S, SPARED_BYTES_MAX, LogLimits
from sampan.raft import (
    ConfChange,
    ConfChangeType,
    ConfState,
    Entry,
    EntryType,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
)
from sampan.transport.codec import pack, unpack
from sampan.transport.raft_messages import decode_message, encode_message

from .helpers import Emitted, take, tick, turn, wake

HEARTBEAT_S, ELECTION_TICKS = 0.1, 10
ELECTION_S = HEARTBEAT_S * ELECTION_TICKS
NEW_LOG = ((0, 0, 0), (0, 0), ())
NEW_STATE = (0, 0, ((), (), (), (), False), (), None, "what others read")
ONE, THREE = ((1,), (), (), (), False), ((1, 2, 3), (), (), (), False)
NORMAL = 0
PUT = pack((2, 1, [pack([("put", b"k", b"v")])]))


def settings(members=1, **more):
    peers = tuple((n, f"n{n}", f"127.0.0.1:{n}") for n in range(1, members + 1))
    return CoreSettings(1, HEARTBEAT_S, ELECTION_TICKS, peers, **more)


def new_core(log, members=1, **more):
    core = RaftCore(settings(members, **more), lambda n: 0, log)
    core.now = 100.0
    return core


def started(log, disk, state, members=1, **more):
    """A core that was given its log and state; and what it emitted."""
    core = new_core(log, members, **more)
    return core, turn(core, ("logc", disk), ("statec", state))


def entries(count, term=1, first=1):
    return tuple((term, first + n, NORMAL, b"x") for n in range(count))


def play(core, out, *, wal=True, applier=True):
    """Answer what it asked of its disk and its state until it asks no more; all it emitted."""
    seen = Emitted(out)
    while out:
        answers = []
        for channel, message in out:
            if channel == "readyc" and message[0] == "append" and wal:
                answers.append(("advancec", ("durable", message[1])))
            elif channel == "applyc" and message[0] == "entries" and applier:
                changes = [(i, k, d, None) for _, i, k, d in message[1] if k != NORMAL]
                answers += [("confc", change) for change in changes]
                answers.append(("advancec", ("applied", message[1][-1][1])))
        out = turn(core, *answers) if answers else Emitted()
        seen += out
    return seen


@pytest.fixture
def leader(log):
    """The only member of its cluster, elected."""
    core, out = started(log, NEW_LOG, NEW_STATE)
    play(core, out)
    for n in range(3 * ELECTION_TICKS):
        play(core, tick(core, 100.0 + n * HEARTBEAT_S))
    return core


# -- starting


def test_a_new_member_of_a_new_cluster_bootstraps(log):
    core, out = started(log, NEW_LOG, NEW_STATE, members=3)
    ((_, _, appended, _, start, must_sync, _, _),) = out.on("readyc")
    assert [index for _, index, _, _ in appended] == [1, 2, 3]
    assert start is None
    assert must_sync
    out = play(core, out)
    assert [answer[0] for answer in out.on("confstatec")] == [1, 2, 3]
    assert out.on("confstatec")[-1][1] == THREE


def test_the_order_of_log_and_state_does_not_matter(log):
    core = new_core(log)
    assert turn(core, ("statec", NEW_STATE)) == []
    assert turn(core, ("logc", NEW_LOG)).on("readyc") != []


def test_a_restart_goes_on_from_its_log_and_bootstraps_nothing(log):
    disk = ((4, 2, 7), (2, 1), entries(6, term=3, first=3))
    core, out = started(log, disk, (5, 3, THREE, (), None), members=3)
    assert out.on("readyc") == []
    ((_, applied),) = out.on("applyc")
    assert [index for _, index, _, _ in applied] == [6, 7], "what is committed and not applied"
    (status,) = [m[2] for m in turn(core, ("statusc", 1)).on("statusrc")]
    assert (status["commit"], status["raft_index"], status["log_entries"]) == (7, 8, 6)
    assert out.on("softstatec") == [(4, 0, "follower")], "the term is known at once"


def test_the_only_voter_leads_again_at_once(log):
    disk = ((4, 1, 7), (2, 1), entries(6, term=3, first=3))
    core, out = started(log, disk, (5, 3, ONE, (), None))
    play(core, out)
    seen = play(core, tick(core, 100.0 + 1.5 * HEARTBEAT_S))
    assert seen.on("softstatec")[-1] == (5, 1, "leader")


@pytest.mark.parametrize(
    ("peers", "told"),
    [(("n1", "n2", "n3"), False), (("n1", "n2", "n3:9"), True), (("n1", "n2"), True)],
)
def test_members_configured_otherwise_than_in_the_log_are_told_of(log, peers, told):
    members = tuple((n, f"n{n}", (f"n{n}",), (), False, 0) for n in (1, 2, 3))
    settings = CoreSettings(
        1, HEARTBEAT_S, ELECTION_TICKS, tuple((n, f"n{n}", p) for n, p in enumerate(peers, 1))
    )
    core = RaftCore(settings, lambda n: 0, log)
    disk = ((2, 1, 5), (0, 0), entries(5))
    turn(core, ("logc", disk), ("statec", (5, 1, THREE, members, None)))
    warned = [values for event, values in log.events if event.startswith("members configured")]
    assert bool(warned) is told
    if told:
        assert warned[0]["log"] == {1: "n1", 2: "n2", 3: "n3"}


def test_a_state_ahead_of_the_log_makes_the_log_begin_there(log):
    """Killed after a snapshot's state was installed and before the log was reset."""
    core, out = started(
        log, ((2, 0, 5), (0, 0), entries(5)), (900, 3, THREE, (), (900, 3)), members=3
    )
    (reset,) = [m for m in out.on("readyc") if m[4] is not None]
    assert reset[4] == (900, 3)
    (status,) = [m[2] for m in turn(core, ("statusc", 1)).on("statusrc")]
    assert (status["commit"], status["raft_index"], status["log_entries"]) == (900, 900, 0)


@pytest.mark.parametrize("installed", [None, (800, 3), (900, 2)])
def test_a_state_ahead_of_the_log_without_a_snapshot_is_refused(log, installed):
    """What was durable in the log is gone; with it, perhaps, what a majority had acknowledged."""
    for held in (entries(5), entries(1000, term=2)):
        core = new_core(log, 3)
        with pytest.raises(Impossible, match="Was the log database replaced by an older copy"):
            turn(
                core,
                ("logc", ((2, 0, 5), (0, 0), held)),
                ("statec", (900, 3, THREE, (), installed)),
            )


def test_a_vote_of_a_term_that_a_snapshot_has_overtaken_is_forgotten(log):
    core, out = started(
        log, ((2, 2, 5), (0, 0), entries(5)), (900, 3, THREE, (), (900, 3)), members=3
    )
    play(core, out)
    asks = message(MessageType.MsgVote, from_=3, term=3, index=900, log_term=3)
    out = play(core, turn(core, ("recvc", (3, [asks], ""))))
    (granted,) = [m for m in out.on("readyc") if m[3] is not None]
    assert granted[3][:2] == (3, 3)


def test_a_state_that_contradicts_the_log_makes_the_log_begin_there(log):
    """The same, where the old log was longer than the snapshot: its entries were never committed,
    and the one at the snapshot's index is another one."""
    disk = ((2, 0, 5), (0, 0), entries(5) + entries(1000, term=2, first=6))
    core, out = started(log, disk, (900, 3, THREE, (), (900, 3)), members=3)
    (reset,) = [m for m in out.on("readyc") if m[4] is not None]
    assert reset[4] == (900, 3)
    (status,) = [m[2] for m in turn(core, ("statusc", 1)).on("statusrc")]
    assert (status["commit"], status["raft_index"], status["log_entries"]) == (900, 900, 0)


def test_a_state_behind_the_log_stops_the_node(log):
    core = new_core(log)
    core.handle("logc", ((2, 0, 500), (500, 2), ()))
    with pytest.raises(Impossible, match="after 500 but the state ends at 400"):
        core.handle("statec", (400, 2, ONE, (), None))


def test_nothing_is_taken_before_it_has_started(log):
    core = new_core(log)
    out = turn(
        core,
        ("propc", (5, b"payload")), ("recvc", (2, [b"garbage"], "")), ("readindexc", b"c"),
        ("reportc", ("unreachable", 2)), ("statusc", 1),
    )  # fmt: skip
    assert out.on("dropc") == [5]
    assert tick(core, 200.0) == []


# -- proposing


def test_without_a_leader_a_batch_comes_back(log):
    core, out = started(log, NEW_LOG, NEW_STATE, members=3)
    play(core, out)
    assert turn(core, ("propc", (7, b"payload"))).on("dropc") == [7]


def test_a_batch_becomes_one_entry(leader):
    out = turn(leader, ("propc", (7, b"payload")))
    ((_, _, appended, _, _, must_sync, _, _),) = out.on("readyc")
    assert [data for _, _, _, data in appended] == [b"payload"]
    assert must_sync


def test_nothing_is_applied_before_it_is_durable(leader):
    out = turn(leader, ("propc", (7, b"payload")))
    assert out.on("applyc") == []
    ((_, seq, *_),) = out.on("readyc")
    assert turn(leader, ("advancec", ("durable", seq - 1))).on("applyc") == []
    out = turn(leader, ("advancec", ("durable", seq)))
    assert [data for _, _, _, data in out.on("applyc")[0][1]] == [b"payload"]


def test_a_context_is_answered_with_the_commit_index(leader):
    (status,) = [m[2] for m in turn(leader, ("statusc", 1)).on("statusrc")]
    out = turn(leader, ("readindexc", b"context"))
    assert out.on("readstatec") == [(b"context", status["commit"])]


# -- peers


@pytest.fixture
def follower(log):
    core, out = started(log, ((2, 0, 4), (0, 0), entries(4)), (4, 1, THREE, (), None), members=3)
    play(core, out)
    return core


def message(kind, from_=2, to=1, **fields):
    return encode_message(Message(type=kind, from_=from_, to=to, **fields))


def lead(log, **more):
    """Member 1 of three, elected by 2; everyone has entry 5 and knows that it is committed."""
    core, out = started(
        log, ((2, 0, 4), (0, 0), entries(4)), (4, 1, THREE, (), None), members=3, **more
    )
    play(core, out)
    for n in range(3 * ELECTION_TICKS):
        play(core, tick(core, 100.0 + n * HEARTBEAT_S))
    for vote in (MessageType.MsgPreVoteResp, MessageType.MsgVoteResp):
        play(core, turn(core, ("recvc", (2, [message(vote, term=3)], ""))))
    for peer in (2, 3):
        play(core, acknowledge(core, peer, 5))
    wake(core)
    return core


@pytest.fixture
def leading(log):
    return lead(log)


def acknowledge(core, peer, index):
    answer = message(MessageType.MsgAppResp, from_=peer, term=3, index=index)
    return turn(core, ("recvc", (peer, [answer], "")))


def told_to(out):
    """(peer, commit index) of what was sent without entries."""
    sent = [decode_message(data) for _, data in out.on("sendc")]
    return [(m.to, m.commit) for m in sent if m.type is MessageType.MsgApp and not m.entries]


def test_a_commit_is_told_at_once_to_a_peer_that_proposed(leading):
    """The others hear of it with the next entries, or a little later."""
    proposal = message(MessageType.MsgProp, entries=[Entry(data=PUT)])
    play(leading, turn(leading, ("recvc", (2, [proposal], ""))))
    assert told_to(acknowledge(leading, 3, 6)) == [(2, 6)]
    assert told_to(wake(leading)) == [(3, 6)]

    play(leading, turn(leading, ("propc", (7, b"y"))))
    assert told_to(acknowledge(leading, 3, 7)) == [], "nobody else waits for this one"
    assert told_to(wake(leading)) == [(2, 7), (3, 7)]


def test_a_commit_held_back_is_told_to_a_peer_that_reads(leading):
    play(leading, turn(leading, ("propc", (7, b"y"))))
    assert told_to(acknowledge(leading, 3, 6)) == []
    question = message(MessageType.MsgReadIndex, entries=[Entry(data=b"context")])
    assert told_to(turn(leading, ("recvc", (2, [question], "")))) == [(2, 6)]
    assert told_to(wake(leading)) == [(3, 6)]


def replicated(out):
    """(peer, indices) of the entries that were sent."""
    sent = [decode_message(data) for _, data in out.on("sendc")]
    return [(m.to, [e.index for e in m.entries]) for m in sent if m.entries]


def test_a_follower_that_no_commit_needs_gets_entries_later_and_together(leading):
    for index in (6, 7):
        assert replicated(play(leading, turn(leading, ("propc", (7, PUT))))) == [(2, [index])]
        play(leading, acknowledge(leading, 2, index))
    assert leading.wake_at == leading.now + HOLD_S
    assert replicated(wake(leading)) == [(3, [6, 7])]
    assert replicated(play(leading, acknowledge(leading, 3, 7))) == []


def test_much_is_held_back_from_nobody(leading):
    out = play(leading, turn(leading, ("propc", (7, bytes(SPARED_BYTES_MAX + 1)))))
    assert replicated(out) == [(2, [6]), (3, [6])]
    half = bytes(SPARED_BYTES_MAX // 2)
    sent = [replicated(play(leading, turn(leading, ("propc", (7, half))))) for _ in range(3)]
    assert sent == [[(2, [7])], [(2, [8])], [(2, [9]), (3, [7, 8, 9])]]


def test_nothing_is_held_back_from_a_peer_that_proposed(leading):
    proposal = message(MessageType.MsgProp, from_=3, entries=[Entry(data=PUT)])
    out = play(leading, turn(leading, ("recvc", (3, [proposal], ""))))
    assert replicated(out) == [(2, [6]), (3, [6])]


def test_the_follower_that_answers_first_is_asked_first(leading):
    assert replicated(play(leading, turn(leading, ("propc", (7, PUT))))) == [(2, [6])]
    assert replicated(wake(leading)) == [(3, [6])], "2 is slow, or gone"
    play(leading, acknowledge(leading, 3, 6))
    assert replicated(play(leading, turn(leading, ("propc", (7, PUT))))) == [(3, [7])]
    play(leading, acknowledge(leading, 3, 7))
    play(leading, wake(leading))
    assert replicated(play(leading, turn(leading, ("propc", (7, PUT))))) == [(3, [8])]


def asked_to_confirm(out):
    """(peer, context) of the heartbeats that reads wait for."""
    sent = [decode_message(data) for _, data in out.on("sendc")]
    return [(m.to, m.context) for m in sent if m.type is MessageType.MsgHeartbeat]


def test_a_read_is_confirmed_by_one_follower_and_later_by_whoever_answers(leading):
    def confirm(peer, context):
        answer = message(MessageType.MsgHeartbeatResp, from_=peer, term=3, context=context)
        return turn(leading, ("recvc", (peer, [answer], ""))).on("readstatec")

    acknowledge(leading, 3, 5)
    ((peer, context),) = asked_to_confirm(turn(leading, ("readindexc", b"first")))
    assert peer == 2
    assert confirm(2, context) == [(b"first", 5)]
    assert asked_to_confirm(wake(leading)) == []

    ((peer, context),) = asked_to_confirm(turn(leading, ("readindexc", b"second")))
    assert (peer, leading.wake_at) == (2, leading.now + HOLD_S)
    assert asked_to_confirm(wake(leading)) == [(2, context), (3, context)], "2 is slow, or gone"
    assert confirm(3, context) == [(b"second", 5)]

    wake(leading)
    turn(leading, ("readindexc", b"third"))
    wake(leading)
    ((peer, _),) = asked_to_confirm(turn(leading, ("readindexc", b"fourth")))
    assert peer == 3


@pytest.mark.parametrize("asks", [("propc", (7, b"payload")), ("readindexc", b"context")])
def test_a_follower_with_clients_wants_to_know_what_is_durable(follower, asks):
    """It applies nothing before: otherwise it can wait until other news comes along."""
    heartbeat = message(MessageType.MsgHeartbeat, term=3, commit=4)
    play(follower, turn(follower, ("recvc", (2, [heartbeat], ""))))

    def awaited(index):
        append = message(
            MessageType.MsgApp, term=3, index=index - 1, log_term=1 if index == 5 else 3, commit=4,
            entries=[Entry(3, index, EntryType.EntryNormal, b"x")],
        )  # fmt: skip
        out = turn(follower, ("recvc", (2, [append], "")))
        play(follower, out)
        return out.on("readyc")[0][7]

    assert not awaited(5)
    turn(follower, asks)
    assert awaited(6)
    follower.now += 2 * ASKED_S
    assert not awaited(7)


def test_a_heartbeat_makes_a_leader_known(follower):
    heartbeat = message(MessageType.MsgHeartbeat, term=3, commit=4)
    out = play(follower, turn(follower, ("recvc", (2, [heartbeat], ""))))
    assert out.on("softstatec")[-1] == (3, 2, "follower")


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xc1",
        b"\x91" * 900 + b"\x90",
        message(MessageType.MsgHeartbeat, from_=3, term=3),
        message(MessageType.MsgHeartbeat, to=9, term=3),
        message(MessageType.MsgHeartbeat, term=3, commit=1000),
        message(MessageType.MsgApp, term=2**63, index=4, log_term=1),
        message(MessageType.MsgHup, term=3),
        message(MessageType.MsgTimeoutNow),
        message(MessageType.MsgProp, entries=[Entry(data=b"x")]),
        message(MessageType.MsgStorageAppendResp, term=3, index=4),
        message(
            MessageType.MsgSnap,
            term=3,
            snapshot=Snapshot(b"", SnapshotMetadata(ConfState(voters=[1, 2, 3]), 9, 3)),
        ),
        message(MessageType.MsgSnap, term=3),
        message(
            MessageType.MsgSnap,
            term=3,
            snapshot=Snapshot(
                b"snap-0000000000000003-0000000000000009",
                SnapshotMetadata(ConfState(voters=[1, 2, 3]), 9, 3),
            ),
        ),
    ],
)
def test_messages_that_make_no_sense_are_dropped_and_counted(follower, frame):
    out = turn(follower, ("recvc", (2, [frame], "")))
    assert follower.dropped == 1
    assert out == []
    heartbeat = message(MessageType.MsgHeartbeat, term=3, commit=4)
    out = turn(follower, ("recvc", (2, [heartbeat], "")))
    assert out.on("softstatec")[-1] == (3, 2, "follower")


def test_a_message_with_others_inside_is_dropped(follower):
    """What a core gets back from its own disk never comes from a peer."""
    plain = unpack(message(MessageType.MsgHeartbeat, term=3))
    nested = plain
    for _ in range(300):
        nested = (*plain, [nested])
    turn(follower, ("recvc", (2, [pack(nested)], "")))
    assert follower.dropped == 1


def test_an_answer_to_a_peer_waits_for_the_disk(follower):
    append = message(MessageType.MsgApp, term=3, index=4, log_term=1, commit=4)
    vote = message(MessageType.MsgVote, term=4, index=9, log_term=3)
    turn(follower, ("recvc", (2, [append], "")))
    for n in range(2 * ELECTION_TICKS):  # the leader has been silent long enough
        take(follower)
        tick(follower, 100.0 + n * HEARTBEAT_S)
    out = turn(follower, ("recvc", (2, [vote], "")))
    granted = [m for m in out.on("readyc") if m[3] is not None and m[3][1] == 2]
    sent = [decode_message(data).type for _, data in out.on("sendc")]
    assert MessageType.MsgVoteResp not in sent, "a vote left before it was durable"
    assert granted
    assert any(
        decode_message(data).type is MessageType.MsgVoteResp for _, data in granted[-1][6]
    ), "the vote travels with the write that it waits for"


# -- a silent disk


def test_a_leader_whose_disk_is_silent_stops_its_clock(leader):
    turn(leader, ("propc", (7, b"payload")))  # and the WAL writer never answers
    (status,) = [m[2] for m in turn(leader, ("statusc", 1)).on("statusrc")]
    assert not status["wal_stalled"]
    start = leader.now
    for n in range(1, 4 * ELECTION_TICKS):
        tick(leader, start + n * HEARTBEAT_S)
    (status,) = [m[2] for m in turn(leader, ("statusc", 2)).on("statusrc")]
    assert status["wal_stalled"]


def test_a_leader_whose_disk_is_silent_appends_nothing_to_its_followers(leader):
    """Clients go on asking it, and each append would keep the followers from electing another."""
    turn(leader, ("propc", (7, b"payload")))  # and the WAL writer never answers
    append = Message(MessageType.MsgApp, to=2, from_=1, term=1, entries=[Entry(1, 9)])
    leader._send(append)
    assert len(take(leader).on("sendc")) == 1
    leader.now += 2 * ELECTION_S
    leader._send(append)
    assert take(leader).on("sendc") == []


def test_a_member_whose_disk_is_silent_does_not_campaign(follower):
    append = message(
        MessageType.MsgApp, term=3, index=4, log_term=1, commit=4,
    )  # fmt: skip
    turn(follower, ("recvc", (2, [append], "")))  # the new term has to be durable
    out = Emitted()
    for n in range(1, 6 * ELECTION_TICKS):
        out += tick(follower, 100.0 + ELECTION_S * 1.2 + n * HEARTBEAT_S)
    assert [decode_message(data).type for _, data in out.on("sendc")] == []


def test_ticks_after_a_long_pause_are_bounded(log):
    core, out = started(log, NEW_LOG, NEW_STATE)
    play(core, out)
    play(core, tick(core, 1_000_000.0))
    assert any(event == "ticks skipped" for event, _ in log.events)


# -- compaction


def test_news_of_a_durable_state_before_the_log_is_open_changes_nothing(log):
    core = new_core(log)
    assert turn(core, ("statec", NEW_STATE), ("durablec", 50)) == []
    assert turn(core, ("logc", NEW_LOG)).on("readyc")


def test_the_log_is_compacted_behind_what_is_durable(log):
    bounds = LogLimits(entries_max=64, bytes_max=1 << 20)
    disk = ((2, 0, 100), (0, 0), entries(100))
    core, out = started(log, disk, (90, 1, THREE, (), None), members=3, log_limits=bounds)
    play(core, out)
    assert turn(core, ("durablec", 50)).on("readyc") == [("compact", 50, 1)]
    assert turn(core, ("durablec", 51)).on("readyc") == [], "the log is short enough"


def test_compaction_leaves_entries_for_members_a_little_behind(log):
    bounds = LogLimits(entries_max=64, bytes_max=1 << 20)
    disk = ((2, 0, 100), (0, 0), entries(100))
    core, out = started(log, disk, (100, 1, THREE, (), None), members=3, log_limits=bounds)
    play(core, out)
    assert turn(core, ("durablec", 100)).on("readyc") == [("compact", 100 - bounds.keep_entries, 1)]


@pytest.fixture
def behind(log):
    """Leading, with a small log of 205 entries. 2 has them all; 3 has 5, and says something."""
    core = lead(log, log_limits=LogLimits(entries_max=64, bytes_max=1 << 20))
    for _ in range(200):
        play(core, turn(core, ("propc", (7, b"x"))))
    play(core, acknowledge(core, 2, 205))
    play(core, acknowledge(core, 3, 5))
    return core


def begins_after(core):
    """The index after which the log begins."""
    (status,) = [m[2] for m in turn(core, ("statusc", 2)).on("statusrc")]
    return status["raft_index"] - status["log_entries"]


def test_the_log_is_kept_for_a_follower_that_is_behind(behind):
    assert turn(behind, ("durablec", 205)).on("readyc") == [("compact", 5, 3)]
    play(behind, acknowledge(behind, 3, 100))
    assert turn(behind, ("durablec", 205)).on("readyc") == [("compact", 100, 3)]


def test_the_log_is_not_kept_for_a_follower_that_has_fallen_silent(behind):
    behind.now += ELECTION_S
    turn(behind, ("durablec", 205))
    assert begins_after(behind) == 205 - LogLimits(entries_max=64).keep_entries


def test_the_log_that_is_kept_has_a_bound(behind):
    for _ in range(100):
        play(behind, turn(behind, ("propc", (7, b"x"))))
    play(behind, acknowledge(behind, 2, 305))
    turn(behind, ("durablec", 305))
    assert begins_after(behind) == 305 - LogLimits(entries_max=64).keep_entries


@pytest.fixture
def sending(behind):
    """A leader that has compacted what 3 needs, and made a snapshot for it at 205."""
    behind.now += ELECTION_S
    turn(behind, ("durablec", 205), ("reportc", ("unreachable", 3)))
    heard = message(MessageType.MsgHeartbeatResp, from_=3, term=3)
    asked = Emitted()
    for _ in range(3):
        asked += turn(behind, ("recvc", (3, [heard], "")))
    assert asked.on("snapshotc") == [None]
    made = ("snapreadyc", ("snap-3-205", 205, 3, THREE, 9))
    assert turn(behind, made).on("snapshotc") == [], "one snapshot is enough"
    ((peer, name, _),) = turn(behind, ("recvc", (3, [heard], ""))).on("snapsendc")
    assert (peer, name) == (3, "snap-3-205")
    for _ in range(100):
        play(behind, turn(behind, ("propc", (7, b"x"))))
    play(behind, acknowledge(behind, 2, 305))
    play(behind, wake(behind))
    return behind


def test_the_log_is_kept_from_a_snapshot_that_travels(sending):
    newer = ("snapreadyc", ("snap-3-300", 300, 3, THREE, 9))
    turn(sending, newer, ("durablec", 305))
    assert begins_after(sending) == 205


def test_a_new_member_gets_no_snapshot_of_before_it_was_added(sending):
    """It would refuse it, for ever if little is written: it is no member there."""
    change = ConfChange(ConfChangeType.ConfChangeAddNode, 4).marshal()
    heard = message(MessageType.MsgHeartbeatResp, from_=4, term=3)
    refused = message(MessageType.MsgAppResp, from_=4, term=3, index=304, reject=True)

    def asks():
        return turn(sending, ("recvc", (4, [refused, heard], "")))

    asked = turn(sending, ("confc", (305, EntryType.EntryConfChange, change, None)))
    asked += asks()
    assert [m for m in asked.on("snapsendc") if m[0] == 4] == []
    assert asked.on("snapshotc") == [None]
    turn(sending, ("snapreadyc", ("snap-3-300", 300, 3, THREE, 9)))
    again = asks()
    assert again.on("snapsendc") == [], "it was being made when the member was added"
    assert again.on("snapshotc") == [None]
    four = ((1, 2, 3, 4), (), (), (), False)
    turn(sending, ("snapreadyc", ("snap-3-305", 305, 3, four, 9)))
    assert [m[:2] for m in asks().on("snapsendc")] == [(4, "snap-3-305")]


def test_writes_become_slower_so_that_the_log_lasts_for_a_snapshot(sending):
    """However long it takes; they never stop, and are as fast as ever afterwards."""
    heard = message(MessageType.MsgHeartbeatResp, from_=3, term=3)
    confirms = message(MessageType.MsgHeartbeatResp, from_=2, term=3)

    def puts_in_a_second():
        admitted = 0
        for _ in range(10):
            alive = [("recvc", (3, [heard], "")), ("recvc", (2, [confirms], ""))]
            play(sending, turn(sending, *alive))
            play(sending, tick(sending, sending.now + HEARTBEAT_S))
            for _ in range(5):
                out = turn(sending, ("propc", (7, b"x")))
                admitted += not out.on("dropc")
                play(sending, out)
            last = sending._tail.last_index()
            play(sending, acknowledge(sending, 2, last))
            play(sending, wake(sending))
            turn(sending, ("durablec", last))
        return admitted

    rates = [puts_in_a_second() for _ in range(60)]
    assert begins_after(sending) == 205, "what the follower needs is there"
    assert rates[0] > 5 * rates[-1]
    assert sum(rates[-20:]) > 0
    turn(sending, ("reportc", ("snapshot", 3, True)))
    puts_in_a_second()
    assert puts_in_a_second() <= rates[0], "it has arrived, but is not installed"
    assert begins_after(sending) == 205
    play(sending, acknowledge(sending, 3, sending._tail.last_index()))
    puts_in_a_second()  # the clock has to tick first
    assert puts_in_a_second() == 50


def test_a_snapshot_hurries_while_the_log_has_little_room(sending):
    heard = message(MessageType.MsgHeartbeatResp, from_=3, term=3)

    def told():
        turn(sending, ("recvc", (3, [heard], "")))
        return tick(sending, sending.now + HEARTBEAT_S).on("hurryc")

    assert [told(), told()] == [[True], []], "100 of 256 entries are taken"
    turn(sending, ("reportc", ("snapshot", 3, True)))
    play(sending, acknowledge(sending, 3, sending._tail.last_index()))
    assert [told(), told()] == [[False], []]


def test_forwarded_writes_become_slower_likewise_and_none_is_lost(sending):
    """They come in the order in which they were forwarded, and all when the snapshot is in."""
    heard = message(MessageType.MsgHeartbeatResp, from_=3, term=3)
    confirms = message(MessageType.MsgHeartbeatResp, from_=2, term=3)
    first, sent = sending._tail.last_index(), 0

    def forwarded(number):
        data = pack((2, number, [pack([("put", b"k", b"%d" % number)])]))
        entry = Entry(0, 0, EntryType.EntryNormal, data)
        return ("recvc", (2, [message(MessageType.MsgProp, from_=2, entries=[entry])], ""))

    for _ in range(300):
        alive = [("recvc", (3, [heard], "")), ("recvc", (2, [confirms], ""))]
        play(sending, turn(sending, *alive, *map(forwarded, range(sent, sent + 5))))
        sent += 5
        play(sending, tick(sending, sending.now + HEARTBEAT_S))
        play(sending, acknowledge(sending, 2, sending._tail.last_index()))
        play(sending, wake(sending))
        turn(sending, ("durablec", sending._tail.last_index()))
    assert begins_after(sending) == 205, "what the follower needs is there"
    assert 0 < sending._tail.last_index() - first < sent
    turn(sending, ("reportc", ("snapshot", 3, True)))
    play(sending, acknowledge(sending, 3, sending._tail.last_index()))
    play(sending, tick(sending, sending.now + HEARTBEAT_S))
    last = sending._tail.last_index()
    numbers = [unpack(e.data)[1] for e in sending._tail.entries(first + 1, last + 1, 1 << 30)]
    assert numbers == list(range(sent))


def test_the_log_is_kept_until_the_follower_has_taken_its_snapshot(sending):
    turn(sending, ("reportc", ("snapshot", 3, True)))
    assert turn(sending, ("durablec", 305)).on("readyc") == []
    sent = acknowledge(sending, 3, 205).on("sendc")
    appended = [decode_message(data) for peer, data in sent if peer == 3]
    assert appended[0].entries[0].index == 206, "it goes on from the log"
    play(sending, acknowledge(sending, 3, 300))
    turn(sending, ("durablec", 305))
    assert begins_after(sending) == 305 - LogLimits(entries_max=64).keep_entries


def test_a_follower_whose_applier_stands_still_takes_no_more_entries(log):
    """Until its log can be compacted again: the tail in memory has a bound."""
    bounds = LogLimits(entries_max=64, bytes_max=1 << 20)
    disk = ((1, 0, 4), (0, 0), entries(4))
    core, out = started(log, disk, (4, 1, THREE, (), None), members=3, log_limits=bounds)
    play(core, out)
    data = bytes(100_000)
    for index in range(4, 104):
        append = message(
            MessageType.MsgApp,
            term=3,
            index=index,
            log_term=1 if index == 4 else 3,
            commit=index,
            entries=[Entry(3, index + 1, EntryType.EntryNormal, data)],
        )
        play(core, turn(core, ("recvc", (2, [append], ""))), applier=False)
    (status,) = [m[2] for m in turn(core, ("statusc", 2)).on("statusrc")]
    assert bounds.held_bytes_max < status["log_bytes"] <= bounds.held_bytes_max + len(data)
