"""Elections: behaviours 8 to 22."""

from collections import Counter

import pytest
from sampan.raft import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    Message,
    Snapshot,
    SnapshotMetadata,
)
from sampan.tests.raft.harness import Cluster, M, Node, log_of, vote_types

BOTH = pytest.mark.parametrize("pre_vote", [False, True])


@pytest.mark.parametrize("start", ["Follower", "Candidate"])
def test_008_a_timeout_starts_an_election(start):
    node = Node(term=1, rand=lambda n: 3)
    term = 1
    if start == "Candidate":
        node.raw.campaign()
        node.drain()
        term = 2
    node.tick(12)
    assert node.state.term == term
    node.tick()
    sent = node.drain()
    assert (node.role(), node.state.term, node.state.vote) == ("Candidate", term + 1, 1)
    assert [(m.type, m.to, m.term) for m in sent] == [
        (M.MsgVote, 2, term + 1),
        (M.MsgVote, 3, term + 1),
    ]


def test_008_a_timeout_starts_the_next_one_even_for_a_pre_candidate():
    node = Node(pre_vote=True)
    node.tick(10)
    assert (node.role(), node.state.election_elapsed) == ("PreCandidate", 0)
    node.drain()
    node.tick(9)
    assert node.drain() == []
    node.tick()
    assert [m.type for m in node.drain()] == [M.MsgPreVote, M.MsgPreVote]


@pytest.mark.parametrize(
    ("size", "votes", "result"),
    [
        (1, {}, "Leader"),
        (3, {2: True, 3: True}, "Leader"),
        (3, {2: True}, "Leader"),
        (5, {2: True, 3: True}, "Leader"),
        (3, {2: False, 3: False}, "Follower"),
        (5, {2: False, 3: False, 4: False, 5: True}, "Follower"),
        (3, {}, "Candidate"),
        (5, {2: True}, "Candidate"),
        (5, {2: True, 3: False, 4: False}, "Candidate"),
        (4, {2: True}, "Candidate"),
        (4, {2: False, 3: False}, "Follower"),
        (2, {2: False}, "Follower"),
    ],
)
def test_009_a_majority_decides_an_election(size, votes, result):
    node = Node(voters=range(1, size + 1))
    node.raw.campaign()
    node.drain()
    for peer, granted in votes.items():
        node.step(M.MsgVoteResp, peer, term=1, reject=not granted)
    assert (node.role(), node.state.term) == (result, 1)


@BOTH
@pytest.mark.parametrize(
    ("size", "down", "result"),
    [(3, (), "L"), (3, (2,), "L"), (3, (2, 3), "C"), (4, (2, 3), "C"), (5, (2, 3), "L")],
)
def test_009_elections_with_nodes_down(size, down, result, pre_vote):
    cluster = Cluster(size, pre_vote=pre_vote)
    cluster.isolate(*down)
    cluster.elect()
    assert cluster.roles()[0] == ("P" if result == "C" and pre_vote else result)
    assert cluster[1].state.term == (0 if result == "C" and pre_vote else 1)


@pytest.mark.parametrize(
    ("vote", "from_", "rejected"),
    [(0, 2, False), (0, 3, False), (2, 2, False), (3, 3, False), (2, 3, True), (3, 2, True)],
)
def test_010_one_vote_a_term_first_come(vote, from_, rejected):
    node = Node(term=1, vote=vote)
    node.step(M.MsgVote, from_)
    (answer,) = node.drain()
    assert (answer.type, answer.to, answer.term, answer.reject) == (
        M.MsgVoteResp, from_, 1, rejected,
    )  # fmt: skip


def test_010_granting_a_vote_restarts_the_timer_but_refusing_does_not():
    node = Node(term=1)
    node.tick(5)
    node.step(M.MsgVote, 2)
    assert node.state.election_elapsed == 0
    node.tick(5)
    node.step(M.MsgVote, 3)
    assert node.state.election_elapsed == 5


