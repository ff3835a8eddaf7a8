"""Ready, Advance and asynchronous storage writes: behaviours 98 to 109."""

import pytest
from sampan.raft import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    NO_LIMIT,
    ConfChange,
    Config,
    ConfState,
    Entry,
    HardState,
    MemoryStorage,
    Message,
    MessageType,
    Peer,
    RaftPanic,
    RawNode,
    ReadOnlyOption,
    Snapshot,
    SnapshotMetadata,
    StateType,
    StepLocalMsg,
    StepPeerNotFound,
    describe_ready,
    entry_size,
    is_local_msg,
    is_local_msg_target,
    is_response_msg,
    must_sync,
)
from sampan.raft.types import entries_size
from sampan.tests.raft.harness import M, Node


def config(**options) -> Config:
    defaults = {
        "id": 1,
        "election_tick": 10,
        "heartbeat_tick": 1,
        "storage": MemoryStorage(),
        "max_size_per_msg": NO_LIMIT,
        "max_inflight_msgs": 256,
    }
    return Config(**{**defaults, **options})


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"id": 0}, "cannot use none as id"),
        ({"id": LOCAL_APPEND_THREAD}, "cannot use local target as id"),
        ({"id": LOCAL_APPLY_THREAD}, "cannot use local target as id"),
        ({"heartbeat_tick": 0}, "heartbeat tick must be greater than 0"),
        ({"election_tick": 1}, "election tick must be greater than heartbeat tick"),
        ({"storage": None}, "storage cannot be nil"),
        ({"max_inflight_msgs": 0}, "max inflight messages must be greater than 0"),
        (
            {"max_size_per_msg": 100, "max_inflight_bytes": 99},
            "max inflight bytes must be >= max message size",
        ),
        (
            {"max_size_per_msg": 100, "max_inflight_bytes": 1},
            "max inflight bytes must be >= max message size",
        ),
    ],
)
def test_options_are_validated(options, text):
    with pytest.raises(ValueError, match=f"^{text}$"):
        RawNode(config(**options))


def test_options_default_to_off():
    c = Config()
    assert (c.id, c.election_tick, c.heartbeat_tick, c.storage, c.applied) == (0, 0, 0, None, 0)
    assert (c.max_size_per_msg, c.max_committed_size_per_ready) == (0, 0)
    assert (c.max_uncommitted_entries_size, c.max_inflight_msgs, c.max_inflight_bytes) == (0, 0, 0)
    flags = (
        c.async_storage_writes, c.check_quorum, c.pre_vote, c.disable_proposal_forwarding,
        c.disable_conf_change_validation, c.step_down_on_removal,
        c.commits_on_request,
    )  # fmt: skip
    assert flags == (False,) * 7
    assert c.read_only_option == ReadOnlyOption.ReadOnlySafe
    assert c.applying_size_max() == NO_LIMIT
    assert Config(max_size_per_msg=7).applying_size_max() == 7
    assert Config(max_size_per_msg=7, max_committed_size_per_ready=3).applying_size_max() == 3


def test_options_at_their_limits_are_valid():
    RawNode(config(election_tick=2, max_inflight_msgs=1, max_size_per_msg=100,
                   max_inflight_bytes=100))  # fmt: skip
    lease = ReadOnlyOption.ReadOnlyLeaseBased
    RawNode(config(read_only_option=lease, check_quorum=True))


def test_098_what_a_ready_holds():
    node = Node(voters=(1,))
    assert not node.raw.has_ready()
    node.raw.campaign()
    assert node.raw.has_ready()
    rd = node.raw.ready()
    assert rd.soft_state.raft_state == StateType.StateCandidate
    assert (rd.hard_state, rd.must_sync) == (HardState(1, 1, 0), True)
    assert (rd.entries, rd.messages, rd.committed_entries) == ([], [], [])
    node.persist(rd.hard_state, rd.entries, None)
    node.raw.advance(rd)
    rd = node.raw.ready()
    assert (rd.soft_state.lead, rd.hard_state) == (1, None)
    assert (rd.entries, rd.must_sync) == ([Entry(1, 1)], True)
    node.persist(rd.hard_state, rd.entries, None)
    node.raw.advance(rd)
    rd = node.raw.ready()
    assert (rd.soft_state, rd.hard_state, rd.must_sync) == (None, HardState(1, 1, 1), False)
    assert (rd.entries, rd.committed_entries) == ([], [Entry(1, 1)])
    node.raw.advance(rd)
    assert not node.raw.has_ready()
    assert describe_ready(node.raw.ready()) == "<empty Ready>"


