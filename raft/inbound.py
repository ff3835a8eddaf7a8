"""The guard at the door: what `RawNode.step` refuses before it can do harm.

A peer is trusted to follow the protocol, not to be free of bugs or of bit flips. Nothing it sends
may stop this node, so whatever would lead into an impossible state is refused here, before any
state is changed; the caller drops the message and counts it.
"""

from typing import TYPE_CHECKING, Final

from .confchange import Changer, ConfChangeError, restore
from .errors import InvalidMessage, StepLocalMsg, StepPeerNotFound, UnsafeMessage
from .leader import decode_conf_change
from .tracker import ProgressTracker
from .types import (
    NONE,
    Entry,
    EntryType,
    Message,
    MessageType,
    Snapshot,
    is_local_msg,
    is_local_msg_target,
    is_response_msg,
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
    if not isinstance(m.type, MessageType):
        raise InvalidMessage(f"unknown message type {m.type!r}")
    local = is_local_msg_target(m.from_)
    if is_local_msg(m.type) and not (local and m.type in _FROM_STORAGE):
        raise StepLocalMsg
    if is_response_msg(m.type) and not local and m.from_ not in r.tracker.progress:
        raise StepPeerNotFound
    try:
        _check_numbers(r, m)
        _check_content(r, m)
    except (TypeError, AttributeError) as error:
        raise InvalidMessage(f"malformed {m.type.name}: {error}") from error


def _check_numbers(r: "Raft", m: Message) -> None:
    bits = m.term | m.log_term | m.index | m.commit | m.reject_hint
    if not 0 <= bits < _NUMBER_MAX or (m.from_ | m.to | m.vote) >> 64:
        raise InvalidMessage(
            f"number out of range in {m.type.name} from {m.from_}: term {m.term}, log term "
            f"{m.log_term}, index {m.index}, commit {m.commit}, hint {m.reject_hint}"
        )
    wrong_request = m.type in _REQUESTS and (m.term == 0 or m.from_ == NONE)
    from_itself = m.from_ == r.id and (m.reject or m.type not in _FROM_ITSELF)
    if wrong_request or from_itself:
        raise InvalidMessage(f"{m.type.name} from {m.from_:x} to {r.id:x} at term {m.term}")


def _check_content(r: "Raft", m: Message) -> None:
    match m.type:
        case MessageType.MsgApp:
            _check_append(m)
        case MessageType.MsgAppResp:
            last = r.log.last_index()
            if not m.reject and m.term in (0, r.term) and m.index > last:
                raise InvalidMessage(
                    f"{m.from_:x} acknowledges index {m.index}, last index is {last}"
                )
        case MessageType.MsgHeartbeat:
            last = r.log.last_index()
            if m.term >= r.term and m.commit > last:
                raise UnsafeMessage(
                    f"tocommit({m.commit}) is out of range [lastIndex({last})]. "
                    "Was the raft log corrupted, truncated, or lost?"
                )
        case MessageType.MsgSnap:
            _check_snapshot(m, m.snapshot or Snapshot())
        case MessageType.MsgProp:
            if not m.entries:
                raise InvalidMessage(f"{r.id:x} stepped empty MsgProp")
            for e in m.entries:
                _check_entry(e)
        case MessageType.MsgReadIndex:
            if len(m.entries) != 1:
                raise InvalidMessage(f"MsgReadIndex with {len(m.entries)} entries, not 1")
        case MessageType.MsgStorageAppendResp | MessageType.MsgStorageApplyResp:
            written = m.snapshot.metadata.index if m.snapshot else 0
            applied = m.entries[-1].index if m.entries else 0
            if max(written, applied) > r.log.committed:
                raise InvalidMessage(
                    f"{m.type.name} for index {max(written, applied)}, "
                    f"committed is {r.log.committed}"
                )


def _check_entry(e: Entry) -> None:
    if e.type == EntryType.EntryNormal:
        return
    if not isinstance(e.type, EntryType):
        raise InvalidMessage(f"unknown entry type {e.type!r}")
    decode_conf_change(e)


def _check_append(m: Message) -> None:
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
        _check_entry(e)
    if term > m.term:
        raise InvalidMessage(f"leader term {m.term}: entry {term}/{index} has a newer term")


def _check_snapshot(m: Message, snapshot: Snapshot) -> None:
    meta = snapshot.metadata
    if not 0 <= meta.index < _NUMBER_MAX or not 0 <= meta.term <= m.term:
        raise InvalidMessage(f"leader term {m.term}: snapshot {meta.term}/{meta.index}")
    tracker = ProgressTracker(max_inflight=1)
    try:
        tracker.config, _ = restore(Changer(tracker, meta.index), meta.conf_state)
    except ConfChangeError as error:
        raise InvalidMessage(f"snapshot with config {meta.conf_state}: {error}") from error
    if not tracker.conf_state().equivalent(meta.conf_state):
        raise InvalidMessage(
            f"snapshot with config {meta.conf_state}, of which {tracker.conf_state()} is possible"
        )
