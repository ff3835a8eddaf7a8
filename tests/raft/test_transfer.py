"""Transfer of leadership: behaviours 78 to 88."""

import pytest
from sampan.raft import ConfChange, ConfChangeType, ConfState, ProposalDropped
from sampan.tests.raft.harness import Cluster, M, Node


def elected(**options) -> Cluster:
    cluster = Cluster(3, **options)
    cluster.elect(1)
    return cluster


def waiting(**options) -> Node:
    """A leader that waits for node 3 to catch up and take over."""
    node = Node(**options).lead_and_commit()
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    node.raw.transfer_leadership(3)
    assert node.state.lead_transferee == 3
    assert M.MsgTimeoutNow not in {m.type for m in node.drain()}
    return node


@pytest.mark.parametrize("pre_vote", [False, True])
def test_078_to_an_up_to_date_node_at_once(pre_vote):
    cluster = elected(pre_vote=pre_vote)
    cluster[1].tick(5)
    cluster[1].raw.transfer_leadership(2)
    assert cluster[1].state.election_elapsed == 0
    (m,) = (m for m in cluster[1].drain() if m.type == M.MsgTimeoutNow)
    assert (m.to, m.term) == (2, 1)
    cluster[2].raw.step(m)
    cluster.settle()
    assert cluster.roles() == "FLF"
    cluster.propose(1, b"still works")
    cluster[2].raw.transfer_leadership(1)
    cluster.settle()
    assert cluster.roles() == "LFF"


def test_079_by_way_of_a_follower():
    cluster = elected()
    cluster[2].raw.transfer_leadership(2)
    cluster.settle()
    assert cluster.roles() == "FLF"
    forwarded = next(m for m in cluster.seen if m.type == M.MsgTransferLeader)
    assert (forwarded.from_, forwarded.to, forwarded.term) == (2, 1, 1)


def test_079_a_forwarded_request_can_be_forwarded_again():
    node = Node(term=2)
    node.step(M.MsgHeartbeat, 3)
    node.drain()
    node.step(M.MsgTransferLeader, 2)
    assert [(m.type, m.to, m.from_) for m in node.drain()] == [(M.MsgTransferLeader, 3, 2)]
    leaderless = Node(term=2)
    leaderless.raw.transfer_leadership(2)
    assert leaderless.drain() == []
    assert leaderless.log.has("1 no leader at term 2; dropping leader transfer msg")


def test_080_to_a_slow_node_after_it_has_caught_up():
    node = waiting()
    node.step(M.MsgAppResp, 3, index=1)
    assert M.MsgTimeoutNow not in {m.type for m in node.drain()}
    node.step(M.MsgAppResp, 2, index=2)
    assert node.drain() == []
    node.step(M.MsgAppResp, 3, index=2)
    assert [(m.type, m.to) for m in node.drain()] == [(M.MsgTimeoutNow, 3)]
    assert node.log.has("1 sent MsgTimeoutNow to 3 after received MsgAppResp")


def test_080_catching_up_half_way_is_not_enough():
    node = Node().lead_and_commit()
    for _ in range(2):
        node.raw.propose(b"x")
    node.drain()
    node.raw.transfer_leadership(3)
    for index, sent in ((2, False), (3, True)):
        node.step(M.MsgAppResp, 3, index=index)
        assert (M.MsgTimeoutNow in {m.type for m in node.drain()}) == sent


def test_080_a_request_wakes_a_slow_node():
    node = Node().lead_and_commit()
    node.raw.report_unreachable(3)
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 3, index=1, reject=True, reject_hint=0)
    node.drain()
    pr = node.raw._raft.tracker.progress[3]
    pr.msg_app_flow_paused = False
    node.raw.transfer_leadership(3)
    assert [(m.type, m.to) for m in node.drain()] == [(M.MsgApp, 3)]