@pytest.mark.parametrize(
    ("state", "previous", "entries", "want"),
    [
        (HardState(1, 1, 1), HardState(1, 1, 1), 0, False),
        (HardState(1, 1, 2), HardState(1, 1, 1), 0, False),
        (HardState(2, 1, 1), HardState(1, 1, 1), 0, True),
        (HardState(1, 2, 1), HardState(1, 1, 1), 0, True),
        (HardState(1, 1, 1), HardState(1, 1, 1), 1, True),
    ],
)
def test_098_must_sync(state, previous, entries, want):
    assert must_sync(state, previous, entries) == want


@pytest.mark.parametrize("kind", [M.MsgVote, M.MsgHeartbeat])
def test_098_a_term_or_a_vote_must_be_synced(kind):
    node = Node(term=1)
    node.step(kind, term=1 if kind == M.MsgVote else 2)
    rd = node.raw.ready()
    assert (rd.must_sync, rd.entries) == (True, [])
    assert rd.hard_state == (HardState(1, 2, 0) if kind == M.MsgVote else HardState(2, 0, 0))


def test_099_a_ready_is_handed_out_once():
    node = Node().lead_and_commit()
    node.raw.propose(b"x")
    rd = node.raw.ready()
    assert len(rd.messages) == 2
    again = node.raw._raft.msgs
    assert again == []
    node.raw.propose(b"y")
    with pytest.raises(RaftPanic, match="two accepted Ready structs without call to Advance"):
        node.raw.ready()


def test_099_what_happens_between_ready_and_advance_is_kept():
    node = Node().lead_and_commit()
    node.raw.propose(b"x")
    rd = node.raw.ready()
    node.raw.propose(b"y")
    node.persist(rd.hard_state, rd.entries, None)
    node.raw.advance(rd)
    rd = node.raw.ready()
    assert [e.data for e in rd.entries] == [b"y"]
    assert [m.entries[0].data for m in rd.messages] == [b"y", b"y"]


@pytest.mark.parametrize("asynchronous", [False, True])
def test_099_the_lists_of_a_ready_are_the_hosts_own(asynchronous):
    node = Node(voters=(1,), async_storage_writes=asynchronous).lead()
    node.raw.propose(b"x")
    while node.raw.has_ready():
        rd = node.raw.ready()
        messages = list(rd.messages)
        if not asynchronous:
            node.persist(rd.hard_state, list(rd.entries), None)
        for mine in (rd.entries, rd.committed_entries, rd.messages, rd.read_states):
            mine.clear()
        for m in messages:
            node.do_storage(m)
        if not asynchronous:
            node.raw.advance(rd)
    assert (node.state.applied, node.storage.last_index()) == (2, 2)


def test_099_votes_go_out_in_the_order_they_were_cast():
    node = Node()
    node.step(M.MsgVote, 3, term=1)
    node.step(M.MsgHeartbeat, 3, term=1)
    rd = node.raw.ready()
    kinds = [m.type for m in rd.messages]
    assert kinds == [M.MsgHeartbeatResp, M.MsgVoteResp], "those that wait come last"


def test_100_a_restart_continues_from_the_stored_state():
    node = Node(terms=[1, 1], term=1, commit=1)
    assert node.raw.has_ready()
    rd = node.raw.ready()
    assert (rd.hard_state, rd.soft_state, rd.must_sync) == (None, None, False)
    assert [e.index for e in rd.committed_entries] == [1]
    node.raw.advance(rd)
    assert not node.raw.has_ready()


def test_100_a_restart_from_a_snapshot():
    node = Node(base=(2, 1), terms=[1], term=1, commit=3)
    rd = node.raw.ready()
    assert ([e.index for e in rd.committed_entries], rd.hard_state) == ([3], None)
    assert node.state.applied == 2


def test_100_a_state_machine_behind_the_snapshot_starts_at_the_snapshot():
    node = Node(base=(5, 1), terms=[1], term=1, commit=6, applied=0)
    assert node.state.applied == 5
    node.drain()
    assert [e.index for e in node.applied] == [6]


def test_100_one_applied_entry_is_not_applied_again():
    node = Node(terms=[1, 1], term=1, commit=2, applied=1)
    node.drain()
    assert [e.index for e in node.applied] == [2]


