"""The data raft exchanges: entries, snapshots, messages, configuration changes.

Objects that the core hands out are immutable by convention: entries and messages are shared
between the log, storage and the network. Integers are unsigned 64-bit; an id of 0 means none.
The encodings are raftpb's (etcd-io/raft, raftpb/raft.proto), so that peers written in other
languages can be spoken to: a field at its zero value is left out, except an entry's term and index.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import repeat
from typing import Final, TypeVar

from .errors import InvalidMessage
from .proto import as_bytes, as_int, as_ints, fields, put_bytes, put_uint, varint_size

NONE: Final = 0
LOCAL_APPEND_THREAD: Final = 2**64 - 1
LOCAL_APPLY_THREAD: Final = 2**64 - 2
NO_LIMIT: Final = 2**64 - 1


class StateType(IntEnum):
    """The role of a node."""

    StateFollower = 0
    StateCandidate = 1
    StateLeader = 2
    StatePreCandidate = 3


class EntryType(IntEnum):
    """What an entry's data is: the application's, or a configuration change."""

    EntryNormal = 0
    EntryConfChange = 1
    EntryConfChangeV2 = 2


class MessageType(IntEnum):
    """Every message of the protocol; the package docstring explains each."""

    MsgHup = 0
    MsgBeat = 1
    MsgProp = 2
    MsgApp = 3
    MsgAppResp = 4
    MsgVote = 5
    MsgVoteResp = 6
    MsgSnap = 7
    MsgHeartbeat = 8
    MsgHeartbeatResp = 9
    MsgUnreachable = 10
    MsgSnapStatus = 11
    MsgCheckQuorum = 12
    MsgTransferLeader = 13
    MsgTimeoutNow = 14
    MsgReadIndex = 15
    MsgReadIndexResp = 16
    MsgPreVote = 17
    MsgPreVoteResp = 18
    MsgStorageAppend = 19
    MsgStorageAppendResp = 20
    MsgStorageApply = 21
    MsgStorageApplyResp = 22
    MsgForgetLeader = 23


class ConfChangeType(IntEnum):
    """One step of a membership change."""

    ConfChangeAddNode = 0
    ConfChangeRemoveNode = 1
    ConfChangeUpdateNode = 2
    ConfChangeAddLearnerNode = 3


class ConfChangeTransition(IntEnum):
    """Whether a change goes through a joint configuration, and who ends it.

    Auto: joint only if there is more than one change, left automatically. JointImplicit: always
    joint, left automatically. JointExplicit: always joint, left by proposing an empty change.
    """

    ConfChangeTransitionAuto = 0
    ConfChangeTransitionJointImplicit = 1
    ConfChangeTransitionJointExplicit = 2


# Python 3.11 runs code in Python to look up an enum's member, which costs as much as making an
# entry. What is asked for with every message has a name of its own therefore.
LEADER: Final = StateType.StateLeader
MSG_APP: Final = MessageType.MsgApp
MSG_APP_RESP: Final = MessageType.MsgAppResp
MSG_PROP: Final = MessageType.MsgProp
MSG_STORAGE_APPEND: Final = MessageType.MsgStorageAppend
MSG_STORAGE_APPEND_RESP: Final = MessageType.MsgStorageAppendResp
MSG_STORAGE_APPLY: Final = MessageType.MsgStorageApply
MSG_STORAGE_APPLY_RESP: Final = MessageType.MsgStorageApplyResp

_EnumT = TypeVar("_EnumT", bound=IntEnum)


def _enum(kind: type[_EnumT], value: int | bytes) -> _EnumT:
    try:
        return kind(as_int(value))
    except ValueError:
        raise InvalidMessage(f"unknown {kind.__name__} {value!r}") from None


@dataclass(slots=True)
class Entry:
    """One position of the log. `data` is opaque to raft unless `type` says otherwise."""

    term: int = 0
    index: int = 0
    type: EntryType = EntryType.EntryNormal
    data: bytes = b""

    def marshal(self) -> bytearray:
        """Encode as raftpb.Entry."""
        out = bytearray()
        if self.type:
            put_uint(out, 1, self.type)
        put_uint(out, 2, self.term)
        put_uint(out, 3, self.index)
        if self.data:
            put_bytes(out, 4, self.data)
        return out

    @staticmethod
    def unmarshal(b: bytes) -> "Entry":
        """Decode raftpb.Entry; raises InvalidMessage."""
        entry = Entry()
        for number, value in fields(b):
            match number:
                case 1:
                    entry.type = _enum(EntryType, value)
                case 2:
                    entry.term = as_int(value)
                case 3:
                    entry.index = as_int(value)
                case 4:
                    entry.data = as_bytes(value)
        return entry


@dataclass(slots=True)
class ConfState:
    """A configuration as stored in snapshots; `voters_outgoing` is non-empty while joint."""

    voters: list[int] = field(default_factory=list)
    learners: list[int] = field(default_factory=list)
    voters_outgoing: list[int] = field(default_factory=list)
    learners_next: list[int] = field(default_factory=list)
    auto_leave: bool = False

    def equivalent(self, other: "ConfState") -> bool:
        """True if both describe the same configuration, whatever the order of ids."""
        return (
            sorted(self.voters) == sorted(other.voters)
            and sorted(self.learners) == sorted(other.learners)
            and sorted(self.voters_outgoing) == sorted(other.voters_outgoing)
            and sorted(self.learners_next) == sorted(other.learners_next)
            and self.auto_leave == other.auto_leave
        )

    def marshal(self) -> bytearray:
        """Encode as raftpb.ConfState."""
        out = bytearray()
        for number, ids in enumerate(
            (self.voters, self.learners, self.voters_outgoing, self.learners_next), start=1
        ):
            for id_ in ids:
                put_uint(out, number, id_)
        if self.auto_leave:
            put_uint(out, 5, 1)
        return out

    @staticmethod
    def unmarshal(b: bytes) -> "ConfState":
        """Decode raftpb.ConfState; raises InvalidMessage."""
        state = ConfState()
        for number, value in fields(b):
            match number:
                case 1:
                    state.voters += as_ints(value)
                case 2:
                    state.learners += as_ints(value)
                case 3:
                    state.voters_outgoing += as_ints(value)
                case 4:
                    state.learners_next += as_ints(value)
                case 5:
                    state.auto_leave = as_int(value) != 0
        return state


@dataclass(slots=True)
class SnapshotMetadata:
    """Where a snapshot stands: the last entry it covers and the configuration there."""

    conf_state: ConfState = field(default_factory=ConfState)
    index: int = 0
    term: int = 0


@dataclass(slots=True)
class Snapshot:
    """The application's state up to `metadata.index`; index 0 is the empty snapshot."""

    data: bytes = b""
    metadata: SnapshotMetadata = field(default_factory=SnapshotMetadata)

    def marshal(self) -> bytearray:
        """Encode as raftpb.Snapshot."""
        meta = bytearray()
        put_bytes(meta, 1, self.metadata.conf_state.marshal())
        if self.metadata.index:
            put_uint(meta, 2, self.metadata.index)
        if self.metadata.term:
            put_uint(meta, 3, self.metadata.term)
        out = bytearray()
        if self.data:
            put_bytes(out, 1, self.data)
        put_bytes(out, 2, meta)
        return out

    @staticmethod
    def unmarshal(b: bytes) -> "Snapshot":
        """Decode raftpb.Snapshot; raises InvalidMessage."""
        snapshot = Snapshot()
        for number, value in fields(b):
            if number == 1:
                snapshot.data = as_bytes(value)
            elif number == 2:
                meta = SnapshotMetadata()
                for inner, inner_value in fields(as_bytes(value)):
                    match inner:
                        case 1:
                            meta.conf_state = ConfState.unmarshal(as_bytes(inner_value))
                        case 2:
                            meta.index = as_int(inner_value)
                        case 3:
                            meta.term = as_int(inner_value)
                snapshot.metadata = meta
        return snapshot


