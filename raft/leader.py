"""What a leader does: proposals, acknowledgements, reads, transfer.

Source: etcd-io/raft, raft.go.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from .confchange import ConfChangeError, decode
from .config import ReadOnlyOption
from .describe import describe_conf_change
from .errors import ProposalDropped
from .read_index import ReadState
from .replication import bcast_append, bcast_heartbeat, maybe_send_append, tell_commit
from .tracker import PROBE, REPLICATE, SNAPSHOT, Progress
from .types import (
    NONE,
    ConfChangeV2,
    Entry,
    Message,
    MessageType,
    has_conf_change,
)

if TYPE_CHECKING:
    from .core import Raft

Handler = Callable[["Raft", Message], None]


def _from_member(handler: Callable[["Raft", Message, Progress], None]) -> Handler:
    """`handler` with the sender's progress; nothing happens if the sender is no member."""

    def handle(r: "Raft", m: Message) -> None:
        pr = r.tracker.progress.get(m.from_)
        if pr is None:
            r.logger.debug("%x no progress available for %x", r.id, m.from_)
        else:
            handler(r, m, pr)

    return handle


def check_quorum(r: "Raft") -> None:
    """Step down unless a quorum was heard from since the last time (thesis, 6.2)."""
    if not r.tracker.quorum_active():
        r.logger.warning("%x stepped down to follower since quorum is not active", r.id)
        r.become_follower(r.term)
    for _, pr in r.tracker.others(r.id):
        pr.recent_active = False


# --- proposals


def propose(r: "Raft", m: Message) -> None:
    """Append what is proposed and replicate it; raises ProposalDropped."""
    if r.id not in r.tracker.progress:
        raise ProposalDropped  # removed while leading
    if r.lead_transferee != NONE:
        r.logger.debug(
            "%x [term %d] transfer leadership to %x is in progress; dropping proposal",
            r.id, r.term, r.lead_transferee,
        )  # fmt: skip
        raise ProposalDropped
    entries = m.entries
    if has_conf_change(entries):
        # A list of its own: the caller may propose the same message again.
        entries = [
            _admit_conf_change(r, e, offset) if e.type else e
            for offset, e in enumerate(entries, start=1)
        ]
    if not r.append_entries(entries):
        raise ProposalDropped
    bcast_append(r, but=r.spares)


def _admit_conf_change(r: "Raft", e: Entry, offset: int) -> Entry:
    """The entry, or an empty one in its place if the change is not possible now."""
    cc = decode(e.type, e.data).as_v2()
    refusal = "" if r.disable_conf_change_validation else _refusal(r, cc)
    if not refusal:
        r.pending_conf_index = r.log.last_index() + offset
        return e
    r.logger.info(
        "%x ignoring conf change %s at config %s: %s",
        r.id, describe_conf_change(cc), r.tracker.config, refusal,
    )  # fmt: skip
    return Entry()


def _refusal(r: "Raft", cc: ConfChangeV2) -> str:
    """Why a change must not enter the log, "" if it may."""
    if r.pending_conf_index > r.log.applied:
        return (
            f"possible unapplied conf change at index {r.pending_conf_index} "
            f"(applied to {r.log.applied})"
        )
    joint = r.tracker.config.is_joint()
    if joint and cc.changes:
        return "must transition out of joint config first"
    if not joint and not cc.changes:
        return "not in joint state; refusing empty conf change"
    try:
        # No other change is between here and its application, so this is what will happen then:
        # an impossible change would stop every node.
        r.changed_config(cc)
    except ConfChangeError as error:
        return str(error)
    return ""


# --- replication


def _handle_rejection(r: "Raft", m: Message, pr: Progress) -> None:
    r.logger.debug(
        "%x received MsgAppResp(rejected, hint: (index %d, term %d)) from %x for index %d",
        r.id, m.reject_hint, m.log_term, m.from_, m.index,
    )  # fmt: skip
    probe = m.reject_hint
    if m.log_term > 0:
        # The follower's terms up to the hint are at most m.log_term, so where this log's term is
        # higher the two cannot agree: skip to the last entry that may.
        probe, _ = r.log.find_conflict_by_term(m.reject_hint, m.log_term)
    if pr.maybe_decr_to(m.index, probe):
        r.logger.debug("%x decreased progress of %x to [%s]", r.id, m.from_, pr)
        if pr.state is REPLICATE:
            pr.become_probe()
        maybe_send_append(r, m.from_, pr)


def _handle_append_response(r: "Raft", m: Message, pr: Progress) -> None:
    pr.recent_active = True
    if m.reject:
        _handle_rejection(r, m, pr)
        return
    # A repeated acknowledgement still ends probing: the logs do agree there.
    known = m.index == pr.match and pr.state is PROBE
    if not pr.maybe_update(m.index) and not known:
        return
    if pr.state is REPLICATE:
        pr.window().free_le(m.index)
    elif pr.state is PROBE:
        pr.become_replicate()
    elif pr.match + 1 >= r.log.first_index():
        # The log reaches back to the peer, whatever snapshot took it there.
        r.logger.debug(
            "%x recovered from needing snapshot, resumed sending replication messages to %x [%s]",
            r.id, m.from_, pr,
        )  # fmt: skip
        pr.become_replicate()
    committed = r.log.committed
    # What is committed already commits nothing more.
    if pr.match > committed and r.maybe_commit():
        if r.postponed_reads:
            _release_postponed_reads(r)
        if _tells_commits(r, committed):
            bcast_append(r)
    elif m.from_ != r.id and _tells_commits(r, pr.sent_commit):
        # Tell it the commit index now instead of with the next heartbeat.
        tell_commit(r, m.from_, pr)
    if m.from_ == r.id:
        return
    # The window may have room for several messages now.
    last = r.log.unstable.last
    sent_unasked = r.spares.get(m.from_, last)
    while pr.next <= sent_unasked and maybe_send_append(r, m.from_, pr, send_if_empty=False):
        pass
    if m.from_ == r.lead_transferee and pr.match == last:
        r.logger.info("%x sent MsgTimeoutNow to %x after received MsgAppResp", r.id, m.from_)
        r.send(Message(MessageType.MsgTimeoutNow, to=m.from_))


