"""Membership: behaviours 69 to 77."""

import random

import pytest
from sampan.raft import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    Message,
    ProposalDropped,
    RaftPanic,
)
from sampan.raft.confchange import Changer, ConfChangeError, restore
from sampan.raft.quorum import JointConfig, MajorityConfig, VoteResult
from sampan.raft.tracker import ProgressTracker, TrackerConfig
from sampan.tests.raft.harness import M, Node

ADD, REMOVE, UPDATE, LEARN = ConfChangeType
AUTO, IMPLICIT, EXPLICIT = ConfChangeTransition


def changes(text: str) -> list[ConfChangeSingle]:
    kinds = {"v": ADD, "r": REMOVE, "u": UPDATE, "l": LEARN}
    return [ConfChangeSingle(kinds[t[0]], int(t[1:])) for t in text.split()]


def v2(text: str, transition=AUTO, context=b"") -> ConfChangeV2:
    return ConfChangeV2(transition, changes(text), context)


def members(node: Node) -> str:
    return str(node.raw.status().config).removeprefix("voters=")


def test_069_members_come_and_go():
    node = Node(voters=(1,))
    steps = [
        (ConfChange(ADD, 2), "(1 2)"),
        (ConfChange(ADD, 2), "(1 2)"),
        (ConfChange(LEARN, 3), "(1 2) learners=(3)"),
        (ConfChange(ADD, 3), "(1 2 3)"),
        (ConfChange(REMOVE, 3), "(1 2)"),
        (ConfChange(LEARN, 2), "(1) learners=(2)"),
        (ConfChange(REMOVE, 2), "(1)"),
        (ConfChange(REMOVE, 9), "(1)"),
        (ConfChange(UPDATE, 1), "(1)"),
        (ConfChange(ADD, 0), "(1)"),
        (ConfChange(ADD, 10), "(1 a)"),
    ]
    for change, want in steps:
        conf_state = node.raw.apply_conf_change(change)
        assert members(node) == want
        assert conf_state == node.raw._raft.tracker.conf_state()
    seen = []
    node.raw.with_progress(lambda peer, kind, pr: seen.append((peer, kind.name)))
    assert seen == [(1, "ProgressTypePeer"), (10, "ProgressTypePeer")]


def test_069_a_removed_and_added_member_starts_anew():
    node = Node().lead_and_commit()
    node.raw.apply_conf_change(ConfChange(REMOVE, 2))
    node.raw.apply_conf_change(ConfChange(ADD, 2))
    pr = node.progress(2)
    assert (pr.match, pr.next, pr.recent_active) == (0, 1, True)


def test_069_impossible_changes_stop_the_node():
    node = Node(voters=(1,))
    with pytest.raises(RaftPanic, match="removed all voters"):
        node.raw.apply_conf_change(ConfChange(REMOVE, 1))
    with pytest.raises(RaftPanic, match="can't leave a non-joint config"):
        node.raw.apply_conf_change(ConfChangeV2())
    with pytest.raises(RaftPanic, match="can't make a zero-voter config joint"):
        Node(voters=()).raw.apply_conf_change(v2("v2 v3"))
    node.raw.apply_conf_change(v2("v2 v3"))
    with pytest.raises(RaftPanic, match="config is already joint"):
        node.raw.apply_conf_change(v2("v4 v5"))


def test_070_only_one_change_at_a_time():
    node = Node().lead_and_commit()
    node.raw.propose_conf_change(ConfChange(ADD, 4))
    assert node.state.pending_conf_index == 2
    node.raw.propose_conf_change(ConfChange(ADD, 5))
    node.drain()
    kinds = [(e.type, bool(e.data)) for e in node.storage.entries(2, 4, 10**6)]
    assert kinds == [(EntryType.EntryConfChange, True), (EntryType.EntryNormal, False)]
    assert node.state.pending_conf_index == 2
    assert node.log.has("possible unapplied conf change at index 2 (applied to 1)")
    node.step(M.MsgAppResp, 2, index=3)
    node.drain()
    node.raw.propose_conf_change(ConfChange(ADD, 5))
    assert node.state.pending_conf_index == 4


def test_070_two_changes_in_one_message():
    node = Node().lead_and_commit()
    data = ConfChange(ADD, 4).marshal()
    change = Entry(type=EntryType.EntryConfChange, data=data)
    message = Message(M.MsgProp, from_=2, entries=[Entry(data=b"x"), change, change])
    node.raw.step(message)
    assert node.state.pending_conf_index == 3
    node.drain()
    got = [e.type.name for e in node.storage.entries(2, 5, 10**6)]
    assert got == ["EntryNormal", "EntryConfChange", "EntryNormal"]
    assert message.entries[2] == change, "the sender's message stays as it is"


