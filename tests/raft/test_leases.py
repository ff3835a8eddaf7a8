"""Pre-vote, check-quorum and the lease: behaviours 23 to 32."""

import pytest
from sampan.raft import (
    ConfChange,
)
from sampan.tests.raft.harness import Cluster, M, Node, vote_types

BOTH = pytest.mark.parametrize("pre_vote", [False, True])


def test_023_a_pre_candidate_keeps_term_and_vote_but_forgets_the_leader():
    node = Node(pre_vote=True, term=1, vote=2)
    node.step(M.MsgHeartbeat)
    node.raw.campaign()
    s = node.state
    assert (node.role(), s.term, s.vote, s.lead) == ("PreCandidate", 1, 2, 0)
    assert [(m.type, m.term) for m in node.drain()][1:] == [(M.MsgPreVote, 2)] * 2
    granting = Node(term=1, vote=3)
    granting.tick(5)
    before = granting.state
    granting.step(M.MsgPreVote, term=2)
    assert granting.state == before


def test_024_a_pre_vote_is_answered_in_the_term_asked_for_unless_rejected():
    node = Node(terms=[1, 1], term=3)
    node.step(M.MsgPreVote, term=7, index=2, log_term=1)
    node.step(M.MsgPreVote, term=7, index=1, log_term=1)
    assert [(m.term, m.reject) for m in node.drain()] == [(7, False), (3, True)]


def test_025_a_stale_pre_vote_is_rejected_not_dropped():
    node = Node(term=5)
    node.step(M.MsgPreVote, term=3)
    (answer,) = node.drain()
    assert (answer.type, answer.term, answer.reject) == (M.MsgPreVoteResp, 5, True)
    node.step(M.MsgVote, term=3)
    assert node.drain() == []


def test_025_the_rejection_is_logged():
    node = Node(term=3)
    node.step(M.MsgPreVote, 2, term=2)
    assert node.log.has("rejected MsgPreVote from 2 [logterm: 0, index: 0] at term 3")


def test_025_a_cluster_migrates_to_pre_vote():
    # Node 3 was cut off before it had pre-vote: it is ahead in its term, behind in its log.
    nodes = [Node(1, term=2, terms=[1], pre_vote=True), Node(2, term=2, terms=[1], pre_vote=True)]
    cluster = Cluster(nodes=[*nodes, Node(3, term=4, pre_vote=True)])
    cluster.isolate(1)
    cluster.elect(3)
    cluster.elect(2)
    assert cluster.leaders() == []
    cluster.elect(3)
    cluster.elect(2)
    assert cluster.leaders() == [2]


@pytest.mark.parametrize("options", [{"pre_vote": True}, {"check_quorum": True}])
def test_026_a_stuck_candidate_is_freed_by_an_answer_of_a_higher_term(options):
    cluster = Cluster(3, **options)
    cluster.elect(1)
    cluster.isolate(3)
    for _ in range(3):
        cluster[3].raw._raft.become_pre_candidate()
        cluster[3].raw._raft.become_candidate()
    cluster.recover()
    assert cluster[3].state.term == 4
    cluster[1].tick()
    cluster.settle()
    assert cluster.leaders() == []
    assert cluster[1].state.term == 4
    cluster.elect(1)
    cluster.elect(1)
    assert cluster.leaders() == [1]
    assert [n.state.term for n in cluster.nodes.values()] == [5] * 3


def test_026_without_those_options_a_stale_leader_is_not_answered():
    node = Node(term=4)
    node.step(M.MsgHeartbeat, term=3)
    node.step(M.MsgApp, term=3)
    assert node.drain() == []
    answering = Node(term=4, check_quorum=True)
    answering.step(M.MsgHeartbeat, term=3)
    answering.step(M.MsgSnap, term=3)
    assert [(m.type, m.term, m.index) for m in answering.drain()] == [(M.MsgAppResp, 4, 0)]


def test_027_a_split_pre_vote_costs_no_term():
    cluster = Cluster(3, pre_vote=True)
    cluster.elect(1)
    cluster.isolate(1)
    cluster[2].raw.campaign()
    cluster[3].raw.campaign()
    cluster.settle()  # both win their pre-vote, then split the vote
    assert cluster.roles() == "LCC"
    assert [cluster[i].state.term for i in (2, 3)] == [2, 2]
    cluster.elect(2)
    assert cluster.roles() == "LLF"
    assert [cluster[i].state.term for i in (2, 3)] == [3, 3]


def test_027_pre_vote_does_not_disturb_a_leader_with_check_quorum():
    cluster = Cluster(3, pre_vote=True, check_quorum=True)
    cluster.elect(1)
    cluster.isolate(3)
    cluster.elect(3)
    assert cluster.roles() == "LFP"
    cluster.recover()
    cluster.elect(3)
    assert cluster.roles() == "LFP"
    assert [n.state.term for n in cluster.nodes.values()] == [1, 1, 1]
    cluster[1].tick()
    cluster.settle()
    assert cluster.roles() == "LFF"


def test_028_a_leader_without_a_quorum_steps_down():
    node = Node(check_quorum=True, election_tick=5).lead()
    node.tick(4)
    assert node.role() == "Leader"
    node.tick()
    assert (node.role(), node.state.term, node.state.lead) == ("Follower", 1, 0)
    assert node.log.has("1 stepped down to follower since quorum is not active")


