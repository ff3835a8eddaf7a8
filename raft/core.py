"""The state machine of one node: its term, vote, log, role, and everything that changes them.

Rules of the package:

1. All state lives in `Raft` and in what it owns (`RaftLog`, `ProgressTracker`, `ReadOnly`).
2. Nothing here reads a clock, a socket or a disk; time is `tick`, the disk is `Storage`.
3. Messages are queued by `send` and never changed afterwards; votes and acknowledgements wait in
   `msgs_after_append` until the writes they rest on are durable.
4. Roles differ only in how they treat a message of the current term: `HANDLERS` of `election`,
   `follower` and `leader`.

Source: etcd-io/raft, raft.go; the Raft paper and thesis where named.
"""

import random
from collections.abc import Callable

from . import candidate, confchange, election, follower, leader, replication
from .config import Config, Logger, NullLogger
from .errors import ProposalDropped, RaftPanic
from .log import RaftLog
from .read_index import ReadOnly, ReadState
from .tracker import Progress, ProgressTracker, TrackerConfig
from .types import (
    LEADER,
    MSG_APP_RESP,
    NO_LIMIT,
    NONE,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Snapshot,
    StateType,
    numbered,
    sizes,
)

_VOTE_MESSAGES = frozenset({
    MessageType.MsgVote, MessageType.MsgVoteResp, MessageType.MsgPreVote,
    MessageType.MsgPreVoteResp,
})  # fmt: skip
_AFTER_APPEND = frozenset(
    {MessageType.MsgAppResp, MessageType.MsgVoteResp, MessageType.MsgPreVoteResp}
)
_FORWARDED = frozenset({MessageType.MsgProp, MessageType.MsgReadIndex})