def test_081_to_a_node_that_needs_a_snapshot_first():
    cluster = elected()
    cluster.isolate(3)
    cluster.propose()
    leader = cluster[1]
    leader.storage.create_snapshot(leader.state.applied, ConfState([1, 2, 3]), b"")
    leader.storage.compact(leader.state.applied)
    cluster.recover()
    leader.raw.transfer_leadership(3)
    leader.tick()
    cluster.settle()
    assert cluster.roles() == "FFL"


@pytest.mark.parametrize("target", [1, 4, 9])
def test_082_pointless_transfers_are_ignored(target):
    node = Node(learners=(4,)).lead_and_commit()
    node.raw.transfer_leadership(target)
    assert node.drain() == []
    assert node.state.lead_transferee == 0
    node.raw.propose(b"proposals go on")


def test_082_a_node_that_may_not_lead_ignores_the_order():
    for node in (Node(4), Node(3, voters=(1, 2), learners=(3,))):
        node.step(M.MsgTimeoutNow, 1, term=1)
        assert (node.role(), node.drain()) == ("Follower", [])


def test_083_a_transfer_has_one_election_timeout():
    node = waiting(election_tick=10)
    node.tick(9)
    assert node.state.lead_transferee == 3
    node.tick()
    assert (node.role(), node.state.lead_transferee) == ("Leader", 0)
    node.raw.propose(b"x")


def test_084_proposals_are_dropped_meanwhile():
    node = waiting()
    with pytest.raises(ProposalDropped):
        node.raw.propose(b"y")
    assert node.state.last_index == 2
    assert node.log.has("1 [term 1] transfer leadership to 3 is in progress; dropping proposal")


def test_085_a_higher_term_aborts():
    node = waiting()
    node.step(M.MsgVote, 2, term=2, index=2, log_term=1)
    assert (node.role(), node.state.lead_transferee) == ("Follower", 0)


@pytest.mark.parametrize(
    "kind", [ConfChangeType.ConfChangeRemoveNode, ConfChangeType.ConfChangeAddLearnerNode]
)
def test_086_removing_or_demoting_the_target_aborts(kind):
    node = waiting()
    node.raw.apply_conf_change(ConfChange(kind, 2))
    assert node.state.lead_transferee == 3
    node = waiting()
    node.raw.apply_conf_change(ConfChange(kind, 3))
    assert node.state.lead_transferee == 0


def test_087_a_second_request_for_the_same_node_changes_nothing():
    node = waiting()
    node.tick(5)
    node.raw.transfer_leadership(3)
    assert node.state.lead_transferee == 3
    assert node.state.election_elapsed == 5, "the time does not start anew"
    node.tick(5)
    assert node.state.lead_transferee == 0


def test_087_a_second_request_for_another_node_replaces_the_first():
    node = waiting()
    node.drain()
    node.raw.transfer_leadership(2)
    assert node.state.lead_transferee == 2
    assert [(m.type, m.to) for m in node.drain()] == [(M.MsgTimeoutNow, 2)]
    assert node.log.has("1 [term 1] abort previous transferring leadership to 3")
    node.raw.transfer_leadership(1)
    assert node.state.lead_transferee == 0, "back to itself"


def test_088_the_election_skips_pre_vote():
    node = Node(pre_vote=True, term=1)
    node.step(M.MsgHeartbeat)
    node.drain()
    node.step(M.MsgTimeoutNow)
    sent = node.drain()
    assert {(m.type, m.term, m.context) for m in sent} == {(M.MsgVote, 2, b"CampaignTransfer")}


def test_an_unsuccessful_target_does_not_block_the_leader():
    cluster = elected(check_quorum=True)
    cluster.ignored = {M.MsgTimeoutNow}
    cluster[1].raw.transfer_leadership(2)
    cluster.settle()
    for _ in range(10):
        cluster[1].tick()
        cluster.settle()
    assert cluster.roles() == "LFF"
    cluster.propose(1)
