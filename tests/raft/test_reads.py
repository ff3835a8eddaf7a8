"""Linearizable reads: behaviours 89 to 97, and the two hazards that are closed."""

import pytest
from sampan.raft import (
    ConfChange,
    ConfChangeType,
    Config,
    Entry,
    InvalidMessage,
    MemoryStorage,
    Message,
    RawNode,
    ReadOnlyOption,
    ReadState,
)
from sampan.tests.raft.harness import Cluster, M, Node

LEASE = {"read_only_option": ReadOnlyOption.ReadOnlyLeaseBased, "check_quorum": True}


def leader(**options) -> Node:
    """Leads term 2 and has committed in it."""
    return Node(term=1, **options).lead_and_commit()


def heartbeats(node: Node) -> dict[int, bytes]:
    return {m.to: m.context for m in node.drain() if m.type == M.MsgHeartbeat}


def answered(node: Node) -> list[tuple[bytes, int]]:
    node.drain()
    reads = [(r.request_ctx, r.index) for r in node.reads]
    node.reads.clear()
    return reads


@pytest.mark.parametrize("reader", [1, 2, 3, 4])
@pytest.mark.parametrize("asynchronous", [False, True])
def test_089_everybody_reads_at_least_what_was_committed(reader, asynchronous):
    nodes = [Node(i, (1, 2, 3), (4,), async_storage_writes=asynchronous) for i in (1, 2, 3, 4)]
    cluster = Cluster(nodes=nodes)
    cluster.elect(1)
    for n in range(3):
        cluster.propose(1, b"x")
        committed = cluster[1].state.committed
        cluster[reader].raw.read_index(b"ctx%d" % n)
        cluster.settle()
        assert answered(cluster[reader]) == [(b"ctx%d" % n, committed)]


def test_090_a_lease_read_takes_no_round_trip():
    node = leader(**LEASE)
    node.raw.read_index(b"r")
    assert [m.type for m in node.drain()] == []
    assert node.reads == [ReadState(1, b"r")]
    node.step(M.MsgReadIndex, 2, term=0, entries=[Entry(data=b"remote")])
    (m,) = node.drain()
    assert (m.type, m.to, m.index, m.entries[0].data) == (M.MsgReadIndexResp, 2, 1, b"remote")


def test_090_a_lease_needs_check_quorum():
    with pytest.raises(ValueError, match="CheckQuorum must be enabled when ReadOnlyOption is"):
        RawNode(
            Config(
                id=1, election_tick=10, heartbeat_tick=1, storage=MemoryStorage(),
                max_inflight_msgs=1, read_only_option=ReadOnlyOption.ReadOnlyLeaseBased,
            )
        )  # fmt: skip


@pytest.mark.parametrize("options", [{}, LEASE])
def test_091_reads_wait_for_the_first_commit_of_the_term(options):
    node = Node(terms=[1, 1], term=1, commit=2, **options).lead()
    node.raw.read_index(b"early")
    node.step(M.MsgReadIndex, 3, term=0, entries=[Entry(data=b"remote")])
    assert node.state.postponed_reads == 2
    assert (node.drain(), node.reads) == ([], [])
    node.step(M.MsgAppResp, 2, index=3)
    assert node.state.postponed_reads == 0
    sent = node.drain()
    for m in sent:
        if m.type == M.MsgHeartbeat:
            node.step(M.MsgHeartbeatResp, m.to, context=m.context)
    sent += node.drain()
    assert node.reads == [ReadState(3, b"early")]
    assert [(m.to, m.index) for m in sent if m.type == M.MsgReadIndexResp] == [(3, 3)]


def test_091_a_commit_by_a_change_of_configuration_does_not_release_them():
    node = Node(voters=(1, 2), term=1).lead()
    node.raw.read_index(b"r")
    node.raw.apply_conf_change(ConfChange(ConfChangeType.ConfChangeRemoveNode, 2))
    assert (node.state.committed, node.state.postponed_reads) == (1, 1)
    node.raw.propose(b"x")
    assert answered(node) == [(b"r", 2)]


def test_092_an_answer_confirms_only_reads_from_before_its_heartbeat():
    node = leader()
    node.raw.read_index(b"a")
    first = heartbeats(node)
    node.raw.read_index(b"b")
    second = heartbeats(node)
    assert first[2] == (1).to_bytes(8, "little")
    assert second[2] == (2).to_bytes(8, "little")
    node.step(M.MsgHeartbeatResp, 2, context=first[2])
    assert answered(node) == [(b"a", 1)]
    assert node.state.unconfirmed_reads == 1
    node.step(M.MsgHeartbeatResp, 3, context=second[3])
    assert answered(node) == [(b"b", 1)]


