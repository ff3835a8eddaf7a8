"""Members that do not reach each other, in all shapes: each in a network namespace of its own,
behind a router that drops packets of chosen directions without a word. Clients reach everybody."""

import os
import subprocess
import time
from contextlib import suppress
from itertools import permutations

import pytest
from sampan.client import SampanError

from ..namespaces import ip, why_not, within
from .cluster import ROUNDS, Cluster, Command, wait_for
from .load import Load

ASKED_FOR = "TEST_ROUNDS" in os.environ
HELD_S = 4.0
"""How long a cut lasts once the service is back, or is known to be away: connections that stood
are given up after 3 s of silence, and new ones are tried."""
FLAPS = 6
FLAP_S = 0.5


class Network:
    """Members 1 to `count` at 10.77.N.2, each behind a cable of its own to the router."""

    def __init__(self, count):
        self.router = f"t{os.getpid()}r"
        self.members = {n: f"t{os.getpid()}n{n}" for n in range(1, count + 1)}
        self._made = []
        self._cut = set()

    def make(self):
        """Raises OSError or CalledProcessError where that is not permitted."""
        for name in (self.router, *self.members.values()):
            ip("netns", "add", name)
            self._made.append(name)
        ip("-n", self.router, "link", "set", "lo", "up")
        ip("netns", "exec", self.router, "sysctl", "-qw", "net.ipv4.ip_forward=1")
        for n, name in self.members.items():
            ip("link", "add", "cable", "netns", name, "type", "veth",
               "peer", f"cable{n}", "netns", self.router)  # fmt: skip
            ends = (
                (name, "cable", f"10.77.{n}.2/24"),
                (self.router, f"cable{n}", f"10.77.{n}.1/24"),
            )
            for where, device, address in ends:
                ip("-n", where, "address", "add", address, "dev", device)
                ip("-n", where, "link", "set", device, "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "route", "add", "default", "via", f"10.77.{n}.1")
        self.cut((1, 2))  # whether this kernel takes such rules
        self.heal()

    def remove(self):
        for name in self._made:
            ip("netns", "delete", name)

    def cut(self, *ways):
        """From now on nothing arrives on these ways, (from, to)."""
        for way in set(ways) - self._cut:
            ip("-n", self.router, "rule", "add", *self._rule(*way))
            self._cut.add(way)

    def heal(self):
        """Everything arrives again."""
        for way in list(self._cut):
            ip("-n", self.router, "rule", "delete", *self._rule(*way))
            self._cut.remove(way)

    def _rule(self, sender, receiver):
        return ("iif", f"cable{sender}", "to", f"10.77.{receiver}.0/24", "blackhole")


class Spread(Cluster):
    """A cluster whose members are in the namespaces of a network."""

    def __init__(self, directory, placement, network):
        super().__init__(directory, placement, separate=True, allow_insecure=True)
        self.network = network
        for member in self.config["members"]:
            member["client"] = f"10.77.{member['id']}.2:2379"
            member["peer"] = f"10.77.{member['id']}.2:2380"
        self.endpoints = [m["client"] for m in self.config["members"]]

    def _run(self, *arguments):
        command, *rest = arguments
        name = rest[1]
        return Command(
            (command, "--config", str(self._config_path), *rest),
            self.directory / f"{name}.log",
            self.temporary,
            before=("ip", "netns", "exec", self.network.members[self.number(name)]),
        )

    def number(self, name):
        return self.names.index(name) + 1

    def cut(self, *ways):
        self.network.cut(*((self.number(a), self.number(b)) for a, b in ways))


@pytest.fixture
def cluster(tmp_path, placement):
    network = Network(3)
    try:
        network.make()
    except (OSError, subprocess.CalledProcessError) as error:
        network.remove()
        pytest.skip(why_not(error))
    made = None
    try:
        with within(network.router):
            made = Spread(tmp_path / "c", placement, network)
            yield made
    finally:
        if made is not None:
            made.destroy()
        network.remove()


def both(a, others):
    return [way for b in others for way in ((a, b), (b, a))]


SHAPES = {
    # name: (leader, followers) -> (the ways that are cut, who can still serve)
    "the leader is cut off": lambda a, b, c: (both(a, (b, c)), (b, c)),
    "a follower is cut off": lambda a, b, c: (both(b, (a, c)), (a, c)),
    "the leader is not heard": lambda a, b, c: ([(a, b), (a, c)], (b, c)),
    "the leader hears nobody": lambda a, b, c: ([(b, a), (c, a)], (b, c)),
    "a chain, the leader at its end": lambda a, b, c: (both(a, (c,)), (a, b)),
    "nobody reaches anybody": lambda a, b, c: (list(permutations((a, b, c), 2)), ()),
}


def wait_served(cluster, names):
    """Seconds until a write through each of these members is acknowledged."""
    begin = time.monotonic()
    for name in names:
        cluster.wait_writable([name])
    return time.monotonic() - begin


def without_quorum(cluster):
    """Nobody leads, nothing is acknowledged, and nobody's term grows by itself."""
    for name in cluster.names:
        cluster.wait_status(name, lambda s: not s["leader"], "no leader without quorum")
    before = [cluster.wait_status(name)["term"] for name in cluster.names]
    with cluster.client(timeout_s=1) as client, suppress(SampanError):
        client.put(b"alone", b"")
        raise AssertionError("a write was acknowledged without a quorum")
    time.sleep(HELD_S)  # how long the cut lasts; nothing is waited for
    assert [cluster.wait_status(name)["term"] for name in cluster.names] == before


def cut_and_heal(cluster, load, shape):
    """One shape; returns (s until a write after the cut, s until one at each member after the heal,
    whether another led after it)."""
    a = cluster.wait_leader()
    b, c = (name for name in cluster.names if name != a)
    ways, serving = SHAPES[shape](a, b, c)
    cluster.cut(*ways)
    served_s = 0.0
    if serving:
        served_s = cluster.wait_writable(serving)
        load.wait_more()
        time.sleep(HELD_S)  # how long the cut lasts; nothing is waited for
        leading = cluster.leader(serving)
    else:
        without_quorum(cluster)
        leading = None
    cluster.network.heal()
    healed_s = wait_served(cluster, cluster.names)
    changed = leading not in (None, cluster.wait_leader())
    return served_s, healed_s, changed


@pytest.mark.parametrize("placement", ["fused", *["processes"] * ASKED_FOR])
def test_partitions(cluster):
    """Whatever is cut: what was acknowledged stays, who has a majority serves, and all are the same
    soon after. Times are told, not judged: they depend on the machine. With TEST_ROUNDS so many
    times, and in processes, too."""
    cluster.start()
    with Load(cluster.endpoints) as load:
        load.wait_more()
        for _ in range(ROUNDS):
            for shape in SHAPES:
                served_s, healed_s, changed = cut_and_heal(cluster, load, shape)
                served = f"a write {served_s:.2f} s after the cut" if served_s else "no write"
                print(f"{shape}: {served}, at each member {healed_s:.2f} s after its end", end="")
                print(", another leads" if changed else "")
                load.wait_more()
                cluster.wait_equal()
            flap(cluster)
            print(f"flapping: at each member {wait_served(cluster, cluster.names):.2f} s after it")
            load.wait_more()
    print(f"longest time without an acknowledged write: {load.longest_gap_s:.2f} s")
    load.verify()
    cluster.wait_equal()
    for name in cluster.names:
        assert '"level": "error"' not in cluster.log(name)
    cluster.stop()


def flap(cluster):
    """The leader's links come and go."""
    for _ in range(FLAPS):
        leader = wait_for(cluster.leader, "a leader")
        cluster.cut(*both(leader, [name for name in cluster.names if name != leader]))
        time.sleep(FLAP_S)
        cluster.network.heal()
        time.sleep(FLAP_S)
