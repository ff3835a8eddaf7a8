"""What arrives raises nothing but a RaftError, and leaves no trace if it does."""

import contextlib
import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampan.raft import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    NO_LIMIT,
    NONE,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    InvalidMessage,
    Message,
    MessageType,
    ProgressType,
    RaftError,
    RaftPanic,
    ReadOnlyOption,
    ReadState,
    Snapshot,
    SnapshotMetadata,
    SnapshotStatus,
    SoftState,
    StateType,
    UnsafeMessage,
)
from sampan.raft.proto import fields, put_bytes, put_uint, put_varint, varint_size
from sampan.raft.quorum import VoteResult
from sampan.raft.tracker import ProgressState
from sampan.tests.raft.harness import M, Node

CHANGE = ConfChange(ConfChangeType.ConfChangeAddNode, 2).marshal()


def follower(**options) -> Node:
    node = Node(terms=[1, 2, 2], term=3, commit=2, **options)
    node.drain()
    return node


def fingerprint(node: Node):
    r = node.raw._raft
    return (
        node.state, str(r.log), str(r.tracker.config), len(r.msgs), len(r.msgs_after_append),
        {i: str(p) for i, p in r.tracker.progress.items()}, dict(r.tracker.votes),
    )  # fmt: skip


def snapshot(conf_state: ConfState, index=9, term=3) -> Snapshot:
    return Snapshot(b"", SnapshotMetadata(conf_state, index, term))


MALFORMED = [
    # append: entries that do not follow each other, or are newer than their sender
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(3, 5)]},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(3, 4), Entry(3, 6)]},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(1, 4)]},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(3, 4), Entry(2, 5)]},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(4, 4)]},
    {"type": M.MsgApp, "index": 3, "log_term": 4},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(3, 4, 7)]},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [Entry(3, 4, 1, b"\xff")]},
    {"type": M.MsgApp, "index": 3, "log_term": 2, "entries": [None]},
    # numbers out of range
    {"type": M.MsgApp, "index": -1},
    {"type": M.MsgApp, "index": 2**63},
    {"type": M.MsgHeartbeat, "term": 2**63},
    {"type": M.MsgHeartbeat, "commit": 2**64},
    {"type": M.MsgHeartbeat, "from_": 2**64},
    {"type": M.MsgHeartbeat, "commit": "1"},
    {"type": M.MsgHeartbeat, "to": -1},
    {"type": M.MsgHeartbeat, "to": 2**64},
    {"type": M.MsgAppResp, "reject": True, "reject_hint": 2**70},
    # requests without a sender or a term, or from oneself
    *({"type": t, "term": 0} for t in (M.MsgApp, M.MsgHeartbeat, M.MsgSnap, M.MsgVote)),
    *({"type": t, "from_": 1} for t in (M.MsgApp, M.MsgHeartbeat, M.MsgPreVote, M.MsgVote)),
    {"type": M.MsgVote, "from_": 0},
    {"type": M.MsgHeartbeatResp, "from_": 1},
    {"type": M.MsgAppResp, "from_": 1, "reject": True},
    {"type": M.MsgTimeoutNow, "from_": 1},
    # types
    {"type": 99},
    {"type": 3},
    {"type": None},
    # proposals and reads
    {"type": M.MsgProp},
    {"type": M.MsgProp, "entries": [Entry(type=EntryType.EntryConfChange, data=b"\x08")]},
    {"type": M.MsgProp, "entries": [Entry(type=EntryType.EntryConfChangeV2, data=b"\x0f")]},
    {"type": M.MsgProp, "entries": [Entry(type=5)]},
    {"type": M.MsgReadIndex},
    {"type": M.MsgReadIndex, "entries": [Entry(), Entry()]},
    # snapshots with configurations that cannot be
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([], [1]))},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1], [1]))},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1, 0]))},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1], [], [], [2]))},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1], auto_leave=True))},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1]), term=4)},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1]), index=2**63)},
    {"type": M.MsgSnap, "snapshot": snapshot(ConfState([1]), index=-1)},
    # storage responses that run ahead
    {
        "type": M.MsgStorageApplyResp, "from_": LOCAL_APPLY_THREAD, "term": 0,
        "entries": [Entry(2, 3)],
    },
    {
        "type": M.MsgStorageAppendResp, "from_": LOCAL_APPEND_THREAD,
        "snapshot": snapshot(ConfState([1])),
    },
]  # fmt: skip


