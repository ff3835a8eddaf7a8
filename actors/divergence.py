"""Finding a member whose state has silently become another than the others'.

The state keeps a rolling hash of all events (StateStore.history_hash), equal on all members at the
same applied index. Now and then the leader puts a marker into the log. Whoever applies it knows its
own hash at exactly that index, and claims it in an entry of its own. So everybody sees all claims
in the same order, and comes to the same verdict at the same index:

- what a majority of the voters claims is right;
- when all voters have claimed and no majority agrees, the one who put the marker is right, as in
  etcd's corruption check, where everybody is compared with the leader.

An alarm of kind CORRUPT is raised for a member that is wrong, and it stops for good: it must
neither answer reads nor be elected. etcd's check compares hashes of the whole history, takes
minutes on a large one and is off by default; this one costs a commit and a few small entries.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ..storage.alarms import CORRUPT
from ..storage.state_store import StateStore
from ..transport.codec import pack
from .entries import CLAIM, MARKER

CLAIM_RETRY_S = 1.0
"""A claim that was lost for want of a leader is made again."""


class Check(NamedTuple):
    """The newest marker and what was claimed since, as the state keeps it."""

    marker: int = 0
    """Its index; 0 before the first."""
    proposer: int = 0
    revision: int = 0
    own: int = 0
    """This state's hash there."""
    claims: tuple[tuple[int, int], ...] = ()
    """(member id, hash)."""
    condemned: tuple[tuple[int, int], ...] = ()
    """(member id, incarnation) of those that were found wrong, in this check or earlier. With
    another data dir, which has another incarnation, a member is a new one."""


class Verdict(NamedTuple):
    """Which hash is right, and who claimed another."""

    right: int
    wrong: dict[int, int]


def judge(claims: Mapping[int, int], voters: Collection[int], proposer: int) -> Verdict | None:
    """The verdict on {member: hash}; None while it is open."""
    votes = [claims[voter] for voter in voters if voter in claims]
    right = next((each for each in votes if 2 * votes.count(each) > len(voters)), None)
    if right is None and len(votes) == len(voters):
        right = claims.get(proposer)
    if right is None:
        return None
    return Verdict(right, {m: claimed for m, claimed in claims.items() if claimed != right})


class Divergence:
    """One member's part in it."""

    def __init__(self, member_id: int, incarnation: int, interval_s: float) -> None:
        """`interval_s`: between two markers; 0: this member puts none. It claims even so."""
        self._me = (member_id, incarnation)
        self._interval_s = interval_s
        self._next_marker = 0.0
        self._next_claim = 0.0

    def tick(self, state: StateStore, now: float, *, leading: bool, members: int) -> bytes | None:
        """An entry to propose now, if any."""
        check = _check_of(state)
        member_id, _ = self._me
        if check.marker and member_id not in dict(check.claims):
            if now < self._next_claim:
                return None
            self._next_claim = now + CLAIM_RETRY_S
            return pack((CLAIM, member_id, check.marker, check.own))
        due = self._interval_s and leading and now >= self._next_marker
        if not due or members < 2 or state.revision == check.revision:
            return None
        self._next_marker = now + self._interval_s
        return pack((MARKER, member_id))

    def apply(
        self, state: StateStore, at: tuple[int, int], entry: Sequence[Any], configuration: Any
    ) -> Verdict | None:
        """Apply an entry, a marker or a claim, at (index, term) and under a configuration: the
        voters' ids, and the members as the state keeps them. Returns the verdict if there is one
        now."""
        voters, members = configuration
        check = _check_of(state)
        verdict = None
        if entry[0] == MARKER:
            check = Check(at[0], entry[1], state.revision, state.history_hash, (), check.condemned)
            self._next_claim = 0.0
        elif entry[2] == check.marker:  # else it comes late: another marker has been put since
            claims = {**dict(check.claims), entry[1]: entry[3]}
            verdict = judge(claims, voters, check.proposer)
            wrong = verdict.wrong if verdict else {}
            found = {(m[0], m[5]) for m in members if m[0] in wrong}
            condemned = tuple(sorted(found | set(check.condemned)))
            check = check._replace(claims=tuple(claims.items()), condemned=condemned)
            for member_id in wrong:
                state.alarms.activate(member_id, CORRUPT)
        state.apply_check(*at, tuple(check))
        return verdict

    def reason_to_stop(self, state: StateStore) -> str:
        """Why this member must stop for good; empty when it need not."""
        check = _check_of(state)
        if self._me not in check.condemned:
            return ""
        claims = ", ".join(f"{claimed:08x} of member {m}" for m, claimed in check.claims)
        return (
            f"the state of this member has diverged: at index {check.marker}, revision "
            f"{check.revision}, the history hashes are {claims}. Take member {self._me[0]} out of "
            "the cluster, keep a copy of its data dir for whoever looks for the cause, and add it "
            "again with an empty one"
        )

    @staticmethod
    def diverged(state: StateStore, members: Sequence[Any]) -> list[int]:
        """The members that were found wrong and have the same data dir still."""
        condemned = _check_of(state).condemned
        return [m[0] for m in members if (m[0], m[5]) in condemned]


def _check_of(state: StateStore) -> Check:
    kept = state.check
    return Check() if kept is None else Check(*kept)
