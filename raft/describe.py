"""Texts for people: what is in a Ready, a message, an entry. Source: etcd-io/raft, util.go."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .errors import InvalidMessage
from .types import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    NONE,
    ConfChange,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    Snapshot,
    is_empty_hard_state,
    is_empty_snap,
)

if TYPE_CHECKING:
    from .rawnode import Ready, SoftState

EntryFormatter = Callable[[bytes], str]

_TARGETS = {NONE: "None", LOCAL_APPEND_THREAD: "AppendThread", LOCAL_APPLY_THREAD: "ApplyThread"}
_CHANGE_LETTERS = {
    ConfChangeType.ConfChangeAddNode: "v",
    ConfChangeType.ConfChangeRemoveNode: "r",
    ConfChangeType.ConfChangeUpdateNode: "u",
    ConfChangeType.ConfChangeAddLearnerNode: "l",
}
_ESCAPES = {
    '"': '\\"', "\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r",
    "\t": "\\t", "\v": "\\v",
}  # fmt: skip


def _quote_char(c: str) -> str:
    if c in _ESCAPES:
        return _ESCAPES[c]
    if c.isprintable():
        return c
    code = ord(c)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(data: bytes) -> str:
    """Bytes as a double-quoted literal, escaped as by Go's %q."""
    text = data.decode("utf8", "surrogateescape")
    return f'"{"".join(map(_quote_char, text))}"'


def _ids(ids: Iterable[int]) -> str:
    return f"[{' '.join(map(str, ids))}]"


def _bool(value: bool) -> str:
    return "true" if value else "false"


def describe_hard_state(h: HardState) -> str:
    """Term, vote and commit index on one line."""
    vote = f" Vote:{h.vote}" if h.vote else ""
    return f"Term:{h.term}{vote} Commit:{h.commit}"


def describe_soft_state(s: "SoftState") -> str:
    """Leader and role on one line."""
    return f"Lead:{s.lead} State:{s.raft_state.name}"


def describe_conf_state(c: ConfState) -> str:
    """A configuration on one line."""
    return (
        f"Voters:{_ids(c.voters)} VotersOutgoing:{_ids(c.voters_outgoing)} "
        f"Learners:{_ids(c.learners)} LearnersNext:{_ids(c.learners_next)} "
        f"AutoLeave:{_bool(c.auto_leave)}"
    )


def describe_snapshot(s: Snapshot) -> str:
    """A snapshot's metadata on one line."""
    meta = s.metadata
    conf_state = describe_conf_state(meta.conf_state)
    return f"Index:{meta.index} Term:{meta.term} ConfState:{conf_state}"


def describe_conf_change(c: ConfChange | ConfChangeV2) -> str:
    """A membership change on one line."""
    change = c.as_v2()
    parts = [f"transition:{change.transition.name}"]
    parts += [f"changes:{{type:{s.type.name} node_id:{s.node_id}}}" for s in change.changes]
    if change.context:
        parts.append(f"context:{quote(change.context)}")
    return " ".join(parts)


def _changes(e: Entry) -> str:
    kind = ConfChange if e.type == EntryType.EntryConfChange else ConfChangeV2
    try:
        change = kind.unmarshal(e.data).as_v2()
    except InvalidMessage as error:
        return str(error)
    return " ".join(f"{_CHANGE_LETTERS[s.type]}{s.node_id}" for s in change.changes)


def describe_entry(e: Entry, f: EntryFormatter | None = None) -> str:
    """An entry on one line; `f` formats the data, Go's %q by default."""
    text = (f or quote)(e.data) if e.type == EntryType.EntryNormal else _changes(e)
    return f"{e.term}/{e.index} {e.type.name}{' ' + text if text else ''}"


def describe_entries(es: Iterable[Entry], f: EntryFormatter | None = None) -> str:
    """Entries, each with a newline after it."""
    return "".join(describe_entry(e, f) + "\n" for e in es)


def describe_message(m: Message, f: EntryFormatter | None = None) -> str:
    """A message, on several lines if it has several entries, a snapshot or responses."""
    return _message(m, f, "")


def _target(id_: int) -> str:
    return _TARGETS.get(id_) or f"{id_:x}"


def _message(m: Message, f: EntryFormatter | None, indent: str) -> str:
    text = (
        f"{indent}{_target(m.from_)}->{_target(m.to)} {m.type.name} Term:{m.term} "
        f"Log:{m.log_term}/{m.index}"
    )
    if m.reject:
        text += f" Rejected (Hint: {m.reject_hint})"
    if m.commit:
        text += f" Commit:{m.commit}"
    if m.vote:
        text += f" Vote:{m.vote}"
    if len(m.entries) == 1:
        text += f" Entries:[{describe_entry(m.entries[0], f)}]"
    elif m.entries:
        lines = "".join(f"\n{indent}  {describe_entry(e, f)}" for e in m.entries)
        text += f" Entries:[{lines}\n{indent}]"
    if m.snapshot is not None and not is_empty_snap(m.snapshot):
        text += f"\n{indent}  Snapshot: {describe_snapshot(m.snapshot)}"
    if m.responses:
        lines = "".join("\n" + _message(r, f, indent + "  ") for r in m.responses)
        text += f" Responses:[{lines}\n{indent}]"
    return text


def describe_ready(rd: "Ready", f: EntryFormatter | None = None) -> str:
    """Everything in a Ready, one line each; "<empty Ready>" if there is nothing."""
    text = ""
    if rd.soft_state is not None:
        text += describe_soft_state(rd.soft_state) + "\n"
    if rd.hard_state is not None and not is_empty_hard_state(rd.hard_state):
        text += f"HardState {describe_hard_state(rd.hard_state)}\n"
    if rd.read_states:
        reads = " ".join(f"{{{s.index} {_ids(s.request_ctx)}}}" for s in rd.read_states)
        text += f"ReadStates [{reads}]\n"
    if rd.entries:
        text += "Entries:\n" + describe_entries(rd.entries, f)
    if rd.snapshot is not None and not is_empty_snap(rd.snapshot):
        text += f"Snapshot {describe_snapshot(rd.snapshot)}\n"
    if rd.committed_entries:
        text += "CommittedEntries:\n" + describe_entries(rd.committed_entries, f)
    if rd.messages:
        text += "Messages:\n" + "".join(describe_message(m, f) + "\n" for m in rd.messages)
    return f"Ready MustSync={_bool(rd.must_sync)}:\n{text}" if text else "<empty Ready>"
