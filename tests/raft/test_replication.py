"""Log replication: behaviours 33 to 51."""

import pytest
from sampan.raft import (
    ConfChange,
    ConfChangeType,
    Entry,
    Message,
    ProposalDropped,
    ReadState,
    UnsafeMessage,
)
from sampan.tests.raft.harness import Cluster, M, Node


def test_033_a_proposal_is_appended_and_replicated():
    node = Node().lead_and_commit()
    node.raw.propose(b"some data")
    sent = node.drain()
    assert [(m.type, m.to, m.index, m.log_term, m.commit) for m in sent] == [
        (M.MsgApp, 2, 1, 1, 1),
        (M.MsgApp, 3, 1, 1, 1),
    ]
    assert sent[0].entries == sent[1].entries == [Entry(1, 2, data=b"some data")]
    node.step(M.MsgAppResp, 2, index=2)
    sent = node.drain()
    assert node.state.committed == 2
    assert node.applied[-1].data == b"some data"
    assert {(m.to, m.commit) for m in sent} == {(2, 2), (3, 2)}


def test_033_the_whole_cluster_applies_it():
    for asynchronous in (False, True):
        cluster = Cluster(3, async_storage_writes=asynchronous)
        cluster.elect()
        cluster.propose(1, b"a")
        cluster.propose(1, b"b")
        assert all([e.data for e in n.applied] == [b"", b"a", b"b"] for n in cluster.nodes.values())


@pytest.mark.parametrize(
    ("size", "acks", "committed"),
    [
        (1, [], True),
        (3, [], False), (3, [2], True), (3, [2, 3], True),
        (5, [], False), (5, [2], False), (5, [2, 3], True), (5, [2, 3, 4, 5], True),
        (2, [], False), (2, [2], True), (4, [2], False), (4, [2, 3], True),
    ],
)  # fmt: skip
def test_034_a_majority_commits(size, acks, committed):
    node = Node(voters=range(1, size + 1)).lead()
    for peer in range(2, size + 1):
        node.step(M.MsgAppResp, peer, index=1)
    node.drain()
    node.raw.propose(b"x")
    node.drain()
    for peer in acks:
        node.step(M.MsgAppResp, peer, index=2)
    node.drain()
    assert node.state.committed == (2 if committed else 1)


def test_034_the_leaders_own_copy_counts_only_once_it_is_durable():
    node = Node().lead_and_commit()
    node.raw.propose(b"x")
    node.step(M.MsgAppResp, 2, index=2)
    assert node.state.committed == 1
    node.drain()
    assert node.state.committed == 2


@pytest.mark.parametrize("terms", [[], [2], [1, 2], [1]])
def test_035_preceding_entries_commit_with_the_first_of_the_term(terms):
    node = Node(terms=terms, term=2).lead()
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=len(terms) + 2)
    node.drain()
    assert [(e.term, e.index) for e in node.applied] == [
        *zip(terms, range(1, len(terms) + 1), strict=True),
        (3, len(terms) + 1),
        (3, len(terms) + 2),
    ]


@pytest.mark.parametrize("index", [1, 2])
def test_036_entries_of_an_older_term_do_not_commit_by_counting(index):
    node = Node(terms=[1, 2], term=2).lead()
    node.step(M.MsgAppResp, 2, index=index)
    node.step(M.MsgAppResp, 3, index=index)
    node.drain()
    assert node.state.committed == 0
    node.step(M.MsgAppResp, 2, index=3)
    node.drain()
    assert node.state.committed == 3


def test_036_a_cluster_commits_old_entries_only_through_a_new_one():
    cluster = Cluster(5)
    cluster.elect()
    cluster.isolate(3, 4, 5)
    cluster.propose()
    cluster.propose()
    assert cluster[1].state.committed == 1
    cluster.recover()
    cluster.ignored = {M.MsgApp}
    cluster.elect(2)
    assert (cluster[2].role(), cluster[2].state.committed) == ("Leader", 1)
    cluster.recover()
    cluster[2].tick()
    cluster.settle()
    assert [n.state.committed for n in cluster.nodes.values()] == [4] * 5


