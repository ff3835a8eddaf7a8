"""Snapshots: behaviours 60 to 68."""

import pytest
from sampan.raft import (
    ConfState,
    Entry,
    ErrCompacted,
    ErrSnapshotTemporarilyUnavailable,
    MemoryStorage,
    RaftPanic,
    Snapshot,
    SnapshotMetadata,
    SnapshotStatus,
)
from sampan.tests.raft.harness import Cluster, M, Node


def snapshot(index=11, term=11, voters=(1, 2), data=b"state", **conf) -> Snapshot:
    conf_state = ConfState(voters=list(voters), **conf)
    return Snapshot(data, SnapshotMetadata(conf_state, index, term))


def compacted_leader(**options) -> Node:
    """Leads voters 1 and 2; its log starts after index 11."""
    node = Node(voters=(1, 2), base=(11, 11), term=11, **options).lead()
    node.step(M.MsgAppResp, 2, index=12)
    node.drain()
    return node


def reject(node: Node) -> None:
    """Node 2 turns out to have nothing."""
    node.raw.report_unreachable(2)
    node.step(M.MsgAppResp, 2, index=node.progress(2).next - 1, reject=True)
    raft = node.raw._raft
    pr = raft.tracker.progress[2]
    pr.match, pr.next = 0, 1


def test_060_a_snapshot_is_sent_when_the_log_does_not_reach_back():
    node = compacted_leader()
    reject(node)
    node.drain()
    node.step(M.MsgHeartbeatResp)
    (m,) = node.drain()
    assert (m.type, m.to, m.snapshot.metadata.index) == (M.MsgSnap, 2, 11)
    pr = node.progress(2)
    assert (pr.state.name, pr.pending_snapshot, pr.next, pr.sent_commit) == (
        "StateSnapshot", 11, 12, 11,
    )  # fmt: skip


@pytest.mark.parametrize("asynchronous", [False, True])
def test_060_a_slow_node_is_restored_by_a_snapshot(asynchronous):
    cluster = Cluster(3, async_storage_writes=asynchronous)
    cluster.elect()
    cluster.isolate(3)
    for _ in range(20):
        cluster.propose()
    leader = cluster[1]
    leader.storage.create_snapshot(15, ConfState([1, 2, 3]), b"fifteen")
    leader.storage.compact(15)
    cluster.recover()
    for _ in range(3):
        leader.tick()
        cluster.settle()
    assert [s.metadata.index for s in cluster[3].snapshots] == [15]
    assert cluster[3].state.committed == leader.state.committed
    assert cluster[1].progress(3).state.name == "StateReplicate"
    cluster.propose()
    assert cluster[3].applied[-1].index == 22


def test_061_no_snapshot_to_a_silent_peer():
    node = Node(voters=(1, 2), base=(11, 11), term=11, check_quorum=True).lead()
    raft = node.raw._raft
    raft.tracker.progress[2].next = 1
    raft.tracker.progress[2].recent_active = False
    node.raw.propose(b"x")
    raft.tracker.progress[2].become_probe()
    node.raw.propose(b"x")
    assert [m for m in node.drain() if m.to == 2] == []
    assert node.log.has("ignore sending snapshot to 2 since it is not recently active")


def test_061_an_unavailable_snapshot_is_asked_for_again():
    class Slow(MemoryStorage):
        busy = True

        def snapshot(self):
            if self.busy:
                raise ErrSnapshotTemporarilyUnavailable
            return super().snapshot()

    storage = Slow()
    storage.apply_snapshot(snapshot())
    node = Node(storage=storage, applied=11).lead()
    raft = node.raw._raft
    raft.tracker.progress[2].become_probe()
    raft.tracker.progress[2].next = 5
    node.step(M.MsgHeartbeatResp)
    assert node.drain() == []
    assert node.log.has("1 failed to send snapshot to 2 because snapshot is temporarily unavail")
    node.step(M.MsgAppResp, index=5)
    assert node.drain() == []
    storage.busy = False
    node.step(M.MsgHeartbeatResp)
    assert [m.type for m in node.drain()] == [M.MsgSnap]


