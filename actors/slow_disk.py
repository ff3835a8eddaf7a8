"""When a leader's disk has become so slow that another member should lead.

Every put waits for the leader's disk: nothing is applied before it is durable there. So a leader
whose disk takes long beside followers whose disks do not is what clients wait for. How long its own
takes it knows; how long a follower's takes it sees from its acknowledgements, which include the
way. Where all disks are slow nobody would do better, and nothing happens.

Gray failures of this kind: Huang et al., "Gray failure: the Achilles' heel of cloud-scale systems",
HotOS 2017.
"""

from collections.abc import Mapping
from typing import NamedTuple

SLOW = 0.25
"""Of an election timeout: a disk that takes longer is slow."""
SLOW_FOR = 0.75
"""Of an election timeout: for so long it must have been, without a fast write in between. A new
leader is there before the old one would have been missed."""
FASTER = 4
"""So many times faster must a follower be."""


class _Sent(NamedTuple):
    upto: int
    at: float


class SlowDisk:
    """A leader's comparison of its own disk with its followers'."""

    def __init__(self, election_s: float) -> None:
        self._election_s = election_s
        self._slow_since: float | None = None
        self._took_s = 0.0
        self._sent: dict[int, _Sent] = {}  # peer -> entries whose acknowledgement is awaited
        self._acknowledged: dict[int, tuple[float, float]] = {}  # peer -> (seconds, when sent)
        self._asked_at = float("-inf")

    def wrote(self, began: float, now: float) -> None:
        """What was handed to the disk at `began` is durable."""
        self._took_s = now - began
        if self._took_s <= SLOW * self._election_s:
            self._slow_since = None
        elif self._slow_since is None:
            self._slow_since = began

    def sent(self, peer: int, index: int, now: float) -> None:
        """Entries up to `index` are on their way to `peer`."""
        if peer not in self._sent:
            self._sent[peer] = _Sent(index, now)

    def acknowledged(self, peer: int, index: int, now: float) -> None:
        """`peer` has entries up to `index` on its disk."""
        sent = self._sent.get(peer)
        if sent is not None and index >= sent.upto:
            del self._sent[peer]
            self._acknowledged[peer] = (now - sent.at, sent.at)

    def forget(self) -> None:
        """This member leads no more, or not yet."""
        self._slow_since = None
        self._sent.clear()
        self._acknowledged.clear()

    def is_slow(self, oldest: float | None, now: float) -> bool:
        """Whether this disk has been slow for long enough. `oldest`: when what it has still to
        write was handed to it."""
        if oldest is not None and now - oldest > SLOW * self._election_s:
            self._took_s = max(self._took_s, now - oldest)
            self._slow_since = oldest if self._slow_since is None else self._slow_since
        since = self._slow_since
        return since is not None and now - since >= SLOW_FOR * self._election_s

    def successor(self, matches: Mapping[int, int], now: float) -> int:
        """Who should lead instead of a slow one, 0 for nobody: of those whose disks are fast the
        one that has most. `matches`: how much of the log each voter has."""
        since = self._slow_since
        if since is None or now - self._asked_at < self._election_s:
            return 0  # a transfer has that long to succeed
        fast = [
            (matches[peer], -took_s, peer)
            for peer, (took_s, sent_at) in self._acknowledged.items()
            if peer in matches
            and FASTER * max(took_s, self._awaited_s(peer, now)) < self._took_s
            and sent_at >= since  # what was so slow here
        ]
        if not fast:
            return 0
        self._asked_at = now
        return max(fast)[2]

    def _awaited_s(self, peer: int, now: float) -> float:
        sent = self._sent.get(peer)
        return 0.0 if sent is None else now - sent.at
