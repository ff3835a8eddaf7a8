"""Campaigns and votes (raft paper, 5.2 and 5.4.1; thesis, 9.6 for pre-vote and 3.10 for transfer).

Source: etcd-io/raft, raft.go.
"""

from enum import Enum, auto
from typing import TYPE_CHECKING, Final

from .types import NONE, EntryType, Message, MessageType, StateType

if TYPE_CHECKING:
    from .core import Raft

TRANSFER_CONTEXT: Final = b"CampaignTransfer"  # marks votes that may break a leader's lease


class Campaign(Enum):
    """Why a node campaigns."""

    PRE_ELECTION = auto()
    ELECTION = auto()
    TRANSFER = auto()


def timeout_campaign(r: "Raft") -> Campaign:
    """The campaign that an election timeout starts."""
    return Campaign.PRE_ELECTION if r.pre_vote else Campaign.ELECTION


def hup(r: "Raft", kind: Campaign) -> None:
    """Campaign, unless this node leads already or must not lead."""
    if r.state == StateType.StateLeader:
        r.logger.debug("%x ignoring MsgHup because already leader", r.id)
    elif not r.promotable():
        r.logger.warning("%x is unpromotable and can not campaign", r.id)
    elif _has_unapplied_conf_changes(r):
        r.logger.warning(
            "%x cannot campaign at term %d since there are still pending configuration changes "
            "to apply",
            r.id, r.term,
        )  # fmt: skip
    else:
        r.logger.info("%x is starting a new election at term %d", r.id, r.term)
        campaign(r, kind)


def _has_unapplied_conf_changes(r: "Raft") -> bool:
    log = r.log
    pages = log.scan(log.applied + 1, log.committed + 1, log.max_applying_size)
    return any(e.type != EntryType.EntryNormal for page in pages for e in page)


def campaign(r: "Raft", kind: Campaign) -> None:
    """Ask all voters for their votes, or pre-votes."""
    if kind is Campaign.PRE_ELECTION:
        r.become_pre_candidate()
        request, response = MessageType.MsgPreVote, MessageType.MsgPreVoteResp
        term = r.term + 1
    else:
        r.become_candidate()
        request, response = MessageType.MsgVote, MessageType.MsgVoteResp
        term = r.term
    context = TRANSFER_CONTEXT if kind is Campaign.TRANSFER else b""
    last, last_term = r.log.last_index(), r.log.last_term()
    for id_ in r.tracker.voter_nodes():
        if id_ == r.id:
            # One's own vote counts once it is durable, like everybody's.
            r.send(Message(response, to=id_, term=term))
            continue
        r.logger.info(
            "%x [logterm: %d, index: %d] sent %s request to %x at term %d",
            r.id, last_term, last, request.name, id_, r.term,
        )  # fmt: skip
        r.send(Message(request, to=id_, term=term, index=last, log_term=last_term, context=context))


def handle_vote(r: "Raft", m: Message) -> None:
    """Answer a request for a vote or a pre-vote.

    Learners vote too: one may have become a voter without knowing it yet.
    """
    can_vote = (
        r.vote == m.from_  # a repetition
        or (r.vote == NONE and r.lead == NONE)
        or (m.type == MessageType.MsgPreVote and m.term > r.term)
    )
    is_pre_vote = m.type == MessageType.MsgPreVote
    response = MessageType.MsgPreVoteResp if is_pre_vote else MessageType.MsgVoteResp
    if not can_vote or not r.log.is_up_to_date(m.index, m.log_term):
        log_vote_rejection(r, m)
        # Before its first term, started from a snapshot, a node has no term to answer with.
        if r.term:
            r.send(Message(response, to=m.from_, term=r.term, reject=True))
        return
    r.logger.info(
        "%x [logterm: %d, index: %d, vote: %x] cast %s for %x [logterm: %d, index: %d] at term %d",
        r.id, r.log.last_term(), r.log.last_index(), r.vote, m.type.name, m.from_, m.log_term,
        m.index, r.term,
    )  # fmt: skip
    # The term of the request: a granted pre-vote is for a term that this node is not in.
    r.send(Message(response, to=m.from_, term=m.term))
    if not is_pre_vote:
        r.election_elapsed = 0
        r.vote = m.from_


def log_vote_rejection(r: "Raft", m: Message) -> None:
    """Say why a vote was refused."""
    r.logger.info(
        "%x [logterm: %d, index: %d, vote: %x] rejected %s from %x "
        "[logterm: %d, index: %d] at term %d",
        r.id, r.log.last_term(), r.log.last_index(), r.vote, m.type.name, m.from_, m.log_term,
        m.index, r.term,
    )  # fmt: skip
