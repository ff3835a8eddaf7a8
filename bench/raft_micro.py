"""Micro-benchmark of the raft core alone: microseconds per message, per proposal, per Ready cycle.

Run with `python -m sampan.bench.raft_micro [--quick]`. Nothing is written and nothing is sent: the
numbers are what the protocol itself costs in a host's loop. Each is the fastest of many calls,
because everything else on the machine can only add.
"""

import argparse
import gc
import time
from collections.abc import Callable

from ..raft import (
    Config,
    ConfState,
    Entry,
    MemoryStorage,
    Message,
    MessageType,
    RawNode,
    Ready,
    Snapshot,
    SnapshotMetadata,
)

GROUPS = (1, 3, 5)
BATCHES = (1, 10, 100)
PAYLOAD = b"x" * 128
READY_CYCLE_US_MAX = 150  # the leader's budget for one batch of 100 entries with 3 voters


def make_batch(count: int) -> Message:
    """A proposal of `count` entries."""
    return Message(MessageType.MsgProp, 1, 1, entries=[Entry(data=PAYLOAD)] * count)


def make_node(peer: int, voters: int) -> tuple[RawNode, MemoryStorage]:
    """A node of a group of `voters`, with the limits that a server would use."""
    storage = MemoryStorage()
    conf_state = ConfState(voters=list(range(1, voters + 1)))
    storage.apply_snapshot(Snapshot(metadata=SnapshotMetadata(conf_state)))
    config = Config(
        id=peer, election_tick=10, heartbeat_tick=1, storage=storage, max_size_per_msg=1 << 20,
        max_committed_size_per_ready=1 << 24, max_inflight_msgs=1 << 16,
        max_uncommitted_entries_size=1 << 30, check_quorum=True, pre_vote=True,
    )  # fmt: skip
    return RawNode(config), storage


def finish(node: RawNode, storage: MemoryStorage) -> Ready:
    """Take a Ready and do with it what a host in the synchronous mode does, without a disk."""
    rd = node.ready()
    storage.append(rd.entries)
    node.advance(rd)
    return rd


class Leader:
    """A leader whose peers answer at once."""

    def __init__(self, voters: int) -> None:
        self.node, self.storage = make_node(1, voters)
        self.peers = range(2, voters + 1)
        self.node.campaign()
        for kind in (MessageType.MsgPreVoteResp, MessageType.MsgVoteResp):
            self.drain()
            for peer in self.peers:
                self.node.step(Message(kind, 1, peer, term=1))
        self.drain()
        self.acknowledge(self.storage.last_index())

    def drain(self) -> None:
        """Handle every Ready."""
        while self.node.has_ready():
            finish(self.node, self.storage)

    def propose(self, batch: Message) -> None:
        """Propose a batch; the core copies its entries, so that it can be used again."""
        self.node.step(batch)

    def acknowledge(self, index: int) -> None:
        """Every peer has written up to `index`."""
        for peer in self.peers:
            self.node.step(Message(MessageType.MsgAppResp, 1, peer, 1, index=index))
        self.drain()

    def cycle(self, batch: Message) -> None:
        """One batch from proposal to application."""
        self.propose(batch)
        self.drain()
        self.acknowledge(self.storage.last_index())


def best_us(action: Callable[[int], object], rounds: int) -> float:
    """Microseconds of the fastest call of `action(i)`."""
    best = float("inf")
    gc.disable()  # as timeit does; a host calls gc.freeze() or raises the threshold
    for i in range(rounds):
        start = time.perf_counter()
        action(i)
        best = min(best, time.perf_counter() - start)
    gc.enable()
    return best * 1e6


def bench_propose(voters: int, batch: int, rounds: int) -> float:
    """Appending a batch and addressing it to the peers, the Ready being taken as well."""
    leader, proposal = Leader(voters), make_batch(batch)

    def one(_: int) -> None:
        leader.propose(proposal)
        finish(leader.node, leader.storage)

    return best_us(one, rounds)


def bench_append(voters: int, batch: int, rounds: int) -> float:
    """A follower taking a MsgApp, with the Ready that persists and acknowledges it."""
    node, storage = make_node(2, voters)
    previous_term = 0

    def one(i: int) -> None:
        nonlocal previous_term
        first = i * batch + 1
        entries = [Entry(1, first + n, data=PAYLOAD) for n in range(batch)]
        node.step(
            Message(
                MessageType.MsgApp, 2, 1, 1, log_term=previous_term, index=first - 1,
                entries=entries, commit=first - 1,
            )
        )  # fmt: skip
        previous_term = 1
        finish(node, storage)

    return best_us(one, rounds)


def bench_acknowledge(voters: int, batch: int, rounds: int) -> float:
    """A leader taking one MsgAppResp, commits and their messages included."""
    leader = Leader(voters)
    start = leader.storage.last_index()
    for _ in range(rounds):
        leader.propose(make_batch(batch))
        finish(leader.node, leader.storage)
    peers = len(leader.peers)

    def one(i: int) -> None:
        index = start + (i + 1) * batch
        for peer in leader.peers:
            leader.node.step(Message(MessageType.MsgAppResp, 1, peer, 1, index=index))
        finish(leader.node, leader.storage)

    return best_us(one, rounds) / peers


def bench_cycle(voters: int, batch: int, rounds: int) -> float:
    """A leader's whole cycle: propose, Ready, acknowledgements, commit, Ready."""
    leader, proposal = Leader(voters), make_batch(batch)
    return best_us(lambda _: leader.cycle(proposal), rounds)


def bench_growth(entries: int) -> list[tuple[int, float]]:
    """(log length, microseconds per entry) while a log grows to `entries` in batches of 100."""
    leader, proposal, points = Leader(3), make_batch(100), []
    while leader.storage.last_index() < entries:
        start, first = time.perf_counter(), leader.storage.last_index()
        for _ in range(entries // 1000):
            leader.cycle(proposal)
        added = leader.storage.last_index() - first
        points.append((first + added, (time.perf_counter() - start) / added * 1e6))
    return points


def main() -> None:
    """Print all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds: does it run at all?")
    rounds = 20 if parser.parse_args().quick else 1000
    benches = {
        "proposal + Ready": bench_propose,
        "MsgApp + Ready": bench_append,
        "MsgAppResp": bench_acknowledge,
        "leader's cycle": bench_cycle,
    }
    print(f"{'µs per batch':<18} {'voters':>6}" + "".join(f"{f'{b} entries':>14}" for b in BATCHES))
    for name, bench in benches.items():
        for voters in GROUPS:
            if bench is bench_acknowledge and voters == 1:
                continue  # nobody acknowledges
            cells = [f"{bench(voters, batch, rounds):14.1f}" for batch in BATCHES]
            print(f"{name:<18} {voters:>6}" + "".join(cells))
    cycle = bench_cycle(3, 100, rounds)
    verdict = "within" if cycle <= READY_CYCLE_US_MAX else "OVER"
    print(
        f"\nleader's cycle, 3 voters, 100 entries: {cycle:.0f} µs, {verdict} {READY_CYCLE_US_MAX}"
    )
    print("µs per entry while the log grows (batches of 100, 3 voters):")
    for length, cost in bench_growth(2_000 if rounds < 1000 else 100_000):
        print(f"{length:>10} {cost:8.2f}")


if __name__ == "__main__":
    main()
