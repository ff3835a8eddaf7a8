"""The raft core's actor: etcd's node.run around raft.

Takes what has come on all channels, steps the core, and dispatches what the Ready holds. Storage
writes are asynchronous: what a write answers waits here for its number to come back on advancec.
"""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from ..config import limits
from ..raft import (
    ConfChangeV2,
    Entry,
    HardState,
    Message,
    MessageType,
    Peer,
    ProposalDropped,
    RaftError,
    RawNode,
    Ready,
    Snapshot,
    SnapshotMetadata,
    SnapshotStatus,
    confchange,
)
from ..transport import codec
from ..transport.codec import CodecError
from ..transport.raft_messages import (
    conf_state_from_tuple,
    conf_state_to_tuple,
    decode_message,
    encode_message,
)
from . import acquaintance, channels, core_status
from .acquaintance import Acquaintance
from .actor import Impossible
from .archiver import Archiving
from .core_config import (
    ROLES,
    CoreSettings,
    check_envelope,
    forced,
    raft_config,
    successor,
    tell_of_other_members,
)
from .entries import check_forwarded
from .leadership import Leadership
from .log_tail import LogTail, is_sending, needed_after
from .peer_memory import Life
from .reconfiguration import FORCED, conf_changes
from .recovery import recover
from .throttle import Throttle

# Python 3.11 finds the members of an enumeration by Python code, and these with every message.
TYPE_NAMES = {t: t.name for t in MessageType}
APP_RESP = MessageType.MsgAppResp
APP, SNAP, HEARTBEAT = MessageType.MsgApp, MessageType.MsgSnap, MessageType.MsgHeartbeat
PROP = MessageType.MsgProp
STORAGE_APPEND, STORAGE_APPLY = MessageType.MsgStorageAppend, MessageType.MsgStorageApply


class _Append(NamedTuple):
    seq: int
    sent_at: float
    responses: list[Message]  # for this core itself, once the write is durable


