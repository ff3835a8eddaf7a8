"""Three cores in virtual time: their disks, their links and what their sockets tell are played."""

import heapq
import itertools
import random

from sampan.actors.core_config import CoreSettings
from sampan.actors.raft_core import RaftCore
from sampan.config.limits import LogLimits

from .helpers import take

HEARTBEAT_S, ELECTION_TICKS = 0.1, 10
ELECTION_S = HEARTBEAT_S * ELECTION_TICKS
NEW_LOG = ((0, 0, 0), (0, 0), ())
NEW_STATE = (0, 0, ((), (), (), (), False), (), None)
NORMAL = 0
BOUNDS = LogLimits()
ALL_WAYS = tuple(itertools.permutations((1, 2, 3), 2))


class ThreeCores:
    """`disk_s[n]` is how long an fsync of member n takes, `link_s` how long a message travels,
    `snapshot_s` how long a snapshot does. What is applied is in a state that survives at once."""

    def __init__(self, log, seed, *, link_s=0.001, disk_s=0.001, snapshot_s=0.0, log_limits=BOUNDS):
        self.rng = random.Random(seed)
        self.now = 100.0
        self.link_s = link_s
        self.disk_s = dict.fromkeys((1, 2, 3), disk_s)
        self.snapshot_s = snapshot_s
        self.applied = dict.fromkeys((1, 2, 3), (0, 0))  # index, term
        self.installed = dict.fromkeys((1, 2, 3), 0)
        self.dead = set()
        self.cut = set()  # (from, to) that do not arrive
        self.terms_led = set()  # (term, leader)
        self.committed_at = []
        self._queue, self._order = [], itertools.count()
        self._written = {n: [] for n in (1, 2, 3)}
        self._syncing = {n: [] for n in (1, 2, 3)}
        self.cores, self.soft = {}, {}
        peers = tuple((n, f"n{n}", f"127.0.0.1:{n}") for n in (1, 2, 3))
        for n in (1, 2, 3):
            settings = CoreSettings(n, HEARTBEAT_S, ELECTION_TICKS, peers, log_limits)
            core = RaftCore(settings, random.Random(seed * 3 + n).randrange, log)
            self.cores[n], self.soft[n] = core, (0, 0, "follower")
            self.at(0.0, n, ("knownc", b""))
            self.at(0.0, n, ("logc", NEW_LOG))
            self.at(0.0, n, ("statec", NEW_STATE))
            self.at(self.rng.random() * HEARTBEAT_S, n, "timer")

    def at(self, delay_s, member, what):
        """`what` happens to a member after a while."""
        heapq.heappush(self._queue, (self.now + delay_s, next(self._order), member, what))

    def run(self, seconds, until=lambda: False):
        """Let time pass; whether `until` came true."""
        end = self.now + seconds
        while not until() and self._queue and self._queue[0][0] <= end:
            self.now, _, member, what = heapq.heappop(self._queue)
            if member not in self.dead:
                self._turn(member, what)
        if until():
            return True
        self.now = end
        return False

    def _turn(self, member, what):
        if what == "synced":
            self._synced(member)
            return
        core = self.cores[member]
        core.now = self.now
        if what == "timer":
            core.on_timer()
            self.at(HEARTBEAT_S, member, "timer")
        elif what == "wake":
            if core.wake_at is None or core.wake_at > self.now + 1e-9:
                return
            core.wake_at = None
            core.on_wake()
        else:
            core.handle(*what)
        core.flush()
        for channel, message in take(core):
            self._take(member, channel, message)
        if core.wake_at is not None:
            self.at(max(0.0, core.wake_at - self.now), member, "wake")

    def _take(self, member, channel, message):
        if channel == "sendc":
            self._send(member, *message)
        elif channel == "readyc" and message[0] == "append":
            self._written[member].append(message)
            if not self._syncing[member]:
                self._sync(member)
        elif channel == "applyc" and message[0] == "entries":
            for _, index, kind, data in message[1]:
                if kind != NORMAL:
                    self.at(0.0, member, ("confc", (index, kind, data, None)))
            self.committed_at.append(self.now)
            term, index, *_ = message[1][-1]
            self._applied(member, "applied", index, term)
        elif channel == "applyc":
            self.installed[member] += 1
            self._applied(member, "installed", *message[2:])
        elif channel == "snapshotc":
            made = ("a snapshot", *self.applied[member], ((1, 2, 3), (), (), (), False), 1)
            self.at(self.disk_s[member], member, ("snapreadyc", made))
        elif channel == "snapsendc":
            to, name, data = message
            self.at(self.snapshot_s, to, ("recvc", (member, [data], name)))
            self.at(self.snapshot_s, member, ("reportc", ("snapshot", to, True)))
        elif channel == "softstatec":
            self.soft[member] = message
            if message[2] == "leader":
                self.terms_led.add((message[0], member))

    def _applied(self, member, how, index, term):
        self.applied[member] = (index, term)
        self.at(self.disk_s[member], member, ("advancec", (how, index)))
        self.at(self.disk_s[member], member, ("durablec", index))

    def _sync(self, member):
        """One fsync for all that was written, as the WAL writer does it."""
        self._syncing[member], self._written[member] = self._written[member], []
        must_sync = any(append[5] for append in self._syncing[member])
        self.at(self.disk_s[member] if must_sync else 0.0, member, "synced")

    def _synced(self, member):
        synced, self._syncing[member] = self._syncing[member], []
        for append in synced:
            for to, data in append[6]:
                self._send(member, to, data)
        self.at(0.0, member, ("advancec", ("durable", synced[-1][1])))
        if self._written[member]:
            self._sync(member)

    def _send(self, member, to, data):
        if (member, to) not in self.cut:
            delay = self.link_s * (0.5 + self.rng.random())
            self.at(delay, to, ("recvc", (member, [data], "")))

    # -- what a test does

    def leader(self):
        """Who leads in the newest term of those alive, 0 when nobody does."""
        alive = [self.soft[n] + (n,) for n in self.soft if n not in self.dead]
        term = max(soft[0] for soft in alive)
        return next((n for t, _, role, n in alive if role == "leader" and t == term), 0)

    def elect(self):
        """Run until there is a leader whom all follow."""
        assert self.run(60.0, self._settled)
        return self.leader()

    def _settled(self):
        leader = self.leader()
        return bool(leader) and all(
            self.soft[n][1] == leader for n in self.soft if n not in self.dead
        )

    def put(self, seconds, every_s=0.05, until=lambda: False):
        """Clients write all the time."""
        end = self.now + seconds
        while self.now < end and not until():
            leader = self.leader()
            if leader:
                self.at(0.0, leader, ("propc", (1, b"x" * 100)))
            self.run(every_s, until)
        return until()

    def break_connections(self, peer, notice_s=0.002, by=(1, 2, 3)):
        """The others find their connections to `peer` broken and the next ones refused."""
        for n in by:
            if n != peer:
                self.at(notice_s * (0.5 + self.rng.random()), n, ("reportc", ("gone", peer)))

    def cut_all(self, ways=ALL_WAYS):
        """Nothing arrives on these ways, (from, to)."""
        self.cut.update(way for way in ways if way[0] != way[1])

    def heal(self, within_s):
        """Every link that was cut stands again within this time, one after the other."""
        for sender, to in sorted(self.cut):
            self.at(self.rng.random() * within_s, sender, ("linkedc", (to, True)))
        self.cut.clear()

    def kill(self, member, notice_s=0.002):
        """kill -9: its kernel closes its connections and refuses new ones."""
        self.dead.add(member)
        self.break_connections(member, notice_s)
