"""The guard at the door: what `RawNode.step` refuses before it can do harm.

A peer is trusted to follow the protocol, not to be free of bugs or of bit flips. Nothing it sends
may stop this node, so whatever would lead into an impossible state is refused here, before any
state is changed; the caller drops the message and counts it.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .confchange import Changer, ConfChangeError, decode, restore
from .errors import InvalidMessage, StepLocalMsg, StepPeerNotFound, UnknownEntry, UnsafeMessage
from .tracker import ProgressTracker
from .types import (
    LOCAL_APPLY_THREAD,
    LOCAL_MESSAGES,
    NONE,
    RESPONSE_MESSAGES,
    Entry,
    EntryType,
    Message,
    MessageType,
    Snapshot,
    StateType,
    has_conf_change,
)

if TYPE_CHECKING:
    from .core import Raft

_NUMBER_MAX: Final = 2**63  # of terms and indexes: half of 64 bits, so that counting on stays safe
_FROM_STORAGE: Final = frozenset(
    {MessageType.MsgStorageAppendResp, MessageType.MsgStorageApplyResp}
)
_REQUESTS: Final = frozenset({
    MessageType.MsgApp, MessageType.MsgSnap, MessageType.MsgHeartbeat, MessageType.MsgVote,
    MessageType.MsgPreVote,
})  # fmt: skip
# What a node may hear from itself: its own votes and acknowledgements, and what was forwarded on
# its behalf and came back because it leads now.
_FROM_ITSELF: Final = frozenset({
    MessageType.MsgAppResp, MessageType.MsgVoteResp, MessageType.MsgPreVoteResp,
    MessageType.MsgProp, MessageType.MsgReadIndex, MessageType.MsgTransferLeader,
})  # fmt: skip


def check(r: "Raft", m: Message) -> None:
    """Raise StepLocalMsg, StepPeerNotFound, InvalidMessage or UnsafeMessage, or do nothing."""
    kind = m.type
    if not isinstance(kind, MessageType):
        raise InvalidMessage(f"unknown message type {kind!r}")
    try:
        bits = m.term | m.log_term | m.index | m.commit | m.reject_hint
        if not 0 <= bits < _NUMBER_MAX or (m.from_ | m.to | m.vote) >> 64:
            raise InvalidMessage(
                f"number out of range in {kind.name} from {m.from_}: term {m.term}, log term "
                f"{m.log_term}, index {m.index}, commit {m.commit}, hint {m.reject_hint}"
            )
        if m.from_ < LOCAL_APPLY_THREAD:
            if kind in LOCAL_MESSAGES:
                raise StepLocalMsg
            if kind in RESPONSE_MESSAGES:
                if m.from_ not in r.tracker.progress:
                    raise StepPeerNotFound
            elif kind in _REQUESTS and (m.term == 0 or m.from_ == NONE):
                raise _wrong_sender(r, m)
            if m.from_ == r.id and (m.reject or kind not in _FROM_ITSELF):
                raise _wrong_sender(r, m)
        elif kind not in _FROM_STORAGE:
            raise StepLocalMsg if kind in LOCAL_MESSAGES else _wrong_sender(r, m)
        check_content = _CONTENT.get(kind)
        if check_content is not None:
            check_content(r, m)
    except (TypeError, AttributeError) as error:
        raise InvalidMessage(f"malformed {kind.name}: {error}") from error


def _wrong_sender(r: "Raft", m: Message) -> InvalidMessage:
    return InvalidMessage(f"{m.type.name} from {m.from_:x} to {r.id:x} at term {m.term}")


def _check_append_response(r: "Raft", m: Message) -> None:
    last = r.log.unstable.last
    if m.index > last and not m.reject and m.term in (0, r.term):
        refused = UnknownEntry if r.state is StateType.StateLeader else InvalidMessage
        raise refused(f"{m.from_:x} acknowledges index {m.index}, last index is {last}")


def _check_heartbeat(r: "Raft", m: Message) -> None:
    last = r.log.unstable.last
    if m.commit > last and m.term >= r.term:
        raise UnsafeMessage(
            f"tocommit({m.commit}) is out of range [lastIndex({last})]. "
            "Was the raft log corrupted, truncated, or lost?"
        )


def _check_proposal(r: "Raft", m: Message) -> None:
    if not m.entries:
        raise InvalidMessage(f"{r.id:x} stepped empty MsgProp")
    if has_conf_change(m.entries):
        for e in m.entries:
            _check_entry(e)


def _check_read(_: "Raft", m: Message) -> None:
    if len(m.entries) != 1:
        raise InvalidMessage(f"MsgReadIndex with {len(m.entries)} entries, not 1")


def _check_storage_response(r: "Raft", m: Message) -> None:
    written = m.snapshot.metadata.index if m.snapshot else 0
    applied = m.entries[-1].index if m.entries else 0
    if max(written, applied) > r.log.committed:
        raise InvalidMessage(
            f"{m.type.name} for index {max(written, applied)}, committed is {r.log.committed}"
        )


def _check_entry(e: Entry) -> None:
    if e.type == EntryType.EntryNormal:
        return
    if not isinstance(e.type, EntryType):
        raise InvalidMessage(f"unknown entry type {e.type!r}")
    decode(e.type, e.data)


def _check_append(_: "Raft", m: Message) -> None:
    """Entries follow one another, and terms never fall nor exceed the sender's."""
    index, term = m.index, m.log_term
    for e in m.entries:
        index += 1
        if e.index != index or e.term < term:
            raise InvalidMessage(
                f"leader term {m.term}: entries {term}/{index - 1} and {e.term}/{e.index} "
                "not consistent"
            )
        term = e.term
        if e.type:
            _check_entry(e)
    if term > m.term:
        raise InvalidMessage(f"leader term {m.term}: entry {term}/{index} has a newer term")


def _check_snapshot(_: "Raft", m: Message) -> None:
    meta = (m.snapshot or Snapshot()).metadata
    if not 0 <= meta.index < _NUMBER_MAX or not 0 <= meta.term <= m.term:
        raise InvalidMessage(f"leader term {m.term}: snapshot {meta.term}/{meta.index}")
    tracker = ProgressTracker(max_inflight=1)
    try:
        tracker.config, _progress = restore(Changer(tracker, meta.index), meta.conf_state)
    except ConfChangeError as error:
        raise InvalidMessage(f"snapshot with config {meta.conf_state}: {error}") from error
    if not tracker.conf_state().equivalent(meta.conf_state):
        raise InvalidMessage(
            f"snapshot with config {meta.conf_state}, of which {tracker.conf_state()} is possible"
        )


_CONTENT: Final[dict[MessageType, Callable[["Raft", Message], None]]] = {
    MessageType.MsgApp: _check_append,
    MessageType.MsgAppResp: _check_append_response,
    MessageType.MsgHeartbeat: _check_heartbeat,
    MessageType.MsgSnap: _check_snapshot,
    MessageType.MsgProp: _check_proposal,
    MessageType.MsgReadIndex: _check_read,
    MessageType.MsgStorageAppendResp: _check_storage_response,
    MessageType.MsgStorageApplyResp: _check_storage_response,
}
