"""Raft messages as bytes."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampan.raft import (
    ConfState,
    Entry,
    EntryType,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
)
from sampan.transport.codec import CodecError, pack, unpack
from sampan.transport.raft_messages import decode_message, encode_message

U64 = st.integers(0, 2**64 - 1)
ENTRIES = st.builds(Entry, U64, U64, st.sampled_from(EntryType), st.binary(max_size=20))
CONF_STATES = st.builds(
    ConfState,
    voters=st.lists(U64, max_size=3),
    learners=st.lists(U64, max_size=2),
    voters_outgoing=st.lists(U64, max_size=2),
    learners_next=st.lists(U64, max_size=2),
    auto_leave=st.booleans(),
)
SNAPSHOTS = st.builds(
    Snapshot, st.binary(max_size=20), st.builds(SnapshotMetadata, CONF_STATES, U64, U64)
)
MESSAGES = st.builds(
    Message,
    type=st.sampled_from(MessageType), to=U64, from_=U64, term=U64, log_term=U64, index=U64,
    entries=st.lists(ENTRIES, max_size=3), commit=U64, vote=U64,
    snapshot=st.none() | SNAPSHOTS, reject=st.booleans(), reject_hint=U64,
    context=st.binary(max_size=16),
)  # fmt: skip


@given(MESSAGES)
@settings(max_examples=200, deadline=None)
def test_round_trip(message):
    assert decode_message(encode_message(message)) == message


@given(MESSAGES, st.data())
@settings(max_examples=400, deadline=None)
def test_only_the_typed_error_escapes(message, data):
    fields = list(unpack(encode_message(message)))
    at = data.draw(st.integers(0, len(fields) - 1))
    fields[at] = data.draw(
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3) | st.binary(max_size=3)
        | st.floats() | st.lists(st.integers(0, 3) | st.lists(st.none(), max_size=4), max_size=4)
        | st.dictionaries(st.text(max_size=1), st.none(), max_size=2)
    )  # fmt: skip
    with contextlib.suppress(CodecError):
        decode_message(pack(fields))


@pytest.mark.parametrize("value", [(), 5, None, b"bytes", "text", {}, (1,) * 14, [{}] * 13])
def test_what_is_no_message(value):
    with pytest.raises(CodecError):
        decode_message(pack(value))