@BOTH
@pytest.mark.parametrize(
    ("terms", "log_term", "index", "rejected"),
    [
        ([1], 1, 1, False),
        ([1], 1, 2, False),
        ([1, 1], 1, 1, True),
        ([1], 2, 1, False),
        ([1], 2, 2, False),
        ([1, 1], 2, 1, False),
        ([2], 1, 1, True),
        ([2], 1, 2, True),
        ([2, 1], 1, 1, True),
    ],
)
def test_011_only_an_up_to_date_candidate_gets_the_vote(terms, log_term, index, rejected, pre_vote):
    request, response = vote_types(pre_vote)
    node = Node(terms=terms, term=2)
    node.step(request, term=3, log_term=log_term, index=index)
    (answer,) = node.drain()
    assert (answer.type, answer.reject) == (response, rejected)


def test_011_before_its_first_term_a_node_refuses_silently():
    node = Node(base=(10, 1))
    node.step(M.MsgPreVote, term=1, log_term=1, index=9)
    assert node.drain() == []
    node.step(M.MsgPreVote, term=1, log_term=1, index=10)
    assert [m.reject for m in node.drain()] == [False]


@BOTH
@pytest.mark.parametrize("lead", [0, 1, 2])
def test_012_no_vote_while_a_leader_of_the_term_is_known(lead, pre_vote):
    node = Node(3, term=2)
    if lead:
        node.step(M.MsgHeartbeat, lead)
        node.drain()
    node.step(vote_types(pre_vote)[0], 2)
    (answer,) = node.drain()
    assert answer.reject == (lead != 0)
    assert node.state.vote == (2 if not lead and not pre_vote else 0)


@BOTH
@pytest.mark.parametrize("role", ["Follower", "Candidate", "Leader"])
def test_012_every_role_votes_in_a_higher_term(role, pre_vote):
    node = Node(term=1)
    if role == "Leader":
        node.lead()
    elif role == "Candidate":
        node.raw.campaign()
        node.drain()
    term = node.state.term
    node.step(vote_types(pre_vote)[0], term=term + 1, log_term=9, index=42)
    (answer,) = node.drain()
    assert (answer.to, answer.term, answer.reject) == (2, term + 1, False)
    if pre_vote:
        assert (node.role(), node.state.term) == (role, term)
    else:
        s = node.state
        assert (node.role(), s.term, s.vote, s.election_elapsed) == ("Follower", term + 1, 2, 0)


@pytest.mark.parametrize("campaigns", [False, True])
def test_013_timeouts_are_spread_and_drawn_anew(campaigns):
    draws = iter(list(range(10)) * 3)
    asked = []
    node = Node(rand=lambda n: asked.append(n) or next(draws))
    seen = Counter()
    for _ in range(20):
        if campaigns:
            node.raw.campaign()
            node.drain()
        else:
            node.raw._raft.become_follower(node.state.term + 1)
        seen[node.state.randomized_election_timeout] += 1
    assert set(asked) == {10}
    assert seen == dict.fromkeys(range(10, 20), 2)


def test_013_a_timeout_is_drawn_even_if_the_term_stays():
    draws = iter([1, 2, 3])
    node = Node(rand=lambda n: next(draws))
    assert node.state.randomized_election_timeout == 11
    node.raw._raft.become_follower(0)
    assert node.state.randomized_election_timeout == 12
    node.raw._raft.become_pre_candidate()
    assert node.state.randomized_election_timeout == 12


def test_013_the_default_spread_uses_all_of_the_range():
    node = Node(election_tick=3, rand=None)
    drawn = set()
    for _ in range(200):
        node.raw._raft.become_follower(0)
        drawn.add(node.state.randomized_election_timeout)
    assert drawn == {3, 4, 5}


def test_013_the_timeout_can_be_set_until_it_is_drawn_again():
    node = Node()
    node.raw.set_randomized_election_timeout(2)
    node.tick(2)
    assert node.role() == "Candidate"
    assert node.state.randomized_election_timeout == 10


def test_013_the_timeout_counts_ticks_since_the_leader_was_heard():
    node = Node(rand=lambda n: 0, term=1)
    for kind in (M.MsgHeartbeat, M.MsgApp, M.MsgSnap):
        node.tick(9)
        node.step(kind)
        assert node.state.election_elapsed == 0
    node.drain()
    node.tick(9)
    assert node.role() == "Follower"
    node.tick()
    assert node.role() == "Candidate"


