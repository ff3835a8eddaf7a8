"""Terms and roles: behaviours 1 to 7."""

import pytest
from sampan.raft import Message, RaftPanic, StateType
from sampan.tests.raft.harness import Cluster, M, Node

LEADER_MESSAGES = [M.MsgApp, M.MsgHeartbeat, M.MsgSnap]


def node_as(role: str) -> Node:
    node = Node(term=1)
    if role == "Leader":
        node.lead()
    elif role == "Candidate":
        node.raw.campaign()
        node.drain()
    assert node.role() == role
    return node


def test_001_starts_as_follower_with_the_stored_term_and_vote():
    node = Node(terms=[1, 2], term=3, vote=2, commit=1)
    s = node.state
    assert (s.state, s.term, s.vote, s.lead, s.committed) == (
        StateType.StateFollower, 3, 2, 0, 1,
    )  # fmt: skip


@pytest.mark.parametrize("role", ["Follower", "Candidate", "Leader"])
@pytest.mark.parametrize("kind", [M.MsgApp, M.MsgHeartbeat, M.MsgVote, M.MsgAppResp])
def test_002_a_higher_term_makes_a_follower(role, kind):
    node = node_as(role)
    term = node.state.term + 2
    node.step(kind, term=term)
    assert node.role() == "Follower"
    assert node.state.term == term
    assert node.state.lead == (2 if kind in LEADER_MESSAGES else 0)


def test_003_a_stale_term_is_ignored():
    node = Node(terms=[1], term=5, commit=1)
    node.step(M.MsgApp, term=4, index=1, log_term=1, commit=1)
    assert node.drain() == []
    assert node.state.lead == 0
    assert node.log.has("ignored a MsgApp message with lower term from 2 [term: 4]")


def test_004_a_repeated_vote_request_keeps_the_first_answer():
    node = Node()
    node.step(M.MsgVote, 2, term=1)
    node.step(M.MsgVote, 3, term=1)
    node.step(M.MsgVote, 2, term=1)
    assert [(m.to, m.reject) for m in node.drain()] == [(2, False), (3, True), (2, False)]
    assert node.state.vote == 2
    node.step(M.MsgHeartbeat, 3)
    assert node.state.vote == 2, "following a leader of the term is no reason to vote again"
    node.step(M.MsgHeartbeat, 3, term=2)
    assert node.state.vote == 0


def test_004_a_repeated_vote_response_keeps_the_first_answer():
    node = Node(voters=(1, 2, 3, 4, 5))
    node.raw.campaign()
    node.drain()
    node.step(M.MsgVoteResp, 2, reject=True)
    node.step(M.MsgVoteResp, 2)
    node.step(M.MsgVoteResp, 3)
    assert node.role() == "Candidate"
    node.step(M.MsgVoteResp, 4)
    assert node.role() == "Leader"


def test_005_illegal_transitions_raise_and_change_nothing():
    leader = node_as("Leader").raw._raft
    for transition in (leader.become_candidate, leader.become_pre_candidate):
        with pytest.raises(RaftPanic, match=r"invalid transition \[leader -> "):
            transition()
    assert (leader.state, leader.term) == (StateType.StateLeader, 2)
    follower = node_as("Follower").raw._raft
    with pytest.raises(RaftPanic, match=r"invalid transition \[follower -> leader\]"):
        follower.become_leader()


@pytest.mark.parametrize("kind", LEADER_MESSAGES)
@pytest.mark.parametrize("pre_vote", [False, True])
def test_006_a_candidate_follows_a_leader_of_its_term(kind, pre_vote):
    node = Node(pre_vote=pre_vote, term=1)
    node.raw.campaign()
    node.drain()
    node.tick(3)
    node.step(kind, 3)
    assert (node.role(), node.state.lead, node.state.election_elapsed) == ("Follower", 3, 0)
    assert node.drain()[-1].type in (M.MsgAppResp, M.MsgHeartbeatResp)


@pytest.mark.parametrize("pre_vote", [False, True])
def test_007_a_leader_does_not_campaign(pre_vote):
    cluster = Cluster(1, pre_vote=pre_vote)
    cluster.elect()
    cluster.elect()
    assert (cluster[1].role(), cluster[1].state.term) == ("Leader", 1)


def test_messages_that_a_role_has_no_use_for_change_nothing():
    for role in ("Follower", "Candidate", "Leader"):
        node = node_as(role)
        before = node.state
        node.raw.step(Message(M.MsgForgetLeader))
        if role != "Follower":
            node.step(M.MsgTimeoutNow)
        node.step(M.MsgHeartbeatResp)
        node.step(M.MsgAppResp, index=0)
        assert node.state == before
        node.drain()


def test_what_belongs_to_a_leadership_ends_with_it():
    node = Node(heartbeat_tick=3).lead_and_commit()
    assert node.progress(1).state.name == "StateReplicate"
    node.raw.propose(b"x")
    node.raw.transfer_leadership(2)
    node.tick(2)
    s = node.state
    assert (s.pending_conf_index, s.uncommitted_size, s.lead_transferee) == (0, 1, 2)
    node.step(M.MsgHeartbeat, 3, term=s.term + 1)
    s = node.state
    assert (s.pending_conf_index, s.uncommitted_size, s.lead_transferee) == (0, 0, 0)
    node.drain()
    node.lead()
    node.tick(2)
    assert node.drain() == [], "its heartbeats start anew"
    node.tick()
    assert {m.type for m in node.drain()} == {M.MsgHeartbeat}


def test_a_new_leader_replicates_to_itself_before_its_disk_answers():
    node = Node(async_storage_writes=True)
    node.hold_storage = True
    node.raw.campaign()
    node.drain()
    for m in node.held:
        node.deliver_responses(m)
    node.step(M.MsgVoteResp, 2)
    assert node.role() == "Leader"
    assert node.progress(1).state.name == "StateReplicate"
    assert node.progress(1).recent_active