def test_061_an_empty_snapshot_is_never_sent():
    node = Node().lead_and_commit()
    for _ in range(3):
        node.raw.propose(b"x")
        node.ack_all()
    node.storage.compact(2)
    node.raw._raft.tracker.progress[2].become_probe()
    node.raw._raft.tracker.progress[2].next = 1
    with pytest.raises(RaftPanic, match="need non-empty snapshot"):
        node.step(M.MsgHeartbeatResp)


@pytest.mark.parametrize("status", [True, False])
def test_061_a_log_that_is_compacted_meanwhile_needs_a_snapshot(status):
    class Racing(MemoryStorage):
        gone = False

        def entries(self, lo, hi, max_size):
            if self.gone:
                raise ErrCompacted
            return super().entries(lo, hi, max_size)

    storage = Racing()
    storage.apply_snapshot(snapshot())
    storage.append([Entry(11, 12), Entry(11, 13)])
    node = Node(storage=storage, applied=11).lead()
    storage.gone = True
    if status:
        node.step(M.MsgAppResp, 2, index=13, reject=True, reject_hint=11)
        assert [m.type for m in node.drain()] == [M.MsgSnap]
    else:
        node.step(M.MsgAppResp, 2, index=11)
        assert [m for m in node.drain() if m.to == 2] == []


def pending(index=11) -> Node:
    node = compacted_leader()
    pr = node.raw._raft.tracker.progress[2]
    pr.match = 1
    pr.become_snapshot(index)
    return node


def test_062_replication_stops_while_a_snapshot_is_pending():
    node = pending()
    for _ in range(3):
        node.raw.propose(b"x")
        node.tick()
        node.step(M.MsgHeartbeatResp)
    assert {m.type for m in node.drain()} == {M.MsgHeartbeat}


@pytest.mark.parametrize(
    ("status", "following"),
    [(SnapshotStatus.SnapshotFailure, 2), (SnapshotStatus.SnapshotFinish, 12)],
)
def test_063_the_report_decides_where_probing_resumes(status, following):
    node = pending()
    node.raw.report_snapshot(2, status)
    pr = node.progress(2)
    assert (pr.state.name, pr.next, pr.pending_snapshot) == ("StateProbe", following, 0)
    assert pr.msg_app_flow_paused
    node.raw.propose(b"x")
    assert node.drain() == []
    word = "failed" if following == 2 else "succeeded"
    assert node.log.has(f"1 snapshot {word}, resumed sending replication messages to 2 [")


def test_063_after_a_failure_a_peer_of_which_nothing_is_known_is_probed_from_the_start():
    node = pending()
    node.raw._raft.tracker.progress[2].match = 0
    node.raw.report_snapshot(2, SnapshotStatus.SnapshotFailure)
    assert node.progress(2).next == 1


def test_063_a_report_without_a_snapshot_changes_nothing():
    node = compacted_leader()
    before = str(node.progress(2))
    node.raw.report_snapshot(2, SnapshotStatus.SnapshotFailure)
    assert str(node.progress(2)) == before
    node.raw.report_snapshot(9, SnapshotStatus.SnapshotFinish)


@pytest.mark.parametrize(("index", "leaves"), [(11, True), (12, True), (5, False), (10, False)])
def test_064_an_acknowledgement_that_reconnects_ends_the_snapshot(index, leaves):
    node = pending(12)
    node.step(M.MsgAppResp, 2, index=index)
    pr = node.progress(2)
    assert pr.state.name == ("StateReplicate" if leaves else "StateSnapshot")
    assert pr.match == index
    assert (pr.pending_snapshot == 0) == leaves


@pytest.mark.parametrize("me", ["voters", "learners", "voters_outgoing"])
def test_065_restoring_takes_log_commit_and_configuration(me):
    conf = {"learners": [4, 5], "voters_outgoing": [2, 6], "learners_next": [6], "auto_leave": True}
    voters = [2, 3]
    if me == "voters":
        voters.append(1)
    else:
        conf[me] = [*conf[me], 1]
    node = Node(voters=(1, 2), term=1, learners=())
    s = snapshot(voters=voters, term=1, **conf)
    node.step(M.MsgSnap, term=2, snapshot=s)
    assert node.state.last_index == 11
    assert node.raw._raft.log.term(11) == 1
    sent = node.drain()
    assert [(m.type, m.index, m.reject) for m in sent] == [(M.MsgAppResp, 11, False)]
    restored = node.raw._raft.tracker.conf_state()
    assert restored.equivalent(s.metadata.conf_state)
    assert (node.state.committed, node.state.applied) == (11, 11)
    assert node.storage.snapshot() == s
    assert node.state.lead == 2
    assert node.is_learner() == (me == "learners")


