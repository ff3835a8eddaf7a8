"""Progress and flow control: behaviours 52 to 59."""

import pytest
from sampan.raft import Entry, Message, ProposalDropped, RaftPanic, entry_size, payload_size
from sampan.raft.tracker import Inflights, Progress, ProgressState
from sampan.tests.raft.harness import M, Node

PROBE, REPLICATE, SNAPSHOT = ProgressState


def progress(state=PROBE, match=1, following=5, window=256, **fields) -> Progress:
    return Progress(match=match, next=following, state=state, inflights=Inflights(window), **fields)


def test_052_progress_starts_from_nothing():
    pr = Progress()
    assert (pr.match, pr.next, pr.state, pr.pending_snapshot, pr.sent_commit) == (0, 0, PROBE, 0, 0)
    assert (pr.recent_active, pr.msg_app_flow_paused, pr.is_learner) == (False, False, False)


@pytest.mark.parametrize(
    ("state", "pending", "want"), [(REPLICATE, 0, 2), (SNAPSHOT, 10, 11), (SNAPSHOT, 0, 2)]
)
def test_052_becoming_probe_goes_back_to_what_is_known(state, pending, want):
    pr = progress(state, pending_snapshot=pending, sent_commit=20, msg_app_flow_paused=True)
    pr.inflights.add(4, 1)
    pr.become_probe()
    assert (pr.state, pr.match, pr.next) == (PROBE, 1, want)
    assert (pr.pending_snapshot, pr.msg_app_flow_paused) == (0, False)
    assert (pr.inflights.count(), pr.sent_commit) == (0, want - 1)


def test_052_becoming_replicate_and_snapshot():
    pr = progress(msg_app_flow_paused=True)
    pr.become_replicate()
    assert (pr.state, pr.match, pr.next, pr.msg_app_flow_paused) == (REPLICATE, 1, 2, False)
    pr.become_snapshot(10)
    assert (pr.state, pr.match, pr.next, pr.pending_snapshot, pr.sent_commit) == (
        SNAPSHOT, 1, 11, 10, 10,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("index", "match", "following", "updated"),
    [(2, 3, 5, False), (3, 3, 5, False), (4, 4, 5, True), (5, 5, 6, True)],
)
def test_052_updates(index, match, following, updated):
    pr = progress(match=3, msg_app_flow_paused=True)
    assert pr.maybe_update(index) == updated
    assert (pr.match, pr.next, pr.msg_app_flow_paused) == (match, following, not updated)


@pytest.mark.parametrize(
    ("state", "match", "following", "rejected", "hint", "accepted", "want"),
    [
        (REPLICATE, 5, 10, 5, 5, False, 10),
        (REPLICATE, 5, 10, 4, 4, False, 10),
        (REPLICATE, 5, 10, 9, 9, True, 6),
        (REPLICATE, 5, 10, 6, 6, True, 6),
        (PROBE, 0, 0, 0, 0, False, 0),
        (PROBE, 0, 10, 5, 5, False, 10),
        (PROBE, 0, 10, 9, 9, True, 9),
        (PROBE, 0, 2, 1, 1, True, 1),
        (PROBE, 0, 1, 0, 0, True, 1),
        (PROBE, 0, 10, 9, 2, True, 3),
        (PROBE, 0, 10, 9, 0, True, 1),
        (PROBE, 4, 10, 9, 1, True, 5),
    ],
)
def test_052_decreases(state, match, following, rejected, hint, accepted, want):
    pr = progress(state, match, following, msg_app_flow_paused=True, sent_commit=9)
    assert pr.maybe_decr_to(rejected, hint) == accepted
    assert (pr.match, pr.next) == (match, want)
    if accepted:
        assert pr.sent_commit == min(9, want - 1)
        assert pr.msg_app_flow_paused == (state == REPLICATE)


@pytest.mark.parametrize(
    ("state", "flag", "paused"),
    [
        (PROBE, False, False), (PROBE, True, True),
        (REPLICATE, False, False), (REPLICATE, True, True),
        (SNAPSHOT, False, True), (SNAPSHOT, True, True),
    ],
)  # fmt: skip
def test_052_paused(state, flag, paused):
    assert progress(state, msg_app_flow_paused=flag).is_paused() == paused


