"""What a leader sends: entries, snapshots, heartbeats. Source: etcd-io/raft, raft.go."""

from collections.abc import Container
from typing import TYPE_CHECKING

from .errors import ErrCompacted, ErrSnapshotTemporarilyUnavailable, ErrUnavailable, RaftPanic
from .tracker import REPLICATE, Progress
from .types import MSG_APP, Entry, Message, MessageType, is_empty_snap

if TYPE_CHECKING:
    from .core import Raft


def maybe_send_append(r: "Raft", to: int, pr: Progress, *, send_if_empty: bool = True) -> bool:
    """Send the peer what it lacks; True if an append went out, so that there may be more to send.

    If the log does not reach back it is a snapshot, after which nothing more is sent for now.
    An empty message still carries the commit index; `send_if_empty` says whether that is worth it.
    """
    log = r.log
    up_to_date = pr.next > log.unstable.last
    if pr.is_paused() or (up_to_date and not send_if_empty):
        return False
    previous = pr.next - 1
    try:
        previous_term = log.term(previous)
    except (ErrCompacted, ErrUnavailable):
        _maybe_send_snapshot(r, to, pr)
        return False
    entries: list[Entry] = []
    size = 0
    # With a full window only empty messages go out: should everything in it be lost, their
    # answers are what empties it.
    if not up_to_date and (pr.state is not REPLICATE or not pr.window().full()):
        try:
            entries, size = log.batch(pr.next, r.max_msg_size)
        except ErrCompacted:
            if send_if_empty:
                _maybe_send_snapshot(r, to, pr)
            return False
    if not entries and not send_if_empty:
        return False
    r.msgs.append(
        Message(MSG_APP, to, r.id, r.term, previous_term, previous, entries, log.committed)
    )
    pr.sent_entries(len(entries), size)
    pr.sent_commit = log.committed
    return True


def _maybe_send_snapshot(r: "Raft", to: int, pr: Progress) -> None:
    if not pr.recent_active:
        r.logger.debug("ignore sending snapshot to %x since it is not recently active", to)
        return
    try:
        snapshot = r.log.snapshot()
    except ErrSnapshotTemporarilyUnavailable:
        r.logger.debug(
            "%x failed to send snapshot to %x because snapshot is temporarily unavailable", r.id, to
        )
        return
    if is_empty_snap(snapshot):
        raise RaftPanic("need non-empty snapshot")
    index = snapshot.metadata.index
    r.logger.debug(
        "%x [firstindex: %d, commit: %d] sent snapshot[index: %d, term: %d] to %x [%s]",
        r.id, r.log.first_index(), r.log.committed, index, snapshot.metadata.term, to, pr,
    )  # fmt: skip
    pr.become_snapshot(index)
    r.logger.debug("%x paused sending replication messages to %x [%s]", r.id, to, pr)
    r.send(Message(MessageType.MsgSnap, to, snapshot=snapshot))


def bcast_append(r: "Raft", *, but: Container[int] = ()) -> None:
    """Send every other member what it lacks, but for these."""
    for id_, pr in r.tracker.progress.items():
        if id_ != r.id and id_ not in but:
            maybe_send_append(r, id_, pr)


def choose_spares(r: "Raft") -> None:
    """Choose the followers that a commit does not need: those whose logs reach least far, and among
    equals those that have confirmed the fewest reads."""
    config = r.tracker.config
    last = r.log.last_index()
    wanted = len(config.voters[0]) // 2  # with this one a majority
    spares = {}
    if not config.is_joint() and r.id in config.voters[0]:
        acked = r.read_only.acknowledged
        for id_, pr in sorted(
            r.tracker.others(r.id),
            key=lambda each: (-each[1].match, -acked(each[0]), each[0] in r.spares),
        ):
            if wanted and not pr.is_learner:
                wanted -= 1
            else:
                spares[id_] = last
    r.spares = spares


def send_held(r: "Raft", to: int, pr: Progress) -> None:
    """Send the peer what was held back from it: entries, and the commit index."""
    if to in r.spares:
        r.spares[to] = last = r.log.last_index()
        while pr.next <= last and maybe_send_append(r, to, pr, send_if_empty=False):
            pass
    tell_commit(r, to, pr)


def tell_commit(r: "Raft", to: int, pr: Progress) -> None:
    """Send the peer the commit index if that may raise its own and is not on its way."""
    if pr.can_bump_commit(r.log.committed):
        maybe_send_append(r, to, pr)


def bcast_heartbeat(r: "Raft", *, but: Container[int] = ()) -> None:
    """Send every other member, but for these, a heartbeat that confirms the waiting reads."""
    context = r.read_only.heartbeat_context()
    for id_, pr in r.tracker.others(r.id):
        if id_ in but:
            continue
        # The commit index must not go beyond what the peer is known to hold.
        commit = min(pr.match, r.log.committed)
        r.send(Message(MessageType.MsgHeartbeat, id_, commit=commit, context=context))
        pr.sent_commit = commit
