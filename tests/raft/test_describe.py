"""Texts for people, part of behaviour 115."""

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
    HardState,
    Message,
    ReadState,
    Ready,
    Snapshot,
    SnapshotMetadata,
    SoftState,
    StateType,
    describe_conf_change,
    describe_conf_state,
    describe_entries,
    describe_entry,
    describe_hard_state,
    describe_message,
    describe_ready,
    describe_snapshot,
    describe_soft_state,
    is_empty_hard_state,
    is_empty_snap,
)
from sampan.raft.quorum import JointConfig, MajorityConfig
from sampan.tests.raft.harness import M


def snap(index, term, data=b"") -> Snapshot:
    return Snapshot(data, SnapshotMetadata(ConfState([1]), index, term))


def test_115_texts_of_states():
    assert describe_hard_state(HardState(1, 0, 3)) == "Term:1 Commit:3"
    assert describe_hard_state(HardState(1, 2, 3)) == "Term:1 Vote:2 Commit:3"
    assert describe_soft_state(SoftState(1, StateType.StateLeader)) == "Lead:1 State:StateLeader"
    conf_state = ConfState([1, 2], [3], [1], [4], True)
    assert describe_conf_state(conf_state) == (
        "Voters:[1 2] VotersOutgoing:[1] Learners:[3] LearnersNext:[4] AutoLeave:true"
    )
    assert describe_snapshot(snap(5, 2)) == (
        "Index:5 Term:2 ConfState:Voters:[1] VotersOutgoing:[] Learners:[] LearnersNext:[] "
        "AutoLeave:false"
    )
    assert is_empty_hard_state(None)
    assert is_empty_hard_state(HardState())
    assert not is_empty_hard_state(HardState(vote=1))
    assert is_empty_snap(None)
    assert is_empty_snap(Snapshot(b"x"))


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"", '""'), (b"hello", '"hello"'), (b'a"b\\', '"a\\"b\\\\"'),
        (b"\x00\a\b\f\n\r\t\v\x7f", '"\\x00\\a\\b\\f\\n\\r\\t\\v\\x7f"'),
        ("é舢".encode(), '"é舢"'), ("\u200b\U000e0001".encode(), '"\\u200b\\U000e0001"'),
        ("\uffff\U00010fff".encode(), '"\\uffff\\U00010fff"'),
        (b"\xffok\x80", '"\\xffok\\x80"'),
    ],
)  # fmt: skip
def test_115_texts_of_entries(data, want):
    assert describe_entry(Entry(1, 2, data=data)) == f"1/2 EntryNormal {want}"


def test_115_texts_of_changes():
    v1 = ConfChange(ConfChangeType.ConfChangeRemoveNode, 3)
    entry = Entry(1, 2, EntryType.EntryConfChange, v1.marshal())
    assert describe_entry(entry) == "1/2 EntryConfChange r3"
    both = ConfChangeV2(
        ConfChangeTransition.ConfChangeTransitionJointExplicit,
        [
            ConfChangeSingle(ConfChangeType.ConfChangeAddNode, 1),
            ConfChangeSingle(ConfChangeType.ConfChangeAddLearnerNode, 2),
            ConfChangeSingle(ConfChangeType.ConfChangeUpdateNode, 4),
        ],
        b"ctx",
    )
    entry = Entry(1, 2, EntryType.EntryConfChangeV2, both.marshal())
    assert describe_entry(entry) == "1/2 EntryConfChangeV2 v1 l2 u4"
    assert describe_entry(Entry(1, 2, EntryType.EntryConfChangeV2)) == "1/2 EntryConfChangeV2"
    broken = Entry(1, 2, EntryType.EntryConfChange, b"\xff")
    assert describe_entry(broken) == "1/2 EntryConfChange unexpected EOF"
    assert describe_conf_change(both) == (
        "transition:ConfChangeTransitionJointExplicit "
        "changes:{type:ConfChangeAddNode node_id:1} "
        "changes:{type:ConfChangeAddLearnerNode node_id:2} "
        'changes:{type:ConfChangeUpdateNode node_id:4} context:"ctx"'
    )
    assert describe_conf_change(v1) == (
        "transition:ConfChangeTransitionAuto changes:{type:ConfChangeRemoveNode node_id:3}"
    )
    upper = describe_entries([Entry(1, 1, data=b"a"), Entry(1, 2)], lambda d: d.decode().upper())
    assert upper == "1/1 EntryNormal A\n1/2 EntryNormal\n"