def test_014_a_learner_votes_but_never_campaigns():
    node = Node(3, voters=(1, 2), learners=(3,), term=1)
    node.step(M.MsgVote, log_term=2, index=11)
    assert [(m.type, m.reject) for m in node.drain()] == [(M.MsgVoteResp, False)]
    node.tick(50)
    node.raw.campaign()
    node.step(M.MsgTimeoutNow)
    assert (node.role(), node.state.term) == ("Follower", 1)
    assert node.log.has("3 is unpromotable and can not campaign")
    assert node.state.election_elapsed == 50, "an unpromotable node keeps counting"


def test_015_a_non_member_does_not_campaign():
    node = Node(4)
    node.tick(50)
    node.raw.campaign()
    assert node.role() == "Follower"


def test_015_a_node_with_a_pending_snapshot_does_not_campaign():
    node = Node(async_storage_writes=True)
    node.hold_storage = True
    snapshot = Snapshot(metadata=SnapshotMetadata(ConfState([1, 2, 3]), 11, 1))
    node.step(M.MsgSnap, term=1, snapshot=snapshot)
    node.tick(30)
    assert node.role() == "Follower"
    node.drain()
    node.tick(30)
    assert node.role() == "Follower", "in progress is not done"
    for m in node.held:
        node.do_storage(m)
    node.tick(30)
    assert node.role() == "Candidate"


@pytest.mark.parametrize("v1", [True, False])
@pytest.mark.parametrize("filler", [0, 3])
def test_016_no_campaign_with_an_unapplied_configuration_change(v1, filler):
    change = ConfChange(node_id=4) if v1 else ConfChangeV2(changes=[ConfChangeSingle(node_id=4)])
    kind = EntryType.EntryConfChange if v1 else EntryType.EntryConfChangeV2
    node = Node(term=1, max_committed_size_per_ready=30)
    entries = [Entry(1, i, data=b"x" * 20) for i in range(1, filler + 1)]
    entries.append(Entry(1, filler + 1, kind, change.marshal()))
    node.step(M.MsgApp, entries=entries, commit=filler + 1)
    node.tick(10)
    node.raw.campaign()
    node.step(M.MsgTimeoutNow)
    assert (node.role(), node.state.term) == ("Follower", 1)
    assert node.log.has("cannot campaign at term 1 since there are still pending configuration")
    node.drain()
    node.raw.campaign()
    assert node.role() == "Candidate"


@BOTH
def test_017_a_single_node_elects_itself_once_its_vote_is_durable(pre_vote):
    node = Node(voters=(1,), pre_vote=pre_vote)
    node.raw.campaign()
    assert node.role() == ("PreCandidate" if pre_vote else "Candidate")
    node.drain()
    assert (node.role(), node.state.committed) == ("Leader", 1)


@BOTH
def test_018_dueling_candidates(pre_vote):
    cluster = Cluster(3, pre_vote=pre_vote)
    cluster.cut = {(1, 3), (3, 1)}
    cluster.elect(1)
    cluster.elect(3)
    assert cluster.roles() == ("LFF" if pre_vote else "LFC")
    cluster.recover()
    cluster.elect(3)  # its log is shorter: it cannot win, but without pre-vote it deposes
    assert cluster.roles() == ("LFF" if pre_vote else "FFF")
    assert [n.state.term for n in cluster.nodes.values()] == [1 if pre_vote else 2] * 3
    assert [n.state.committed for n in cluster.nodes.values()] == [1, 1, 0]


def test_018_a_candidate_concedes():
    cluster = Cluster(3)
    cluster.isolate(1)
    cluster.elect(1)
    cluster.elect(3)
    cluster.recover()
    cluster[3].tick()
    cluster.settle()
    cluster.propose(3, b"force follower")
    assert cluster.roles() == "FFL"
    assert [n.state.term for n in cluster.nodes.values()] == [1] * 3
    assert cluster.logs_equal()


@BOTH
def test_018_every_node_can_lead_in_turn(pre_vote):
    cluster = Cluster(3, pre_vote=pre_vote)
    for peer in (1, 2, 3, 1):
        cluster.elect(peer)
        assert cluster.leaders() == [peer]
        assert all(n.state.lead == peer for n in cluster.nodes.values())