def test_100_what_is_applied_already_is_not_applied_again():
    node = Node(terms=[1, 1, 1], term=1, commit=3, applied=2)
    assert [e.index for e in node.raw.ready().committed_entries] == [3]
    with pytest.raises(RaftPanic, match=r"applied\(4\) is out of range \[prevApplied\(0\), comm"):
        Node(terms=[1, 1, 1], term=1, commit=3, applied=4)


@pytest.mark.parametrize("commit", [1, 4])
def test_100_a_commit_index_outside_of_the_log_is_corruption(commit):
    with pytest.raises(RaftPanic, match=rf"1 state.commit {commit} is out of range \[2, 3\]"):
        Node(base=(2, 1), terms=[1], term=1, commit=commit)


def test_101_local_messages_are_refused():
    node = Node().lead()
    for kind in MessageType:
        if is_local_msg(kind):
            with pytest.raises(StepLocalMsg, match=r"^raft: cannot step raft local message$"):
                node.raw.step(Message(kind, from_=2, term=1))
    for kind in (M.MsgHup, M.MsgStorageAppend):
        with pytest.raises(StepLocalMsg):
            node.raw.step(Message(kind, from_=LOCAL_APPEND_THREAD))
    local = {
        M.MsgHup, M.MsgBeat, M.MsgUnreachable, M.MsgSnapStatus, M.MsgCheckQuorum,
        M.MsgStorageAppend, M.MsgStorageAppendResp, M.MsgStorageApply, M.MsgStorageApplyResp,
    }  # fmt: skip
    assert {kind for kind in MessageType if is_local_msg(kind)} == local


def test_101_responses_from_strangers_are_refused():
    node = Node().lead()
    responses = {
        M.MsgAppResp, M.MsgVoteResp, M.MsgHeartbeatResp, M.MsgUnreachable, M.MsgReadIndexResp,
        M.MsgPreVoteResp, M.MsgStorageAppendResp, M.MsgStorageApplyResp,
    }  # fmt: skip
    assert {kind for kind in MessageType if is_response_msg(kind)} == responses
    for kind in responses - {kind for kind in responses if is_local_msg(kind)}:
        with pytest.raises(StepPeerNotFound, match=r"^raft: cannot step as peer not found$"):
            node.raw.step(Message(kind, from_=9, term=1))
    assert is_local_msg_target(LOCAL_APPLY_THREAD)
    assert not is_local_msg_target(1)


def async_node(**options) -> Node:
    node = Node(async_storage_writes=True, **options)
    node.hold_storage = True
    return node


def test_102_a_vote_is_published_only_after_it_is_durable():
    node = async_node()
    node.step(M.MsgVote, term=1)
    assert node.drain() == []
    (write,) = node.held
    assert (write.type, write.to, write.term, write.vote) == (
        M.MsgStorageAppend, LOCAL_APPEND_THREAD, 1, 2,
    )  # fmt: skip
    assert [(m.type, m.to) for m in write.responses] == [(M.MsgVoteResp, 2)]


def test_102_even_a_rejection_waits_for_the_writes_before_it():
    node = async_node()
    node.step(M.MsgVote, 2, term=1)
    node.drain()
    node.step(M.MsgVote, 3, term=1)
    assert node.drain() == []
    assert [(m.to, m.reject) for m in node.held[1].responses] == [(3, True)]
    assert (node.held[1].term, node.held[1].commit) == (0, 0), "nothing new to persist"


def test_102_a_leader_replicates_before_its_own_write_but_counts_it_after():
    node = async_node()
    node.hold_storage = False
    node.lead_and_commit()
    node.hold_storage = True
    node.raw.propose(b"x")
    assert [m.type for m in node.drain()] == [M.MsgApp, M.MsgApp]
    (write,) = node.held
    assert [m.type for m in write.responses] == [M.MsgAppResp, M.MsgStorageAppendResp]
    node.step(M.MsgAppResp, 2, index=2)
    assert node.state.committed == 1
    node.do_storage(write)
    assert node.state.committed == 2


def test_102_committing_ahead_of_the_own_write():
    node = async_node(voters=(1, 2, 3))
    node.hold_storage = False
    node.lead_and_commit()
    node.hold_storage = True
    node.raw.propose(b"x")
    node.step(M.MsgAppResp, 2, index=2)
    node.step(M.MsgAppResp, 3, index=2)
    node.drain()
    assert (node.state.committed, node.state.applying) == (2, 1), "105: not stable here yet"
    node.do_storage(node.held[0])
    node.drain()
    assert node.state.applying == 2


def test_102_the_modes_do_not_mix():
    node = async_node()
    with pytest.raises(RaftPanic, match="Advance must not be called when using AsyncStorageWrites"):
        node.raw.advance()


