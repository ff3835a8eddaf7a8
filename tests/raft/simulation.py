"""A group of nodes with an unreliable network and disks, driven by a seed.

Messages are lost, repeated and reordered; nodes crash, lose what they had not synced, and come
back; members change; all of it in an order that one seed determines. After every step the
properties of raft are checked (paper, figure 3), and at the end the group must still make progress.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from sampan.raft import (
    LOCAL_APPLY_THREAD,
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    Config,
    ConfState,
    Entry,
    EntryType,
    HardState,
    MemoryStorage,
    Message,
    MessageType,
    ProposalDropped,
    RaftError,
    RawNode,
    Ready,
    Snapshot,
    SnapshotMetadata,
    SnapshotStatus,
    StateType,
    is_empty_snap,
)
from sampan.tests.raft.invariants import BASE, History, ViolationError, require

ACTIONS = {  # weights
    "deliver": 60, "work": 60, "tick": 50, "propose": 10, "lose": 2, "repeat": 2, "read": 5,
    "change": 5, "crash": 0.8, "restart": 8, "partition": 0.8, "heal": 0.5, "compact": 1.5,
    "transfer": 0.6, "campaign": 0.6, "unreachable": 0.5, "forget": 0.2, "snapshot_report": 0.5,
    "stall": 0.6, "resume": 2, "delay": 1, "release": 0.7, "spare": 0.5, "send_held": 2,
}  # fmt: skip


ALWAYS = {"deliver", "work", "tick", "propose", "restart", "heal", "resume", "release"}


@dataclass
class Machine:
    """An application whose state is a checksum of everything applied in order."""

    index: int = 0
    checksum: int = 0
    conf_state: ConfState = field(default_factory=ConfState)

    def to_snapshot(self, term: int) -> Snapshot:
        data = self.checksum.to_bytes(8, "little")
        return Snapshot(data, SnapshotMetadata(self.conf_state, self.index, term))

    @staticmethod
    def from_snapshot(s: Snapshot) -> "Machine":
        checksum = int.from_bytes(s.data, "little")
        return Machine(s.metadata.index, checksum, s.metadata.conf_state)


class Disk(MemoryStorage):
    """Makes a snapshot of what is applied when the leader needs one.

    An older one might not have the node in its configuration that it is meant for.
    """

    host: "Host | None" = None

    def saved(self) -> Snapshot:
        return super().snapshot()

    def snapshot(self) -> Snapshot:
        machine = self.host.machine
        if machine.index <= self.saved().metadata.index:
            return self.saved()
        return machine.to_snapshot(self.term(machine.index))


class Host:
    """A node, its disk, and the work that is under way when a crash comes."""

    def __init__(self, peer: int, sim: "Simulation", member: bool) -> None:
        self.peer = peer
        self.sim = sim
        self.storage = Disk()
        self.storage.host = self
        self.synced = HardState()
        if member:
            conf_state = ConfState(voters=sim.first_voters)
            snapshot = Machine(BASE[0], 0, conf_state).to_snapshot(BASE[1])
            self.storage.apply_snapshot(snapshot)
            self.synced = HardState(BASE[1], 0, BASE[0])
            self.storage.set_hard_state(self.synced)
        self.raw: RawNode | None = None
        self.start()

    def start(self) -> None:
        self.machine = Machine.from_snapshot(self.storage.saved())
        self.restored_index = self.machine.index
        self.stalled = False  # the disk does not answer
        self.slow = False  # nothing is applied
        self.outstanding: Ready | None = None  # synchronous mode
        self.appends: list[Message] = []  # asynchronous mode
        self.applies: list[Message] = []
        rng = self.sim.rng
        config = Config(
            id=self.peer, election_tick=6, heartbeat_tick=2, storage=self.storage,
            applied=self.machine.index, rand=rng.randrange, **self.sim.options,
        )  # fmt: skip
        hard_state = self.storage.initial_state()[0]
        self.raw = RawNode(config)
        self.seen = self.raw.debug_state()
        require(self.seen.term >= hard_state.term, "a restart lost its term")

    def crash(self) -> None:
        """Lose the memory, writes that were under way, and a commit index that was not synced."""
        rng = self.sim.rng
        for m in self.appends[: rng.randrange(len(self.appends) + 1)]:
            self.persist(HardState(m.term, m.vote, m.commit), m.entries, m.snapshot, sync=True)
        rd = self.outstanding
        if rd is not None and rng.random() < 0.5:
            self.persist(rd.hard_state, rd.entries, rd.snapshot, sync=True)
        if rng.random() < 0.5:
            self.storage.set_hard_state(self.synced)
        self.synced = self.storage.initial_state()[0]
        self.raw = None

    def persist(self, hard_state, entries, snapshot, *, sync: bool) -> None:
        if snapshot is not None and not is_empty_snap(snapshot):
            self.storage.apply_snapshot(snapshot)
            sync = True
        self.storage.append(entries)
        if hard_state is not None and hard_state != HardState():
            self.storage.set_hard_state(hard_state)
        if sync:
            self.synced = self.storage.initial_state()[0]

    def apply(self, entries: list[Entry]) -> None:
        for e in entries:
            machine = self.machine
            require(e.index == machine.index + 1, f"node {self.peer} applied {e.index} next")
            machine.index = e.index
            machine.checksum = hash((machine.checksum, e.term, e.type, e.data)) & (2**64 - 1)
            if e.type != EntryType.EntryNormal:
                v1 = e.type == EntryType.EntryConfChange
                change = (ConfChange if v1 else ConfChangeV2).unmarshal(e.data)
                old, machine.conf_state = machine.conf_state, self.raw.apply_conf_change(change)
                self.sim.history.saw_config(e.index, old, machine.conf_state)
            self.sim.history.saw_applied(machine.index, machine.checksum, self.peer)

    def restored(self, snapshot: Snapshot | None) -> None:
        if snapshot is not None:
            self.machine = Machine.from_snapshot(snapshot)
            self.restored_index = self.machine.index
            self.sim.history.saw_applied(self.machine.index, self.machine.checksum, self.peer)

    def leads(self) -> bool:
        """True if this host thinks so."""
        return self.raw is not None and self.raw._raft.state == StateType.StateLeader

    def busy(self) -> bool:
        """True if there is something that this host can do."""
        if self.raw is None or (self.stalled and self.outstanding):
            return False
        writes, applies = self.appends and not self.stalled, self.applies and not self.slow
        return bool(self.outstanding or writes or applies or self.raw.has_ready())

    def work(self) -> None:
        """One piece of what a host does: take a Ready, finish one, write, apply."""
        if not self.sim.asynchronous:
            if not self.outstanding:
                self.take_ready()
            elif not self.stalled:
                self.finish_ready()
            return
        choices = [
            (self.raw.has_ready(), self.take_ready),
            (self.appends and not self.stalled, self.write),
            (self.applies and not self.slow, self.apply_next),
        ]
        possible = [action for ready, action in choices if ready]
        if possible:
            self.sim.rng.choice(possible)()

    def take_ready(self) -> None:
        if not self.raw.has_ready():
            return
        rd = self.raw.ready()
        if rd.entries:
            first = rd.entries[0].index
            previous = self.raw._raft.log.term_or_zero(first - 1)
            for e in rd.entries:
                self.sim.history.saw_entry(previous, e)
                previous = e.term
        for read in rd.read_states:
            floor = self.sim.history.read_floors[read.request_ctx]
            require(read.index >= floor, f"a read at {read.index} after {floor} was acknowledged")
        if not self.sim.asynchronous:
            self.outstanding = rd
            return
        for m in rd.messages:
            if m.type == MessageType.MsgStorageAppend:
                self.appends.append(m)
            elif m.to == LOCAL_APPLY_THREAD:
                self.applies.append(m)
            else:
                self.sim.post(m)

    def finish_ready(self) -> None:
        rd, self.outstanding = self.outstanding, None
        self.persist(rd.hard_state, rd.entries, rd.snapshot, sync=rd.must_sync)
        self.restored(rd.snapshot)
        for m in rd.messages:
            self.sim.post(m)
        self.apply(rd.committed_entries)
        self.raw.advance(rd)

    def write(self) -> None:
        m = self.appends.pop(0)
        hard_state = HardState(m.term, m.vote, m.commit)
        self.persist(hard_state, m.entries, m.snapshot, sync=bool(m.responses))
        self.restored(m.snapshot)
        self.respond(m)

    def apply_next(self) -> None:
        m = self.applies.pop(0)
        # A snapshot may have overtaken what waited to be applied.
        self.apply([e for e in m.entries if e.index > self.restored_index])
        self.respond(m)

    def respond(self, m: Message) -> None:
        for r in m.responses:
            if r.to == self.peer:
                self.step(r)
            else:
                self.sim.post(r)

    def step(self, m: Message) -> None:
        try:
            self.raw.step(m)
        except RaftError:
            self.sim.refused += 1

    def observe(self) -> None:
        """Check this node's own properties against what was seen before."""
        if self.raw is None:
            return
        r = self.raw._raft
        history, seen = self.sim.history, self.seen
        term, committed = r.term, r.log.committed
        require(term >= seen.term, f"node {self.peer} went from term {seen.term} to {term}")
        require(committed >= seen.committed, f"node {self.peer}'s commit index went back")
        leads = r.state == StateType.StateLeader
        if leads and (seen.state != r.state or seen.term != term):
            history.saw_leader(term, self.peer)
            index, at = history.committed_before(term)
            complete = index < r.log.first_index() or r.log.match_term(index, at)
            require(complete, f"leader {self.peer} of term {term} lacks {at}/{index}")
            self._require_quorum(lambda host: host.voted(term, self.peer), f"voted in {term}")
        if leads and committed > seen.committed:
            at = r.log.term(committed)
            history.saw_commit(term, committed, at)
            self._require_quorum(lambda host: host.holds(committed, at), f"hold {at}/{committed}")
        seen.term, seen.committed, seen.state = term, committed, r.state

    def _require_quorum(self, agrees: Callable[["Host"], bool], words: str) -> None:
        """A majority of each half of this leader's configuration, by what their disks say."""
        for half in self.raw._raft.tracker.config.voters:
            those = [peer for peer in sorted(half) if agrees(self.sim.hosts[peer])]
            enough = not half or 2 * len(those) > len(half)
            require(enough, f"leader {self.peer}: of {sorted(half)} only {those} {words}")

    def voted(self, term: int, candidate: int) -> bool:
        """True if this disk has that vote, or is in a later term already."""
        own = self.synced
        return own.term > term or (own.term, own.vote) == (term, candidate)

    def holds(self, index: int, term: int) -> bool:
        """True if this disk has that entry, or a snapshot instead of it."""
        storage = self.storage
        if index < storage.first_index():
            return True
        return index <= storage.last_index() and storage.term(index) == term