def test_052_commit_worth_telling():
    pr = progress(REPLICATE, match=4, following=6, sent_commit=3)
    assert [pr.can_bump_commit(i) for i in (2, 3, 4, 9)] == [False, False, True, True]
    pr.sent_commit = 5
    assert not pr.can_bump_commit(9), "the peer was told as much as it can take"


def test_052_text():
    pr = progress(SNAPSHOT, 1, 2, window=1, pending_snapshot=123, is_learner=True)
    pr.inflights.add(123, 1)
    assert str(pr) == (
        "StateSnapshot match=1 next=2 learner paused pendingSnap=123 inactive inflight=1[full]"
    )
    assert str(progress(REPLICATE, recent_active=True)) == "StateReplicate match=1 next=5"
    window = progress(REPLICATE, window=2, recent_active=True)
    window.inflights.add(1, 1)
    assert str(window).endswith("inflight=1")


def test_052_sending_in_snapshot_state_is_impossible():
    with pytest.raises(RaftPanic, match="sending append in unhandled state StateSnapshot"):
        progress(SNAPSHOT).sent_entries(1, 1)
    with pytest.raises(RaftPanic, match="without an in-flight window"):
        Progress().become_probe()


def leader_of_two(state=None, **options) -> Node:
    node = Node(voters=(1, 2), **options).lead()
    if state == "replicate":
        node.step(M.MsgAppResp, 2, index=1)
        node.drain()
    return node


def test_053_a_probe_is_one_message_per_heartbeat():
    node = leader_of_two()
    for first in (True, False, False):
        if not first:
            node.raw.propose(b"x")
            assert node.drain() == []
        for _ in range(5):
            node.raw.propose(b"x")
            node.tick()
            assert {m.type for m in node.drain()} == {M.MsgHeartbeat}
        node.step(M.MsgHeartbeatResp)
        (m,) = node.drain()
        assert (m.type, m.index, m.entries[0].index) == (M.MsgApp, 0, 1)
        assert node.progress(2).next == 1, "a probe does not move on"


def test_053_replication_is_pipelined():
    node = leader_of_two("replicate")
    for n in range(10):
        node.raw.propose(b"x")
        (m,) = node.drain()
        assert (m.index, len(m.entries)) == (1 + n, 1)
        assert node.progress(2).next == 3 + n
    assert node.progress(2).inflights.count() == 10


def test_053_nothing_is_sent_while_a_snapshot_is():
    node = leader_of_two("replicate")
    node.raw._raft.tracker.progress[2].become_snapshot(10)
    for _ in range(3):
        node.raw.propose(b"x")
        node.step(M.MsgHeartbeatResp)
    assert node.drain() == []


def test_054_the_window_counts_messages():
    window = Inflights(10)
    for i in range(10):
        assert not window.full()
        window.add(i, i * 100)
    assert (window.count(), window.full()) == (10, True)
    with pytest.raises(RaftPanic, match="cannot add into a Full inflights"):
        window.add(100, 1)
    window.free_le(3)
    assert (window.count(), window.full()) == (6, False)
    window.free_le(3)
    window.free_le(0)
    assert window.count() == 6
    for i in range(10, 14):
        window.add(i, 1)
    assert window.full()
    window.free_le(12)
    assert window.count() == 1
    window.free_le(99)
    assert window.count() == 0


def test_054_the_window_counts_bytes():
    window = Inflights(10, 1000)
    window.add(1, 600)
    assert not window.full()
    window.add(2, 399)
    assert not window.full()
    window.add(3, 1)
    assert window.full()
    window.free_le(1)
    assert not window.full()
    window.add(4, 5000)
    assert window.full()
    window.reset()
    assert (window.full(), window.count()) == (False, 0)
    window.add(5, 999)
    assert not window.full(), "the bytes are forgotten too"
    copy = window.clone()
    copy.add(6, 1)
    assert (copy.full(), window.full()) == (True, False)
    single = Inflights(10, 1)
    assert single.add(1, 1)
    assert single.full()
    with pytest.raises(RaftPanic, match="cannot add into a Full inflights"):
        single.add(2, 1)
    unbounded = Inflights(2)
    unbounded.add(1, 2**62)
    assert not unbounded.full()