def test_065_a_restored_voter_waits_for_its_term():
    node = Node(term=1)
    node.step(M.MsgSnap, term=2, snapshot=snapshot(term=2))
    node.drain()
    node.tick(9)
    assert node.role() == "Follower"


@pytest.mark.parametrize("to_learner", [True, False])
def test_066_roles_change_by_snapshot(to_learner):
    before = (
        {"voters": (1, 2), "learners": ()} if to_learner else {"voters": (2,), "learners": (1,)}
    )
    node = Node(term=1, **before)
    conf = {"voters": (2,), "learners": [1]} if to_learner else {"voters": (1, 2)}
    assert node.is_learner() != to_learner
    node.step(M.MsgSnap, snapshot=snapshot(term=1, **conf))
    assert node.is_learner() == to_learner
    node.drain()
    node.raw.campaign()
    assert node.role() == ("Follower" if to_learner else "Candidate")


def test_067_a_stale_snapshot_is_answered_with_the_commit_index():
    node = Node(terms=[1, 1, 1], term=1, commit=3)
    for index in (2, 3, 0):
        node.step(M.MsgSnap, snapshot=snapshot(index, 1))
        assert [(m.type, m.index) for m in node.drain()] == [(M.MsgAppResp, 3)]
    node.step(M.MsgSnap)
    assert [m.index for m in node.drain()] == [3]
    assert node.log.has("1 [commit: 3] ignored snapshot [index: 2, term: 1]")


def test_067_a_matching_snapshot_only_moves_the_commit_index():
    node = Node(terms=[1, 1, 1], term=1, commit=1)
    node.step(M.MsgSnap, snapshot=snapshot(2, 1))
    assert [m.index for m in node.drain()] == [2]
    assert (node.state.committed, node.state.last_index) == (2, 3)
    assert node.snapshots == []
    assert node.log.has("fast-forwarded commit to snapshot [index: 2, term: 1]")


def test_067_a_snapshot_without_this_node_is_refused():
    node = Node(terms=[1, 1], term=1, commit=1)
    node.step(M.MsgSnap, snapshot=snapshot(11, 1, voters=(2, 3)))
    assert [m.index for m in node.drain()] == [1]
    assert node.state.last_index == 2
    assert node.log.has("1 attempted to restore snapshot but it is not in the ConfState")


def test_068_nothing_is_applied_while_a_snapshot_is_unstable():
    node = Node(term=1, async_storage_writes=True)
    node.hold_storage = True
    node.step(M.MsgSnap, snapshot=snapshot(term=1))
    node.step(M.MsgApp, index=11, log_term=1, entries=[Entry(1, 12)], commit=12)
    node.drain()
    (write,) = node.held
    assert (write.snapshot.metadata.index, len(write.entries)) == (11, 1)
    assert not node.raw.has_ready()
    node.persist(None, [], write.snapshot)
    node.persist(None, write.entries, None)
    node.deliver_responses(write)
    rd = node.raw.ready()
    assert [e.index for e in rd.committed_entries] == [12]


def test_068_a_snapshot_survives_a_change_of_term_while_it_is_written():
    node = Node(term=1, async_storage_writes=True)
    node.hold_storage = True
    node.step(M.MsgSnap, snapshot=snapshot(term=1))
    node.drain()
    node.step(M.MsgHeartbeat, 2, term=3)
    node.do_storage(node.held[0])
    assert node.state.applied == 11
    assert node.raw._raft.log.unstable.snapshot is None


def test_an_older_snapshot_does_not_replace_a_newer_one_under_way():
    node = Node(term=1, async_storage_writes=True)
    node.hold_storage = True
    node.step(M.MsgSnap, snapshot=snapshot(5, 1))
    node.drain()
    node.step(M.MsgSnap, snapshot=snapshot(9, 1))
    node.do_storage(node.held[0])
    assert node.raw._raft.log.unstable.snapshot.metadata.index == 9
    node.drain()
    node.do_storage(node.held[1])
    assert (node.state.applied, node.raw._raft.log.unstable.snapshot) == (9, None)