def test_103_what_is_being_written_is_not_handed_out_again():
    node = async_node(term=1)
    node.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2)])
    node.drain()
    node.step(M.MsgApp, index=2, log_term=1, entries=[Entry(1, 3)])
    node.drain()
    assert [[e.index for e in m.entries] for m in node.held] == [[1, 2], [3]]
    assert (node.state.unstable_offset, node.state.unstable_offset_in_progress) == (1, 4)


@pytest.mark.parametrize(("start", "want"), [(1, 1), (2, 2), (3, 3)])
def test_103_truncation_lowers_the_mark(start, want):
    node = async_node(term=1)
    node.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2), Entry(1, 3)])
    node.drain()
    log_term = 1 if start > 1 else 0
    fresh = [Entry(2, start), Entry(2, start + 1)]
    node.step(M.MsgApp, term=2, index=start - 1, log_term=log_term, entries=fresh)
    assert node.state.unstable_offset_in_progress == want
    node.drain()
    assert node.held[-1].entries == fresh


def test_104_stale_confirmations_are_ignored():
    node = async_node(term=1)
    node.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2)])
    node.drain()
    done = node.held[0].responses[-1]
    assert (done.type, done.index, done.log_term, done.term) == (M.MsgStorageAppendResp, 2, 1, 1)
    for index, log_term in [(3, 1), (2, 9)]:
        wrong = Message(
            M.MsgStorageAppendResp, 1, LOCAL_APPEND_THREAD, 1, index=index, log_term=log_term
        )
        node.raw.step(wrong)
        assert node.state.unstable_offset == 1
    assert node.log.has("entry at index 3 missing from unstable log; ignoring")
    assert node.log.has("entry at (index,term)=(2,9) mismatched with entry at (2,1) in unstable")
    node.raw.step(done)
    assert (node.state.unstable_offset, node.state.unstable_offset_in_progress) == (3, 3)


def test_104_a_confirmation_of_an_older_term_is_ignored():
    # The log may have been overwritten and restored meanwhile, with writes still under way.
    node = async_node(term=1)
    node.step(M.MsgApp, 2, entries=[Entry(1, 1)])
    node.drain()
    node.step(M.MsgApp, 3, term=2, entries=[Entry(2, 1)])
    node.drain()
    node.step(M.MsgApp, 2, term=3, entries=[Entry(1, 1)])
    node.drain()
    first, second, third = node.held
    node.do_storage(first)
    assert node.state.unstable_offset == 1
    node.do_storage(second)
    assert node.state.unstable_offset == 1
    node.do_storage(third)
    assert node.state.unstable_offset == 2
    assert node.log.has(
        "1 [term: 3] ignored entry appends from a MsgStorageAppendResp message with lower term "
        "[term: 1]"
    )


def test_104_a_later_write_confirms_what_an_ignored_response_did_not():
    node = async_node(term=1)
    node.step(M.MsgApp, 2, entries=[Entry(1, 1)])
    node.drain()
    node.step(M.MsgHeartbeat, 3, term=2)
    node.drain()
    node.do_storage(node.held[0])
    assert node.state.unstable_offset == 1
    node.do_storage(node.held[1])
    assert node.state.unstable_offset == 2


def test_105_entries_are_applied_once_stable_only_if_writes_are_asynchronous():
    node = async_node(term=1)
    node.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2)], commit=2)
    rd = node.raw.ready()
    assert rd.committed_entries == []
    node.do_storage(rd.messages[-1])
    rd = node.raw.ready()
    assert [e.index for e in rd.committed_entries] == [1, 2]
    apply = rd.messages[-1]
    assert (apply.type, apply.to, apply.term) == (M.MsgStorageApply, LOCAL_APPLY_THREAD, 0)
    assert [m.type for m in apply.responses] == [M.MsgStorageApplyResp]
    assert (node.state.applying, node.state.applied) == (2, 0)
    node.do_storage(apply)
    assert node.state.applied == 2
    sync = Node(term=1)
    sync.step(M.MsgApp, entries=[Entry(1, 1), Entry(1, 2)], commit=2)
    rd = sync.raw.ready()
    assert [e.index for e in rd.committed_entries] == [e.index for e in rd.entries] == [1, 2]


def pages(node: Node) -> list[list[int]]:
    got = []
    while node.raw.has_ready():
        rd = node.raw.ready()
        node.persist(rd.hard_state, rd.entries, None)
        if rd.committed_entries:
            got.append([e.index for e in rd.committed_entries])
        node.raw.advance(rd)
    return got