@dataclass(slots=True)
class HardState:
    """What a node must remember over a crash besides its log (raft paper, figure 2)."""

    term: int = 0
    vote: int = 0
    commit: int = 0


# Message's integer fields by raftpb number; the others are handled one by one.
_MESSAGE_INTS: Final = (
    (2, "to"),
    (3, "from_"),
    (4, "term"),
    (5, "log_term"),
    (6, "index"),
    (8, "commit"),
    (11, "reject_hint"),
    (13, "vote"),
)
_MESSAGE_INT_NAMES: Final = dict(_MESSAGE_INTS)


@dataclass(slots=True)
class Message:
    """One message between nodes, or between a node and its own storage threads.

    `index` and `log_term` name the entry before `entries`; in a rejection `reject_hint` and
    `log_term` name the last entry that may agree. `responses` are for the storage threads.
    """

    type: MessageType = MessageType.MsgHup
    to: int = 0
    from_: int = 0
    term: int = 0
    log_term: int = 0
    index: int = 0
    entries: list[Entry] = field(default_factory=list)
    commit: int = 0
    vote: int = 0
    snapshot: Snapshot | None = None
    reject: bool = False
    reject_hint: int = 0
    context: bytes = b""
    responses: list["Message"] = field(default_factory=list)

    def marshal(self) -> bytes:
        """Encode as raftpb.Message."""
        out = bytearray()
        put_uint(out, 1, self.type)
        for number, name in _MESSAGE_INTS:
            value = getattr(self, name)
            if value:
                put_uint(out, number, value)
        for entry in self.entries:
            put_bytes(out, 7, entry.marshal())
        if self.snapshot is not None:
            put_bytes(out, 9, self.snapshot.marshal())
        if self.reject:
            put_uint(out, 10, 1)
        if self.context:
            put_bytes(out, 12, self.context)
        for response in self.responses:
            put_bytes(out, 14, response.marshal())
        return bytes(out)

    @staticmethod
    def unmarshal(b: bytes) -> "Message":
        """Decode raftpb.Message; raises InvalidMessage."""
        return _message(b, _NESTING_MAX)