@pytest.mark.parametrize("add", [False, True])
def test_070_a_new_leader_waits_for_its_whole_log(add):
    node = Node(terms=[1, 1], term=1).lead()
    assert node.state.pending_conf_index == 2
    if add:
        node.ack_all()
        node.raw.propose_conf_change(ConfChange(ADD, 4))
        assert node.state.pending_conf_index == 4
    else:
        node.raw.propose_conf_change(ConfChange(ADD, 4))
        assert node.state.pending_conf_index == 2


def test_069_a_new_member_hears_at_once_and_the_others_nothing():
    node = Node().lead_and_commit()
    node.raw.apply_conf_change(ConfChange(ADD, 4))
    assert [(m.type, m.to) for m in node.drain()] == [(M.MsgApp, 4)]


def test_070_adding_a_member_twice():
    node = Node(voters=(1,)).lead()
    for _ in range(2):
        node.raw.propose_conf_change(ConfChange(ADD, 1))
        node.drain()
    node.raw.propose_conf_change(ConfChange(LEARN, 2))
    node.drain()
    assert members(node) == "(1) learners=(2)"
    assert [e.type.name for e in node.applied] == ["EntryNormal", *["EntryConfChange"] * 3]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (ConfChangeV2(), "not in joint state; refusing empty conf change"),
        (v2("r1 r2 r3"), "removed all voters"),
        (v2("", EXPLICIT), "not in joint state; refusing empty conf change"),
    ],
)
def test_070_a_change_that_could_not_be_applied_is_refused(change, reason):
    node = Node().lead_and_commit()
    node.raw.propose_conf_change(change)
    node.ack_all()
    assert node.log.has(f"at config voters=(1 2 3): {reason}")
    assert node.applied[-1].type == EntryType.EntryNormal
    assert members(node) == "(1 2 3)"


def test_070_the_checks_can_be_switched_off():
    node = Node(disable_conf_change_validation=True).lead_and_commit()
    node.apply_changes = False
    node.raw.propose_conf_change(ConfChange(ADD, 4))
    node.raw.propose_conf_change(ConfChangeV2())
    assert node.state.pending_conf_index == 3
    node.ack_all()
    assert [e.type.name for e in node.applied[1:]] == ["EntryConfChange", "EntryConfChangeV2"]


def test_071_a_removal_can_commit():
    node = Node(voters=(1, 2)).lead_and_commit()
    node.raw.propose_conf_change(ConfChange(REMOVE, 2))
    node.raw.propose(b"hello")
    node.drain()
    assert node.state.committed == 1
    node.step(M.MsgAppResp, 2, index=2)  # the removal, but not the data
    node.drain()
    assert node.state.committed == 3
    assert node.applied[-1].data == b"hello"
    assert members(node) == "(1)"


def test_071_a_removal_that_commits_is_told_to_the_others():
    node = Node(voters=(1, 2, 3, 4)).lead_and_commit()
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    assert node.state.committed == 1
    node.raw.apply_conf_change(ConfChange(REMOVE, 4))
    assert node.state.committed == 2
    assert [(m.to, m.commit) for m in node.drain()] == [(2, 2), (3, 2)]


def test_071_a_new_member_is_probed_at_once():
    node = Node(voters=(1,)).lead()
    node.raw.apply_conf_change(ConfChange(ADD, 2))
    (m,) = node.drain()
    assert (m.type, m.to, len(m.entries)) == (M.MsgApp, 2, 1)
    node.raw.apply_conf_change(ConfChange(ADD, 2))
    assert node.drain() == [], "no empty messages"


JOINT_CASES = [
    # change, configuration while joint (or None), configuration in the end
    (ConfChange(ADD, 2), None, ConfState([1, 2])),
    (v2("v2"), None, ConfState([1, 2])),
    (v2("l2"), None, ConfState([1], [2])),
    (v2("l2", EXPLICIT), ConfState([1], [2], [1]), ConfState([1], [2])),
    (v2("l2", IMPLICIT), ConfState([1], [2], [1], [], True), ConfState([1], [2])),
    (v2("l1 v2 v3"), ConfState([2, 3], [], [1], [1], True), ConfState([2, 3], [1])),
    (v2("l1 v2 v3", EXPLICIT), ConfState([2, 3], [], [1], [1]), ConfState([2, 3], [1])),
    (v2("v2 l1 v3", IMPLICIT), ConfState([2, 3], [], [1], [1], True), ConfState([2, 3], [1])),
    (v2("v2 l3"), ConfState([1, 2], [3], [1], [], True), ConfState([1, 2], [3])),
    (v2("v2", EXPLICIT), ConfState([1, 2], [], [1]), ConfState([1, 2])),
    (v2("v2", IMPLICIT), ConfState([1, 2], [], [1], [], True), ConfState([1, 2])),
    (v2("v2 v3"), ConfState([1, 2, 3], [], [1], [], True), ConfState([1, 2, 3])),
]


