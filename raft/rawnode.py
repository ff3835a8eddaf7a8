"""The node as its host drives it: steps in, Readys out. Source: etcd-io/raft, rawnode.go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

from . import inbound
from .config import Config
from .core import Raft
from .errors import RaftPanic
from .read_index import ReadState
from .replication import bcast_heartbeat, choose_spares, send_held
from .tracker import Progress, TrackerConfig
from .types import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    MSG_PROP,
    MSG_STORAGE_APPEND,
    MSG_STORAGE_APPEND_RESP,
    MSG_STORAGE_APPLY,
    MSG_STORAGE_APPLY_RESP,
    NONE,
    ConfChange,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
    StateType,
)

_NO_HARD_STATE = HardState()


class SnapshotStatus(IntEnum):
    """How the transfer of a snapshot ended."""

    SnapshotFinish = 1
    SnapshotFailure = 2


class ProgressType(IntEnum):
    """What `RawNode.with_progress` visits."""

    ProgressTypePeer = 0
    ProgressTypeLearner = 1


@dataclass
class SoftState:
    """Leader and role: worth knowing, not worth persisting."""

    lead: int = 0
    raft_state: StateType = StateType.StateFollower


@dataclass
class Peer:
    """A first member; `context` is the application's, often its address."""

    id: int
    context: bytes = b""


@dataclass(slots=True)
class Ready:
    """Work for the host. None means unchanged; the lists are the host's own.

    `messages` go out after `entries`, `hard_state` and `snapshot` are durable (asynchronous mode:
    at once, the storage messages among them say what must wait). `must_sync`: entries, term or
    vote changed, so the write must be durable; a snapshot must be as well, a new commit index by
    itself need not.
    """

    soft_state: SoftState | None
    hard_state: HardState | None
    read_states: list[ReadState]
    entries: list[Entry]
    snapshot: Snapshot | None
    committed_entries: list[Entry]
    messages: list[Message]
    must_sync: bool


@dataclass
class BasicStatus:
    """A node's state without its peers'."""

    id: int
    hard_state: HardState
    soft_state: SoftState
    applied: int
    lead_transferee: int


@dataclass
class Status(BasicStatus):
    """A copy of a node's state; `progress` is empty unless it leads."""

    config: TrackerConfig
    progress: dict[int, Progress]


@dataclass
class DebugState:
    """The inside of a node, for tests."""

    term: int
    vote: int
    lead: int
    state: StateType
    committed: int
    applying: int
    applied: int
    last_index: int
    unstable_offset: int
    unstable_offset_in_progress: int
    election_elapsed: int
    randomized_election_timeout: int
    uncommitted_size: int
    pending_conf_index: int
    lead_transferee: int
    unconfirmed_reads: int
    postponed_reads: int