_NESTING_MAX: Final = 1  # responses have none themselves; a bound keeps hostile input shallow


def _message(b: bytes, nesting: int) -> Message:
    message = Message()
    for number, value in fields(b):
        match number:
            case 1:
                message.type = _enum(MessageType, value)
            case 7:
                message.entries.append(Entry.unmarshal(as_bytes(value)))
            case 9:
                message.snapshot = Snapshot.unmarshal(as_bytes(value))
            case 10:
                message.reject = as_int(value) != 0
            case 12:
                message.context = as_bytes(value)
            case 14:
                if not nesting:
                    raise InvalidMessage("responses within responses")
                message.responses.append(_message(as_bytes(value), nesting - 1))
            case _ if number in _MESSAGE_INT_NAMES:
                setattr(message, _MESSAGE_INT_NAMES[number], as_int(value))
    return message


@dataclass(slots=True)
class ConfChangeSingle:
    """One step of a ConfChangeV2."""

    type: ConfChangeType = ConfChangeType.ConfChangeAddNode
    node_id: int = 0


@dataclass(slots=True)
class ConfChangeV2:
    """Membership changes that take effect together; the zero value leaves a joint configuration."""

    transition: ConfChangeTransition = ConfChangeTransition.ConfChangeTransitionAuto
    changes: list[ConfChangeSingle] = field(default_factory=list)
    context: bytes = b""

    def as_v2(self) -> "ConfChangeV2":
        """Itself, so that both versions can be treated alike."""
        return self

    def enter_joint(self) -> tuple[bool, bool]:
        """(left automatically, uses a joint configuration)."""
        auto = self.transition == ConfChangeTransition.ConfChangeTransitionAuto
        joint = not auto or len(self.changes) > 1
        explicit = self.transition == ConfChangeTransition.ConfChangeTransitionJointExplicit
        return joint and not explicit, joint

    def leave_joint(self) -> bool:
        """True if this is the empty change that ends a joint configuration."""
        return self.transition == ConfChangeTransition.ConfChangeTransitionAuto and not self.changes

    def marshal(self) -> bytes:
        """Encode as raftpb.ConfChangeV2."""
        out = bytearray()
        if self.transition:
            put_uint(out, 1, self.transition)
        for change in self.changes:
            step = bytearray()
            put_uint(step, 1, change.type)
            put_uint(step, 2, change.node_id)
            put_bytes(out, 2, step)
        if self.context:
            put_bytes(out, 3, self.context)
        return bytes(out)

    @staticmethod
    def unmarshal(b: bytes) -> "ConfChangeV2":
        """Decode raftpb.ConfChangeV2, b"" being the zero value; raises InvalidMessage."""
        change = ConfChangeV2()
        for number, value in fields(b):
            match number:
                case 1:
                    change.transition = _enum(ConfChangeTransition, value)
                case 2:
                    step = ConfChangeSingle()
                    for inner, inner_value in fields(as_bytes(value)):
                        if inner == 1:
                            step.type = _enum(ConfChangeType, inner_value)
                        elif inner == 2:
                            step.node_id = as_int(inner_value)
                    change.changes.append(step)
                case 3:
                    change.context = as_bytes(value)
        return change