@pytest.mark.parametrize(("change", "joint", "final"), JOINT_CASES)
def test_072_simple_and_joint_changes(change, joint, final):
    node = Node(voters=(1,)).lead()
    node.raw.propose_conf_change(change)
    node.drain()
    assert node.conf_states[0] == (joint or final)
    if joint is not None and not joint.auto_leave:
        node.ack_all()
        assert node.conf_states == [joint]
        node.raw.propose_conf_change(ConfChangeV2(context=b"manual"))
    for _ in range(3):
        node.ack_all()
    assert node.conf_states == [final] if joint is None else [joint, final]
    if joint is not None:
        (leave,) = [e for e in node.applied if e.type == EntryType.EntryConfChangeV2][1:]
        assert bool(leave.data) != joint.auto_leave


@pytest.mark.parametrize("context", [b"", b"ctx"])
def test_072_leave_joint_definition(context):
    assert ConfChangeV2(context=context).leave_joint()
    assert not ConfChangeV2(EXPLICIT, context=context).leave_joint()
    assert not v2("v1").leave_joint()
    assert ConfChangeV2(context=context).enter_joint() == (False, False)
    assert v2("v1").enter_joint() == (False, False)
    assert v2("v1 v2").enter_joint() == (True, True)
    assert v2("v1", IMPLICIT).enter_joint() == (True, True)
    assert v2("v1 v2", EXPLICIT).enter_joint() == (False, True)


def joint_leader() -> Node:
    """Leads (1)&&(1) with a learner to come, with the change just applied."""
    node = Node(voters=(1,)).lead()
    node.raw.propose_conf_change(v2("l2", IMPLICIT))
    return node


def test_073_the_leave_is_proposed_once():
    node = joint_leader()
    node.drain()
    node.raw.propose(b"x")
    node.drain()
    leaves = [e for e in node.applied if e.type == EntryType.EntryConfChangeV2 and not e.data]
    assert len(leaves) == 1
    assert members(node) == "(1) learners=(2)"
    lines = [line for line in node.log.lines if line.startswith("initiating automatic")]
    assert lines == [
        "initiating automatic transition out of joint configuration "
        "voters=(1)&&(1) learners=(2) autoleave"
    ]


def test_073_the_leave_is_not_repeated_while_it_is_under_way():
    node = Node(voters=(1, 2), max_committed_size_per_ready=1).lead_and_commit()
    node.raw.propose_conf_change(v2("l3", IMPLICIT))
    node.raw.propose(b"x")
    node.raw.propose(b"y")
    node.drain()
    node.step(M.MsgAppResp, 2, index=4)
    node.drain()
    assert (node.state.applied, node.state.last_index) == (4, 5)
    assert node.state.pending_conf_index == 5
    assert members(node) == "(1 2)&&(1 2) learners=(3) autoleave"


def test_073_only_the_leader_proposes_to_leave():
    node = Node(2, voters=(1, 2), term=1, outgoing=(1,), auto_leave=True)
    node.step(M.MsgApp, 1, entries=[Entry(1, 1)], commit=1)
    assert [m.type for m in node.drain()] == [M.MsgAppResp]
    assert members(node) == "(1 2)&&(1) autoleave"


def test_073_the_leave_survives_a_change_of_leader():
    node = Node(voters=(1, 2), outgoing=(1,), auto_leave=True, terms=[1], term=1).lead()
    assert node.state.pending_conf_index == 1
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    assert node.storage.entries(3, 4, 10**6)[0].type == EntryType.EntryConfChangeV2
    node.step(M.MsgAppResp, 2, index=3)
    node.drain()
    assert members(node) == "(1 2)"


def test_073_a_transfer_blocks_the_leave_until_it_ends():
    node = Node(voters=(1, 2), outgoing=(1,), auto_leave=True).lead()
    node.raw.transfer_leadership(2)
    node.step(M.MsgAppResp, 2, index=1)
    node.drain()
    assert node.log.has("not initiating automatic transition out of joint configuration")
    assert node.state.last_index == 1
    node.tick(10)
    assert node.state.lead_transferee == 0
    node.raw.propose(b"x")
    node.drain()
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    assert node.storage.entries(3, 4, 10**6)[0].type == EntryType.EntryConfChangeV2