@pytest.mark.parametrize(
    ("index", "count", "commit", "want"),
    [
        (2, 0, 3, 2),  # nothing new: up to the entry before
        (2, 1, 3, 3),
        (2, 1, 9, 3),  # never beyond what the message vouches for
        (1, 0, 2, 1),
        (1, 1, 3, 2),
        (2, 2, 3, 3),
    ],
)
def test_037_a_follower_commits_no_more_than_the_message_reaches(index, count, commit, want):
    node = Node(terms=[1, 1], term=1)
    entries = [Entry(1, index + 1 + i) for i in range(count)]
    node.step(M.MsgApp, index=index, log_term=1, commit=commit, entries=entries)
    node.drain()
    assert node.state.committed == want
    assert len(node.applied) == want


def test_037_an_old_tail_is_not_committed():
    # The log holds an entry of a deposed leader that the new leader's message does not cover.
    node = Node(terms=[1, 1, 1], term=2)
    node.step(M.MsgApp, index=1, log_term=1, commit=3)
    assert node.state.committed == 1


@pytest.mark.parametrize(
    ("log_term", "index", "answer"),
    [
        (0, 0, (1, False, 0, 0)),  # below the commit index
        (1, 1, (1, False, 0, 0)),
        (2, 2, (2, False, 0, 0)),
        (1, 2, (2, True, 1, 1)),
        (2, 3, (3, True, 2, 2)),
        (1, 3, (3, True, 1, 1)),
    ],
)
def test_038_a_mismatch_is_rejected_with_a_hint(log_term, index, answer):
    node = Node(terms=[1, 2], term=2, commit=1)
    node.step(M.MsgApp, index=index, log_term=log_term)
    (m,) = node.drain()
    assert (m.type, m.index, m.reject, m.reject_hint, m.log_term) == (M.MsgAppResp, *answer)


@pytest.mark.parametrize(
    ("index", "log_term", "new", "log"),
    [
        (2, 2, [3], [1, 2, 3]),
        (1, 1, [3, 4], [1, 3, 4]),
        (0, 0, [1], [1, 2]),  # a stale message takes nothing away
        (0, 0, [3], [3]),
        (1, 1, [2], [1, 2]),
        (0, 0, [1, 2, 3], [1, 2, 3]),
    ],
)
@pytest.mark.parametrize("unstable", [False, True])
def test_039_a_conflicting_suffix_is_replaced_a_matching_one_kept(
    index, log_term, new, log, unstable
):
    node = Node(terms=[] if unstable else [1, 2], term=4)
    if unstable:
        node.step(M.MsgApp, entries=[Entry(1, 1), Entry(2, 2)])
    entries = [Entry(t, i) for i, t in enumerate(new, index + 1)]
    node.step(M.MsgApp, index=index, log_term=log_term, entries=entries)
    node.drain()
    assert [t for t, _ in node.entries()] == log
    assert node.state.last_index == len(log)


def test_039_only_what_is_new_is_written():
    node = Node(terms=[1, 1], term=1)
    node.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2), Entry(1, 3)])
    rd = node.raw.ready()
    assert rd.entries == [Entry(1, 3)]
    node.persist(rd.hard_state, rd.entries, None)
    node.raw.advance(rd)
    node.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2), Entry(1, 3)])
    assert node.raw.ready().entries == []


def test_039_a_stale_message_does_not_truncate_what_was_acknowledged():
    cluster = Cluster(3)
    cluster.elect()
    cluster[1].raw.propose(b"a")
    (first, _) = (m for m in cluster[1].drain() if m.to in (2, 3))
    cluster[1].raw.propose(b"b")
    second = next(m for m in cluster[1].drain() if m.to == 2)
    node = cluster[2]
    for m in (first, second, first):
        node.raw.step(m)
        node.drain()
    assert [e[1] for e in node.entries()] == [1, 2, 3]