class RaftCore(Archiving):
    """Owns the consensus state and the log's tail in memory."""

    name = channels.RAFT_CORE

    def __init__(self, settings: CoreSettings, rand: Callable[[int], int], log: Any) -> None:
        super().__init__()
        self._settings = settings
        self._held_bytes_max = settings.log_limits.held_bytes_max
        self.timer_s = settings.heartbeat_s  # type: ignore[misc]
        self._election_s = settings.election_ticks * settings.heartbeat_s
        self._rand = rand
        self._log = log
        self._disk: tuple[Any, ...] | None = None
        self._state: tuple[Any, ...] | None = None
        self._node: RawNode | None = None
        self._tail: LogTail
        self._next_tick = 0.0
        self._seq = 0
        self._appends: deque[_Append] = deque()
        self._applies: deque[tuple[int, list[Message]]] = deque()
        self._installing: Message | None = None
        self._resetting = 0  # number of the write that makes the log begin behind a snapshot
        self._held: deque[tuple[Message, bool]] = deque()  # appends behind these two
        self._snapshot_asked = False
        self._leadership = Leadership(settings, log)
        self._campaigns, self._slow_disk = self._leadership.campaigns, self._leadership.slow_disk
        self._throttle = Throttle(settings.log_limits)
        self._commit = 0
        self._spared = 0  # bytes of entries that spare followers were not sent
        self._spared_from = 0  # index of the first
        self._read_waits = 0  # number of a read that should be confirmed at the next wake-up
        self._choose_spares = False
        # Peers that asked the leader something: they answer when they hear of the commit.
        self._asked: set[int] = set()  # in this turn
        self._awaits: dict[int, int] = {}  # peer -> the last index when it asked last
        self._asked_here_at = float("-inf")  # when this member's own clients asked last
        doors = acquaintance.Doors(
            refuse=lambda message: self.emit("refusec", message),
            keep=lambda packed: self.emit("readyc", ("peers", packed)),
        )
        self._peers = Acquaintance(self._election_s, doors)
        self._soft: tuple[int, int, str] = (0, 0, "follower")
        self.dropped = 0  # messages from peers that made no sense

    # -- start

    def on_knownc(self, packed: bytes) -> None:
        """What this member knew of its peers."""
        self._peers.recall(packed)

    def on_logc(self, message: Any) -> None:
        """What the log database holds: (hard_state, start, entries)."""
        self._disk = message
        self._try_start()

    def on_statec(self, message: Any) -> None:
        """What the state database holds: (applied, applied_term, conf_state, members, (index, term)
        of the snapshot that was installed last, removed members)."""
        self._state = message
        self._try_start()

    def _try_start(self) -> None:
        if self._disk is None or self._state is None:
            return
        applied, _, conf_state, members, *_ = self._state
        found = recover(self._disk, self._state)
        hard, last = found.hard_state, found.last
        if found.is_reset:
            self._seq += 1
            self._resetting = self._seq
            self.emit("readyc", ("append", self._seq, (), None, found.start, True, (), True))
            self._appends.append(_Append(self._seq, self.now, []))
        entries = found.entries
        if self._settings.force_new_cluster and last:
            entries.append(self._drop_others(hard, last))
            last += 1
            hard = HardState(hard.term, hard.vote, last)
        self._commit = hard.commit
        self._tail = LogTail(hard, conf_state_from_tuple(conf_state), found.start, entries)
        self._node = RawNode(raft_config(self._settings, self._tail, applied, self._rand))
        if self.archiver is not None:
            self.archiver.start(self._tail, self.now)
        if last == 0 and self._settings.bootstrap:
            self._bootstrap()
        elif self._tail.initial_state()[1].voters == [self._settings.member_id]:
            self._campaigns.eager = True
        self._next_tick = self.now + self._settings.heartbeat_s
        self._tell_soft_state()  # a restarted member knows its term before it hears of anything
        self._log.info("raft started", applied=applied, last=last, term=hard.term)
        self.emit("logendc", (hard.term, last))
        self._peers.meet_early(self._node, self.now)
        tell_of_other_members(self._log, members, self._settings.bootstrap)

    def _drop_others(self, hard: HardState, last: int) -> Entry:
        entry = forced(self._settings.member_id, hard.term, last)
        self._log.warning("all other members are dropped", index=entry.index)
        self._seq += 1
        written = [(entry.term, entry.index, int(entry.type), entry.data)]
        state = (hard.term, hard.vote, entry.index)
        self.emit("readyc", ("append", self._seq, written, state, None, True, (), True))
        self._appends.append(_Append(self._seq, self.now, []))
        return entry

    def _bootstrap(self) -> None:
        node, members = self._running, self._settings.bootstrap
        node.bootstrap([Peer(m, codec.pack((name, peer))) for m, name, peer in members])
        self._campaigns.eager = self._settings.member_id == min(m[0] for m in members)

    @property
    def _running(self) -> RawNode:
        if self._node is None:
            raise Impossible("the core was used before the log and the state were open")
        return self._node

    # -- what comes in

    def on_propc(self, message: Any) -> None:
        """(batch_id, payload): propose one entry; or (batch_id, payload, [(type, member), …]): one
        that changes the configuration in these steps."""
        batch_id, payload, *steps = message
        self._asked_here_at = self.now
        if self._node is None:
            self.emit("dropc", batch_id)
            return
        if not self._throttle.admits(len(payload), self._tail, self.now):
            self.emit("dropc", batch_id)  # the node holds it back
            return
        try:
            if steps:
                self._node.propose_conf_change(
                    ConfChangeV2(changes=conf_changes(steps[0]), context=payload)
                )
            else:
                self._node.propose(payload)
            self.flight.note("propose", batch_id, batch_id)
        except ProposalDropped:
            self.emit("dropc", batch_id)

    def on_transferc(self, target: int) -> None:
        """Hand leadership over to that member; 0: to whoever is nearest to this one's log."""
        if self._node is None or self._soft[2] != "leader":
            return
        target = target or successor(self._running.status())
        if target:
            self._log.info("leadership is handed over", to=target)
            self._leadership.elections.note(f"asked to hand over to {target:x}", self.now)
            self._send_held()
            self._node.transfer_leadership(target)

    def on_proposec(self, payload: bytes) -> None:
        """Propose an entry of the member's own; the applier makes another when it gets lost."""
        if self._node is not None:
            with suppress(ProposalDropped):
                self._node.propose(payload)

    def on_recvc(self, message: Any) -> None:
        """Raft messages from a peer: (peer id, [bytes, …], name of the snapshot that came with
        them, or empty)."""
        peer, frames, snapshot = message
        if self._node is None or self._peers.refuses(peer):
            return  # still starting: the peer sends again
        if self._campaigns.is_dead(peer, self.now):
            return
        self._peers.hear(peer, self.now)
        for frame in frames:
            try:
                m = decode_message(frame)
                check_envelope(m, (peer, self._settings.member_id), snapshot)
                if m.type is PROP:
                    for entry in m.entries:
                        check_forwarded(entry)
                    if self._throttle.holds(m, self._tail, self.now):
                        self._wake_by(self._throttle.wake_at)
                        continue
                if m.type is APP and self._tail.bytes > self._held_bytes_max:
                    # The applier does not keep up. As if it had been lost on the way: the leader
                    # sends it again.
                    continue
                self.flight.note_received(m, peer)
                self._node.step(m)
                if m.type is APP_RESP:
                    self._peers.answered(self._node, m, self.now)
                    if not m.reject:
                        self._slow_disk.acknowledged(peer, m.index, self.now)
                if not m.term:  # as was checked
                    self._asked.add(peer)
                name = TYPE_NAMES[m.type]
                self._log.debug("raft rpc", type=name, peer=peer, term=m.term, index=m.index)
            except (CodecError, RaftError) as error:
                self.dropped += 1
                loud = self._peers.misheard(peer, error, self.now)
                say = self._log.warning if loud else self._log.debug
                say("raft rpc dropped", peer=peer, error=str(error))

    def on_readindexc(self, context: bytes) -> None:
        """A fresh context: answered on readstatec, or never (then the node asks again)."""
        self._asked_here_at = self.now
        if self._node is not None:
            self._node.read_index(context)

    def on_advancec(self, message: Any) -> None:
        """("durable", seq), ("applied", index) or ("installed", index)."""
        what, upto = message
        if what == "durable":
            if self._appends and self._appends[0].seq <= upto:
                self._slow_disk.wrote(self._appends[0].sent_at, self.now)
            while self._appends and self._appends[0].seq <= upto:
                self._step_all(self._appends.popleft().responses)
            if 0 < self._resetting <= upto:
                self._resetting = 0
                self._go_on()
        elif what == "applied":
            while self._applies and self._applies[0][0] <= upto:
                self._step_all(self._applies.popleft()[1])
        else:
            self._installed(upto)

    def on_confc(self, message: Any) -> None:
        """(index, entry type, data, steps to make instead of its own, or None): apply a committed
        configuration change."""
        index, kind, data, steps = message
        # A leader that removes itself would keep the news of the commit for good; a member that is
        # left alone with an uncommitted entry could never commit it.
        self._send_held()
        self.flush()
        self._tail.configured_at = index
        if steps and steps[0][0] == FORCED:
            conf_state = self._running.force_configuration(steps[0][1])
        else:
            change = confchange.decode(kind, data).as_v2()
            if steps is not None:
                change.changes = conf_changes(steps)
            conf_state = self._running.apply_conf_change(change)
        self._log.info("configuration", index=index, state=conf_state_to_tuple(conf_state))
        self.emit("confstatec", (index, conf_state_to_tuple(conf_state)))
        self._choose_spares = True

    def on_reportc(self, message: Any) -> None:
        """("unreachable", peer), ("gone", peer), ("started", peer, its life),
        ("snapshot", peer, ok)."""
        if message[0] == "started":
            self._peers.meet(self._node, message[1], Life(*message[2]), self.now)
        elif self._node is None:
            return
        elif message[0] == "unreachable":
            self._node.report_unreachable(message[1])
        elif message[0] == "gone":
            if self._soft[1:] == (message[1], "follower"):
                self._leadership.leader_gone(self._node, message[1], self.now)
                self._wake_by(self._campaigns.due_at)
        else:
            ok = message[2]
            status = SnapshotStatus.SnapshotFinish if ok else SnapshotStatus.SnapshotFailure
            self._node.report_snapshot(message[1], status)

    def on_linkedc(self, message: tuple[int, bool]) -> None:
        """(peer, whether the link to it stands)."""
        if self._node is not None and message[1] and not self._soft[1]:
            self._leadership.way_back(self._node, self.now)
            self._wake_by(self._campaigns.due_at)

    def on_snapreadyc(self, message: Any) -> None:
        """(name, index, term, conf_state, revision) of a snapshot that was made."""
        name, index, term, conf_state, revision = message
        self.archive_snapshot(name, index, term, revision)
        self._snapshot_asked = False
        metadata = SnapshotMetadata(conf_state_from_tuple(conf_state), index, term)
        self._tail.snapshot_made = Snapshot(name.encode(), metadata)
        self._tail.snapshot_wanted = False  # this is it, however often it was asked for meanwhile

    def on_durablec(self, applied: int) -> None:
        """The state database survives a crash up to `applied`: the log may be compacted so far."""
        if self._node is None:
            return  # the log is still being opened
        tail, bounds = self._tail, self._settings.log_limits
        if not tail.exceeds(bounds, 1):
            return
        index = tail.compactable(applied, bounds.keep_entries, bounds.keep_bytes)
        if not tail.exceeds(bounds, limits.HELD):
            heard = self._peers.heard(self.now)
            index = min(index, needed_after(self._running.status(), heard))
        if not tail.exceeds(bounds, limits.HELD // 2) and not self._throttle.is_on:
            index = min(index, self.archive_needs_after())
        if index > tail.start_index:
            tail.compact(index)
            self.emit("readyc", ("compact", index, tail.start_term))

    def on_tracec(self, message: Any) -> None:
        """(question, numbers): what was done with an entry."""
        self.emit("tracerc", (message[0], self.name, {}, self.flight.about(message[1])))

    def on_statusc(self, request_id: int) -> None:
        """Answer a status question."""
        status: dict[str, Any] = {"raft_dropped": self.dropped}
        if self._node is not None:
            elections = self._leadership.elections
            status |= core_status.told(self._node, self._tail, elections, self.now)
            status["wal_stalled"] = self._stalled()
            status |= self.archive_status()
        self.emit("statusrc", (request_id, self.name, status, self.measured()))

    def _step_all(self, messages: list[Message]) -> None:
        step = self._running.step
        for m in messages:
            step(m)

    # -- the clock

    def on_timer(self) -> None:
        """Tick by absolute deadlines; catch up a bounded number after a pause."""
        if self._node is None:
            return
        self.archive(self._tail, self._commit)
        late = int((self.now - self._next_tick) / self._settings.heartbeat_s) + 1
        if late <= 0:
            return
        if late > limits.TICKS_CAUGHT_UP_MAX:
            self._log.warning("ticks skipped", ticks=late - limits.TICKS_CAUGHT_UP_MAX)
        self._next_tick += late * self._settings.heartbeat_s
        leads = self._soft[2] == "leader"
        self._peers.remember(self._node if leads else None, self._commit, self.now)
        self._throttle.is_on = False
        if leads:
            heard = self._peers.heard(self.now)
            self._throttle.is_on = is_sending(self._running.status(), heard, self._tail.start_index)
            oldest = self._appends[0].sent_at if self._appends else None
            self._leadership.hand_over_if_slow(self._node, oldest, self.now)
        if (hurry := self._throttle.hurry(self._tail)) is not None:
            self.emit("hurryc", hurry)
        if self._stalled():
            return  # a node whose disk is silent neither leads nor campaigns
        self._leadership.be_modest(self._node, self.now)
        for _ in range(min(late, limits.TICKS_CAUGHT_UP_MAX)):
            self._node.tick()
        if self._campaigns.eager:
            self._node.campaign()
        self._propose_forwarded()

    def _propose_forwarded(self) -> None:
        for forwarded in self._throttle.released(self._tail, self.now):
            self._asked.add(forwarded.from_)
            with suppress(RaftError):  # as if it came now, when somebody else may lead, or nobody
                self._running.step(forwarded)
        self._wake_by(self._throttle.wake_at)

    def _wake_by(self, due: float | None) -> None:
        if due is not None:
            self.wake_at = due if self.wake_at is None else min(due, self.wake_at)

    def _stalled(self) -> bool:
        """Whether the WAL writer has been silent for more than an election timeout."""
        return bool(self._appends) and self.now - self._appends[0].sent_at > self._election_s

    # -- what goes out

    def flush(self) -> None:
        """Dispatch every Ready there is."""
        node = self._node
        if node is None:
            return
        while node.has_ready():
            self._dispatch(node.ready())
        if self._asked or self._awaits:
            self._hurry(node)
        if not self._read_waits and (newest := node.newest_read):
            self._read_waits = newest
            if self.wake_at is None:
                self.wake_at = self.now + limits.HOLD_S
        if self._tail.snapshot_wanted and not self._snapshot_asked:
            self._tail.snapshot_wanted, self._snapshot_asked = False, True
            self.emit("snapshotc", None)

    def _dispatch(self, ready: Ready) -> None:
        hard = ready.hard_state
        if ready.soft_state is not None or (hard is not None and hard.term != self._soft[0]):
            self._tell_soft_state()
        if hard is not None:
            self._commit = hard.commit
            if self._choose_spares:
                self._choose_spares = False
                self._running.choose_spares()
            if self.wake_at is None and self._soft[2] == "leader":
                self.wake_at = self.now + limits.HOLD_S
        for state in ready.read_states:
            self.emit("readstatec", (state.request_ctx, state.index))
        for m in ready.messages:
            if m.type is STORAGE_APPEND:
                self._append(m, ready.must_sync)
            elif m.type is STORAGE_APPLY:
                self._apply(m)
            else:
                self._send(m)

    def _tell_soft_state(self) -> None:
        status = self._running.basic_status()
        soft = (
            status.hard_state.term,
            status.soft_state.lead,
            ROLES[status.soft_state.raft_state],
        )
        if soft != self._soft:
            self._leadership.elections.changed(soft, self.now)
            if soft[1] or 0 < self._soft[0] < soft[0]:  # a leader, or an election
                self._campaigns.settled()
            self._soft = soft
            self.emit("softstatec", soft)
            self._choose_spares = True
            if soft[2] != "leader":
                self._slow_disk.forget()
            self._log.info("raft state", term=soft[0], leader=soft[1], role=soft[2])

    def _send(self, m: Message) -> None:
        if (m.type is HEARTBEAT or m.type is APP) and self._stalled():
            return  # either would keep its followers from electing another leader
        if m.type is APP and m.entries:
            self._slow_disk.sent(m.to, m.entries[-1].index, self.now)
        if m.type is SNAP and m.snapshot is not None:
            name = m.snapshot.data.decode()
            self.emit("snapsendc", (m.to, name, encode_message(m)))
        else:
            self.emit("sendc", (m.to, encode_message(m)))

    def _hurry(self, node: RawNode) -> None:
        """Tell at once who asked of what is committed, until that is all it asked for."""
        last = self._tail.last_index()
        self._awaits.update(dict.fromkeys(self._asked, last))
        self._asked.clear()
        for peer in self._awaits:
            node.send_held(peer)
        while node.has_ready():
            self._dispatch(node.ready())
        self._awaits = {peer: i for peer, i in self._awaits.items() if i > self._commit}

    def on_wake(self) -> None:
        """No append came along to tell the followers of the commit index: tell them now. Or ask for
        votes, since the leader is gone."""
        if self._campaigns.must_ask(self.now) and not self._stalled():
            self._running.campaign()
        self._wake_by(self._campaigns.due_at)
        self._propose_forwarded()
        if self._commit < self._spared_from:  # who was sent it does not answer
            self._choose_spares = True
        self._send_held()
        if self._read_waits:
            self._running.confirm_read(self._read_waits)
            self._read_waits = 0

    def _send_held(self) -> None:
        self._spared = self._spared_from = 0
        self._running.send_held()

    def _spare(self, entries: list[Entry]) -> None:
        self._spared += sum(len(e.data) for e in entries)
        self._spared_from = self._spared_from or entries[0].index
        if self._spared > limits.SPARED_BYTES_MAX:
            self._send_held()
        elif self.wake_at is None:
            self.wake_at = self.now + limits.HOLD_S

    def _append(self, m: Message, must_sync: bool) -> None:
        if self._installing is not None or self._resetting:
            self._held.append((m, must_sync))
            return
        if m.snapshot is not None and m.snapshot.metadata.index:
            # The state goes first: killed in between, the next start finds the state ahead of the
            # log and resets the log; the other order would need the snapshot again. Only one may be
            # so far ahead: `installed` names one.
            self._installing = m
            meta = m.snapshot.metadata
            name = m.snapshot.data.decode()
            self.emit("applyc", ("install", name, meta.index, meta.term))
            return
        self._write(m, None, must_sync)

    def _installed(self, index: int) -> None:
        m, self._installing = self._installing, None
        if m is None or m.snapshot is None or m.snapshot.metadata.index != index:
            raise Impossible(f"snapshot {index} was installed, but {m} was asked for")
        meta = m.snapshot.metadata
        self._tail.reset(meta.index, meta.term)
        self._write(m, (meta.index, meta.term), must_sync=True)
        self._resetting = self._seq

    def _go_on(self) -> None:
        while self._held and self._installing is None:
            self._append(*self._held.popleft())

    def _write(self, m: Message, start: tuple[int, int] | None, must_sync: bool) -> None:
        local: list[Message] = []
        remote: list[tuple[int, bytes]] = []
        for response in m.responses:
            if response.to == self._settings.member_id:
                local.append(response)
            else:
                remote.append((response.to, encode_message(response)))
        if not must_sync and not (self._appends and m.responses):
            # Only the commit index moved, and nobody must hear of it after earlier writes. It need
            # not be durable (a restart learns it again from the leader), so it costs no write.
            for message in remote:
                self.emit("sendc", message)
            self._step_all(local)
            return
        self._tail.append(m.entries)
        if m.entries and self._soft[2] == "leader":
            self._spare(m.entries)
        entries = [(e.term, e.index, int(e.type), e.data) for e in m.entries]
        if entries:
            self.flight.note("readyc", entries[0][1], entries[-1][1])
        # Without a term the message carries no HardState (raft/rawnode: MsgStorageAppend).
        hard_state = (m.term, m.vote, m.commit) if m.term and must_sync else None
        self._seq += 1
        self._appends.append(_Append(self._seq, self.now, local))
        # More than MsgStorageAppendResp: its own vote or acknowledgement, which a quorum waits for.
        # Nothing is applied before the core knows that it is durable: clients wait for that, too.
        asked = self.now - self._asked_here_at < limits.ASKED_S
        awaited = len(local) > 1 or start is not None or asked
        self.emit(
            "readyc",
            ("append", self._seq, entries, hard_state, start, must_sync, remote, awaited),
        )

    def _apply(self, m: Message) -> None:
        entries = [(e.term, e.index, int(e.type), e.data) for e in m.entries]
        self._applies.append((m.entries[-1].index, m.responses))
        self.flight.note("applyc", m.entries[0].index, m.entries[-1].index)
        self.emit("applyc", ("entries", entries))