def test_092_one_answer_confirms_all_reads_before_it():
    node = leader()
    node.raw.read_index(b"a")
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 3, index=2)
    node.raw.read_index(b"b")
    context = heartbeats(node)[2]
    node.step(M.MsgHeartbeatResp, 2, context=context)
    assert answered(node) == [(b"a", 1), (b"b", 2)]


def test_092_regular_heartbeats_confirm_too():
    node = leader()
    node.raw.read_index(b"a")
    node.drain()
    node.tick()
    context = heartbeats(node)[3]
    assert context
    node.step(M.MsgHeartbeatResp, 3, context=context)
    assert answered(node) == [(b"a", 1)]
    node.tick()
    assert heartbeats(node)[3] == b""


def test_092_an_answer_without_context_confirms_nothing():
    node = leader()
    node.raw.read_index(b"a")
    node.drain()
    node.step(M.MsgHeartbeatResp, 2)
    assert answered(node) == []


def test_092_an_answer_from_before_all_reads_confirms_nothing():
    node = leader()
    node.raw.read_index(b"a")
    node.drain()
    node.step(M.MsgHeartbeatResp, 2, context=bytes(8))
    assert answered(node) == []


def test_092_five_nodes_need_two_answers():
    node = leader(voters=(1, 2, 3, 4, 5))
    node.raw.read_index(b"a")
    context = heartbeats(node)[2]
    node.step(M.MsgHeartbeatResp, 2, context=context)
    node.step(M.MsgHeartbeatResp, 2, context=context)
    assert answered(node) == []
    node.step(M.MsgHeartbeatResp, 4, context=context)
    assert answered(node) == [(b"a", 1)]


def test_093_a_late_answer_takes_no_confirmation_back():
    node = leader(voters=(1, 2, 3, 4, 5))
    contexts = []
    for name in (b"a", b"b"):
        node.raw.read_index(name)
        contexts.append(heartbeats(node)[2])
    node.step(M.MsgHeartbeatResp, 2, context=contexts[1])
    node.step(M.MsgHeartbeatResp, 2, context=contexts[0])
    node.step(M.MsgHeartbeatResp, 3, context=contexts[1])
    assert answered(node) == [(b"a", 1), (b"b", 1)]


def test_093_equal_contexts_are_separate_reads():
    node = leader()
    node.raw.read_index(b"same")
    first = heartbeats(node)
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.raw.read_index(b"same")
    second = heartbeats(node)
    node.step(M.MsgHeartbeatResp, 2, context=first[2])
    assert answered(node) == [(b"same", 1)]
    node.step(M.MsgHeartbeatResp, 3, context=first[3])
    assert answered(node) == [], "a late answer to the first"
    node.step(M.MsgHeartbeatResp, 3, context=second[3])
    node.step(M.MsgHeartbeatResp, 2, context=first[2])
    assert answered(node) == [(b"same", 2)]


def test_094_confirmed_reads_are_freed_and_a_new_role_forgets_the_rest():
    node = leader()
    node.raw.read_index(b"a")
    node.raw.read_index(b"b")
    assert node.state.unconfirmed_reads == 2
    context = heartbeats(node)[2]
    node.step(M.MsgHeartbeatResp, 2, context=context)
    assert node.state.unconfirmed_reads == 0
    node.raw.read_index(b"c")
    assert heartbeats(node)[2] == (3).to_bytes(8, "little")
    node.step(M.MsgHeartbeat, 2, term=5)
    assert node.state.unconfirmed_reads == 0


def test_095_reads_are_forwarded_without_a_term_and_dropped_without_a_leader():
    node = Node(2, term=3)
    node.raw.read_index(b"lost")
    assert node.drain() == []
    assert node.log.has("2 no leader at term 3; dropping index reading msg")
    node.step(M.MsgHeartbeat, 3)
    node.drain()
    node.raw.read_index(b"mine")
    node.step(M.MsgReadIndex, 1, term=0, entries=[Entry(data=b"for 1")])
    assert [(m.to, m.from_, m.term, m.entries[0].data) for m in node.drain()] == [
        (3, 2, 0, b"mine"),
        (3, 1, 0, b"for 1"),
    ]


