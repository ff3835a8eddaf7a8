"""When a member campaigns out of turn, or holds back, beside raft's election timeout.

At the first start of a cluster everyone's log is the same, so whoever asks first may lead: the
member with the lowest id asks until it is heard (etcd's initial election tick advance). With
PreVote the questions disturb nobody; but once it stands for election the votes have the time that
an election has, or on a slow machine each question would begin a term of its own.

A leader that was killed is known to be dead at once: its kernel closes its connections and refuses
new ones. Who sees that forgets the leader, so that it grants others the votes that it would deny
while it follows one, and asks for votes itself, the followers one after the other. Where only a
connection broke, the others follow their leader still, do not answer, and the next heartbeat is
followed again: nobody is deposed.

Where nobody leads and a link to a peer stands again, a member asks, too, or the end of a partition
would be followed by an election timeout.

Who has given up the leadership, because its disk is slow, leaves the next elections to others, as
long as there are others.
"""

from collections.abc import Collection

ASK_AGAIN_S = 0.025
"""Between two questions of one member to others that may not have noticed yet."""
TURN_S = 0.1
"""Between the first questions of two members: an election takes less on a machine with time, and
who has voted in one does not stand in the next."""
LEFT_BEHIND_S = 0.1
"""For so long what a dead leader had said may come out of the kernel's buffers. It would pass for a
sign of life."""
MODEST_S = 60.0
"""How long a member with a slow disk leaves elections to others."""


class Campaigns:
    """What a core's campaigns depend on but its ticks."""

    def __init__(self, member_id: int, election_s: float) -> None:
        self._id = member_id
        self._election_s = election_s
        self.eager = False
        """At the first start of a cluster, this member is the one that asks."""
        self.due_at: float | None = None
        """When to ask for votes since the leader is gone."""
        self._until = 0.0
        self._was_settled = False
        self._dead, self._dead_until = 0, 0.0
        self._modest_until = 0.0

    def leader_is_gone(self, leader: int, voters: Collection[int], now: float) -> None:
        """This follower saw it die."""
        self._dead, self._dead_until = leader, now + LEFT_BEHIND_S
        others = sorted(set(voters) - {leader})
        if self._id in others:
            self.due_at = now + others.index(self._id) * TURN_S
            self._until = now + self._election_s  # then the election timeout does it

    def way_back(self, voters: Collection[int], now: float) -> None:
        """A peer can be reached again. If nobody leads, there may be a majority now: those that
        were cut from each other would wait for their election timeouts, one after the other."""
        if self._was_settled and self._id in voters:
            turn = now + sorted(voters).index(self._id) * TURN_S
            self.due_at = turn if self.due_at is None else min(turn, self.due_at)
            self._until = now + self._election_s

    def is_dead(self, peer: int, now: float) -> bool:
        """Whether what comes from `peer` was said by a leader that is gone."""
        return peer == self._dead and now < self._dead_until

    def must_ask(self, now: float) -> bool:
        """Whether to ask for votes now; the next time is `due_at`."""
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = now + ASK_AGAIN_S if now + ASK_AGAIN_S < self._until else None
        return True

    def cause(self, now: float) -> str:
        """Why this member asks for votes."""
        if self.eager:
            return "the cluster's first start"
        if self._dead and now < self._until:
            return "its leader's process is gone"
        return "no word from a leader for an election timeout"

    def settled(self) -> None:
        """There is a leader, or an election."""
        self.eager = False
        self._was_settled = True
        self.due_at = None

    def gave_up(self, now: float) -> None:
        """This member, its disk being slow, has asked another one to lead."""
        self._modest_until = now + MODEST_S

    def is_modest(self, now: float) -> bool:
        """Whether it stands for election only when nobody else does."""
        return now < self._modest_until