@pytest.mark.parametrize("message", MALFORMED, ids=str)
def test_malformed_messages_are_refused_without_a_trace(message):
    node = follower()
    before = fingerprint(node)
    with pytest.raises(InvalidMessage):
        node.raw.step(Message(**{"from_": 2, "to": 1, "term": 3, **message}))
    assert fingerprint(node) == before


def test_acknowledgements_of_what_was_never_sent_are_refused():
    node = Node().lead()
    before = fingerprint(node)
    with pytest.raises(InvalidMessage, match="2 acknowledges index 2, last index is 1"):
        node.step(M.MsgAppResp, 2, index=2)
    assert fingerprint(node) == before
    node.step(M.MsgAppResp, 2, index=1)
    node.step(M.MsgAppResp, 2, index=99, reject=True, reject_hint=99)


def test_a_heartbeat_beyond_the_log_is_loud():
    node = follower()
    before = fingerprint(node)
    for term in (3, 4):
        with pytest.raises(UnsafeMessage, match=r"tocommit\(4\) is out of range \[lastIndex\(3\)"):
            node.step(M.MsgHeartbeat, term=term, commit=4)
    assert fingerprint(node) == before
    node.step(M.MsgHeartbeat, term=2, commit=9)  # of an older term: ignored anyway
    node.step(M.MsgHeartbeat, commit=3)
    assert node.state.committed == 3
    assert issubclass(UnsafeMessage, RaftPanic)


def test_an_append_that_replaces_committed_entries_is_loud():
    node = follower()
    with pytest.raises(UnsafeMessage, match="entry 2 conflict with committed entry"):
        node.raw._raft.log.maybe_append(1, 1, 0, [Entry(3, 2)])
    node.step(M.MsgApp, index=1, log_term=1, entries=[Entry(3, 2)])
    assert node.entries() == [(1, 1), (2, 2), (2, 3)]


def random_entry(rng: random.Random, near: int) -> Entry:
    kind = rng.choice([*EntryType, EntryType.EntryNormal])
    data = rng.choice([b"", b"x", CHANGE, ConfChangeV2().marshal(), b"\xff", b"\x12\x02\x08\x01"])
    return Entry(rng.randrange(5), max(near + rng.randrange(-1, 3), 0), kind, data)


def random_message(rng: random.Random, node: Node) -> Message:
    s = node.state
    number = lambda around: max(0, around + rng.choice([0, 0, 0, -1, 1, 2, 5]))  # noqa: E731
    index = number(s.last_index)
    ids = [0, 1, 2, 3, 4, 9, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD]
    conf_state = ConfState(
        rng.sample(range(6), rng.randrange(4)), rng.sample(range(6), rng.randrange(2)),
        rng.sample(range(6), rng.randrange(2)), rng.sample(range(6), rng.randrange(2)),
        rng.random() < 0.2,
    )  # fmt: skip
    first = index + 1
    count = rng.choice([0, 0, 1, 1, 2])
    return Message(
        type=rng.choice(list(MessageType)),
        to=1,
        from_=rng.choices(ids, [1, 2, 9, 9, 2, 1, 1, 1])[0],
        term=rng.choice([0, number(s.term), s.term, s.term]),
        log_term=number(s.term - 1),
        index=index,
        entries=[
            Entry(s.term, first + i, data=b"y")
            if rng.random() < 0.6
            else random_entry(rng, first + i)
            for i in range(count)
        ],
        commit=number(s.committed),
        vote=rng.choice(ids),
        snapshot=snapshot(conf_state, index, number(s.term - 1)) if rng.random() < 0.3 else None,
        reject=rng.random() < 0.3,
        reject_hint=number(s.last_index),
        context=rng.choice([b"", b"", b"CampaignTransfer", bytes(8), b"\x01" + bytes(7), b"abc"]),
    )


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("seed", range(12))
def test_random_messages_raise_nothing_but_raft_errors(seed, asynchronous):
    rng = random.Random(seed)
    options = {
        "pre_vote": rng.random() < 0.5,
        "check_quorum": rng.random() < 0.5,
        "async_storage_writes": asynchronous,
    }
    accepted = refused = 0
    for _ in range(15):
        node = Node(voters=(1, 2, 3), learners=(4,), terms=[1, 1], term=1, **options)
        node.apply_changes = False  # what is proposed at random may be impossible to apply
        if rng.random() < 0.5:
            node.lead()
        for _ in range(40):
            try:
                node.raw.step(random_message(rng, node))
                accepted += 1
            except RaftError:
                refused += 1
            if rng.random() < 0.3:
                node.tick(rng.randrange(12))
            if rng.random() < 0.5:
                node.drain()
    assert accepted > 100
    assert refused > 100