def test_040_an_append_below_the_commit_index_is_answered_with_it():
    node = Node(terms=[1, 1, 1], term=1, commit=2)
    node.step(M.MsgApp, index=1, log_term=7 - 6, entries=[Entry(1, 2)], commit=3)
    node.step(M.MsgApp, index=0, log_term=0)
    assert [(m.index, m.reject) for m in node.drain()] == [(2, False)] * 2
    assert node.state.committed == 2


FIGURE_7 = [
    [1, 1, 1, 4, 4, 5, 5, 6, 6],
    [1, 1, 1, 4],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
    [1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
    [1, 1, 1, 4, 4, 4, 4],
    [1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
]


@pytest.mark.parametrize("terms", FIGURE_7)
def test_041_a_leader_repairs_its_followers_logs(terms):
    # Figure 7 of the paper; node 3 is only there to vote.
    leader = [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]
    nodes = [
        Node(1, terms=leader, term=8, commit=len(leader)),
        Node(2, terms=terms, term=7, commit=3),
        Node(3, term=7),
    ]
    cluster = Cluster(nodes=nodes)
    cluster.cut = {(1, 2), (2, 1)}
    cluster.elect()
    cluster.recover()
    cluster[1].tick()
    cluster.settle()
    cluster.propose()
    assert cluster.leaders() == [1]
    assert [t for t, _ in cluster[2].entries()] == [*leader, 9, 9]
    assert cluster[2].state.committed == 12


FAST_REJECTION = [
    # leader's log, follower's log, follower compacted up to,
    # then for each probe its answer's hint (term, index) and the next probe (term, index)
    ([1, 3, 3, 3, 5, 5, 5, 5, 5], [1, 1, 1, 1, 2, 2], 0, [((2, 6), (1, 1))]),
    (
        [1, 3, 3, 3, 3, 3, 3, 3, 7],
        [1, 3, 3, 4, 4, 5, 5, 5, 6],
        0,
        [((6, 9), (3, 8)), ((3, 3), (3, 3))],
    ),
    ([1, 2, 2, 5, 5, 5, 5, 5], [1, 2, 2, 4, 4, 4, 4], 0, [((4, 7), (2, 3))]),
    ([1, 2, 2, 5, 5, 5, 5, 5], [1, 2, 2, 4, 4, 4, 4, 4], 0, [((4, 8), (2, 3))]),
    ([1, 1, 1, 1, 1], [1, 1, 1], 0, [((1, 3), (1, 3))]),
    ([1, 1, 1, 1], [1], 0, [((1, 1), (1, 1))]),
    ([1, 1, 1, 1], [], 0, [((0, 0), (0, 0))]),
    ([2, 2, 2, 2], [1, 1, 1], 0, [((1, 3), (0, 0))]),
    ([1, 1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 1, 5, 5], 3, [((1, 4), (1, 4))]),
    ([1, 1, 1, 6, 6], [1, 1, 1, 5, 5], 3, [((5, 5), (1, 3))]),
]


@pytest.mark.parametrize(("leader", "follower", "base", "rounds"), FAST_REJECTION)
def test_042_rejections_skip_whole_terms(leader, follower, base, rounds):
    b = Node(2, terms=follower[base:], base=(base, follower[base - 1] if base else 0), term=6)
    a = Node(1, terms=leader, term=9).lead()
    # The first probe sits at the end of the log that the leader had when it was elected.
    b.step(M.MsgApp, 1, term=10, index=len(leader), log_term=leader[-1])
    for hint, probe in rounds:
        (answer,) = b.drain()
        assert answer.reject
        assert (answer.log_term, answer.reject_hint) == hint
        a.raw.step(answer)
        (sent,) = (m for m in a.drain() if m.to == 2)
        assert (sent.log_term, sent.index) == probe
        b.raw.step(sent)
    (answer,) = b.drain()
    assert not answer.reject
    assert [t for t, _ in b.entries()] == [*leader, 10][base:]


@pytest.mark.parametrize(
    ("index", "reject", "match", "following", "sent", "commit"),
    [
        (3, True, 0, 3, 0, 0),  # stale: not what was probed
        (2, True, 0, 2, 1, 0),  # denied: next goes back, a new probe
        (2, False, 2, 4, 2, 2),  # accepted
        (0, False, 0, 4, 1, 0),  # a heartbeat's bare answer ends the probing
    ],
)
def test_043_stale_rejections_are_ignored(index, reject, match, following, sent, commit):
    node = Node(terms=[1, 1], term=1).lead()
    if reject and index == 3:
        index = 1
    node.step(M.MsgAppResp, 2, index=index, reject=reject, reject_hint=index)
    got = [m for m in node.drain() if m.to == 2]
    pr = node.progress(2)
    assert pr.match == match
    assert (len(got) > 0) == (sent > 0)
    if reject:
        assert pr.next == following
        assert pr.next > pr.match


def test_043_reordered_messages_never_move_next_to_match():
    node = Node().lead_and_commit()
    node.raw.propose(b"a")
    node.raw.propose(b"b")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.step(M.MsgAppResp, 2, index=2, reject=True, reject_hint=0)
    node.step(M.MsgAppResp, 2, index=1, reject=True, reject_hint=0)
    node.step(M.MsgAppResp, 2, index=1)
    pr = node.progress(2)
    assert (pr.state.name, pr.match, pr.next) == ("StateReplicate", 2, 4)
    node.step(M.MsgAppResp, 2, index=3, reject=True, reject_hint=9)
    pr = node.progress(2)
    assert (pr.state.name, pr.match, pr.next) == ("StateProbe", 2, 3)


def test_043_an_old_probes_rejection_is_ignored():
    node = Node(terms=[1, 1, 1], term=1).lead()
    node.step(M.MsgAppResp, 2, index=3, reject=True, reject_hint=1)
    assert node.progress(2).next == 2
    node.drain()
    node.step(M.MsgAppResp, 2, index=3, reject=True, reject_hint=0)
    assert (node.progress(2).next, node.drain()) == (2, [])


def test_044_followers_forward_proposals():
    cluster = Cluster(3)
    cluster.elect()
    cluster.propose(2, b"by proxy")
    assert all(n.applied[-1].data == b"by proxy" for n in cluster.nodes.values())
    (forwarded,) = (m for m in cluster.seen if m.type == M.MsgProp)
    assert (forwarded.from_, forwarded.to, forwarded.term) == (2, 1, 0)


@pytest.mark.parametrize("role", ["Follower", "Candidate", "PreCandidate"])
def test_044_without_a_leader_proposals_are_dropped(role):
    node = Node(pre_vote=role == "PreCandidate", term=1)
    if role != "Follower":
        node.raw.campaign()
    assert node.role() == role
    with pytest.raises(ProposalDropped, match=r"^raft proposal dropped$"):
        node.raw.propose(b"x")
    assert node.log.has(f"1 no leader at term {node.state.term}; dropping proposal")


def test_044_forwarding_can_be_disabled():
    node = Node(disable_proposal_forwarding=True, term=1)
    node.step(M.MsgHeartbeat, 2)
    node.drain()
    with pytest.raises(ProposalDropped):
        node.raw.propose(b"x")
    assert node.drain() == []
    assert node.log.has("1 not forwarding to leader 2 at term 1; dropping proposal")


def test_045_a_message_proposed_twice_is_appended_twice():
    node = Node(voters=(1,)).lead()
    message = Message(M.MsgProp, from_=1, entries=[Entry(data=b"x")])
    node.raw.step(message)
    node.raw.step(message)
    node.drain()
    assert [(e.term, e.index) for e in node.applied] == [(1, 1), (1, 2), (1, 3)]
    assert message.entries == [Entry(data=b"x")]


def test_046_a_late_acknowledgement_of_ones_own_is_ignored_after_a_change_of_term():
    node = Node()
    node.lead()
    node.raw.propose(b"x")
    rd = node.raw.ready()
    node.persist(rd.hard_state, rd.entries, rd.snapshot)
    node.step(M.MsgHeartbeat, 2, term=2)
    node.raw.advance(rd)
    assert (node.role(), node.state.committed) == ("Follower", 0)


def test_047_heartbeats():
    node = Node(terms=[1], term=1, heartbeat_tick=2).lead()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    node.tick()
    assert node.drain() == []
    node.tick()
    sent = node.drain()
    assert [(m.type, m.to, m.commit, m.entries, m.context) for m in sent] == [
        (M.MsgHeartbeat, 2, 2, [], b""),
        (M.MsgHeartbeat, 3, 0, [], b""),  # it is not known to hold anything
    ]
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 3, index=3)
    node.drain()
    node.tick(2)
    assert [m.commit for m in node.drain()] == [2, 3]


@pytest.mark.parametrize("role", ["Follower", "Candidate"])
def test_047_only_leaders_send_heartbeats(role):
    node = Node(rand=lambda n: n - 1, term=1)
    if role == "Candidate":
        node.raw.campaign()
        node.drain()
    node.tick(9)
    assert node.drain() == []


@pytest.mark.parametrize(("commit", "want"), [(3, 3), (1, 2)])
def test_047_a_heartbeat_moves_the_commit_index_forward_only(commit, want):
    node = Node(terms=[1, 2, 3], term=3, commit=2)
    node.step(M.MsgHeartbeat, commit=commit)
    (answer,) = node.drain()
    assert (node.state.committed, answer.type) == (want, M.MsgHeartbeatResp)


def test_048_a_heartbeat_response_prompts_an_append_to_a_peer_that_is_behind():
    node = Node(terms=[1, 2, 3], term=3).lead()
    for _ in range(2):
        node.step(M.MsgHeartbeatResp, 2)
        assert [(m.type, m.to) for m in node.drain()] == [(M.MsgApp, 2)]
    node.step(M.MsgAppResp, 2, index=4)
    node.drain()
    node.step(M.MsgHeartbeatResp, 2)
    assert node.drain() == []
    node.raw.report_unreachable(2)
    node.step(M.MsgHeartbeatResp, 2)
    (probe,) = node.drain()
    assert (probe.index, probe.entries) == (4, [])
    node.step(M.MsgAppResp, 2, index=4)
    assert node.progress(2).state.name == "StateReplicate"


def test_048_a_paused_probe_is_resumed_by_a_heartbeat_response():
    node = Node(voters=(1, 2)).lead()
    assert node.progress(2).msg_app_flow_paused
    node.tick()
    assert node.progress(2).msg_app_flow_paused
    node.step(M.MsgHeartbeatResp, 2)
    (_, append) = node.drain()
    assert append.type == M.MsgApp
    assert node.progress(2).msg_app_flow_paused


def test_049_the_commit_index_is_pushed_once():
    node = Node().lead_and_commit()
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    assert [(m.to, m.commit) for m in node.drain()] == [(2, 2), (3, 2)]
    node.step(M.MsgAppResp, 3, index=2)
    assert node.drain() == [], "node 3 was told already"


def test_049_a_commit_index_that_may_be_lost_is_pushed_again():
    node = Node().lead_and_commit()
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    node.tick()  # tells node 3 no more than what it is known to hold
    assert [m.commit for m in node.drain()] == [2, 1]
    node.step(M.MsgAppResp, 3, index=2)
    assert [(m.to, m.commit, m.entries) for m in node.drain()] == [(3, 2, [])]


def committing(**options):
    """A leader that committed entry 2, which both followers hold and neither knows committed."""
    node = Node(commits_on_request=True, **options).lead_and_commit()
    node.raw.send_held()
    node.drain()
    node.raw.propose(b"x")
    node.drain()
    for peer in (2, 3):
        node.step(M.MsgAppResp, peer, index=2)
    assert node.state.committed == 2
    return node


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_commit_index_on_request_waits_for_the_host(asynchronous):
    node = committing(async_storage_writes=asynchronous)
    assert node.drain() == []
    node.raw.send_held(3)
    assert [(m.to, m.commit, m.entries) for m in node.drain()] == [(3, 2, [])]
    node.raw.send_held()
    assert [(m.to, m.commit) for m in node.drain()] == [(2, 2)], "node 3 was told already"


def test_a_commit_index_on_request_goes_with_entries_and_heartbeats():
    node = committing()
    node.tick()
    assert [(m.type, m.commit) for m in node.drain()] == [(M.MsgHeartbeat, 2)] * 2
    node.step(M.MsgAppResp, 2, index=2)
    node.raw.propose(b"y")
    assert [(m.type, m.commit) for m in node.drain()] == [(M.MsgApp, 2)] * 2
    node.raw.send_held()
    assert node.drain() == []


def test_a_commit_index_on_request_is_a_leaders_to_tell():
    node = committing()
    node.step(M.MsgHeartbeat, 2, term=node.state.term + 1)
    node.drain()
    node.raw.send_held()
    assert node.drain() == []


def test_a_configuration_change_is_told_without_request():
    """A leader that removes itself is gone when it has applied that."""
    node = Node(commits_on_request=True).lead_and_commit()
    node.raw.send_held()
    node.raw.propose_conf_change(ConfChange(ConfChangeType.ConfChangeRemoveNode, 1))
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.step(M.MsgAppResp, 3, index=2)
    assert [(m.to, m.commit) for m in node.drain()] == [(2, 2), (3, 2)]


def sparing(**options):
    """A leader whose spare is node 3; everyone knows everything."""
    node = Node(**options).lead_and_commit()
    node.step(M.MsgAppResp, 3, index=1)
    node.raw.send_held()
    node.drain()
    node.raw.choose_spares()
    return node


def to_spare(node):
    return [(m.index, m.commit, len(m.entries)) for m in node.drain() if m.to == 3]


def test_a_spare_gets_proposals_in_one_message_when_the_host_says_so():
    node = sparing(commits_on_request=True)
    for data in (b"x", b"y"):
        node.raw.propose(data)
    assert [(m.to, m.index) for m in node.drain()] == [(2, 1), (2, 2)]
    node.step(M.MsgAppResp, 2, index=2)
    assert node.state.committed == 2, "a spare is not needed for that"
    assert node.drain() == []
    node.raw.send_held()
    sent = [(m.to, m.index, m.commit, len(m.entries)) for m in node.drain()]
    assert sent == [(2, 3, 2, 0), (3, 1, 2, 2)]
    node.raw.send_held()
    assert node.drain() == []


def test_a_spare_that_acknowledges_is_sent_nothing_that_is_held():
    node = sparing(commits_on_request=True)
    node.raw.propose(b"x")
    node.raw.send_held(3)
    node.raw.propose(b"y")
    assert to_spare(node) == [(1, 1, 1)]
    node.step(M.MsgAppResp, 3, index=2)
    assert to_spare(node) == []
    node.raw.send_held(2)
    assert to_spare(node) == []
    node.raw.send_held(3)
    assert to_spare(node) == [(2, 2, 1)]


def test_a_spare_with_a_full_window_gets_the_rest_as_it_acknowledges():
    node = sparing(max_inflight_msgs=1, max_size_per_msg=0, commits_on_request=True)
    for data in (b"x", b"y"):
        node.raw.propose(data)
    node.raw.send_held(3)
    node.raw.propose(b"held since")
    assert to_spare(node) == [(1, 1, 1)]
    node.step(M.MsgAppResp, 3, index=2)
    assert to_spare(node) == [(2, 2, 1)]
    node.step(M.MsgAppResp, 3, index=3)
    assert to_spare(node) == []


def test_a_spare_gets_what_it_lacks_when_it_answers_a_heartbeat():
    node = sparing()
    node.raw.propose(b"x")
    assert to_spare(node) == []
    node.step(M.MsgHeartbeatResp, 3)
    assert to_spare(node) == [(1, 1, 1)]


def asked(node):
    """Whom heartbeats went to, and what they ask to confirm."""
    return [(m.to, m.context) for m in node.drain() if m.type is M.MsgHeartbeat]


def test_reads_are_confirmed_by_those_that_are_not_spared():
    node = sparing()
    node.raw.read_index(b"first")
    assert node.raw.newest_read == 1
    ((peer, context),) = asked(node)
    assert peer == 2
    node.step(M.MsgHeartbeatResp, 2, context=context)
    node.drain()
    assert node.reads == [ReadState(1, b"first")]
    assert node.raw.newest_read == 0
    node.raw.confirm_read(1)
    assert asked(node) == [], "it is confirmed"
    node.tick()
    assert [peer for peer, _ in asked(node)] == [2, 3]


def test_a_read_that_waits_is_confirmed_by_everyone_and_the_next_one_by_who_answered():
    node = sparing()
    node.raw.read_index(b"first")
    asked(node)
    node.raw.confirm_read(1)
    (_, context), to_third = asked(node)
    assert to_third == (3, context)
    node.step(M.MsgHeartbeatResp, 3, context=context)
    node.drain()
    assert node.reads == [ReadState(1, b"first")]
    node.raw.choose_spares()
    node.raw.read_index(b"second")
    assert [peer for peer, _ in asked(node)] == [3]


@pytest.mark.parametrize(
    ("voters", "learners", "acknowledged", "eager"),
    [
        ((1,), (2,), {}, []),
        ((1, 2), (), {}, [2]),
        ((1, 2, 3), (), {}, [2]),
        ((1, 2, 3), (), {2: 1, 3: 2}, [3]),
        ((1, 2, 3), (4,), {2: 1, 3: 1, 4: 2}, [2]),
        ((1, 2, 3, 4), (), {2: 1, 3: 1, 4: 2}, [2, 4]),
        ((1, 2, 3, 4, 5), (), {2: 1, 3: 2, 4: 1, 5: 2}, [3, 5]),
    ],
)
def test_those_who_have_most_make_a_majority_and_the_others_are_spares(
    voters, learners, acknowledged, eager
):
    node = Node(voters=voters, learners=learners, commits_on_request=True).lead()
    node.raw.propose(b"x")
    node.drain()
    for peer in {*voters, *learners} - {1}:
        node.step(M.MsgAppResp, peer, index=acknowledged.get(peer, 1))
    node.drain()
    node.raw.choose_spares()
    node.raw.propose(b"y")
    assert [m.to for m in node.drain() if m.entries] == eager


def test_a_choice_without_a_difference_changes_nothing():
    node = sparing()
    for eager, index in ((3, 2), (3, 3)):
        node.raw.propose(b"x")
        node.raw.send_held()
        for peer in (3,) if index == 2 else (2, 3):
            node.step(M.MsgAppResp, peer, index=index)
        node.drain()
        node.raw.choose_spares()
        node.raw.propose(b"y")
        assert [m.to for m in node.drain() if m.entries][:1] == [eager]
        node.raw.send_held()
        node.drain()


def test_spares_end_with_the_role_and_the_configuration():
    node = sparing()
    node.raw.propose_conf_change(ConfChange(ConfChangeType.ConfChangeAddNode, 4))
    node.raw.send_held()
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()  # and applies it
    node.raw.propose(b"x")
    assert 3 in [m.to for m in node.drain() if m.entries]
    node.raw.choose_spares()
    node.step(M.MsgHeartbeat, 2, term=node.state.term + 1)
    node.raw.choose_spares()
    node.raw.send_held()
    assert [m.type for m in node.drain()] == [M.MsgHeartbeatResp]
    node.lead_and_commit()
    node.raw.propose(b"x")
    assert {m.to for m in node.drain() if m.entries} == {2, 3, 4}


def test_nobody_is_spared_while_two_majorities_are_needed():
    node = Node(voters=(1, 2, 3), outgoing=(1, 4, 5)).lead()
    node.raw.choose_spares()
    for peer in (2, 3, 4, 5):
        node.step(M.MsgAppResp, peer, index=1)
    node.drain()
    node.raw.choose_spares()
    node.raw.propose(b"x")
    assert [m.to for m in node.drain() if m.entries] == [2, 3, 4, 5]


def test_050_learners_receive_but_do_not_count():
    nodes = [Node(1, (1,), (2,)), Node(2, (1,), (2,))]
    cluster = Cluster(nodes=nodes)
    cluster.elect()
    cluster.propose(1, b"x")
    assert cluster[2].applied[-1].data == b"x"
    assert cluster[1].progress(2).match == 2
    node = Node(voters=(1, 2), learners=(3,)).lead()
    node.step(M.MsgAppResp, 3, index=1)
    node.drain()
    assert node.state.committed == 0


def test_051_duplicate_and_reordered_acknowledgements():
    node = Node(voters=(1, 2, 3, 4, 5)).lead()
    for peer in range(2, 6):
        node.step(M.MsgAppResp, peer, index=1)
    for _ in range(3):
        node.raw.propose(b"x")
    node.drain()
    for index in (3, 2, 3, 1):
        node.step(M.MsgAppResp, 2, index=index)
    node.drain()
    assert node.state.committed == 1
    node.step(M.MsgAppResp, 3, index=4)
    node.drain()
    assert (node.state.committed, node.progress(2).match) == (3, 3)


def test_051_an_acknowledgement_makes_the_peer_sendable_again():
    node = Node(voters=(1, 2, 3)).lead()
    node.step(M.MsgAppResp, 2, index=1)
    node.drain()
    node.raw.propose(b"x")
    assert [(m.to, len(m.entries)) for m in node.drain()] == [(2, 1)], "node 3 is being probed"
    node.step(M.MsgAppResp, 3, index=1)
    assert [(m.to, m.index, len(m.entries)) for m in node.drain()][-1] == (3, 1, 1)


def test_a_leader_answers_nothing_but_its_followers():
    node = Node().lead_and_commit()
    node.raw._raft.step(Message(M.MsgAppResp, from_=9, term=1, index=1))
    assert node.log.has("1 no progress available for 9")


def test_a_conflict_with_a_committed_entry_is_refused():
    node = Node(terms=[1, 1], term=1, commit=1)
    node.step(M.MsgApp, index=1, log_term=1, entries=[Entry(1, 2)], commit=2)
    node.drain()
    with pytest.raises(UnsafeMessage, match="entry 2 conflict with committed entry"):
        node.raw._raft.log.maybe_append(1, 1, 2, [Entry(2, 2)])


def test_039_what_replaced_an_own_proposal_is_applied_instead():
    node = Node().lead_and_commit()
    term = node.state.term
    node.raw.propose(b"mine")
    node.drain()
    theirs = Entry(term + 1, 2, data=b"theirs")
    node.step(M.MsgApp, 2, term + 1, index=1, log_term=term, entries=[theirs], commit=2)
    node.drain()
    assert [e.data for e in node.applied] == [b"", b"theirs"]