def test_095_an_ex_leader_passes_reads_on():
    cluster = Cluster(3)
    cluster.elect(1)
    cluster.elect(2)
    cluster[1].raw.step(Message(M.MsgReadIndex, from_=3, entries=[Entry(data=b"late")]))
    cluster.settle()
    assert answered(cluster[3]) == [(b"late", 2)]


def test_095_a_candidate_drops_reads():
    node = Node()
    node.raw.campaign()
    node.drain()
    node.raw.read_index(b"x")
    assert (node.drain(), node.reads) == ([], [])


def test_095_a_strange_answer_is_ignored():
    node = Node(term=1)
    node.step(M.MsgReadIndexResp, 2, index=1)
    node.step(M.MsgReadIndexResp, 2, index=1, entries=[Entry(), Entry()])
    node.drain()
    assert node.reads == []
    assert node.log.has("1 invalid format of MsgReadIndexResp from 2, entries count: 2")


def test_096_a_joint_configuration_needs_both_majorities():
    node = Node(voters=(1, 2, 3), outgoing=(1, 4, 5), term=1)
    node.lead_and_commit()
    node.raw.read_index(b"a")
    context = heartbeats(node)[2]
    node.step(M.MsgHeartbeatResp, 2, context=context)
    node.step(M.MsgHeartbeatResp, 3, context=context)
    assert answered(node) == []
    node.step(M.MsgHeartbeatResp, 5, context=context)
    assert answered(node) == [(b"a", 1)]


def test_096_learners_do_not_confirm():
    node = leader(learners=(4, 5))
    node.raw.read_index(b"a")
    context = heartbeats(node)[4]
    node.step(M.MsgHeartbeatResp, 4, context=context)
    node.step(M.MsgHeartbeatResp, 5, context=context)
    assert answered(node) == []


def test_097_read_states_are_delivered_once():
    node = Node(voters=(1,)).lead()
    node.raw.read_index(b"once")
    assert node.raw.has_ready()
    rd = node.raw.ready()
    assert (rd.read_states, rd.must_sync) == ([ReadState(1, b"once")], False)
    node.raw.advance(rd)
    assert not node.raw.has_ready()


def test_a_removed_leader_does_not_answer_alone():
    # Of the voters 1 and 2 the leader 1 is removed. It goes on leading until it hears otherwise,
    # but node 2 may lead already and have committed more.
    for options in ({}, LEASE):
        cluster = Cluster(2, **options)
        cluster.elect(1)
        for node in cluster.nodes.values():
            node.raw.apply_conf_change(ConfChange(ConfChangeType.ConfChangeRemoveNode, 1))
        cluster.isolate(1)
        cluster[2].raw.forget_leader()
        cluster.elect(2)
        cluster.propose(2, b"newer")
        assert cluster[1].role() == "Leader"
        cluster[1].raw.read_index(b"stale?")
        cluster.settle()
        assert answered(cluster[1]) == []
        cluster.recover()
        cluster[1].tick()
        cluster.settle()
        assert answered(cluster[1]) == []


def test_a_restarted_single_voter_does_not_answer_before_it_knows_what_is_committed():
    # The commit index is not synced by itself, so after a crash it can be older than what was
    # acknowledged to a client.
    node = Node(voters=(1,), terms=[1, 1, 1, 1], term=1, commit=3)
    node.raw.campaign()
    rd = node.raw.ready()
    node.persist(rd.hard_state, rd.entries, rd.snapshot)
    node.raw.advance(rd)
    assert (node.role(), node.state.committed) == ("Leader", 3)
    node.raw.read_index(b"r")
    assert not node.raw._raft.read_states
    assert answered(node) == [(b"r", 5)]


def test_the_only_voter_of_both_halves_answers_alone():
    node = Node(voters=(1,), outgoing=(1,), learners=(2,), term=1).lead()
    node.raw.read_index(b"r")
    assert answered(node) == [(b"r", 1)]


@pytest.mark.parametrize(
    "context", [b"\x01", bytes(7), bytes(9), (2).to_bytes(8, "little"), b"\xff" * 8]
)
def test_a_context_that_was_never_sent_is_refused(context):
    node = leader()
    node.raw.read_index(b"a")
    node.drain()
    before = (node.state, str(node.progress(2)))
    with pytest.raises(InvalidMessage, match="unknown context"):
        node.step(M.MsgHeartbeatResp, 2, context=context)
    assert (node.state, str(node.progress(2))) == before
