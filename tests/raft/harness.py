"""Nodes with storage and a network that a test holds in its hand."""

import contextlib
from collections.abc import Callable, Iterable

from sampan.raft import (
    LOCAL_APPEND_THREAD,
    LOCAL_APPLY_THREAD,
    NO_LIMIT,
    ConfChange,
    ConfChangeV2,
    Config,
    ConfState,
    Entry,
    EntryType,
    HardState,
    MemoryStorage,
    Message,
    MessageType,
    RaftError,
    RawNode,
    ReadState,
    Snapshot,
    SnapshotMetadata,
    is_empty_snap,
)

M = MessageType


def log_of(terms: Iterable[int]) -> list[Entry]:
    """Entries 1.. with the given terms."""
    return [Entry(term=term, index=index) for index, term in enumerate(terms, 1)]


def decode(e: Entry) -> ConfChange | ConfChangeV2:
    kind = ConfChange if e.type == EntryType.EntryConfChange else ConfChangeV2
    return kind.unmarshal(e.data)


def vote_types(pre_vote: bool) -> tuple[MessageType, MessageType]:
    """The request and the response of a campaign's first round."""
    return (M.MsgPreVote, M.MsgPreVoteResp) if pre_vote else (M.MsgVote, M.MsgVoteResp)


class Recorder:
    """A logger that keeps what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def debug(self, fmt, *args):
        self.lines.append(fmt % args)

    info = warning = error = debug

    def has(self, text: str) -> bool:
        return any(text in line for line in self.lines)


class Node:
    """A RawNode, its storage and a host that does its duties when `drain` is called.

    `terms` are the terms of a log starting at index 1; `base` puts a snapshot (index, term)
    before it.
    """

    def __init__(
        self, peer=1, voters=(1, 2, 3), learners=(), terms=(), *, base=(0, 0), outgoing=(),
        learners_next=(), auto_leave=False, term=0, vote=0, commit=0, storage=None, **options,
    ):  # fmt: skip
        self.id = peer
        self.log = Recorder()
        self.applied: list[Entry] = []
        self.reads: list[ReadState] = []
        self.snapshots: list[Snapshot] = []
        self.held: list[Message] = []  # storage messages, when `hold_storage`
        self.hold_storage = False
        self.apply_changes = True
        self.conf_states: list[ConfState] = []
        if storage is None:
            storage = MemoryStorage()
            conf_state = ConfState(
                list(voters), list(learners), list(outgoing), list(learners_next), auto_leave
            )
            storage.apply_snapshot(Snapshot(metadata=SnapshotMetadata(conf_state, *base)))
            storage.append([Entry(term=t, index=i) for i, t in enumerate(terms, base[0] + 1)])
            if term or vote or commit:
                storage.set_hard_state(HardState(term, vote, commit or base[0]))
        self.storage = storage
        self.options = {
            "election_tick": 10,
            "heartbeat_tick": 1,
            "max_size_per_msg": NO_LIMIT,
            "max_inflight_msgs": 256,
            "rand": lambda n: 0,
            "logger": self.log,
            "applied": base[0],
        } | options
        self.raw = RawNode(Config(id=peer, storage=storage, **self.options))

    @property
    def state(self):
        return self.raw.debug_state()

    def role(self) -> str:
        return self.state.state.name.removeprefix("State")

    def progress(self, peer):
        return self.raw.status().progress[peer]

    def is_learner(self) -> bool:
        return self.id in self.raw.status().config.learners

    def entries(self) -> list[tuple[int, int]]:
        """The stable log as (term, index)."""
        first, last = self.storage.first_index(), self.storage.last_index()
        if last < first:
            return []
        return [(e.term, e.index) for e in self.storage.entries(first, last + 1, NO_LIMIT)]

    def step(self, kind: MessageType, from_=2, term=None, **fields) -> None:
        """Step a message, of this node's present term unless another is given."""
        fields["term"] = self.state.term if term is None else term
        self.raw.step(Message(type=kind, from_=from_, to=self.id, **fields))

    def tick(self, count=1) -> None:
        for _ in range(count):
            self.raw.tick()

    def drain(self) -> list[Message]:
        """Handle every Ready; gives the messages for other nodes."""
        sent: list[Message] = []
        for _ in range(10_000):
            if not self.raw.has_ready():
                return sent
            rd = self.raw.ready()
            self.reads += rd.read_states
            if self.options.get("async_storage_writes"):
                for m in rd.messages:
                    if m.to not in (LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD):
                        sent.append(m)
                    elif self.hold_storage:
                        self.held.append(m)
                    else:
                        sent += self.do_storage(m)
            else:
                self.persist(rd.hard_state, rd.entries, rd.snapshot)
                self.apply(rd.committed_entries)
                sent += rd.messages
                self.raw.advance(rd)
        raise AssertionError("the node does not come to rest")

    def do_storage(self, m: Message) -> list[Message]:
        """What a storage thread does; gives the responses for other nodes."""
        if m.type == M.MsgStorageAppend:
            self.persist(HardState(m.term, m.vote, m.commit), m.entries, m.snapshot)
        else:
            self.apply(m.entries)
        return self.deliver_responses(m)

    def deliver_responses(self, m: Message) -> list[Message]:
        for r in m.responses:
            if r.to == self.id:
                try:
                    self.raw.step(r)
                except RaftError:
                    assert self.id not in self.raw.status().config.voters.ids()
        return [r for r in m.responses if r.to != self.id]

    def persist(self, hard_state, entries, snapshot) -> None:
        if snapshot is not None and not is_empty_snap(snapshot):
            self.storage.apply_snapshot(snapshot)
            self.snapshots.append(snapshot)
        self.storage.append(entries)
        if hard_state is not None and hard_state != HardState():
            self.storage.set_hard_state(hard_state)

    def apply(self, entries) -> None:
        self.applied += entries
        for e in entries:
            if e.type != EntryType.EntryNormal and self.apply_changes:
                self.conf_states.append(self.raw.apply_conf_change(decode(e)))

    def lead(self) -> "Node":
        """Make this node leader by granting it every vote; what it sends is lost."""
        self.raw.campaign()
        answers = {M.MsgPreVote: M.MsgPreVoteResp, M.MsgVote: M.MsgVoteResp}
        while requests := [m for m in self.drain() if m.type in answers]:
            for m in requests:
                self.step(answers[m.type], m.to, m.term)
        assert self.role() == "Leader", self.role()
        return self

    def lead_and_commit(self) -> "Node":
        """Lead, and let every peer acknowledge the whole log."""
        self.lead()
        self.ack_all()
        return self

    def ack_all(self) -> list[Message]:
        sent: list[Message] = []
        for peer in self.raw.status().progress:
            if peer != self.id:
                self.step(M.MsgAppResp, peer, index=self.state.last_index)
                sent += self.drain()
        return sent

    def restart(self, **options) -> "Node":
        """The node that its storage restores, with nothing applied beyond the snapshot."""
        return Node(self.id, storage=self.storage, **{**self.options, "applied": 0} | options)


