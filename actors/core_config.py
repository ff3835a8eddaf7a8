"""How the core is set up, and what it may be asked."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ..config import limits
from ..raft import (
    ConfChangeV2,
    Config,
    Entry,
    EntryType,
    Message,
    MessageType,
    StateType,
    Status,
)
from ..transport.codec import CodecError, pack
from .entries import FORCE
from .log_tail import LogTail

TERMLESS = (MessageType.MsgProp, MessageType.MsgReadIndex)
"""What peers send without a term: what their clients asked."""


ROLES = {
    StateType.StateFollower: "follower",
    StateType.StateCandidate: "candidate",
    StateType.StateLeader: "leader",
    StateType.StatePreCandidate: "candidate",
}
"""As clients are told."""


class CoreSettings(NamedTuple):
    """What the core needs to know of the configuration."""

    member_id: int
    heartbeat_s: float
    election_ticks: int
    bootstrap: tuple[tuple[int, str, str], ...]
    """(id, name, peer endpoint) of every member, as configured: those of a new cluster."""
    log_limits: limits.LogLimits = limits.LogLimits()
    force_new_cluster: bool = False
    """Drop all other members at this start."""


def raft_config(
    settings: CoreSettings, tail: LogTail, applied: int, rand: Callable[[int], int]
) -> Config:
    """What raft is told (etcd: bootstrapRaft)."""
    return Config(
        id=settings.member_id,
        election_tick=settings.election_ticks,
        heartbeat_tick=1,
        storage=tail,
        applied=applied,
        async_storage_writes=True,
        max_size_per_msg=limits.MSG_APP_BYTES_MAX,
        max_committed_size_per_ready=limits.COMMITTED_BYTES_PER_READY,
        max_uncommitted_entries_size=limits.UNCOMMITTED_BYTES_MAX,
        max_inflight_msgs=limits.INFLIGHT_MESSAGES_MAX,
        max_inflight_bytes=limits.INFLIGHT_BYTES_MAX,
        check_quorum=True,
        pre_vote=True,
        step_down_on_removal=True,
        commits_on_request=True,
        rand=rand,
    )


def check_envelope(m: Message, ends: tuple[int, int], snapshot: str) -> None:
    """What the link, from one of `ends` to the other, knows of a message must agree with it; raises
    CodecError."""
    peer, member_id = ends
    if m.from_ != peer or m.to != member_id:
        raise CodecError(f"message from {m.from_} to {m.to} on the link from {peer}")
    # Term 0 marks what a core tells itself; of peers' messages only these two have no term.
    if not m.term and m.type not in TERMLESS:
        raise CodecError(f"{m.type.name} without a term")
    named = m.snapshot.data.decode(errors="replace") if m.snapshot else ""
    if named != snapshot or (m.type is MessageType.MsgSnap and not snapshot):
        raise CodecError(f"{m.type.name} names snapshot {named!r}, here is {snapshot!r}")


def tell_of_other_members(log: Any, members: Any, bootstrap: Any) -> None:
    """What the configuration says of the members holds for the first start of a cluster only; who
    has changed it since should know."""
    logged = {m[0]: m[2][0] for m in members}
    configured = {member: peer for member, _, peer in bootstrap}
    if logged and configured and logged != configured:
        log.warning(
            "members configured otherwise, the log's count", log=logged, configured=configured
        )


def forced(member_id: int, term: int, last: int) -> Entry:
    """The entry behind the last that drops all members but one (etcd: createConfigChangeEnts). What
    is in the log before it counts as committed: some of it was, and nobody else can tell."""
    change = ConfChangeV2(context=pack((FORCE, member_id)))
    return Entry(term, last + 1, EntryType.EntryConfChangeV2, change.marshal())


def successor(status: Status) -> int:
    """The voter that is heard and has most of this leader's log; 0 when there is none."""
    heard = [
        (pr.match, -peer)
        for peer, pr in status.progress.items()
        if peer != status.id and not pr.is_learner and pr.recent_active
    ]
    return -max(heard)[1] if heard else 0