class RawNode:
    """One member of a raft group, without threads, clock or I/O of its own.

    Not thread-safe. Raises ValueError on invalid options and RaftPanic if the storage contradicts
    itself. After a RaftPanic the node must not be used again; after a RaftError it may be.
    """

    __slots__ = ("_async", "_hard_state", "_raft", "_soft_state", "_steps_on_advance")

    def __init__(self, config: Config) -> None:
        self._raft = Raft(config)
        self._async = config.async_storage_writes
        self._soft_state = self._current_soft_state()
        self._hard_state = self._current_hard_state()
        self._steps_on_advance: list[Message] = []

    def bootstrap(self, peers: Sequence[Peer]) -> None:
        """Start a new group: a configuration entry per peer, committed at term 1.

        Every member must be given the same peers in the same order. Raises ValueError if there are
        none or if the storage is not empty.
        """
        r = self._raft
        if not peers:
            raise ValueError("must provide at least one peer to Bootstrap")
        if r.log.last_index() != 0:
            raise ValueError("can't bootstrap a nonempty Storage")
        r.become_follower(1)
        changes = [ConfChange(node_id=peer.id, context=peer.context) for peer in peers]
        r.log.append([
            Entry(1, index, EntryType.EntryConfChange, change.marshal())
            for index, change in enumerate(changes, start=1)
        ])  # fmt: skip
        # Not applied: the host sees these entries too. They take effect here already, so that the
        # first members know each other.
        r.log.committed = len(peers)
        for change in changes:
            r.apply_conf_change(change.as_v2())

    # --- what the host tells the node

    def tick(self) -> None:
        """One unit of time has passed."""
        self._raft.tick()

    def campaign(self) -> None:
        """Start an election now."""
        self._raft.step(Message(MessageType.MsgHup))

    def propose(self, data: bytes) -> None:
        """Append `data` to the log, by way of the leader; raises ProposalDropped.

        No error does not mean that it will be committed. Several entries at once: `step` a MsgProp
        from this node's id.
        """
        r = self._raft
        r.step(Message(MSG_PROP, NONE, r.id, 0, 0, 0, [Entry(data=data)]))

    def propose_conf_change(self, cc: ConfChange | ConfChangeV2) -> None:
        """Propose a membership change; raises ProposalDropped.

        One that does not fit the configuration, or comes before the previous one is applied, is
        replaced by an empty entry (and a line in the log).
        """
        v1 = isinstance(cc, ConfChange)
        kind = EntryType.EntryConfChange if v1 else EntryType.EntryConfChangeV2
        self._raft.step(Message(MessageType.MsgProp, entries=[Entry(type=kind, data=cc.marshal())]))

    def force_configuration(self, voter: int) -> ConfState:
        """Make `voter` the only member, whoever else there was, in place of a committed change:
        for a cluster that has lost its majority for good. Gives the new configuration."""
        r = self._raft
        conf_state = ConfState(voters=[voter])
        r.restore_config(conf_state, r.log.last_index())
        return conf_state

    def apply_conf_change(self, cc: ConfChange | ConfChangeV2) -> ConfState:
        """Let a committed change take effect; to be called while its entry is applied.

        Gives the new configuration, to be kept with the application's state. RaftPanic if the
        change is impossible.
        """
        return self._raft.apply_conf_change(cc.as_v2())

    def step(self, m: Message) -> None:
        """Take a message from another node, or from a storage thread.

        Raises a RaftError if it is refused: drop it and count it.
        """
        inbound.check(self._raft, m)
        self._raft.step(m)

    def read_index(self, ctx: bytes) -> None:
        """Ask for an index at which a read is linearizable; it comes in `Ready.read_states`.

        It may never come (no leader, lost messages, change of leader): retry with a new `ctx`.
        """
        self._raft.step(Message(MessageType.MsgReadIndex, entries=[Entry(data=ctx)]))

    def send_held(self, to: int = NONE) -> None:
        """Send the peer, or all of them, what was held back: entries from spares, and, with
        `commits_on_request`, a commit index. Does nothing unless this node leads.
        """
        r = self._raft
        if r.state is StateType.StateLeader:
            for id_, pr in r.tracker.others(r.id):
                if to in (NONE, id_):
                    send_held(r, id_, pr)

    def choose_spares(self) -> None:
        """Hold proposals back from followers that their commit does not need, until `send_held`,
        and what reads need of them until `confirm_read`.

        Those whose logs reach furthest make a majority with this node and get them at once; the
        others, and learners, are spares until the next choice, change of the configuration or of
        the role. Does nothing unless this node leads.
        """
        if self._raft.state is StateType.StateLeader:
            choose_spares(self._raft)

    @property
    def newest_read(self) -> int:
        """The number of the newest read that waits for this leader to be confirmed, 0 for none."""
        read_only = self._raft.read_only
        return read_only.newest if read_only.unconfirmed else 0

    def confirm_read(self, number: int) -> None:
        """If that read still waits, who was asked is silent: ask everyone, and choose anew."""
        r = self._raft
        if r.state is StateType.StateLeader and r.read_only.waits(number):
            bcast_heartbeat(r)
            choose_spares(r)

    def transfer_leadership(self, transferee: int) -> None:
        """Ask the leader to make `transferee` its successor within an election timeout."""
        self._raft.step(Message(MessageType.MsgTransferLeader, from_=transferee))

    def report_unreachable(self, id: int) -> None:  # noqa: A002 - the interface's name
        """The last message to `id` was probably not delivered."""
        self._raft.step(Message(MessageType.MsgUnreachable, from_=id))

    def report_snapshot(self, id: int, status: SnapshotStatus) -> None:  # noqa: A002
        """The snapshot sent to `id` has arrived, or has failed; without this it may wait long."""
        failed = status == SnapshotStatus.SnapshotFailure
        self._raft.step(Message(MessageType.MsgSnapStatus, from_=id, reject=failed))

    def forget_leader(self) -> None:
        """Follow nobody, so that others may be voted for before the election timeout."""
        self._raft.step(Message(MessageType.MsgForgetLeader))

    # --- what the node tells the host

    def has_ready(self) -> bool:
        """True if `ready` has work."""
        r, hard, soft = self._raft, self._hard_state, self._soft_state
        log, unstable = r.log, r.log.unstable
        return bool(
            r.msgs
            or r.msgs_after_append
            or r.read_states
            or unstable.offset_in_progress <= unstable.last
            or (log.applying < log.committed and log.has_next_committed(not self._async))
            or (unstable.snapshot is not None and not unstable.snapshot_in_progress)
            or log.committed != hard.commit
            or r.term != hard.term
            or r.vote != hard.vote
            or r.lead != soft.lead
            or r.state is not soft.raft_state
        )

    def ready(self) -> Ready:
        """Take the work there is. In the synchronous mode finish it with `advance`.

        RaftPanic if the previous one is not finished.
        """
        r, log, hard, soft = self._raft, self._raft.log, self._hard_state, self._soft_state
        entries = log.unstable.next_entries()
        voted = r.term != hard.term or r.vote != hard.vote
        changed = voted or log.committed != hard.commit
        led = r.lead != soft.lead or r.state is not soft.raft_state
        rd = Ready(
            soft_state=self._current_soft_state() if led else None,
            hard_state=self._current_hard_state() if changed else None,
            read_states=r.read_states,
            entries=entries,
            snapshot=log.unstable.next_snapshot(),
            committed_entries=log.next_committed(not self._async),
            messages=r.msgs,
            must_sync=voted or bool(entries),
        )
        if self._async:
            self._add_storage_messages(rd)
        else:
            rd.messages += [m for m in r.msgs_after_append if m.to != r.id]
        self._accept(rd)
        return rd

    def advance(self, rd: Ready | None = None) -> None:
        """The last Ready is persisted, sent and applied. RaftPanic in the asynchronous mode."""
        if self._async:
            raise RaftPanic("Advance must not be called when using AsyncStorageWrites")
        steps, self._steps_on_advance = self._steps_on_advance, []
        for m in steps:
            self._raft.step(m)

    def _accept(self, rd: Ready) -> None:
        r = self._raft
        if rd.soft_state is not None:
            self._soft_state = rd.soft_state
        if rd.hard_state is not None:
            self._hard_state = rd.hard_state
        if not self._async:
            if self._steps_on_advance:
                raise RaftPanic("two accepted Ready structs without call to Advance")
            self._steps_on_advance = [m for m in r.msgs_after_append if m.to == r.id]
            self._steps_on_advance += self._append_response(rd)
            if rd.committed_entries:
                self._steps_on_advance.append(self._apply_response(rd.committed_entries))
        r.read_states = []
        r.msgs = []
        r.msgs_after_append = []
        r.log.unstable.accept_in_progress()
        if rd.committed_entries:
            last = rd.committed_entries[-1].index
            size = r.log.start_page(rd.committed_entries)
            r.log.accept_applying(last, size, not self._async)

    def _add_storage_messages(self, rd: Ready) -> None:
        r = self._raft
        hard_state = rd.hard_state or _NO_HARD_STATE
        if rd.entries or rd.hard_state or rd.snapshot or r.msgs_after_append:
            rd.messages.append(
                Message(
                    MSG_STORAGE_APPEND, LOCAL_APPEND_THREAD, r.id, hard_state.term, 0, 0,
                    rd.entries[:], hard_state.commit, hard_state.vote, rd.snapshot,
                    # The node's own MsgAppResp first: while its entries are unstable their term
                    # is found without asking storage.
                    responses=r.msgs_after_append + self._append_response(rd),
                )
            )  # fmt: skip
        if rd.committed_entries:
            response = self._apply_response(rd.committed_entries)
            rd.messages.append(
                Message(
                    MSG_STORAGE_APPLY, LOCAL_APPLY_THREAD, r.id, 0, 0, 0, response.entries,
                    responses=[response],
                )
            )  # fmt: skip

    def _append_response(self, rd: Ready) -> list[Message]:
        """What tells this node that the writes so far are durable; [] if it need not know.

        It names the last entry of the log even if this Ready has no entries: an earlier response
        may have been ignored because the term changed meanwhile (which keeps a write that is still
        under way from replacing entries thought stable), and then this one stands in for it.
        """
        r, unstable = self._raft, self._raft.log.unstable
        if not unstable.entries and rd.snapshot is None:
            return []
        response = Message(MSG_STORAGE_APPEND_RESP, r.id, LOCAL_APPEND_THREAD, r.term)
        response.snapshot = rd.snapshot
        if unstable.entries:
            response.index, response.log_term = unstable.last, unstable.entries[-1].term
        return [response]

    def _apply_response(self, committed: list[Entry]) -> Message:
        return Message(
            MSG_STORAGE_APPLY_RESP, self._raft.id, LOCAL_APPLY_THREAD, 0, 0, 0, committed[:]
        )

    # --- looking inside

    def _current_soft_state(self) -> SoftState:
        return SoftState(self._raft.lead, self._raft.state)

    def _current_hard_state(self) -> HardState:
        r = self._raft
        return HardState(r.term, r.vote, r.log.committed)

    def basic_status(self) -> BasicStatus:
        """A copy of this node's own state."""
        r = self._raft
        return BasicStatus(
            r.id, self._current_hard_state(), self._current_soft_state(), r.log.applied,
            r.lead_transferee,
        )  # fmt: skip

    def status(self) -> Status:
        """A copy of this node's state and, if it leads, of its peers' progress."""
        r = self._raft
        basic = self.basic_status()
        leads = r.state == StateType.StateLeader
        return Status(
            basic.id, basic.hard_state, basic.soft_state, basic.applied, basic.lead_transferee,
            r.tracker.config.copy(),
            {id_: pr.copy() for id_, pr in r.tracker.progress.items()} if leads else {},
        )  # fmt: skip

    def with_progress(self, visit: Callable[[int, ProgressType, Progress], None]) -> None:
        """Call `visit` with a copy of each member's progress, without its in-flight window."""
        for id_, pr in self._raft.tracker.progress.items():
            learner = pr.is_learner
            kind = ProgressType.ProgressTypeLearner if learner else ProgressType.ProgressTypePeer
            visit(id_, kind, pr.copy(with_inflights=False))

    def set_randomized_election_timeout(self, ticks: int) -> None:
        """The election timeout until it is drawn again, for who leaves elections to others."""
        self._raft.randomized_election_timeout = ticks

    def debug_state(self) -> DebugState:
        """For tests: what is inside."""
        r = self._raft
        return DebugState(
            term=r.term,
            vote=r.vote,
            lead=r.lead,
            state=r.state,
            committed=r.log.committed,
            applying=r.log.applying,
            applied=r.log.applied,
            last_index=r.log.last_index(),
            unstable_offset=r.log.unstable.offset,
            unstable_offset_in_progress=r.log.unstable.offset_in_progress,
            election_elapsed=r.election_elapsed,
            randomized_election_timeout=r.randomized_election_timeout,
            uncommitted_size=r.uncommitted_size,
            pending_conf_index=r.pending_conf_index,
            lead_transferee=r.lead_transferee,
            unconfirmed_reads=len(r.read_only.unconfirmed),
            postponed_reads=len(r.postponed_reads),
        )
