"""Members in network namespaces of their own, behind a router that drops packets of chosen
directions without a word. Clients reach everybody."""

import os
from itertools import permutations

from ..namespaces import ip
from .cluster import Cluster


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

    def __init__(self, directory, placement, network, **extra):
        super().__init__(directory, placement, separate=True, allow_insecure=True, **extra)
        self.network = network
        for member in self.config["members"]:
            member["client"] = f"10.77.{member['id']}.2:2379"
            member["peer"] = f"10.77.{member['id']}.2:2380"
        self.endpoints = [m["client"] for m in self.config["members"]]

    def before(self, name):
        return ("ip", "netns", "exec", self.network.members[self.number(name)])

    def number(self, name):
        return self.names.index(name) + 1

    def cut(self, *ways):
        self.network.cut(*((self.number(a), self.number(b)) for a, b in ways))


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
