"""Raft's properties, hypothesis choosing what happens.

The group of nodes and the checks are the simulation's. The runs are always the same ones, so that a
failure comes again by itself; it is printed as the steps that lead to it, and as a blob for
`reproduce_failure`. Set RAFT_EXAMPLES to a number to try so many new ones, and to have a
failure shrunk to the steps it needs, which takes minutes.
"""

import functools
import os

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from sampan.raft import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    SnapshotStatus,
)
from sampan.tests.raft.simulation import Host, Simulation

EXAMPLES = int(os.environ.get("RAFT_EXAMPLES", "0"))
STEPS = 300
HOSTS = st.integers(0, 6)  # 0 is whoever led last
PLACES = st.integers(0, 9)
CHANGES = st.lists(st.tuples(st.sampled_from(ConfChangeType), st.integers(1, 7)), max_size=3)


def happens(**arguments):
    """A rule after which the group goes on for up to two rounds by itself.

    Hypothesis tries each run with some of the rules only; whichever they are, something happens.
    """

    def decorate(function):
        @rule(pace=st.integers(0, 2), **arguments)
        @functools.wraps(function)
        def and_go_on(self, pace, **drawn):
            function(self, **drawn)
            self.go_on(pace)

        return and_go_on

    return decorate


class Group(RuleBasedStateMachine):
    """Nodes, a network, and what may happen to them."""

    size = 3
    asynchronous = False

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed):
        self.sim = Simulation(seed, self.size, self.asynchronous)
        self.sim.settle()

    def host(self, number: int) -> Host:
        leaders, hosts = self.sim.history.leaders, self.sim.hosts
        return hosts[leaders[max(leaders)] if number == 0 else (number - 1) % len(hosts) + 1]

    def up(self) -> list[Host]:
        return [host for host in self.sim.hosts.values() if host.raw is not None]

    def go_on(self, rounds):
        """Time passes, someone proposes, every node works, and what was sent arrives in order."""
        for _ in range(rounds):
            queue, self.sim.network = self.sim.network, []
            for m in queue:
                self.sim.receive(m)
            self.sim.propose(self.sim.rng.choice(self.up()))
            for host in self.up():
                host.raw.tick()
                host.observe()
                while host.busy():
                    host.work()
                    host.observe()

    # --- what keeps things going

    @happens(number=HOSTS, pieces=st.integers(1, 3))
    def work(self, number, pieces):
        for _ in range(pieces):
            if self.host(number).busy():
                self.host(number).work()

    @happens(places=st.lists(PLACES, min_size=1, max_size=5))
    def deliver(self, places):
        """Any message next: 0 is the oldest one."""
        for place in places:
            if self.sim.network:
                self.sim.receive(self.sim.network.pop(place % len(self.sim.network)))

    @happens(number=HOSTS, ticks=st.integers(1, 12))
    def tick(self, number, ticks):
        if (host := self.host(number)).raw is not None:
            for _ in range(ticks):
                host.raw.tick()

    @happens(number=HOSTS, count=st.integers(1, 3))
    def propose(self, number, count):
        if (host := self.host(number)).raw is not None:
            for _ in range(count):
                self.sim.propose(host)

    @happens(number=HOSTS)
    def read(self, number):
        if (host := self.host(number)).raw is not None:
            self.sim.read(host)

    @happens(
        number=HOSTS, steps=CHANGES, transition=st.sampled_from(ConfChangeTransition),
        v1=st.booleans(),
    )  # fmt: skip
    def change(self, number, steps, transition, v1):
        host = self.host(number)
        singles = [ConfChangeSingle(kind, self.host(peer).peer) for kind, peer in steps]
        change = ConfChangeV2(transition, singles)
        if v1 and len(singles) == 1:
            change = ConfChange(singles[0].type, singles[0].node_id)
        if host.raw is not None:
            self.sim.try_propose(lambda: host.raw.propose_conf_change(change))

    @happens(number=HOSTS, chooses=st.booleans(), to=st.one_of(st.none(), HOSTS))
    def hold(self, number, chooses, to):
        """What is held back from followers, as long as nobody sends it."""
        if (host := self.host(number)).raw is None:
            return
        if chooses:
            host.raw.choose_spares()
        if to is not None:
            host.raw.send_held(self.host(to).peer)
            host.raw.confirm_read(host.raw.newest_read)

    # --- what goes wrong

    @happens(place=PLACES)
    def duplicate(self, place):
        if self.sim.network:
            self.sim.receive(self.sim.network[place % len(self.sim.network)])

    @happens(places=st.lists(PLACES, min_size=1, max_size=4))
    def drop(self, places):
        for place in places:
            if self.sim.network:
                del self.sim.network[place % len(self.sim.network)]

    @happens(number=HOSTS, restarts=st.booleans())
    def crash(self, number, restarts):
        """What was not synced is lost."""
        if (host := self.host(number)).raw is not None:
            host.crash()
        if restarts or len(self.up()) <= self.size // 2:
            host.start()

    @happens()
    def restart(self):
        for host in self.sim.hosts.values():
            self.sim.restart(host)

    @happens(number=HOSTS, others=st.sets(st.integers(1, 7), min_size=1), both_ways=st.booleans())
    def partition(self, number, others, both_ways):
        peer = self.host(number).peer
        self.sim.blocked = {(peer, other) for other in others}
        if both_ways:
            self.sim.blocked |= {(other, peer) for other in others}

    @happens()
    def heal(self):
        self.sim.blocked.clear()

    @happens(
        number=HOSTS,
        other=HOSTS,
        status=st.sampled_from(SnapshotStatus),
        what=st.sampled_from(
            ["campaign", "transfer", "compact", "lost", "forget", "report", "stall"]
        ),
    )
    def disturb(self, number, other, status, what):
        host, peer = self.host(number), self.host(other).peer
        if host.raw is None:
            return
        match what:
            case "campaign":
                host.raw.campaign()
            case "transfer":
                host.raw.transfer_leadership(peer)
            case "compact":
                self.sim.compact(host)
            case "lost":
                host.raw.report_unreachable(peer)
            case "forget":
                host.raw.forget_leader()
            case "report":
                host.raw.report_snapshot(peer, status)
            case "stall":
                host.stalled = not host.stalled

    # --- what must hold

    @invariant()
    def raft_is_safe(self):
        for host in self.sim.hosts.values():
            host.observe()


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("size", [3, 5])
def test_properties_hold_whatever_happens(size, asynchronous):
    group = type("Group", (Group,), {"size": size, "asynchronous": asynchronous})
    run_state_machine_as_test(
        group,
        settings=settings(
            max_examples=EXAMPLES or 20,
            stateful_step_count=STEPS,
            derandomize=not EXAMPLES,
            database=None,
            deadline=None,
            print_blob=True,
            phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