def test_055_a_full_window_sends_one_empty_message_per_heartbeat_response():
    node = leader_of_two("replicate", max_inflight_msgs=3)
    for _ in range(5):
        node.raw.propose(b"x")
    assert [m.index for m in node.drain()] == [1, 2, 3]
    for _ in range(2):
        node.step(M.MsgHeartbeatResp)
        (m,) = node.drain()
        assert (m.type, m.entries, m.index) == (M.MsgApp, [], 4)
        node.raw.propose(b"y")
        assert node.drain() == []
    # An acknowledgement frees, a stale one does not.
    node.step(M.MsgAppResp, index=2)
    sent = node.drain()
    assert [(m.index, len(m.entries)) for m in sent if m.entries] == [(4, 4)]
    node.step(M.MsgAppResp, index=2)
    node.step(M.MsgAppResp, index=1)
    assert node.drain() == []
    assert node.progress(2).inflights.count() == 3


def test_056_one_acknowledgement_releases_several_bounded_messages():
    node = Node(voters=(1, 2), max_size_per_msg=2048, max_inflight_msgs=3).lead()
    for _ in range(10):
        node.raw.propose(b"a" * 1000)
    assert node.drain() == []
    node.step(M.MsgAppResp, index=1)
    sent = [m for m in node.drain() if m.entries]
    assert [len(m.entries) for m in sent] == [2, 2, 2]
    node.step(M.MsgAppResp, index=sent[-1].entries[-1].index)
    sent = [m for m in node.drain() if m.entries]
    assert [len(m.entries) for m in sent] == [2, 2]


def test_056_in_flight_bytes_bound_the_window():
    node = Node(
        voters=(1, 2), max_size_per_msg=1024, max_inflight_msgs=100, max_inflight_bytes=3000
    ).lead()
    for _ in range(10):
        node.raw.propose(b"a" * 1000)
    node.drain()
    node.step(M.MsgAppResp, index=1)
    sent = [m for m in node.drain() if m.entries]
    assert len(sent) == 3
    pr = node.progress(2)
    assert (pr.inflights.full(), pr.is_paused()) == (True, True)


def test_057_messages_are_bounded_but_carry_at_least_one_entry():
    sizes = [100, 10, 10, 10]
    for limit, want in [
        (0, [1, 1, 1, 1]),
        (100, [1, 3]),
        (10**6, [4]),
    ]:
        node = Node(
            voters=(1, 2), max_size_per_msg=limit, max_committed_size_per_ready=10**6
        ).lead()
        node.step(M.MsgAppResp, index=1)
        node.drain()
        node.raw.report_unreachable(2)
        node.drain()
        for size in sizes:
            node.raw.propose(b"x" * size)
        node.step(M.MsgAppResp, index=1)
        sent = [m for m in node.drain() if m.entries]
        probe, rest = sent[0], sent[1:]
        node.step(M.MsgAppResp, index=probe.entries[-1].index)
        rest += [m for m in node.drain() if m.entries]
        got = {m.entries[0].index: len(m.entries) for m in (probe, *rest)}
        assert [got[i] for i in sorted(got)] == want


def test_057_a_proposal_of_several_entries_is_split_too():
    node = Node(voters=(1, 2), max_size_per_msg=0).lead()
    node.step(M.MsgAppResp, index=1)
    node.drain()
    node.raw.step(Message(M.MsgProp, from_=1, entries=[Entry(data=b"x")] * 3))
    assert [len(m.entries) for m in node.drain()] == [1]
    node.step(M.MsgAppResp, index=2)
    assert [(m.index, len(m.entries)) for m in node.drain() if m.entries] == [(2, 1), (3, 1)]