def test_106_application_is_paged():
    entries = [Entry(1, i, data=b"x" * 100) for i in range(1, 8)]
    size = entry_size(entries[0])
    for limit, want in [
        (1, [[1], [2], [3], [4], [5], [6], [7]]),
        (2 * size, [[1, 2], [3, 4], [5, 6], [7]]),
        (3 * size - 1, [[1, 2], [3, 4], [5, 6], [7]]),
        (3 * size, [[1, 2, 3], [4, 5, 6], [7]]),
        (NO_LIMIT, [[1, 2, 3, 4, 5, 6, 7]]),
    ]:
        node = Node(term=1, max_committed_size_per_ready=limit)
        node.step(M.MsgApp, entries=entries, commit=7)
        assert pages(node) == want


def test_106_the_bound_spans_readys_when_writes_are_asynchronous():
    entries = [Entry(1, i, data=b"x" * 100) for i in range(1, 6)]
    size = entry_size(entries[0])
    node = async_node(term=1, max_committed_size_per_ready=2 * size)
    node.step(M.MsgApp, entries=entries, commit=1)
    node.drain()
    node.do_storage(node.held.pop())
    node.drain()
    assert [e.index for e in node.held[0].entries] == [1]
    node.step(M.MsgHeartbeat, commit=5)
    node.drain()
    applies = [m for m in node.held if m.type == M.MsgStorageApply]
    assert [[e.index for e in m.entries] for m in applies] == [[1], [2]]
    assert not node.raw.has_ready(), "paused"
    node.do_storage(applies[0])
    node.drain()
    applies = [m for m in node.held if m.type == M.MsgStorageApply]
    assert [e.index for e in applies[-1].entries] == [3]


def test_106_a_page_that_was_cut_pauses_until_it_is_applied():
    entries = [Entry(1, 1, data=b"x" * 100), Entry(1, 2, data=b"x" * 100)]
    node = async_node(term=1, max_committed_size_per_ready=entry_size(entries[0]) + 50)
    node.step(M.MsgApp, entries=entries, commit=2)
    node.drain()
    node.do_storage(node.held.pop())
    node.drain()
    node.step(M.MsgHeartbeat, commit=2)
    node.drain()
    (apply,) = [m for m in node.held if m.type == M.MsgStorageApply]
    assert [e.index for e in apply.entries] == [1]
    node.do_storage(apply)
    node.drain()
    assert [e.index for e in node.held[-1].entries] == [2]


def test_106_what_becomes_stable_is_applied_though_more_is_under_way():
    node = Node(async_storage_writes=True, term=1)
    node.hold_storage = True
    node.step(M.MsgApp, entries=[Entry(1, 1)], commit=1)
    node.drain()
    node.step(M.MsgApp, index=1, log_term=1, entries=[Entry(1, 2)], commit=2)
    node.drain()
    for write in node.held[:2]:
        assert write.type == M.MsgStorageAppend
        node.do_storage(write)
        node.drain()
    assert [[e.index for e in m.entries] for m in node.held[2:]] == [[1], [2]]


def test_106_the_sizes_of_a_page_are_those_of_its_own_entries():
    node = Node(max_uncommitted_entries_size=1000).lead_and_commit()
    for size in (10, 100):
        node.raw.propose(b"x" * size)
        node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    assert (node.state.applied, node.state.uncommitted_size) == (2, 100)


def test_106_an_applied_page_may_be_confirmed_in_parts():
    node = Node(async_storage_writes=True, terms=[1, 1], term=1, commit=2)
    node.hold_storage = True
    node.drain()
    (page,) = node.held
    node.raw.step(Message(M.MsgStorageApplyResp, 1, LOCAL_APPLY_THREAD, entries=page.entries[:1]))
    assert node.state.applied == 1


@pytest.mark.parametrize("asynchronous", [False, True])
def test_107_a_storage_that_gives_more_than_asked_for_loses_nothing(asynchronous):
    class Generous(MemoryStorage):
        def entries(self, lo, hi, max_size):
            return super().entries(lo, hi, NO_LIMIT)

    storage = Generous()
    storage.apply_snapshot(Snapshot(metadata=SnapshotMetadata(ConfState([1]))))
    entries = [Entry(1, i, data=b"a" * 10) for i in range(1, 11)]
    storage.append(entries)
    storage.set_hard_state(HardState(1, 0, 10))
    limit = entries_size(entries[:10]) - entry_size(entries[9]) - 1
    node = Node(
        storage=storage, max_committed_size_per_ready=limit, async_storage_writes=asynchronous
    )
    node.drain()
    assert [e.index for e in node.applied] == list(range(1, 11))
    assert storage.initial_state()[0].commit == 10
    node.raw.campaign()
    node.drain()
    node.raw.propose(b"x")
    node.drain()
    assert [e.index for e in node.applied] == list(range(1, 13))