def test_073_the_leave_passes_any_quota():
    node = Node(voters=(1, 2), max_uncommitted_entries_size=20).lead_and_commit()
    node.raw.propose_conf_change(v2("l3", IMPLICIT))
    node.drain()
    node.raw.propose(b"x" * 5)
    with pytest.raises(ProposalDropped):
        node.raw.propose(b"x" * 20)
    node.drain()
    for _ in range(3):
        node.step(M.MsgAppResp, 2, index=node.state.last_index)
        node.drain()
    assert members(node) == "(1 2) learners=(3)"


@pytest.mark.parametrize("step_down", [False, True])
@pytest.mark.parametrize("change", [ConfChange(REMOVE, 1), ConfChange(LEARN, 1)])
def test_074_a_removed_leader(step_down, change):
    node = Node(step_down_on_removal=step_down).lead_and_commit()
    node.raw.propose(b"x")
    node.drain()
    node.raw.apply_conf_change(change)
    if step_down:
        assert (node.role(), node.state.lead) == ("Follower", 0)
        return
    assert node.role() == "Leader"
    if change.type == REMOVE:
        with pytest.raises(ProposalDropped):
            node.raw.propose(b"y")
    node.step(M.MsgAppResp, 2, index=2)
    node.drain()
    assert node.state.committed == 1, "its own copy does not count any more"
    node.step(M.MsgAppResp, 3, index=2)
    assert node.state.committed == 2


def test_074_a_removed_follower_stays_one():
    node = Node(step_down_on_removal=True, term=3)
    node.step(M.MsgHeartbeat)
    node.raw.apply_conf_change(ConfChange(REMOVE, 1))
    assert (node.role(), node.state.lead) == ("Follower", 2)


def build(rng: random.Random) -> tuple[ProgressTracker, list[ConfChangeSingle]]:
    """A tracker after random simple changes, and more changes to make."""
    tracker = ProgressTracker(10)
    tracker.config, tracker.progress = Changer(tracker, 10).simple(ConfChangeSingle(ADD, 1))
    for _ in range(rng.randrange(8)):
        one = ConfChangeSingle(rng.choice([ADD, LEARN, REMOVE]), rng.randrange(1, 7))
        try:
            tracker.config, tracker.progress = Changer(tracker, 10).simple(one)
        except ConfChangeError:
            continue
    more = [
        ConfChangeSingle(rng.choice([ADD, LEARN, REMOVE, UPDATE]), rng.randrange(1, 9))
        for _ in range(rng.randrange(1, 6))
    ]
    return tracker, more


def test_075_a_joint_change_ends_where_simple_ones_would():
    rng = random.Random(75)
    compared = 0
    for _ in range(400):
        tracker, more = build(rng)
        before = str(tracker.config)
        simple = ProgressTracker(10)
        simple.config, simple.progress = tracker.config, tracker.progress
        joint = ProgressTracker(10)
        try:
            joint.config, joint.progress = Changer(tracker, 10).enter_joint(
                rng.random() < 0.5, *more
            )
            for one in more:
                simple.config, simple.progress = Changer(simple, 10).simple(one)
        except ConfChangeError:
            continue
        finally:
            assert str(tracker.config) == before, "the input is not touched"
        joint.config, joint.progress = Changer(joint, 10).leave_joint()
        assert str(joint.config) == str(simple.config)
        shape = [{i: pr.is_learner for i, pr in t.progress.items()} for t in (joint, simple)]
        assert shape[0] == shape[1]
        compared += 1
    assert compared > 200


def test_075_any_configuration_can_be_restored():
    rng = random.Random(57)
    for _ in range(300):
        ids = rng.sample(range(1, 12), 10)
        voters = ids[: rng.randrange(1, 5)]
        learners = ids[5 : rng.randrange(5, 8)]
        outgoing, staged, auto = [], [], False
        if rng.random() < 0.6:
            outgoing = rng.sample(ids[:5], rng.randrange(1, 5))
            staged = [i for i in outgoing if i not in voters and rng.random() < 0.5]
            auto = rng.random() < 0.5
        want = ConfState(voters, learners, outgoing, staged, auto)
        tracker = ProgressTracker(20)
        tracker.config, tracker.progress = restore(Changer(tracker, 10), want)
        got = tracker.conf_state()
        assert got.equivalent(want), (got, want)
        assert list(tracker.progress) == sorted({*voters, *learners, *outgoing})