@dataclass(slots=True)
class ConfChange:
    """A single membership change in the older encoding; `id` is the application's own."""

    type: ConfChangeType = ConfChangeType.ConfChangeAddNode
    node_id: int = 0
    context: bytes = b""
    id: int = 0

    def as_v2(self) -> ConfChangeV2:
        """The same change as a ConfChangeV2."""
        return ConfChangeV2(
            changes=[ConfChangeSingle(self.type, self.node_id)], context=self.context
        )

    def marshal(self) -> bytes:
        """Encode as raftpb.ConfChange."""
        out = bytearray()
        if self.id:
            put_uint(out, 1, self.id)
        put_uint(out, 2, self.type)
        put_uint(out, 3, self.node_id)
        if self.context:
            put_bytes(out, 4, self.context)
        return bytes(out)

    @staticmethod
    def unmarshal(b: bytes) -> "ConfChange":
        """Decode raftpb.ConfChange; raises InvalidMessage."""
        change = ConfChange()
        for number, value in fields(b):
            match number:
                case 1:
                    change.id = as_int(value)
                case 2:
                    change.type = _enum(ConfChangeType, value)
                case 3:
                    change.node_id = as_int(value)
                case 4:
                    change.context = as_bytes(value)
        return change


def numbered(entries: Sequence[Entry], term: int, first: int) -> list[Entry]:
    """Copies of `entries` with the term, and indexes from `first` on: what a leader appends."""
    # Entry(...) for each takes half as long again, and this is what a large batch mostly costs.
    copies = list(map(Entry.__new__, repeat(Entry, len(entries))))
    index = first
    for copy, e in zip(copies, entries, strict=True):
        copy.term = term
        copy.index = index
        copy.type = e.type
        copy.data = e.data
        index += 1
    return copies