def test_108_status_is_a_copy():
    node = Node(learners=(4,)).lead_and_commit()
    node.raw.propose(b"x")
    node.drain()
    status = node.raw.status()
    assert (status.id, status.hard_state, status.applied) == (1, HardState(1, 1, 1), 1)
    assert (status.soft_state.lead, status.lead_transferee) == (1, 0)
    assert list(status.progress) == [1, 2, 3, 4]
    assert status.progress[2].inflights.count() == 1
    status.progress[2].match = 99
    status.progress[2].inflights.reset()
    status.config.voters[0].add(9)
    again = node.raw.status()
    assert (again.progress[2].match, again.progress[2].inflights.count()) == (1, 1)
    assert str(again.config) == "voters=(1 2 3) learners=(4)"
    assert node.raw.basic_status().hard_state == status.hard_state
    follower = Node()
    assert follower.raw.status().progress == {}


def test_108_auto_leave_is_part_of_the_status():
    node = Node(voters=(1, 2), outgoing=(1,), auto_leave=True)
    assert node.raw.status().config.auto_leave


def test_108_progress_can_be_visited_without_windows():
    node = Node(learners=(4,)).lead_and_commit()
    seen = {}
    node.raw.with_progress(lambda peer, kind, pr: seen.update({peer: (kind.name, pr)}))
    assert list(seen) == [1, 2, 3, 4]
    assert seen[4][0] == "ProgressTypeLearner"
    assert seen[2][1].inflights is None
    assert seen[2][1].match == 1
    seen[2][1].match = 50
    assert node.progress(2).match == 1


def test_109_bootstrap_delivers_the_first_configuration():
    node = Node(voters=())
    node.raw.bootstrap([Peer(1, b"one"), Peer(2)])
    assert node.state.committed == 2
    assert node.raw.status().config.voters.ids() == {1, 2}
    rd = node.raw.ready()
    assert (rd.hard_state, rd.must_sync) == (HardState(1, 0, 2), True)
    assert [(e.term, e.index, e.type.name) for e in rd.entries] == [
        (1, 1, "EntryConfChange"),
        (1, 2, "EntryConfChange"),
    ]
    assert rd.committed_entries == rd.entries
    assert ConfChange.unmarshal(rd.entries[0].data) == ConfChange(node_id=1, context=b"one")
    node.persist(rd.hard_state, rd.entries, None)
    node.apply(rd.committed_entries)
    node.raw.advance(rd)
    assert node.conf_states[-1] == ConfState([1, 2])
    node.raw.campaign()
    assert (node.role(), node.state.term) == ("Candidate", 2)


def test_109_bootstrap_is_for_new_groups_only():
    with pytest.raises(ValueError, match="must provide at least one peer to Bootstrap"):
        Node(voters=()).raw.bootstrap([])
    with pytest.raises(ValueError, match="can't bootstrap a nonempty Storage"):
        Node(terms=[1]).raw.bootstrap([Peer(1)])


def test_109_a_bootstrapped_node_restarts_with_its_configuration_applied_again():
    node = Node(voters=())
    node.raw.bootstrap([Peer(1)])
    node.drain()
    node.raw.campaign()
    node.drain()
    again = node.restart()
    again.drain()
    assert str(again.raw.status().config) == "voters=(1)"
    assert [e.index for e in again.applied] == [1, 2]


def test_messages_to_oneself_are_impossible():
    node = Node()
    with pytest.raises(RaftPanic, match="message should not be self-addressed when sending MsgApp"):
        node.raw._raft.send(Message(M.MsgApp, to=1))
    with pytest.raises(RaftPanic, match="term should be set when sending MsgVote"):
        node.raw._raft.send(Message(M.MsgVote, to=2))
    with pytest.raises(RaftPanic, match=r"term should not be set when sending MsgApp \(was 3\)"):
        node.raw._raft.send(Message(M.MsgApp, to=2, term=3))


def test_the_core_is_silent_without_a_logger():
    node = RawNode(config())
    node.campaign()
    node.step(Message(M.MsgVote, from_=2, term=1))