@BOTH
def test_019_an_election_overwrites_newer_uncommitted_logs(pre_vote):
    # Nodes 1 and 2 have an entry of term 1, node 3 one of term 2, voted for by 4 and 5.
    nodes = [
        Node(1, range(1, 6), terms=[1], term=1, pre_vote=pre_vote),
        Node(2, range(1, 6), terms=[1], term=1, pre_vote=pre_vote),
        Node(3, range(1, 6), terms=[2], term=2, vote=3, pre_vote=pre_vote),
        Node(4, range(1, 6), term=2, vote=3, pre_vote=pre_vote),
        Node(5, range(1, 6), term=2, vote=3, pre_vote=pre_vote),
    ]
    cluster = Cluster(nodes=nodes)
    cluster.elect(1)
    if not pre_vote:
        assert cluster.leaders() == []
        assert cluster[1].state.term == 2
    cluster.elect(1)
    assert cluster.leaders() == [1]
    assert cluster[1].state.term == 3
    assert all(n.entries() == [(1, 1), (3, 2)] for n in cluster.nodes.values())


@BOTH
def test_020_a_late_self_vote_after_losing_is_ignored(pre_vote):
    node = Node(pre_vote=pre_vote)
    node.raw.campaign()
    response = vote_types(pre_vote)[1]
    rd = node.raw.ready()
    node.persist(rd.hard_state, rd.entries, rd.snapshot)
    node.step(response, 2, reject=True)
    node.step(response, 3, reject=True)
    assert node.role() == "Follower"
    node.raw.advance(rd)
    assert node.role() == "Follower"


def test_021_a_late_pre_vote_of_ones_own_is_no_vote():
    node = Node(pre_vote=True)
    node.raw.campaign()
    rd = node.raw.ready()
    node.persist(rd.hard_state, rd.entries, rd.snapshot)
    node.step(M.MsgPreVoteResp, 2, term=1)
    node.step(M.MsgPreVoteResp, 3, term=1)
    assert node.role() == "Candidate"
    node.raw.advance(rd)  # brings the pre-vote for itself
    node.step(M.MsgVoteResp, 2, reject=True)
    assert node.role() == "Candidate"
    node.drain()
    node.step(M.MsgVoteResp, 3)
    assert node.role() == "Leader"


def test_021_a_late_pre_vote_of_a_peer_is_no_vote_either():
    node = Node(pre_vote=True)
    node.raw.campaign()
    node.drain()
    node.step(M.MsgPreVoteResp, 2, term=1)
    node.drain()
    assert (node.role(), node.state.term) == ("Candidate", 1)
    node.step(M.MsgPreVoteResp, 3, term=1)
    node.step(M.MsgPreVoteResp, 2, term=1)
    assert (node.role(), node.state.term) == ("Candidate", 1)
    pre = Node(pre_vote=True, term=1)
    pre.raw.campaign()
    pre.drain()
    pre.step(M.MsgVoteResp, 2)
    assert pre.role() == "PreCandidate", "nor is a late vote a pre-vote"


def test_022_a_node_of_a_smaller_term_completes_the_election():
    cluster = Cluster(3, pre_vote=True)
    cluster.isolate(3)
    cluster.elect(1)
    cluster.elect(2)
    assert [n.state.term for n in cluster.nodes.values()] == [2, 2, 0]
    cluster.elect(3)
    cluster.elect(2)
    cluster.recover()
    cluster.isolate(2)
    cluster.elect(3)
    cluster.elect(1)
    assert cluster.leaders() == [1, 2]
    assert cluster[1].state.term == 3


def test_a_candidate_that_is_removed_meanwhile_does_not_lead():
    node = Node()
    node.raw.campaign()
    node.drain()
    node.raw.apply_conf_change(ConfChange(type=ConfChangeType.ConfChangeRemoveNode, node_id=1))
    node.step(M.MsgVoteResp, 2)
    node.step(M.MsgVoteResp, 3)
    assert node.role() == "Follower"


def test_votes_carry_the_end_of_the_log():
    node = Node(terms=[1, 2, 2], term=2)
    node.raw.campaign()
    (vote, _) = node.drain()
    assert (vote.index, vote.log_term, vote.context) == (3, 2, b"")
    assert log_of([1, 2])[1] == Entry(2, 2)
    assert Message().type == M.MsgHup