def _tells_commits(r: "Raft", before: int) -> bool:
    """True if peers hear at once that more than `before` is committed.

    Of a configuration change they always do, while this leader is there to tell them: without it,
    they may need the vote of a member that is gone.
    """
    return not r.commits_on_request or before < r.pending_conf_index


def _handle_heartbeat_response(r: "Raft", m: Message, pr: Progress) -> None:
    if m.context:
        r.read_only.receive_ack(m.from_, m.context)
    pr.recent_active = True
    pr.msg_app_flow_paused = False
    # Also if the peer is up to date but being probed: its answer ends the probing.
    if pr.match < r.log.last_index() or pr.state is PROBE:
        maybe_send_append(r, m.from_, pr)
    if m.context:
        for request, index in r.read_only.advance(r.tracker.config.voters):
            _answer_read(r, request, index)


def _handle_snapshot_status(r: "Raft", m: Message, pr: Progress) -> None:
    if pr.state is not SNAPSHOT:
        return
    if m.reject:
        pr.pending_snapshot = 0  # before the probe, which would start after the snapshot
    pr.become_probe()
    r.logger.debug(
        "%x snapshot " + ("failed" if m.reject else "succeeded") + ", resumed sending "
        "replication messages to %x [%s]",
        r.id, m.from_, pr,
    )  # fmt: skip
    # Wait for its acknowledgement, or for the next heartbeat before another try.
    pr.msg_app_flow_paused = True


def _handle_unreachable(r: "Raft", m: Message, pr: Progress) -> None:
    # An append message was probably lost: stop pipelining.
    if pr.state is REPLICATE:
        pr.become_probe()
    r.logger.debug(
        "%x failed to send message to %x because it is unreachable [%s]", r.id, m.from_, pr
    )


# --- reads


def _read(r: "Raft", m: Message) -> None:
    if r.committed_in_current_term():
        _start_read(r, m)
    else:
        # The commit index may still be behind what an earlier leader acknowledged.
        r.postponed_reads.append(m)


def _start_read(r: "Raft", m: Message) -> None:
    voters = r.tracker.config.voters.ids()
    alone = voters == {r.id} or r.read_only.option == ReadOnlyOption.ReadOnlyLeaseBased
    # A leader that was removed may have been replaced by the remaining voters without hearing of
    # it, so it must not answer on its own.
    if alone and r.id in voters:
        _answer_read(r, m, r.log.committed)
        return
    r.read_only.add_request(r.log.committed, m)
    r.read_only.receive_ack(r.id, r.read_only.heartbeat_context())
    bcast_heartbeat(r, but=r.spares)


def _release_postponed_reads(r: "Raft") -> None:
    postponed, r.postponed_reads = r.postponed_reads, []
    for m in postponed:
        _start_read(r, m)


def _answer_read(r: "Raft", request: Message, index: int) -> None:
    if request.from_ in (NONE, r.id):
        r.read_states.append(ReadState(index, request.entries[0].data))
    else:
        r.send(
            Message(
                MessageType.MsgReadIndexResp, to=request.from_, index=index,
                entries=request.entries,
            )
        )  # fmt: skip


# --- transfer of leadership (thesis, 3.10)


def _handle_transfer(r: "Raft", m: Message, pr: Progress) -> None:
    target, previous = m.from_, r.lead_transferee
    if pr.is_learner:
        r.logger.debug("%x is learner. Ignored transferring leadership", r.id)
        return
    if previous == target:
        r.logger.info(
            "%x [term %d] transfer leadership to %x is in progress, ignores request to same "
            "node %x",
            r.id, r.term, target, target,
        )  # fmt: skip
        return
    if previous != NONE:
        r.lead_transferee = NONE
        r.logger.info(
            "%x [term %d] abort previous transferring leadership to %x", r.id, r.term, previous
        )
    if target == r.id:
        r.logger.debug("%x is already leader. Ignored transferring leadership to self", r.id)
        return
    r.logger.info("%x [term %d] starts to transfer leadership to %x", r.id, r.term, target)
    r.election_elapsed = 0  # the transfer has one election timeout from now
    r.lead_transferee = target
    if pr.match == r.log.last_index():
        r.send(Message(MessageType.MsgTimeoutNow, to=target))
        r.logger.info(
            "%x sends MsgTimeoutNow to %x immediately as %x already has up-to-date log",
            r.id, target, target,
        )  # fmt: skip
    else:
        maybe_send_append(r, target, pr)


HANDLERS: Final[dict[MessageType, Handler]] = {
    MessageType.MsgProp: propose,
    MessageType.MsgReadIndex: _read,
    MessageType.MsgAppResp: _from_member(_handle_append_response),
    MessageType.MsgHeartbeatResp: _from_member(_handle_heartbeat_response),
    MessageType.MsgSnapStatus: _from_member(_handle_snapshot_status),
    MessageType.MsgUnreachable: _from_member(_handle_unreachable),
    MessageType.MsgTransferLeader: _from_member(_handle_transfer),
}