class Simulation:
    """One run; `Simulation(seed, size, asynchronous).run(steps)`."""

    def __init__(self, seed: int, size: int, asynchronous: bool) -> None:
        self.rng = rng = random.Random(f"{seed} {size} {asynchronous}")
        self.asynchronous = asynchronous
        self.first_voters = list(range(1, size + 1))
        self.options = {
            "async_storage_writes": asynchronous,
            "pre_vote": rng.random() < 0.5,
            "check_quorum": rng.random() < 0.5,
            "step_down_on_removal": rng.random() < 0.5,
            "commits_on_request": rng.random() < 0.5,
            "max_size_per_msg": rng.choice([0, 40, 10**6]),
            "max_committed_size_per_ready": rng.choice([1, 60, 10**6]),
            "max_inflight_msgs": rng.choice([1, 3, 256]),
            "max_inflight_bytes": rng.choice([0, 10**6]),
        }
        self.history = History()
        self.network: list[Message] = []
        self.late: list[Message] = []
        self.change_weights = rng.choice([[4, 2, 0.2, 1], [1, 4, 0.2, 1]])
        self.blocked: set[tuple[int, int]] = set()
        self.refused = 0
        self.proposed = 0
        self.marshals = rng.random() < 0.05
        self.hosts = {peer: Host(peer, self, peer <= size) for peer in range(1, size + 3)}
        # Each run has much of some faults and none of others: rare things need several of a kind.
        self.names = list(ACTIONS)
        self.weights = [
            weight if name in ALWAYS else weight * rng.choice([0, 1, 1, 5])
            for name, weight in ACTIONS.items()
        ]

    def post(self, m: Message) -> None:
        self.check_durable(m)
        if m.to in self.hosts:
            self.network.append(Message.unmarshal(m.marshal()) if self.marshals else m)

    def check_durable(self, m: Message) -> None:
        """A vote or an acknowledgement speaks for what a crash cannot undo."""
        host = self.hosts.get(m.from_)
        if host is None or m.reject:
            return
        if m.type == MessageType.MsgAppResp:
            last = host.storage.last_index()
            require(m.index <= last, f"node {m.from_} acknowledged {m.index}, its disk has {last}")
        if m.type == MessageType.MsgVoteResp:
            vote = (host.synced.term, host.synced.vote)
            known = vote[0] > m.term or vote == (m.term, m.to)
            require(known, f"node {m.from_} voted for {m.to} in {m.term}, its disk has {vote}")

    def run(self, steps: int) -> None:
        """Let a first leader be elected, then take `steps` random steps."""
        self.settle()
        for name in self.rng.choices(self.names, self.weights, k=steps):
            host = self._pick()
            if host.raw is not None or name == "restart":
                touched = getattr(self, name)(host) or host
                touched.observe()
            if len(self.network) > 200:
                del self.network[: self.rng.randrange(100)]

    def _pick(self) -> Host:
        """Any host, the newest leader more often: that is where things go wrong."""
        leaders = self.history.leaders
        if leaders and self.rng.random() < 0.3:
            return self.hosts[leaders[max(leaders)]]
        return self.rng.choice(list(self.hosts.values()))

    # --- actions; each gives the host it touched, if not the one it was given

    def deliver(self, host: Host) -> None:
        for _ in range(min(self.rng.randrange(1, 7), len(self.network))):
            at = min(int(self.rng.expovariate(0.7)), len(self.network) - 1)  # mostly in order
            self.receive(self.network.pop(at))

    def receive(self, m: Message) -> Host | None:
        target = self.hosts[m.to]
        if target.raw is None or (m.from_, m.to) in self.blocked:
            return None
        target.step(m)
        target.observe()
        return target

    def lose(self, host: Host) -> None:
        if self.network:
            self.network.pop(self.rng.randrange(len(self.network)))

    def repeat(self, host: Host) -> Host | None:
        return self.receive(self.rng.choice(self.network)) if self.network else None

    def work(self, host: Host) -> None:
        busy = [h for h in self.hosts.values() if h.busy()]
        for worker in self.rng.sample(busy, min(self.rng.randrange(1, 5), len(busy))):
            worker.work()
            worker.observe()

    def tick(self, host: Host) -> None:
        for _ in range(self.rng.choice([1, 1, 1, 4])):
            host.raw.tick()

    def campaign(self, host: Host) -> None:
        host.raw.campaign()

    def propose(self, host: Host) -> None:
        self.proposed += 1
        self.try_propose(lambda: host.raw.propose(b"%d" % self.proposed))

    def try_propose(self, action) -> None:
        try:
            action()
        except ProposalDropped:
            self.refused += 1

    def read(self, host: Host) -> None:
        leading = [h for h in self.hosts.values() if h.leads()]
        if leading and self.rng.random() < 0.5:
            host = self.rng.choice(leading)
        context = b"read%d" % len(self.history.read_floors)
        self.history.read_floors[context] = self.history.acknowledged
        host.raw.read_index(context)

    def change(self, host: Host) -> None:
        rng = self.rng
        steps = [
            ConfChangeSingle(
                rng.choices(list(ConfChangeType), self.change_weights)[0],
                rng.choice(list(self.hosts)),
            )
            for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))
        ]
        change = ConfChangeV2(rng.choice(list(ConfChangeTransition)), steps)
        if len(steps) == 1 and rng.random() < 0.5:
            change = ConfChange(steps[0].type, steps[0].node_id)
        self.try_propose(lambda: host.raw.propose_conf_change(change))

    def spare(self, host: Host) -> None:
        host.raw.choose_spares()

    def send_held(self, host: Host) -> None:
        host.raw.send_held()
        host.raw.confirm_read(host.raw.newest_read)

    def crash(self, host: Host) -> None:
        host.crash()

    def restart(self, host: Host) -> None:
        if host.raw is None:
            host.start()

    def stall(self, host: Host) -> None:
        """Its disk or its application does not answer for a while; terms may change meanwhile."""
        host.stalled = self.rng.random() < 0.6
        host.slow = not host.stalled

    def resume(self, host: Host) -> None:
        host.stalled = host.slow = False

    def delay(self, host: Host) -> None:
        """Some messages arrive only when they are long out of date."""
        kept: list[Message] = []
        for m in self.network:
            (self.late if self.rng.random() < 0.4 else kept).append(m)
        self.network = kept

    def release(self, host: Host) -> None:
        self.network, self.late = self.late + self.network, []

    def partition(self, host: Host) -> None:
        """Split the group, or cut a host off from some others, in one or both directions."""
        rng = self.rng
        if rng.random() < 0.4:
            side = set(rng.sample(list(self.hosts), rng.randrange(1, len(self.hosts))))
            pairs = itertools.permutations(self.hosts, 2)
            self.blocked = {(a, b) for a, b in pairs if (a in side) != (b in side)}
            return
        if rng.random() < 0.5 and self.history.leaders:
            host = self.hosts[self.history.leaders[max(self.history.leaders)]]
        others = [peer for peer in self.hosts if peer != host.peer]
        if rng.random() < 0.4:
            others = rng.sample(others, rng.randrange(1, len(others)))
        self.blocked = {(host.peer, other) for other in others}
        if rng.random() < 0.8:
            self.blocked |= {(other, host.peer) for other in others}

    def heal(self, host: Host) -> None:
        self.blocked.clear()

    def compact(self, host: Host) -> None:
        """Snapshot and drop the log; the commit index must be durable first (see the docs)."""
        index, storage = host.machine.index, host.storage
        if index <= storage.saved().metadata.index or index < storage.first_index():
            return
        if storage.initial_state()[0].commit < index:
            return
        if storage.last_index() < index:
            return
        host.synced = storage.initial_state()[0]
        storage.create_snapshot(
            index, host.machine.conf_state, host.machine.checksum.to_bytes(8, "little")
        )
        storage.compact(self.rng.randrange(storage.first_index(), index + 1))

    def transfer(self, host: Host) -> None:
        host.raw.transfer_leadership(self.rng.choice(list(self.hosts)))

    def unreachable(self, host: Host) -> None:
        host.raw.report_unreachable(self.rng.choice(list(self.hosts)))

    def snapshot_report(self, host: Host) -> None:
        host.raw.report_snapshot(
            self.rng.choice(list(self.hosts)), self.rng.choice(list(SnapshotStatus))
        )

    def forget(self, host: Host) -> None:
        host.raw.forget_leader()

    # --- in the end

    def settle(self) -> None:
        """With everything up and connected, the group commits something new and converges."""
        self.blocked.clear()
        for host in self.hosts.values():
            host.stalled = host.slow = False
            if host.raw is None:
                host.start()
            for peer in self.hosts:  # lost snapshots are the transport's to report
                host.raw.report_snapshot(peer, SnapshotStatus.SnapshotFailure)
        # One entry at a time may be under way to a peer that lacks the whole log.
        longest = max(host.storage.last_index() for host in self.hosts.values())
        for _ in range(400 + 4 * longest):
            for host in self.hosts.values():
                host.raw.tick()
                while host.busy():
                    host.work()
                    host.observe()
            queue, self.network = self.network, []
            for m in queue:
                self.receive(m)
            if self._converged():
                return
        raise ViolationError("no progress although every node is up and connected")

    def _converged(self) -> bool:
        leaders = [h for h in self.hosts.values() if h.leads()]
        if not leaders:
            return False
        leader = max(leaders, key=lambda h: h.raw._raft.term)
        raft = leader.raw._raft
        if not raft.committed_in_current_term() or leader.machine.index < raft.log.last_index():
            return False
        members = {*raft.tracker.progress}
        return all(self.hosts[p].machine.index == leader.machine.index for p in members)
