"""The peers that a core has met: which may be heard, and which are not silent."""

from collections.abc import Callable
from typing import NamedTuple

from ..config import limits
from ..raft import Message, RawNode, UnknownEntry, UnsafeMessage
from .peer_memory import Life, PeerMemory, another_history, refusal

DOUBTS_MAX, DOUBT_S = 3, 1.0
"""A message may be broken, and several come late, in what a connection of before still held. So
many over so long, and none between that is not, are no accident."""
UNSAFE_TOLD_S = 60.0
"""A contradiction comes again with each message."""


class Doors(NamedTuple):
    """What the core does for it."""

    refuse: Callable[[tuple[int, int, str]], None]
    """Tells the transport of (peer, epoch, why): it must not be heard."""
    keep: Callable[[bytes], None]
    """Writes what is known to the log database."""


class Acquaintance:
    """A core's peers; what they promised is in peer_memory.py."""

    def __init__(self, silence_s: float, doors: Doors) -> None:
        """A peer that has said nothing for `silence_s` is silent."""
        self._silence_s = silence_s
        self._doors = doors
        self._memory = PeerMemory()
        self._kept_at = 0.0
        self._early: dict[int, Life] = {}  # of peers that were heard before this core had started
        self._refused: set[int] = set()
        self._doubts: dict[int, tuple[int, float]] = {}  # how many, and since when
        self._loud_at = 0.0
        self._heard_at: dict[int, float] = {}

    def recall(self, packed: bytes) -> None:
        """What was known at the last start."""
        self._memory = PeerMemory(packed)

    def meet(self, node: RawNode | None, peer: int, life: Life, now: float) -> None:
        """A peer has started: listen to it, unless it has forgotten what it promised."""
        if node is None:
            self._early[peer] = life
            return
        status = node.status()
        progress = status.progress.get(peer)
        match = progress.match if progress and life.term <= status.hard_state.term else 0
        why = self._memory.judge(peer, life, match)
        if why:
            self._refused.add(peer)
            self._doors.refuse((peer, life.epoch, refusal(why)))
        else:
            self._refused.discard(peer)
            self._doubts.pop(peer, None)
            self._keep(now)

    def meet_early(self, node: RawNode, now: float) -> None:
        """The core has started: meet those that came before."""
        for peer, life in self._early.items():
            self.meet(node, peer, life, now)

    def misheard(self, peer: int, error: Exception, now: float) -> bool:
        """A message of it was dropped. Whether somebody should look now: it contradicts what is
        committed here, so it is not heard until one of the two has been mended."""
        if isinstance(error, UnknownEntry):
            self._doubt(peer, str(error), now)
        loud = isinstance(error, UnsafeMessage) and now >= self._loud_at
        if loud:
            self._loud_at = now + UNSAFE_TOLD_S
        return loud

    def _doubt(self, peer: int, why: str, now: float) -> None:
        """What it says fits no follower of this leader's log: if it goes on, it is of another
        history, and must neither count as one that has entries nor serve what it holds."""
        doubts, since = self._doubts.get(peer, (0, now))
        self._doubts[peer] = doubts + 1, since
        if doubts + 1 >= DOUBTS_MAX and now - since >= DOUBT_S:
            self._refused.add(peer)
            self._doors.refuse((peer, self._memory.epoch(peer), another_history(why)))

    def answered(self, node: RawNode, m: Message, now: float) -> None:
        """It has taken what this leader sent, or rejected it. What it has acknowledged before it
        rejects when it comes late, or when it had committed something else at that index."""
        if not m.reject:
            self._doubts.pop(m.from_, None)
            return
        status = node.status()
        progress = status.progress.get(m.from_)
        if progress and m.term == status.hard_state.term and 0 < m.index <= progress.match:
            self._doubt(m.from_, f"it rejects index {m.index}, which it has acknowledged", now)

    def refuses(self, peer: int) -> bool:
        """Whether this peer must not be heard."""
        return peer in self._refused

    def hear(self, peer: int, now: float) -> None:
        """It has said something."""
        self._heard_at[peer] = now

    def heard(self, now: float) -> list[int]:
        """The peers that are not silent."""
        return [p for p, at in self._heard_at.items() if now - at < self._silence_s]

    def remember(self, leader: RawNode | None, commit: int, now: float) -> None:
        """What a leader's followers have acknowledged and is committed is theirs for good."""
        if leader is not None:
            leader.with_progress(
                lambda peer, _, p: self._memory.acknowledged(peer, min(p.match, commit))
            )
        if now - self._kept_at >= limits.LOG_MARK_S:
            self._keep(now)

    def _keep(self, now: float) -> None:
        if self._memory.changed:
            self._kept_at = now
            self._doors.keep(self._memory.packed())