def test_115_texts_of_messages_and_readys():
    answer = Message(M.MsgAppResp, 1, 2, 3, 4, 5, reject=True, reject_hint=6)
    assert describe_message(answer) == "2->1 MsgAppResp Term:3 Log:4/5 Rejected (Hint: 6)"
    storage = Message(
        M.MsgStorageAppend, 2**64 - 1, 10, 3, entries=[Entry(1, 1), Entry(1, 2)], commit=7, vote=8,
        snapshot=snap(9, 1), responses=[answer],
    )  # fmt: skip
    assert describe_message(storage) == (
        "a->AppendThread MsgStorageAppend Term:3 Log:0/0 Commit:7 Vote:8 Entries:[\n"
        '  1/1 EntryNormal ""\n  1/2 EntryNormal ""\n]\n'
        "  Snapshot: Index:9 Term:1 ConfState:Voters:[1] VotersOutgoing:[] Learners:[] "
        "LearnersNext:[] AutoLeave:false Responses:[\n"
        "  2->1 MsgAppResp Term:3 Log:4/5 Rejected (Hint: 6)\n]"
    )
    apply = Message(M.MsgStorageApply, 2**64 - 2, 0, entries=[Entry(1, 1)])
    assert describe_message(apply) == (
        'None->ApplyThread MsgStorageApply Term:0 Log:0/0 Entries:[1/1 EntryNormal ""]'
    )
    assert describe_message(Message(M.MsgApp, 1, 2, snapshot=Snapshot(b"x"))) == (
        "2->1 MsgApp Term:0 Log:0/0"
    )
    empty = Ready(None, HardState(), [], [], Snapshot(), [], [], False)
    assert describe_ready(empty) == "<empty Ready>"
    rd = Ready(
        SoftState(1), HardState(1, 0, 1), [ReadState(3, b"\x01\x02"), ReadState(4, b"")],
        [Entry(1, 1)], snap(2, 1), [Entry(1, 1)], [answer], True,
    )  # fmt: skip
    assert describe_ready(rd).splitlines() == [
        "Ready MustSync=true:",
        "Lead:1 State:StateFollower",
        "HardState Term:1 Commit:1",
        "ReadStates [{3 [1 2]} {4 []}]",
        "Entries:",
        '1/1 EntryNormal ""',
        "Snapshot " + describe_snapshot(snap(2, 1)),
        "CommittedEntries:",
        '1/1 EntryNormal ""',
        "Messages:",
        "2->1 MsgAppResp Term:3 Log:4/5 Rejected (Hint: 6)",
    ]


def test_115_texts_of_quorums():
    acked = {1: 100, 2: 101, 3: 100}.get
    assert MajorityConfig([1, 2, 3]).describe(acked) == (
        "       idx\n>      100    (id=1)\nxx>    101    (id=2)\n>      100    (id=3)\n"
    )
    assert MajorityConfig([1, 10]).describe({1: 5}.get) == (
        "      idx\nx>      5    (id=1)\n?       0    (id=a)\n"
    )
    assert MajorityConfig([1, 2]).describe({1: 1}.get) == (
        "      idx\nx>      1    (id=1)\n?       0    (id=2)\n"
    )
    assert MajorityConfig().describe(acked) == "<empty majority quorum>"
    assert JointConfig([1], [2]).describe(acked) == MajorityConfig([1, 2]).describe(acked)
