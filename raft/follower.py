"""What a follower does (raft paper, 5.3, and 7 for snapshots). Source: etcd-io/raft, raft.go."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from . import election
from .config import ReadOnlyOption
from .errors import ProposalDropped
from .read_index import ReadState
from .types import NONE, Message, MessageType, Snapshot

if TYPE_CHECKING:
    from .core import Raft


def _forward_proposal(r: "Raft", m: Message) -> None:
    if r.lead == NONE:
        r.logger.info("%x no leader at term %d; dropping proposal", r.id, r.term)
        raise ProposalDropped
    if r.disable_proposal_forwarding:
        r.logger.info(
            "%x not forwarding to leader %x at term %d; dropping proposal", r.id, r.lead, r.term
        )
        raise ProposalDropped
    r.send(Message(m.type, to=r.lead, from_=m.from_, entries=m.entries))


def _forward_transfer(r: "Raft", m: Message) -> None:
    if r.lead == NONE:
        r.logger.info("%x no leader at term %d; dropping leader transfer msg", r.id, r.term)
    else:
        r.send(Message(m.type, to=r.lead, from_=m.from_))


def _forward_read(r: "Raft", m: Message) -> None:
    if r.lead == NONE:
        r.logger.info("%x no leader at term %d; dropping index reading msg", r.id, r.term)
    else:
        r.send(Message(m.type, to=r.lead, from_=m.from_, entries=m.entries))


def _take_read(r: "Raft", m: Message) -> None:
    if len(m.entries) == 1:
        r.read_states.append(ReadState(m.index, m.entries[0].data))
    else:
        r.logger.error(
            "%x invalid format of MsgReadIndexResp from %x, entries count: %d",
            r.id, m.from_, len(m.entries),
        )  # fmt: skip


def _take_over(r: "Raft", m: Message) -> None:
    r.logger.info(
        "%x [term %d] received MsgTimeoutNow from %x and starts an election to get leadership.",
        r.id, r.term, m.from_,
    )  # fmt: skip
    # No pre-vote: the leader itself asks for this election.
    election.hup(r, election.Campaign.TRANSFER)


def _forget_leader(r: "Raft", _: Message) -> None:
    if r.read_only.option == ReadOnlyOption.ReadOnlyLeaseBased:
        r.logger.error("ignoring MsgForgetLeader due to ReadOnlyLeaseBased")
    elif r.lead != NONE:
        r.logger.info("%x forgetting leader %x at term %d", r.id, r.lead, r.term)
        r.lead = NONE


def _handle_append(r: "Raft", m: Message) -> None:
    r.election_elapsed = 0
    r.lead = m.from_
    log = r.log
    if m.index < log.committed:
        r.acknowledge(m.from_, log.committed)
        return
    last_new = log.maybe_append(m.index, m.log_term, m.commit, m.entries)
    if last_new is not None:
        r.acknowledge(m.from_, last_new)
        return
    r.logger.debug(
        "%x [logterm: %d, index: %d] rejected MsgApp [logterm: %d, index: %d] from %x",
        r.id, log.term_or_zero(m.index), m.index, m.log_term, m.index, m.from_,
    )  # fmt: skip
    # The leader's log has no term above m.log_term up to m.index, so entries of higher terms here
    # cannot agree with it: hint at the last one that may, to skip the others in one step.
    hint, hint_term = log.find_conflict_by_term(min(m.index, log.last_index()), m.log_term)
    r.send(
        Message(
            MessageType.MsgAppResp, to=m.from_, index=m.index, reject=True, reject_hint=hint,
            log_term=hint_term,
        )
    )  # fmt: skip


def _handle_heartbeat(r: "Raft", m: Message) -> None:
    r.election_elapsed = 0
    r.lead = m.from_
    r.log.commit_to(m.commit)
    r.send(Message(MessageType.MsgHeartbeatResp, to=m.from_, context=m.context))


def _handle_snapshot(r: "Raft", m: Message) -> None:
    r.election_elapsed = 0
    r.lead = m.from_
    snapshot = m.snapshot or Snapshot()
    index, term = snapshot.metadata.index, snapshot.metadata.term
    restored = _restore(r, snapshot)
    r.logger.info(
        "%x [commit: %d] " + ("restored" if restored else "ignored") + " snapshot "
        "[index: %d, term: %d]",
        r.id, r.log.committed, index, term,
    )  # fmt: skip
    r.acknowledge(m.from_, r.log.last_index() if restored else r.log.committed)


def _restore(r: "Raft", snapshot: Snapshot) -> bool:
    """Start over from a snapshot; False if the log is further already or it is not for us."""
    meta = snapshot.metadata
    if meta.index <= r.log.committed:
        return False
    conf_state = meta.conf_state
    members = {*conf_state.voters, *conf_state.learners, *conf_state.voters_outgoing}
    if r.id not in members:
        r.logger.warning(
            "%x attempted to restore snapshot but it is not in the ConfState %s; "
            "should never happen",
            r.id, conf_state,
        )  # fmt: skip
        return False
    if r.log.match_term(meta.index, meta.term):
        r.logger.info(
            "%x [commit: %d, lastindex: %d, lastterm: %d] fast-forwarded commit to snapshot "
            "[index: %d, term: %d]",
            r.id, r.log.committed, r.log.last_index(), r.log.last_term(), meta.index, meta.term,
        )  # fmt: skip
        r.log.commit_to(meta.index)
        return False
    r.log.restore(snapshot)
    r.restore_config(conf_state, r.log.last_index())
    r.logger.info(
        "%x [commit: %d, lastindex: %d, lastterm: %d] restored snapshot [index: %d, term: %d]",
        r.id, r.log.committed, r.log.last_index(), r.log.last_term(), meta.index, meta.term,
    )  # fmt: skip
    return True


HANDLERS: Final[dict[MessageType, Callable[["Raft", Message], None]]] = {
    MessageType.MsgApp: _handle_append,
    MessageType.MsgHeartbeat: _handle_heartbeat,
    MessageType.MsgSnap: _handle_snapshot,
    MessageType.MsgProp: _forward_proposal,
    MessageType.MsgReadIndex: _forward_read,
    MessageType.MsgReadIndexResp: _take_read,
    MessageType.MsgTransferLeader: _forward_transfer,
    MessageType.MsgTimeoutNow: _take_over,
    MessageType.MsgForgetLeader: _forget_leader,
}