# --- encodings

NUMBERS = st.integers(0, 2**64 - 1)
DATA = st.binary(max_size=40)
ENTRIES = st.builds(Entry, NUMBERS, NUMBERS, st.sampled_from(EntryType), DATA)
IDS = st.lists(NUMBERS, max_size=4)
CONF_STATES = st.builds(ConfState, IDS, IDS, IDS, IDS, st.booleans())
SNAPSHOTS = st.builds(Snapshot, DATA, st.builds(SnapshotMetadata, CONF_STATES, NUMBERS, NUMBERS))


def messages(responses):
    return st.builds(
        Message, st.sampled_from(MessageType), NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS,
        st.lists(ENTRIES, max_size=3), NUMBERS, NUMBERS, st.none() | SNAPSHOTS, st.booleans(),
        NUMBERS, DATA, responses,
    )  # fmt: skip


MESSAGES = messages(st.lists(messages(st.just([])), max_size=2))
STEPS = st.builds(ConfChangeSingle, st.sampled_from(ConfChangeType), NUMBERS)
CHANGES_V2 = st.builds(
    ConfChangeV2, st.sampled_from(ConfChangeTransition), st.lists(STEPS, max_size=3), DATA
)
CHANGES_V1 = st.builds(ConfChange, st.sampled_from(ConfChangeType), NUMBERS, DATA, NUMBERS)


@settings(max_examples=60, deadline=None)
@given(MESSAGES, CHANGES_V1, CHANGES_V2)
def test_encodings_round_trip(message, v1, v2):
    assert Message.unmarshal(message.marshal()) == message
    assert ConfChange.unmarshal(v1.marshal()) == v1
    assert ConfChangeV2.unmarshal(v2.marshal()) == v2


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.sampled_from([Message, ConfChange, ConfChangeV2, Entry]))
def test_random_bytes_decode_or_are_refused(data, kind):
    with contextlib.suppress(InvalidMessage):
        kind.unmarshal(data)


@settings(max_examples=60, deadline=None)
@given(MESSAGES, st.data())
def test_damaged_messages_decode_or_are_refused(message, data):
    encoded = bytearray(message.marshal())
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(InvalidMessage):
        Message.unmarshal(bytes(encoded))


def test_encodings_are_raftpbs():
    # Produced by hand from raft.proto's field numbers.
    message = Message(
        M.MsgApp, to=2, from_=1, term=300, log_term=1, index=5, commit=4, vote=7,
        entries=[Entry(1, 6, data=b"hi"), Entry(2, 7, EntryType.EntryConfChangeV2)],
        reject=True, reject_hint=3, context=b"c",
    )  # fmt: skip
    assert message.marshal().hex() == (
        "0803" "1002" "1801" "20ac02" "2801" "3005" "4004" "5803" "6807"
        "3a08" "10011806" "22026869" "3a06" "0802" "10021807" "5001" "620163"
    )  # fmt: skip
    assert ConfChange(ConfChangeType.ConfChangeRemoveNode, 5, b"x", 9).marshal().hex() == (
        "0809" "1001" "1805" "220178"
    )  # fmt: skip
    v2 = ConfChangeV2(
        ConfChangeTransition.ConfChangeTransitionJointExplicit,
        [ConfChangeSingle(ConfChangeType.ConfChangeAddLearnerNode, 4)],
        b"y",
    )
    assert v2.marshal().hex() == "08021204080310041a0179"
    assert ConfChangeV2().marshal() == b""
    assert ConfChangeV2.unmarshal(b"") == ConfChangeV2()
    conf_state = ConfState([1, 300], [2], [3], [4], True)
    assert conf_state.marshal().hex() == "080108ac021002180320042801"
    assert Snapshot().marshal().hex() == "12020a00"
    assert snapshot(ConfState([1]), 9, 3).marshal().hex() == "12080a02080110091803"