class Raft:
    """One node's protocol state. `RawNode` is the way to use it."""

    __slots__ = (
        "_handlers", "_rand", "check_quorum", "commits_on_request",
        "disable_conf_change_validation", "disable_proposal_forwarding",
        "election_elapsed", "election_timeout", "heartbeat_elapsed", "heartbeat_timeout", "id",
        "lead", "lead_transferee", "log", "logger", "max_msg_size",
        "max_uncommitted_size", "msgs", "msgs_after_append", "pending_conf_index",
        "postponed_reads", "pre_vote", "randomized_election_timeout", "read_only", "read_states",
        "spares", "state", "step_down_on_removal", "term", "tracker", "uncommitted_size", "vote",
    )  # fmt: skip
    election_elapsed: int
    heartbeat_elapsed: int
    randomized_election_timeout: int
    spares: dict[int, int]

    def __init__(self, config: Config) -> None:
        storage = config.validate()
        self.id = config.id
        # What belongs to a role is set by `reset`, which every change of role begins with.
        self.term = 0
        self.vote = NONE
        self.state = StateType.StateFollower
        self.logger: Logger = config.logger or NullLogger()
        self.log = RaftLog(storage, self.logger, config.applying_size_max())
        self.tracker = ProgressTracker(config.max_inflight_msgs, config.max_inflight_bytes)
        self.read_only = ReadOnly(config.read_only_option)
        self.read_states: list[ReadState] = []
        self.postponed_reads: list[Message] = []
        self.msgs: list[Message] = []
        self.msgs_after_append: list[Message] = []
        self.max_msg_size = config.max_size_per_msg
        self.max_uncommitted_size = config.max_uncommitted_entries_size or NO_LIMIT
        self.election_timeout = config.election_tick
        self.heartbeat_timeout = config.heartbeat_tick
        self._rand = config.rand or random.SystemRandom().randrange
        self.check_quorum = config.check_quorum
        self.pre_vote = config.pre_vote
        self.disable_proposal_forwarding = config.disable_proposal_forwarding
        self.disable_conf_change_validation = config.disable_conf_change_validation
        self.step_down_on_removal = config.step_down_on_removal
        self.commits_on_request = config.commits_on_request
        hard_state, conf_state = storage.initial_state()
        self._start(hard_state, conf_state, config.applied)

    def _start(self, hard_state: HardState, conf_state: ConfState, applied: int) -> None:
        last = self.log.last_index()
        last_term = self.log.last_term()
        self.restore_config(conf_state, last)
        if hard_state != HardState():
            self._load_state(hard_state)
        if applied > 0:
            self.log.applied_to(applied, 0)
        self.become_follower(self.term)
        self.logger.info(
            "newRaft %x [peers: [%s], term: %d, commit: %d, applied: %d, lastindex: %d, "
            "lastterm: %d]",
            self.id, ",".join(f"{id_:x}" for id_ in self.tracker.voter_nodes()), self.term,
            self.log.committed, self.log.applied, last, last_term,
        )  # fmt: skip

    def _load_state(self, state: HardState) -> None:
        last = self.log.last_index()
        if not self.log.committed <= state.commit <= last:
            raise RaftPanic(
                f"{self.id:x} state.commit {state.commit} is out of range "
                f"[{self.log.committed}, {last}]"
            )
        self.log.committed = state.commit
        self.term = state.term
        self.vote = state.vote

    # --- sending

    def send(self, m: Message) -> None:
        """Queue a message, with this node's id and term unless it is one that is forwarded."""
        if m.from_ == NONE:
            m.from_ = self.id
        if m.type in _VOTE_MESSAGES:
            if m.term == 0:
                raise RaftPanic(f"term should be set when sending {m.type.name}")
        else:
            if m.term != 0:
                raise RaftPanic(f"term should not be set when sending {m.type.name} (was {m.term})")
            # Proposals and reads are forwarded: to the leader they are as good as local ones.
            if m.type not in _FORWARDED:
                m.term = self.term
        if m.type in _AFTER_APPEND:
            self.msgs_after_append.append(m)
        elif m.to == self.id:
            raise RaftPanic(f"message should not be self-addressed when sending {m.type.name}")
        else:
            self.msgs.append(m)

    def acknowledge(self, to: int, index: int) -> None:
        """Tell `to` that the log agrees with the leader's up to `index`, once that is durable."""
        self.msgs_after_append.append(Message(MSG_APP_RESP, to, self.id, self.term, 0, index))

    # --- time

    def tick(self) -> None:
        """One unit of time has passed."""
        if self.state is LEADER:
            self._tick_leader()
            return
        self.election_elapsed += 1
        if self.promotable() and self.election_elapsed >= self.randomized_election_timeout:
            self.election_elapsed = 0
            election.hup(self, election.timeout_campaign(self))

    def _tick_leader(self) -> None:
        self.heartbeat_elapsed += 1
        self.election_elapsed += 1
        if self.election_elapsed >= self.election_timeout:
            self.election_elapsed = 0
            if self.check_quorum:
                leader.check_quorum(self)
            self.lead_transferee = NONE  # a transfer has one election timeout to succeed
        if self.state is LEADER and self.heartbeat_elapsed >= self.heartbeat_timeout:
            self.heartbeat_elapsed = 0
            replication.bcast_heartbeat(self)

    # --- roles

    def reset(self, term: int) -> None:
        """Forget everything that belongs to the present role; a new term clears the vote."""
        if self.term != term:
            self.term = term
            self.vote = NONE
        self.lead = NONE
        self.election_elapsed = 0
        self.heartbeat_elapsed = 0
        self.randomized_election_timeout = self.election_timeout + self._rand(self.election_timeout)
        self.lead_transferee = NONE
        self.tracker.votes = {}
        last = self.log.last_index()
        for id_, pr in self.tracker.progress.items():
            self.tracker.progress[id_] = Progress(
                match=last if id_ == self.id else 0,
                next=last + 1,
                inflights=self.tracker.new_inflights(),
                is_learner=pr.is_learner,
            )
        self.pending_conf_index = 0
        self.uncommitted_size = 0
        self.read_only = ReadOnly(self.read_only.option)
        self.spares = {}

    def become_follower(self, term: int) -> None:
        """Follow in `term`, and nobody until a leader is heard from."""
        self.reset(term)
        self.state = StateType.StateFollower
        self._handlers = _FOLLOWER
        self.logger.info("%x became follower at term %d", self.id, self.term)

    def become_candidate(self) -> None:
        """Start a term of one's own and vote for oneself."""
        if self.state is LEADER:
            raise RaftPanic("invalid transition [leader -> candidate]")
        self.reset(self.term + 1)
        self.vote = self.id
        self.state = StateType.StateCandidate
        self._handlers = _CANDIDATE
        self.logger.info("%x became candidate at term %d", self.id, self.term)

    def become_pre_candidate(self) -> None:
        """Ask whether an election could be won; term, vote and timer stay as they are."""
        if self.state is LEADER:
            raise RaftPanic("invalid transition [leader -> pre-candidate]")
        self.tracker.votes = {}
        self.lead = NONE
        self.state = StateType.StatePreCandidate
        self._handlers = _PRE_CANDIDATE
        self.logger.info("%x became pre-candidate at term %d", self.id, self.term)

    def become_leader(self) -> None:
        """Lead the current term: append its first, empty entry."""
        if self.state == StateType.StateFollower:
            raise RaftPanic("invalid transition [follower -> leader]")
        self.reset(self.term)
        self.lead = self.id
        self.state = LEADER
        self._handlers = _LEADER
        own = self.tracker.progress[self.id]
        own.become_replicate()
        own.recent_active = True
        # There may be a configuration change anywhere in the log: allow the next one only when
        # all of it is applied, which is cheaper than to look for it.
        self.pending_conf_index = self.log.last_index()
        self.append_entries([Entry()])
        self.logger.info("%x became leader at term %d", self.id, self.term)

    def promotable(self) -> bool:
        """True if this node may campaign: a voter without a snapshot to apply first."""
        pr = self.tracker.progress.get(self.id)
        return (
            pr is not None and not pr.is_learner and not self.log.has_next_or_in_progress_snapshot()
        )

    # --- messages

    def step(self, m: Message) -> None:
        """Take one message; its term decides first, then its type, then the role.

        Raises ProposalDropped and InvalidMessage. `inbound.check` guards it against the network.
        """
        term = m.term
        if term and term != self.term:
            if term < self.term:
                self._step_lower_term(m)
                return
            if not self._accept_higher_term(m):
                return
        handler = self._handlers.get(m.type)
        if handler is not None:
            handler(self, m)

    def _storage_appended(self, m: Message) -> None:
        if m.index:
            self.log.unstable.stable_to(m.index, m.log_term)
        if m.snapshot is not None:
            self._applied_snapshot(m.snapshot)

    def _storage_applied(self, m: Message) -> None:
        if m.entries:
            payload, encoded = self.log.end_page(m.entries)
            self.applied_to(m.entries[-1].index, encoded)
            self.uncommitted_size = max(self.uncommitted_size - payload, 0)

    def _accept_higher_term(self, m: Message) -> bool:
        """Follow a message into its term; False if it must be ignored because of the lease."""
        asks_vote = m.type in (MessageType.MsgVote, MessageType.MsgPreVote)
        if asks_vote and m.context != election.TRANSFER_CONTEXT and self._in_lease():
            self.logger.info(
                "%x [logterm: %d, index: %d, vote: %x] ignored %s from %x "
                "[logterm: %d, index: %d] at term %d: lease is not expired (remaining ticks: %d)",
                self.id, self.log.last_term(), self.log.last_index(), self.vote, m.type.name,
                m.from_, m.log_term, m.index, self.term,
                self.election_timeout - self.election_elapsed,
            )  # fmt: skip
            return False
        # A pre-vote asks about a term that need not come; so does its grant.
        if m.type == MessageType.MsgPreVote:
            return True
        if m.type == MessageType.MsgPreVoteResp and not m.reject:
            return True
        self.logger.info(
            "%x [term: %d] received a %s message with higher term from %x [term: %d]",
            self.id, self.term, m.type.name, m.from_, m.term,
        )  # fmt: skip
        self.become_follower(m.term)
        return True

    def _in_lease(self) -> bool:
        return (
            self.check_quorum
            and self.lead != NONE
            and self.election_elapsed < self.election_timeout
        )

    def _step_lower_term(self, m: Message) -> None:
        if m.type in (MessageType.MsgHeartbeat, MessageType.MsgApp) and (
            self.check_quorum or self.pre_vote
        ):
            # This node's term may have run ahead while it was cut off. Its votes are then ignored
            # (lease, pre-vote), so only this answer can bring the leader to its term.
            self.send(Message(MessageType.MsgAppResp, to=m.from_))
        elif m.type == MessageType.MsgPreVote:
            # Dropping it could block candidates from before pre-vote was switched on.
            election.log_vote_rejection(self, m)
            self.send(Message(MessageType.MsgPreVoteResp, to=m.from_, term=self.term, reject=True))
        elif m.type == MessageType.MsgStorageAppendResp:
            if m.index:
                # The log may have been overwritten since, and that write be still under way.
                self.logger.info(
                    "%x [term: %d] ignored entry appends from a %s message with lower term "
                    "[term: %d]",
                    self.id, self.term, m.type.name, m.term,
                )  # fmt: skip
            if m.snapshot is not None:
                self._applied_snapshot(m.snapshot)  # committed state holds in every term
        else:
            self.logger.info(
                "%x [term: %d] ignored a %s message with lower term from %x [term: %d]",
                self.id, self.term, m.type.name, m.from_, m.term,
            )  # fmt: skip

    # --- the log

    def append_entries(self, entries: list[Entry]) -> bool:
        """Append as leader, copying the entries into this term; False if over the quota.

        The quota always admits a first proposal and empty ones.
        """
        fresh = numbered(entries, self.term, self.log.unstable.last + 1)
        size, encoded = sizes(fresh)
        if self.uncommitted_size and 0 < size > self.max_uncommitted_size - self.uncommitted_size:
            self.logger.warning(
                "%x appending new entries to log would exceed uncommitted entry size limit; "
                "dropping proposal",
                self.id,
            )
            return False
        self.uncommitted_size += size
        self.acknowledge(self.id, self.log.append_batch(fresh, size, encoded))
        return True

    def maybe_commit(self) -> bool:
        """Commit what a quorum holds, as leader; True if that is more than before."""
        return self.log.maybe_commit(self.tracker.committed(), self.term)

    def committed_in_current_term(self) -> bool:
        """True if this leader knows what is committed (thesis, 6.4)."""
        return self.log.term_or_zero(self.log.committed) == self.term

    def applied_to(self, index: int, size: int) -> None:
        """Entries up to `index` are applied; a leader may now end a joint configuration."""
        applied = max(index, self.log.applied)
        self.log.applied_to(applied, size)
        config = self.tracker.config
        if not config.auto_leave or applied < self.pending_conf_index or self.state is not LEADER:
            return
        # Empty data is the change that leaves, and passes any quota. A transfer of leadership can
        # refuse it; then it is tried again after the next applied entry.
        leave = Message(MessageType.MsgProp, entries=[Entry(type=EntryType.EntryConfChangeV2)])
        try:
            leader.propose(self, leave)
        except ProposalDropped as error:
            self.logger.debug(
                "not initiating automatic transition out of joint configuration %s: %s",
                config, error,
            )  # fmt: skip
        else:
            self.logger.info(
                "initiating automatic transition out of joint configuration %s", config
            )

    def _applied_snapshot(self, snapshot: Snapshot) -> None:
        index = snapshot.metadata.index
        self.log.unstable.stable_snap_to(index)
        self.applied_to(index, 0)

    # --- the configuration

    def restore_config(self, conf_state: ConfState, last_index: int) -> None:
        """Replace the configuration by a stored one; RaftPanic if it is none."""
        empty = ProgressTracker(self.tracker.max_inflight, self.tracker.max_inflight_bytes)
        try:
            config, progress = confchange.restore(confchange.Changer(empty, last_index), conf_state)
        except confchange.ConfChangeError as error:
            raise RaftPanic(f"unable to restore config {conf_state}: {error}") from error
        restored = self.switch_to_config(config, progress)
        if not restored.equivalent(conf_state):
            raise RaftPanic(f"ConfStates not equivalent: stored {conf_state}, built {restored}")

    def changed_config(self, cc: ConfChangeV2) -> tuple[TrackerConfig, dict[int, Progress]]:
        """What `cc` makes of the present configuration; raises ConfChangeError."""
        changer = confchange.Changer(self.tracker, self.log.last_index())
        if cc.leave_joint():
            return changer.leave_joint()
        auto_leave, joint = cc.enter_joint()
        if joint:
            return changer.enter_joint(auto_leave, *cc.changes)
        return changer.simple(*cc.changes)

    def apply_conf_change(self, cc: ConfChangeV2) -> ConfState:
        """Make a committed change take effect; RaftPanic if it does not fit."""
        try:
            config, progress = self.changed_config(cc)
        except confchange.ConfChangeError as error:
            raise RaftPanic(str(error)) from error
        return self.switch_to_config(config, progress)

    def switch_to_config(self, config: TrackerConfig, progress: dict[int, Progress]) -> ConfState:
        """Install a configuration and do what follows from it for a leader."""
        self.tracker.config = config
        self.tracker.progress = progress
        self.spares = {}
        self.logger.info("%x switched to configuration %s", self.id, config)
        conf_state = self.tracker.conf_state()
        own = progress.get(self.id)
        if self.state is not LEADER:
            return conf_state
        if own is None or own.is_learner:
            if self.step_down_on_removal:
                self.become_follower(self.term)
            return conf_state
        if self.maybe_commit():
            replication.bcast_append(self)
        else:
            # Let new members hear at once instead of with the next heartbeat or proposal.
            for id_, pr in self.tracker.others(self.id):
                replication.maybe_send_append(self, id_, pr, send_if_empty=False)
        if self.lead_transferee not in config.voters.ids():
            self.lead_transferee = NONE
        return conf_state


# What a node does with a message of its term. It is looked up for every message, so the part that
# does not depend on the role is repeated in the table of each.
_Handlers = dict[MessageType, Callable[[Raft, Message], None]]
_EVERY_ROLE: _Handlers = {
    MessageType.MsgHup: lambda r, _: election.hup(r, election.timeout_campaign(r)),
    MessageType.MsgVote: election.handle_vote,
    MessageType.MsgPreVote: election.handle_vote,
    MessageType.MsgStorageAppendResp: Raft._storage_appended,
    MessageType.MsgStorageApplyResp: Raft._storage_applied,
}
_FOLLOWER: _Handlers = _EVERY_ROLE | follower.HANDLERS
_PRE_CANDIDATE: _Handlers = _EVERY_ROLE | candidate.PRE_HANDLERS
_CANDIDATE: _Handlers = _EVERY_ROLE | candidate.HANDLERS
_LEADER: _Handlers = _EVERY_ROLE | leader.HANDLERS
