"""Raft messages as bytes, encoded once by the core that sends them.

A message is a positional array (docs/protocol.md, "Between peers"). Decoding checks every field's
type and sign, so that what reaches the core is a message, if perhaps a nonsensical one.
"""

from typing import Any

from ..config import limits
from ..raft import (
    ConfState,
    Entry,
    EntryType,
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
)
from .codec import CodecError, pack, unpack

_ENTRY_TYPES = {int(t): t for t in EntryType}
_MESSAGE_TYPES = {int(t): t for t in MessageType}


def encode_message(m: Message) -> bytes:
    """A raft message as it travels between peers and between actors. `responses` do not: they are
    between a core and its own storage."""
    snapshot = None
    if m.snapshot is not None:
        meta = m.snapshot.metadata
        snapshot = (meta.index, meta.term, conf_state_to_tuple(meta.conf_state), m.snapshot.data)
    entries = m.entries
    return pack((
        int(m.type), m.to, m.from_, m.term, m.log_term, m.index, m.commit, m.vote,
        m.reject, m.reject_hint, m.context, snapshot,
        [(e.term, e.index, int(e.type), e.data) for e in entries] if entries else entries,
    ))  # fmt: skip


def conf_state_to_tuple(cs: ConfState) -> tuple[Any, ...]:
    """(voters, learners, voters_outgoing, learners_next, auto_leave)"""
    return (
        tuple(cs.voters),
        tuple(cs.learners),
        tuple(cs.voters_outgoing),
        tuple(cs.learners_next),
        cs.auto_leave,
    )


def _u64(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise CodecError(f"expected an unsigned integer, got {value!r}")
    return value


def _ids(value: Any) -> list[int]:
    return [_u64(member) for member in value]


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise CodecError(f"expected bin, got {type(value).__name__}")
    return value


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise CodecError(f"expected a boolean, got {value!r}")
    return value


def conf_state_from_tuple(value: Any) -> ConfState:
    """The inverse of `conf_state_to_tuple`; raises CodecError."""
    try:
        voters, learners, outgoing, learners_next, auto_leave = value
        return ConfState(
            voters=_ids(voters),
            learners=_ids(learners),
            voters_outgoing=_ids(outgoing),
            learners_next=_ids(learners_next),
            auto_leave=_bool(auto_leave),
        )
    except (TypeError, ValueError) as error:
        raise CodecError(f"not a ConfState: {error}") from error


def _snapshot_from_tuple(value: Any) -> Snapshot:
    index, term, conf_state, data = value
    metadata = SnapshotMetadata(conf_state_from_tuple(conf_state), _u64(index), _u64(term))
    return Snapshot(_bytes(data), metadata)


def _message_from_tuple(value: Any) -> Message:
    (kind, to, from_, term, log_term, index, commit, vote,
     reject, hint, context, snapshot, entries) = value  # fmt: skip
    numbers = (to, from_, term, log_term, index, commit, vote, hint)
    if set(map(type, numbers)) != {int} or min(numbers) < 0:
        raise CodecError(f"expected unsigned integers, got {numbers!r}")
    if type(reject) is not bool or type(context) is not bytes:
        raise CodecError(f"expected a boolean and bin, got {type(reject)} and {type(context)}")
    decoded: list[Entry] = []
    for entry_term, entry_index, entry_kind, data in entries:
        if type(entry_term) is not int or type(entry_index) is not int or type(data) is not bytes:
            raise CodecError("an entry is term, index, type, data")
        if entry_term < 0 or entry_index < 0:
            raise CodecError(f"expected unsigned integers, got {entry_term}, {entry_index}")
        decoded.append(Entry(entry_term, entry_index, _ENTRY_TYPES[entry_kind], data))
    # By position, which costs less: in the order of the class.
    return Message(
        _MESSAGE_TYPES[kind], to, from_, term, log_term, index, decoded, commit, vote,
        None if snapshot is None else _snapshot_from_tuple(snapshot), reject, hint, context,
    )  # fmt: skip


def decode_message(data: bytes) -> Message:
    """The inverse of `encode_message`; raises CodecError for anything else."""
    value = unpack(data, array_max=limits.LOG_ENTRIES_MAX)
    try:
        return _message_from_tuple(value)
    except (TypeError, ValueError, KeyError) as error:
        raise CodecError(f"not a raft message: {error}") from error