def test_057_peers_at_the_same_point_share_one_list_of_entries():
    node = Node().lead_and_commit()
    for _ in range(3):
        node.raw.propose(b"x")
    node.drain()
    for peer in (2, 3):
        node.raw.report_unreachable(peer)
        node.step(M.MsgHeartbeatResp, peer)
    second, third = node.drain()
    assert [e.index for e in second.entries] == [2, 3, 4]
    assert second.entries is third.entries


def test_058_an_unreachable_peer_is_probed():
    node = leader_of_two("replicate")
    for _ in range(3):
        node.raw.propose(b"x")
    node.drain()
    node.raw.report_unreachable(2)
    pr = node.progress(2)
    assert (pr.state, pr.match, pr.next) == (PROBE, 1, 2)
    assert node.log.has("1 failed to send message to 2 because it is unreachable [StateProbe")
    node.raw.report_unreachable(2)
    assert node.progress(2).state == PROBE
    node.raw._raft.tracker.progress[2].become_snapshot(3)
    node.raw.report_unreachable(2)
    assert node.progress(2).state == SNAPSHOT


def test_058_only_an_answer_about_what_is_known_ends_probing():
    node = leader_of_two("replicate")
    node.raw.propose(b"x")
    node.step(M.MsgAppResp, 2, index=2)
    node.raw.report_unreachable(2)
    node.drain()
    node.step(M.MsgAppResp, 2, index=1)
    assert node.progress(2).state == PROBE
    node.step(M.MsgAppResp, 2, index=2)
    assert node.progress(2).state == REPLICATE
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    assert node.drain() == [], "a repeated acknowledgement says nothing new"


def test_059_the_quota_of_uncommitted_bytes():
    node = Node(max_uncommitted_entries_size=100).lead_and_commit()
    node.raw.propose(b"x" * 1000)  # a first one is always accepted
    assert node.state.uncommitted_size == 1000
    with pytest.raises(ProposalDropped):
        node.raw.propose(b"x")
    assert node.log.has("1 appending new entries to log would exceed uncommitted entry size limit")
    node.raw.propose(b"")  # an empty one is never refused
    node.drain()
    node.step(M.MsgAppResp, 2, index=3)
    node.drain()
    assert node.state.uncommitted_size == 0, "applied"
    for _ in range(4):
        node.raw.propose(b"x" * 25)
    assert node.state.uncommitted_size == 100
    with pytest.raises(ProposalDropped):
        node.raw.propose(b"x")
    assert node.state.last_index == 7, "a refused proposal leaves nothing behind"


def test_059_one_byte_is_enough_to_count():
    node = Node(max_uncommitted_entries_size=1).lead_and_commit()
    node.raw.propose(b"x")
    with pytest.raises(ProposalDropped):
        node.raw.propose(b"x")


def test_059_the_quota_counts_whole_messages_and_frees_what_is_applied():
    node = Node(max_uncommitted_entries_size=100).lead_and_commit()
    batch = [Entry(data=b"x" * 30)] * 3
    node.raw.step(Message(M.MsgProp, from_=1, entries=batch))
    with pytest.raises(ProposalDropped):
        node.raw.step(Message(M.MsgProp, from_=1, entries=[Entry(data=b"x" * 11)]))
    node.raw.step(Message(M.MsgProp, from_=1, entries=[Entry(data=b"x" * 10)]))
    node.drain()
    node.step(M.MsgAppResp, 2, index=3)
    node.drain()
    assert node.state.uncommitted_size == 40
    node.step(M.MsgHeartbeat, 2, term=5)
    assert node.state.uncommitted_size == 0, "a new term starts anew"


def test_059_applying_entries_of_others_does_not_go_below_zero():
    node = Node(max_uncommitted_entries_size=100, term=1)
    node.step(M.MsgApp, entries=[Entry(1, 1, data=b"x" * 50)], commit=1)
    node.drain()
    assert node.state.uncommitted_size == 0


def test_059_without_an_option_there_is_no_quota():
    node = Node().lead_and_commit()
    for _ in range(3):
        node.raw.propose(b"x" * 10**6)
    assert node.state.uncommitted_size == 3 * 10**6


def test_059_an_empty_entry_has_no_payload():
    assert payload_size(Entry(5, 7)) == 0
    assert entry_size(Entry(5, 7)) == 4
