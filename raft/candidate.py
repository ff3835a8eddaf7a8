"""What a candidate does while it waits for votes (raft paper, 5.2).

Source: etcd-io/raft, raft.go.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from . import election, follower, replication
from .errors import ProposalDropped
from .quorum import VoteResult
from .types import Message, MessageType

if TYPE_CHECKING:
    from .core import Raft


def _drop_proposal(r: "Raft", _: Message) -> None:
    r.logger.info("%x no leader at term %d; dropping proposal", r.id, r.term)
    raise ProposalDropped


def _concede(r: "Raft", m: Message) -> None:
    r.become_follower(m.term)
    follower.HANDLERS[m.type](r, m)


def _ignore_timeout(r: "Raft", m: Message) -> None:
    r.logger.debug(
        "%x [term %d state %s] ignored MsgTimeoutNow from %x", r.id, r.term, r.state.name, m.from_
    )


def _count_vote(r: "Raft", m: Message) -> None:
    rejection = " rejection" if m.reject else ""
    r.logger.info(
        "%x received %s%s from %x at term %d", r.id, m.type.name, rejection, m.from_, r.term
    )
    r.tracker.record_vote(m.from_, not m.reject)
    granted, rejected, result = r.tracker.tally_votes()
    r.logger.info(
        "%x has received %d %s votes and %d vote rejections",
        r.id, granted, m.type.name, rejected,
    )  # fmt: skip
    # A change applied during the campaign may have removed this node: it must not lead then.
    if result == VoteResult.VoteLost or (
        result == VoteResult.VoteWon and r.id not in r.tracker.progress
    ):
        r.become_follower(r.term)
    elif result == VoteResult.VoteWon and m.type == MessageType.MsgPreVoteResp:
        election.campaign(r, election.Campaign.ELECTION)
    elif result == VoteResult.VoteWon:
        r.become_leader()
        replication.bcast_append(r)


# A candidate ignores late answers to its pre-vote, and the other way round.
PRE_HANDLERS: Final[dict[MessageType, Callable[["Raft", Message], None]]] = {
    MessageType.MsgProp: _drop_proposal,
    MessageType.MsgApp: _concede,
    MessageType.MsgHeartbeat: _concede,
    MessageType.MsgSnap: _concede,
    MessageType.MsgTimeoutNow: _ignore_timeout,
    MessageType.MsgPreVoteResp: _count_vote,
}
HANDLERS: Final = {
    kind: handler for kind, handler in PRE_HANDLERS.items() if kind != MessageType.MsgPreVoteResp
} | {MessageType.MsgVoteResp: _count_vote}