def test_the_numbers_of_the_wire():
    names = (
        "Hup Beat Prop App AppResp Vote VoteResp Snap Heartbeat HeartbeatResp Unreachable "
        "SnapStatus CheckQuorum TransferLeader TimeoutNow ReadIndex ReadIndexResp PreVote "
        "PreVoteResp StorageAppend StorageAppendResp StorageApply StorageApplyResp ForgetLeader"
    )
    assert [kind.name for kind in MessageType] == [f"Msg{name}" for name in names.split()]
    for kind in (MessageType, EntryType, ConfChangeType, ConfChangeTransition, StateType):
        assert [member.value for member in kind] == list(range(len(kind)))
    assert [member.value for member in SnapshotStatus] == [1, 2]
    assert [member.value for member in ReadOnlyOption] == [0, 1]
    assert [member.value for member in ProgressType] == [0, 1]
    assert (LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD) == (2**64 - 1, 2**64 - 2)
    assert (NONE, NO_LIMIT) == (0, 2**64 - 1)
    assert [result.value for result in VoteResult] == [1, 2, 3]
    assert [state.value for state in ProgressState] == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [(0, "00"), (127, "7f"), (128, "8001"), (16383, "ff7f"), (16384, "808001")],
)
def test_numbers_take_as_few_bytes_as_they_need(value, encoded):
    out = bytearray()
    put_varint(out, value)
    assert out.hex() == encoded
    assert varint_size(value) == len(out)


@pytest.mark.parametrize(
    "kind",
    [Entry, ConfState, SnapshotMetadata, Snapshot, HardState, Message, ConfChangeSingle,
     ConfChangeV2, ConfChange, SoftState, ReadState],
)  # fmt: skip
def test_zero_values(kind):
    for field in dataclasses.fields(kind):
        value = getattr(kind(), field.name)
        assert not value or value == type(value)()
    assert SoftState().raft_state == StateType.StateFollower


def test_decoding_is_lenient_where_protobuf_is():
    packed = bytes.fromhex("0a0301ac02")
    assert ConfState.unmarshal(packed) == ConfState([1, 300])
    unknown = bytearray()
    put_uint(unknown, 99, 5)
    put_bytes(unknown, 98, b"later")
    unknown += bytes([97 << 3 & 0x7F | 0x81, 6]) + bytes(8)
    unknown += bytes([96 << 3 & 0x7F | 0x85, 6]) + bytes(4)
    for kind in (Message, ConfChange, ConfChangeV2, Entry, ConfState, Snapshot):
        assert kind.unmarshal(bytes(unknown)) == kind()
    nested = bytearray()
    put_bytes(nested, 2, unknown)
    assert ConfChangeV2.unmarshal(bytes(nested)).changes == [ConfChangeSingle()]
    assert Snapshot.unmarshal(bytes(nested)) == Snapshot()
    assert list(fields(b"")) == []


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("08", "unexpected EOF"),
        ("88", "unexpected EOF"),
        ("1205aabb", "unexpected EOF"),
        ("09aabb", "unexpected EOF"),
        ("00", "proto: illegal tag 0"),
        ("0b", "proto: wrong wireType = 3 for field 1"),
        ("08ffffffffffffffffff02", "proto: integer overflow"),
        ("08ffffffffffffffffffff01", "proto: integer overflow"),
        ("0863", "unknown MessageType 99"),
        ("0a00", "wrong wireType = 2 for an integer field"),
        ("3801", "wrong wireType = 0 for a bytes field"),
        ("720472027200", "responses within responses"),
    ],
)
def test_what_cannot_be_decoded(data, text):
    with pytest.raises(InvalidMessage, match=text):
        Message.unmarshal(bytes.fromhex(data))


def test_the_largest_number_is_decoded():
    out = bytearray()
    put_varint(out, 2**64 - 1)
    assert out.hex() == "ffffffffffffffffff01"
    assert Entry.unmarshal(b"\x10" + bytes(out)).term == 2**64 - 1


def test_a_number_of_eleven_bytes_is_refused_even_when_it_is_small():
    with pytest.raises(InvalidMessage, match="integer overflow"):
        Entry.unmarshal(b"\x10" + b"\x80" * 10 + b"\x00")


def test_deeply_nested_input_is_refused_quickly():
    data = b""
    for _ in range(200):
        outer = bytearray()
        put_bytes(outer, 14, data)
        data = bytes(outer)
    with pytest.raises(InvalidMessage):
        Message.unmarshal(data)
