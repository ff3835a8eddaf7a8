"""Raft consensus without I/O: a node is fed messages and ticks and hands out work."""

from . import confchange, quorum, tracker
from .config import Config, Logger, ReadOnlyOption
from .describe import (
    EntryFormatter,
    describe_conf_change,
    describe_conf_state,
    describe_entries,
    describe_entry,
    describe_hard_state,
    describe_message,
    describe_ready,
    describe_snapshot,
    describe_soft_state,
)
from .errors import (
    ErrCompacted,
    ErrSnapOutOfDate,
    ErrSnapshotTemporarilyUnavailable,
    ErrUnavailable,
    InvalidMessage,
    ProposalDropped,
    RaftError,
    RaftPanic,
    StepLocalMsg,
    StepPeerNotFound,
    StorageError,
    UnsafeMessage,
)
from .rawnode import (
    BasicStatus,
    DebugState,
    Peer,
    ProgressType,
    RawNode,
    Ready,
    SnapshotStatus,
    SoftState,
    Status,
)
from .read_index import ReadState
from .storage import MemoryStorage, Storage
from .types import (
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
    Message,
    MessageType,
    Snapshot,
    SnapshotMetadata,
    StateType,
    entry_size,
    is_empty_hard_state,
    is_empty_snap,
    is_local_msg,
    is_local_msg_target,
    is_response_msg,
    must_sync,
    payload_size,
)

__all__ = [
    "LOCAL_APPEND_THREAD", "LOCAL_APPLY_THREAD", "NONE", "NO_LIMIT", "BasicStatus", "ConfChange",
    "ConfChangeSingle", "ConfChangeTransition", "ConfChangeType", "ConfChangeV2", "ConfState",
    "Config", "DebugState", "Entry", "EntryFormatter", "EntryType", "ErrCompacted",
    "ErrSnapOutOfDate", "ErrSnapshotTemporarilyUnavailable", "ErrUnavailable", "HardState",
    "InvalidMessage", "Logger", "MemoryStorage", "Message", "MessageType", "Peer", "ProgressType",
    "ProposalDropped", "RaftError", "RaftPanic", "RawNode", "ReadOnlyOption", "ReadState", "Ready",
    "Snapshot", "SnapshotMetadata", "SnapshotStatus", "SoftState", "StateType", "Status",
    "StepLocalMsg", "StepPeerNotFound", "Storage", "StorageError", "UnsafeMessage", "confchange",
    "describe_conf_change", "describe_conf_state", "describe_entries", "describe_entry",
    "describe_hard_state", "describe_message", "describe_ready", "describe_snapshot",
    "describe_soft_state", "entry_size", "is_empty_hard_state", "is_empty_snap", "is_local_msg",
    "is_local_msg_target", "is_response_msg", "must_sync", "payload_size", "quorum", "tracker",
]  # fmt: skip