def test_028_a_leader_with_a_quorum_stays():
    node = Node(check_quorum=True, election_tick=5).lead()
    for _ in range(30):
        node.step(M.MsgHeartbeatResp, 2)
        node.tick()
    assert node.role() == "Leader"


def test_028_a_new_leader_has_a_whole_election_timeout():
    node = Node(check_quorum=True, rand=lambda n: 9)
    node.raw.campaign()
    node.drain()
    node.tick(8)
    node.step(M.MsgVoteResp, 2)
    assert (node.role(), node.state.election_elapsed) == ("Leader", 0)
    node.drain()
    node.tick(9)
    assert node.role() == "Leader"
    node.tick()
    assert node.role() == "Follower"


def test_028_the_quorum_is_checked_once_an_election_timeout():
    node = Node(check_quorum=True, election_tick=5).lead()
    node.step(M.MsgHeartbeatResp, 2)
    node.tick(5)
    node.tick(4)
    assert node.role() == "Leader"
    node.tick()
    assert node.role() == "Follower"


def test_028_a_leader_counts_itself_even_before_its_disk_answers():
    node = Node(check_quorum=True, async_storage_writes=True, election_tick=5)
    node.raw.campaign()
    node.drain()
    node.hold_storage = True
    node.step(M.MsgVoteResp, 2)
    node.drain()
    assert node.role() == "Leader"
    for _ in range(15):
        node.step(M.MsgHeartbeatResp, 2)
        node.tick()
    assert node.role() == "Leader"


def test_028_learners_do_not_count_as_active():
    node = Node(voters=(1, 2, 3), learners=(4, 5), check_quorum=True, election_tick=5).lead()
    for _ in range(5):
        node.step(M.MsgHeartbeatResp, 4)
        node.step(M.MsgHeartbeatResp, 5)
        node.tick()
    assert node.role() == "Follower"


def test_028_without_check_quorum_a_leader_stays_alone():
    node = Node().lead()
    node.tick(100)
    assert node.role() == "Leader"


@BOTH
def test_029_votes_are_ignored_during_the_lease(pre_vote):
    node = Node(check_quorum=True, term=1, rand=lambda n: 9)
    node.step(M.MsgHeartbeat, 2)
    node.drain()
    node.tick(9)
    request = vote_types(pre_vote)[0]
    node.step(request, 3, term=2)
    assert (node.drain(), node.state.term) == ([], 1)
    assert node.log.has("lease is not expired (remaining ticks: 1)")
    node.tick()
    node.step(request, 3, term=2)
    (answer,) = node.drain()
    assert not answer.reject


def test_029_there_is_no_lease_without_a_leader_or_the_option():
    for options in ({"check_quorum": True}, {"check_quorum": False}):
        node = Node(term=1, **options)
        if not options["check_quorum"]:
            node.step(M.MsgHeartbeat, 2)
            node.drain()
        node.step(M.MsgVote, 3, term=2)
        assert [m.reject for m in node.drain()] == [False]


def test_030_the_vote_of_a_transfer_breaks_the_lease():
    cluster = Cluster(3, check_quorum=True)
    cluster.elect(1)
    cluster[1].raw.transfer_leadership(2)
    cluster.settle()
    assert cluster.roles() == "FLF"
    node = Node(check_quorum=True, term=1)
    node.step(M.MsgHeartbeat, 2)
    node.drain()
    node.step(M.MsgVote, 3, term=2, context=b"CampaignTransfer")
    assert [m.reject for m in node.drain()] == [False]


def test_031_a_voter_that_cannot_lead_still_votes_with_check_quorum():
    nodes = [Node(1, (1, 2), check_quorum=True), Node(2, (1,), check_quorum=True)]
    cluster = Cluster(nodes=nodes)  # node 2 does not know yet that it is a voter
    cluster[2].tick(20)
    assert cluster[2].role() == "Follower"
    cluster.elect(1)
    assert cluster.roles() == "LF"
    assert cluster[2].state.lead == 1


def test_031_a_new_member_counts_as_active_at_first():
    node = Node(voters=(1,), check_quorum=True).lead()
    node.tick(9)
    node.raw.apply_conf_change(ConfChange(node_id=2))
    node.tick()
    assert node.role() == "Leader"
    node.tick(10)
    assert node.role() == "Follower"


def test_032_forgetting_the_leader():
    node = Node(check_quorum=True, term=1)
    node.step(M.MsgHeartbeat, 2)
    node.tick(4)
    node.raw.forget_leader()
    s = node.state
    assert (s.lead, s.term, s.election_elapsed) == (0, 1, 4)
    node.step(M.MsgVote, 3, term=2)
    assert node.drain()[-1].reject is False
    lease = Node(check_quorum=True, read_only_option=1, term=1)
    lease.step(M.MsgHeartbeat, 2)
    lease.raw.forget_leader()
    assert lease.state.lead == 2
    assert lease.log.has("ignoring MsgForgetLeader due to ReadOnlyLeaseBased")
    for node in (Node().lead(), Node()):
        before = node.state
        node.raw.forget_leader()
        assert node.state == before