def entry_size(e: Entry) -> int:
    """Encoded bytes of an entry: what size limits on messages and on application count."""
    # As varint_size, without its calls: seven bits a byte, and one byte for 0.
    size = 2 + ((e.term.bit_length() + 6) // 7 or 1) + ((e.index.bit_length() + 6) // 7 or 1)
    if e.type:
        size += 2
    if e.data:
        payload = len(e.data)
        size += 1 + (payload.bit_length() + 6) // 7 + payload
    return size


def has_conf_change(entries: Iterable[Entry]) -> bool:
    """True if any entry is not the application's own."""
    for e in entries:  # noqa: SIM110 - any() takes twice as long, and this is on the hot path
        if e.type:  # EntryNormal is 0
            return True
    return False


def sizes(entries: Sequence[Entry]) -> tuple[int, int]:
    """(bytes of data, encoded bytes) of one or more consecutive entries of a log."""
    if len(entries) == 1:
        return len(entries[0].data), entry_size(entries[0])
    lengths = [len(e.data) for e in entries]
    return sum(lengths), _encoded_size(entries, lengths)


def entries_size(entries: Sequence[Entry]) -> int:
    """Encoded bytes of consecutive entries of a log."""
    return _encoded_size(entries, [len(e.data) for e in entries]) if entries else 0


def _encoded_size(entries: Sequence[Entry], lengths: list[int]) -> int:
    first, last = entries[0], entries[-1]
    shortest, longest = min(lengths), max(lengths)
    if (
        shortest
        and varint_size(shortest) == varint_size(longest)
        # Terms and indexes only grow, so the ends stand for what is between them.
        and varint_size(first.term) == varint_size(last.term)
        and varint_size(first.index) == varint_size(last.index)
        and not has_conf_change(entries)
    ):
        return sum(lengths) + len(entries) * (entry_size(first) - lengths[0])
    return sum(map(entry_size, entries))


def payload_size(e: Entry) -> int:
    """Bytes of an entry's data: what the quota of uncommitted proposals counts."""
    return len(e.data)


def payloads_size(entries: Iterable[Entry]) -> int:
    """Bytes of several entries' data."""
    return sum([len(e.data) for e in entries])


_ENTRY_OVERHEAD_MAX: Final = 35  # type 2, term and index 11 each, data 1 + 10: no entry has more


def limit_size(entries: list[Entry], max_size: int) -> list[Entry]:
    """The longest prefix within `max_size` encoded bytes, at least one entry.

    The result may be `entries` itself.
    """
    if len(entries) < 2 or max_size == NO_LIMIT:
        return entries
    if payloads_size(entries) + _ENTRY_OVERHEAD_MAX * len(entries) <= max_size:
        return entries  # for sure, and cheaper than their exact size
    size = 0
    for count, entry in enumerate(entries):
        size += entry_size(entry)
        if size > max_size and count:
            return entries[:count]
    return entries


LOCAL_MESSAGES: Final = frozenset({
    MessageType.MsgHup, MessageType.MsgBeat, MessageType.MsgUnreachable, MessageType.MsgSnapStatus,
    MessageType.MsgCheckQuorum, MessageType.MsgStorageAppend, MessageType.MsgStorageAppendResp,
    MessageType.MsgStorageApply, MessageType.MsgStorageApplyResp,
})  # fmt: skip
RESPONSE_MESSAGES: Final = frozenset({
    MessageType.MsgAppResp, MessageType.MsgVoteResp, MessageType.MsgHeartbeatResp,
    MessageType.MsgUnreachable, MessageType.MsgReadIndexResp, MessageType.MsgPreVoteResp,
    MessageType.MsgStorageAppendResp, MessageType.MsgStorageApplyResp,
})  # fmt: skip


def is_local_msg(t: MessageType) -> bool:
    """True for messages that must never come from another node."""
    return t in LOCAL_MESSAGES


def is_response_msg(t: MessageType) -> bool:
    """True for messages that answer another one."""
    return t in RESPONSE_MESSAGES


def is_local_msg_target(id: int) -> bool:  # noqa: A002 - the interface's name
    """True for the two storage threads of the asynchronous mode."""
    return id in (LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD)


def is_empty_hard_state(h: HardState | None) -> bool:
    """True if there is nothing to persist."""
    return h is None or not (h.term or h.vote or h.commit)


def is_empty_snap(s: Snapshot | None) -> bool:
    """True for no snapshot and for one at index 0."""
    return s is None or s.metadata.index == 0


def must_sync(st: HardState, prev: HardState, n_entries: int) -> bool:
    """True if the write must be durable before responses go out (raft paper, figure 2)."""
    return n_entries != 0 or st.vote != prev.vote or st.term != prev.term