@pytest.mark.parametrize(
    "conf_state", [ConfState([], [1]), ConfState([1], [1]), ConfState([1], [], [], [2]),
                   ConfState([1], auto_leave=True), ConfState([1], [2], [2])],
)  # fmt: skip
def test_075_a_configuration_that_is_none_stops_the_node(conf_state):
    with pytest.raises(RaftPanic, match=r"unable to restore config|not equivalent"):
        Node(
            voters=conf_state.voters, learners=conf_state.learners,
            outgoing=conf_state.voters_outgoing, learners_next=conf_state.learners_next,
            auto_leave=conf_state.auto_leave,
        )  # fmt: skip


def broken(**changes_to_config) -> ProgressTracker:
    tracker = ProgressTracker(10)
    tracker.config, tracker.progress = restore(
        Changer(tracker, 1), ConfState([1, 2], [3], [1, 2, 4], [4])
    )
    for name, value in changes_to_config.items():
        setattr(tracker.config, name, value)
    return tracker


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"learners": {9}}, "no progress for 9"),
        ({"learners_next": {3}}, r"3 is in LearnersNext, but not Voters\[1\]"),
        ({"learners": {1}}, r"1 is in Learners and Voters\[1\]"),
        ({"voters": JointConfig([3], [1, 2, 4])}, r"3 is in Learners and Voters\[0\]"),
        (
            {"voters": JointConfig([1, 2]), "learners_next": set(), "auto_leave": True},
            "AutoLeave must be false when not joint",
        ),
    ],
)
def test_075_a_broken_configuration_is_noticed(changed, text):
    with pytest.raises(ConfChangeError, match=text):
        Changer(broken(**changed), 1).leave_joint()
    for wrong, peer in (("already marked as learner", 4), ("not marked as learner", 3)):
        tracker = broken()
        tracker.progress[peer].is_learner = peer == 4
        with pytest.raises(ConfChangeError, match=wrong):
            Changer(tracker, 1).leave_joint()


def test_076_equivalent_configurations():
    a = ConfState([1, 2], [3, 4], [5, 6], [7, 8])
    assert a.equivalent(ConfState([2, 1], [4, 3], [6, 5], [8, 7]))
    assert not a.equivalent(ConfState([1, 2], [3, 4], [5, 6], [7]))
    assert not a.equivalent(ConfState([1, 2], [3, 4], [5], [7, 8]))
    assert not a.equivalent(ConfState([1, 2], [3], [5, 6], [7, 8]))
    assert not a.equivalent(ConfState([1], [3, 4], [5, 6], [7, 8]))
    assert not a.equivalent(ConfState([1, 2], [3, 4], [5, 6], [7, 8], True))
    assert ConfState().equivalent(ConfState())


def test_076_texts():
    config = TrackerConfig(JointConfig([1, 16], [3]), {5}, {3}, True)
    assert str(config) == "voters=(1 10)&&(3) learners=(5) learners_next=(3) autoleave"
    assert str(config.copy()) == str(config)
    assert str(MajorityConfig()) == "()"
    assert str(JointConfig()) == "()"


def naive_committed(voters: set[int], acked: dict[int, int]) -> int:
    """The largest index that more than half have, found by trying them all."""
    if not voters:
        return 2**64 - 1
    best = 0
    for index in acked.values():
        if sum(acked.get(v, 0) >= index for v in voters) > len(voters) // 2:
            best = max(best, index)
    return best


def test_077_quorums_agree_with_a_naive_count():
    rng = random.Random(77)
    for _ in range(2000):
        sets = [set(rng.sample(range(1, 10), rng.randrange(8))) for _ in range(2)]
        acked = {v: rng.randrange(10) for v in sets[0] | sets[1] if rng.random() < 0.8}
        for voters in sets:
            assert MajorityConfig(voters).committed_index(acked.get) == naive_committed(
                voters, acked
            )
        joint = JointConfig(*sets)
        assert joint.committed_index(acked.get) == min(
            naive_committed(voters, acked) for voters in sets
        )
        votes = {v: rng.random() < 0.5 for v in acked}
        results = []
        for voters in sets:
            yes = sum(votes.get(v, False) for v in voters)
            no = sum(not votes[v] for v in voters if v in votes)
            half = len(voters) // 2
            won = yes > half or not voters
            lost = no > len(voters) - half - 1 and voters
            want = VoteResult.VoteWon if won else VoteResult.VotePending
            results.append(VoteResult.VoteLost if lost and not won else want)
        assert [MajorityConfig(v).vote_result(votes) for v in sets] == results
        both = results[0] if results[0] == results[1] else VoteResult.VotePending
        if VoteResult.VoteLost in results:
            both = VoteResult.VoteLost
        assert joint.vote_result(votes) == both
