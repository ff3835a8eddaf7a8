"""What a member has seen of elections, and why they happened, for who looks at the cluster.

With PreVote a member that stands for election has asked before, in its old term: one that begins a
new term without was told to by its leader (MsgTimeoutNow).
"""

from collections import deque

from .campaigns import Campaigns

KEPT = 32
"""An election is two to four changes on each member."""

Soft = tuple[int, int, str]
"""(term, leader, role)."""


class Elections:
    """The last changes of one member's term, leader and role."""

    def __init__(self, campaigns: Campaigns) -> None:
        self._campaigns = campaigns
        self._soft: Soft = (0, 0, "follower")
        self._changes: deque[tuple[float, Soft, str]] = deque(maxlen=KEPT)

    def changed(self, soft: Soft, now: float) -> None:
        """Term, leader or role are others."""
        before, self._soft = self._soft, soft
        self._changes.append((now, soft, self._why(before, soft, now)))

    def note(self, why: str, now: float) -> None:
        """Something that will lead to an election."""
        self._changes.append((now, self._soft, why))

    def _why(self, before: Soft, after: Soft, now: float) -> str:
        (term_before, _, role_before), (term, leader, role) = before, after
        if role == "candidate":
            if term == term_before:
                return f"asks for votes (PreVote): {self._campaigns.cause(now)}"
            asked = role_before == "candidate"
            return "would be elected, so it stands" if asked else "was told to by its leader"
        if not term_before and role == "follower" and not leader:
            return "has started"
        if role == "leader":
            return "a majority voted for it"
        if role_before == "leader":
            deposed = term > term_before
            return "heard of a later term" if deposed else "no majority answers (CheckQuorum)"
        if leader:
            return "hears its leader"
        return "another one stands for election" if term > term_before else "its leader is gone"

    def told(self, now: float) -> list[tuple[float, int, int, str, str]]:
        """(seconds ago, term, leader, role, why), the oldest first."""
        return [(now - at, *soft, why) for at, soft, why in self._changes]