class Cluster:
    """Nodes 1..n; `settle` delivers messages until nothing happens any more."""

    def __init__(self, count=3, *, nodes: Iterable[Node] = (), **options):
        ids = tuple(range(1, count + 1))
        self.nodes = {node.id: node for node in nodes} or {
            peer: Node(peer, ids, **options) for peer in ids
        }
        self.cut: set[tuple[int, int]] = set()
        self.ignored: set[MessageType] = set()
        self.drop: Callable[[Message], bool] = lambda m: False
        self.queue: list[Message] = []
        self.seen: list[Message] = []

    def __getitem__(self, peer) -> Node:
        return self.nodes[peer]

    def isolate(self, *ids) -> None:
        others = [i for i in self.nodes if i not in ids]
        self.cut |= {(a, b) for a in ids for b in others} | {(b, a) for a in ids for b in others}

    def recover(self) -> None:
        self.cut.clear()
        self.ignored.clear()
        self.drop = lambda m: False

    def settle(self, rounds=200) -> None:
        for _ in range(rounds):
            for node in self.nodes.values():
                self.queue += node.drain()
            if not self.queue:
                return
            queue, self.queue = self.queue, []
            for m in queue:
                lost = (m.from_, m.to) in self.cut or m.type in self.ignored or self.drop(m)
                if lost or m.to not in self.nodes:
                    continue
                self.seen.append(m)
                with contextlib.suppress(RaftError):
                    self.nodes[m.to].raw.step(m)
        raise AssertionError("the cluster does not come to rest")

    def elect(self, peer=1) -> Node:
        self[peer].raw.campaign()
        self.settle()
        return self[peer]

    def propose(self, peer=1, data=b"x") -> None:
        self[peer].raw.propose(data)
        self.settle()

    def leaders(self) -> list[int]:
        return [peer for peer, node in self.nodes.items() if node.role() == "Leader"]

    def roles(self) -> str:
        """One letter a node: Follower, Candidate, Leader, Pre-candidate."""
        return "".join(node.role()[0] for node in self.nodes.values())

    def logs_equal(self) -> bool:
        return len({tuple(node.entries()) for node in self.nodes.values()}) == 1
