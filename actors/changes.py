"""Requests that change the members, on their way into the log.

A member that does not lead forwards them to the leader's node, which alone knows who is in sync
and who is heard. There they wait for each other: each is judged by the facts of its moment, which
the core and the transport are asked for, and then proposed. What is certain in itself, such as that
an id is taken, is left to the entry's application, which is the same on all members.

The checks are etcd's strict reconfiguration check: server/etcdserver, mayAddMember,
mayRemoveMember, mayPromoteMember and isLearnerReady.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..storage import members as rules
from ..storage.members import ID, LEARNER, NAME, Changed, MemberTuple
from ..transport import errors
from ..transport.codec import pack
from ..transport.errors import WireError
from .asked import OWN, Asked

READY_SHARE = 0.9
"""How much of the leader's log a learner must have to be promoted (etcd: readyPercent)."""
RETRY_S = 0.5
"""A change that came before the last one was applied is emptied by the core: it is proposed again.
Whichever is applied first is answered."""
TELLS_WITHIN_S = 5.0
"""Who is heard for so long and has not answered what it can read is of an older version."""
AUTO_PROMOTE_EVERY_S = 1.0


class ChangeSettings(NamedTuple):
    """What decides whether a change may be proposed."""

    member_id: int
    health_s: float
    """How long members must have been heard without a pause to count as healthy."""
    election_s: float
    strict: bool = True


class Facts(NamedTuple):
    """What a leader knows at a moment."""

    last: int
    """The last index of its log."""
    match: dict[int, int]
    """Member -> up to where its log is the leader's."""
    heard_s: dict[int, float]
    """Member -> for how long it was heard without a pause, below 0: it is not now."""
    old: frozenset[int]
    """Members of a version that cannot follow a change."""
    strange: frozenset[int] = frozenset()
    """Members that have not told of which version they are yet."""


def facts(status: dict[str, Any]) -> Facts:
    """From what the actors say of themselves."""
    heard_s = {peer: heard_ms / 1000 for peer, heard_ms, _ in status["peers"]}
    silent = {peer for peer, _, format_ in status["peers"] if heard_s[peer] >= 0 and not format_}
    old = frozenset(peer for peer in silent if heard_s[peer] > TELLS_WITHIN_S)
    match = {peer: match for peer, match, *_ in status["progress"]}
    return Facts(status["raft_index"], match, heard_s, old, frozenset(silent - old))


def judge(
    changes: Sequence[Any], members: tuple[MemberTuple, ...], known: Facts, settings: ChangeSettings
) -> WireError | None:
    """Why a request must not be proposed now, None when it may."""
    leaving = {change[1] for change in changes if change[0] == "remove"}
    if known.old - leaving:
        return errors.MIXED_VERSIONS
    if known.strange - leaving:
        return errors.UNHEALTHY
    after = Changed(members, ())
    for change in changes:
        refusal = _judge_one(change, after.members, known, settings)
        if refusal is None:
            changed = rules.apply_changes(after, [change])
            # Nobody's last voter goes: the core would not take that. The rest is judged when it
            # is applied: this node may not have heard yet of what was before it.
            refusal = changed if changed is errors.MEMBERS_NOT_STARTED else None
            after = after if isinstance(changed, WireError) else changed
        if refusal is not None:
            return refusal
    return None


def _judge_one(
    change: Sequence[Any],
    members: tuple[MemberTuple, ...],
    known: Facts,
    settings: ChangeSettings,
) -> WireError | None:
    kind, member_id = change[:2]
    voters = [m for m in members if not m[LEARNER]]
    if kind == "promote":
        return _judge_promotion(member_id, voters, known, settings)
    if not settings.strict or kind == "update":
        return None
    if kind == "add":
        if not change[3] and not _ready(voters, 0, adds=True):
            return errors.MEMBERS_NOT_STARTED
        healthy = all(_is_healthy(m, known, settings) for m in voters if m[NAME])
        return None if healthy else errors.UNHEALTHY
    if all(m[ID] != member_id for m in voters):
        return None
    if not _ready([m for m in voters if m[ID] != member_id], 0):
        return errors.MEMBERS_NOT_STARTED
    if member_id != settings.member_id and known.heard_s.get(member_id, -1) < 0:
        return None  # it is down, and no part of the quorum there is
    active = sum(_is_healthy(m, known, settings) for m in voters)
    return errors.UNHEALTHY if active - 1 < 1 + (len(voters) - 1) // 2 else None


def _judge_promotion(
    member_id: int, voters: list[MemberTuple], known: Facts, settings: ChangeSettings
) -> WireError | None:
    if member_id not in known.match:
        return errors.MEMBER_NOT_FOUND
    if known.match[member_id] < READY_SHARE * known.last:
        return errors.LEARNER_NOT_READY
    if settings.strict and not _ready(voters, 1):
        return errors.MEMBERS_NOT_STARTED
    return None


def _ready(voters: list[MemberTuple], started: int, *, adds: bool = False) -> bool:
    """Whether enough voters have started, with `started` that will have, and with one that has not
    when it `adds` one."""
    running = started + sum(1 for m in voters if m[NAME])
    total = started + len(voters) + adds
    if adds and running == 1 and total == 2:
        return True  # a cluster of one, which could not grow otherwise
    return running >= total // 2 + 1


def _is_healthy(member: MemberTuple, known: Facts, settings: ChangeSettings) -> bool:
    if member[ID] == settings.member_id:
        return True
    return known.heard_s.get(member[ID], -1) >= settings.health_s


class Doors(NamedTuple):
    """What the node does for the changes."""

    ask: Callable[[], None]
    """Ask the actors for the facts; they come to `on_facts`."""
    forbids: Callable[[Asked, Any], WireError | None]
    """Why who asks for it may not, as far as this node knows."""
    propose: Callable[[Asked, Any], int]
    """Propose a message with its decoded requests; returns the number of the batch."""
    again: Callable[[int, Any], bool]
    """Propose that batch again; False when it was answered."""
    transfer: Callable[[int], None]
    forward: Callable[[Any], None]
    fail: Callable[[Asked, WireError], None]
    """Answer a message that was not proposed here."""
    refuse: Callable[[Asked, Any, dict[int, WireError]], tuple[Asked, Any] | None]
    """Take refused requests out of a message; None when that were all, and it was answered."""
    finish: Callable[[Asked, bytes], None]
    """Answer a message that was applied elsewhere."""
    new_id: Callable[[], int]


class MemberChanges:
    """A node's changes of members, one message after the other."""

    def __init__(self, settings: ChangeSettings, doors: Doors) -> None:
        self._settings = settings
        self._doors = doors
        self.members: tuple[MemberTuple, ...] = ()
        self._leader = 0
        self._leads = False
        self._waiting: list[tuple[Asked, Any]] = []
        self._asking = False
        self._batch = 0  # the one that was proposed and is not answered
        self._decoded: Any = ()  # its requests
        self._again_at = 0.0
        self._handing_until = 0.0
        self._forwarded: dict[int, tuple[int, Asked]] = {}  # question -> (to whom, message)
        self._promote_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a message waits for its answer here."""
        return bool(self._waiting or self._forwarded)

    def take(self, asked: Asked, decoded: Any, now: float) -> None:
        """A checked message with changes among its requests."""
        self._waiting.append((asked, decoded))
        self._work(now)

    def on_soft_state(self, leader: int, role: str, now: float) -> None:
        """Who leads now."""
        if leader != self._leader:
            for question, (to, asked) in list(self._forwarded.items()):
                if to != leader:
                    del self._forwarded[question]
                    self._doors.fail(asked, errors.LEADER_CHANGED)
        self._leader, self._leads = leader, role == "leader"
        self._asking, self._handing_until = False, 0.0
        self._work(now)

    def _work(self, now: float) -> None:
        if not self._waiting or not self._leader or now < self._handing_until:
            return
        if not self._leads:
            waiting, self._waiting = self._waiting, []
            for asked, _ in waiting:
                self._forward(asked, now)
        elif not self._asking and not self._batch:
            self._asking = True
            self._doors.ask()

    def _forward(self, asked: Asked, now: float) -> None:
        if not asked.client or asked.peer is not None:
            self._doors.fail(asked, errors.NO_LEADER)  # whoever forwarded it finds the new one
            return
        question = self._doors.new_id()
        self._forwarded[question] = (self._leader, asked)
        timeout_ms = max(1, int(1000 * (asked.deadline - now)))
        about = (asked.kind, timeout_ms, asked.stamp, asked.who)
        self._doors.forward(("ask", self._leader, question, about, asked.body))

    def on_answer(self, question: int, body: bytes) -> None:
        """What the leader's node has answered."""
        _, asked = self._forwarded.pop(question, (0, None))
        if asked is not None:
            self._doors.finish(asked, body)

    def on_refusal(self, question: int, older: bool) -> None:
        """The leader cannot be asked: there is no link to it, or it is of an older version."""
        _, asked = self._forwarded.pop(question, (0, None))
        if asked is not None:
            self._doors.fail(asked, errors.MIXED_VERSIONS if older else errors.NO_LEADER)

    def on_facts(self, known: Facts, now: float) -> None:
        """The facts that were asked for: propose the next message, or answer it."""
        self._asking = False
        if not self._leads or not self._waiting or self._batch:
            return
        asked, decoded = self._waiting[0]
        refused = {}
        for position, request in enumerate(decoded):
            if request[0] == "member_change":
                error = self._doors.forbids(asked, (request,))
                error = error or judge(request[1], self.members, known, self._settings)
                if error is not None:
                    refused[position] = error
        goes = self._leaves(decoded) and not refused and not self._handing_until
        if goes and self._has_successor(known):
            # Whoever leads without being a member any more must stop while it is needed most.
            self._handing_until = now + 1.5 * self._settings.election_s
            self._doors.transfer(0)
            return
        del self._waiting[0]
        if errors.MIXED_VERSIONS in refused.values():
            self._doors.fail(asked, errors.MIXED_VERSIONS)  # not even this could everybody read
            left = None
        else:
            left = self._doors.refuse(asked, decoded, refused) if refused else (asked, decoded)
        if left is not None:
            self._batch, self._decoded = self._doors.propose(*left), left[1]
            self._again_at = now + RETRY_S
        self._handing_until = 0.0
        self._work(now)

    def _leaves(self, decoded: Any) -> bool:
        mine = ("remove", self._settings.member_id)
        return any(r[0] == "member_change" and mine in r[1] for r in decoded)

    def _has_successor(self, known: Facts) -> bool:
        me = self._settings.member_id
        return any(
            not m[LEARNER] and m[ID] != me and known.heard_s.get(m[ID], -1) >= 0
            for m in self.members
        )

    def on_done(self, batch: int, now: float) -> None:
        """A batch was answered."""
        if batch == self._batch:
            self._batch = 0
            self._work(now)

    def on_drop(self, batch: int) -> bool:
        """Whether a batch that raft refused is one of these; it is proposed again."""
        return 0 != batch == self._batch

    def on_timer(self, now: float) -> None:
        """Give up what has waited too long; propose again what came at the wrong moment."""
        for asked, _ in [each for each in self._waiting if each[0].deadline <= now]:
            self._doors.fail(asked, errors.NO_LEADER)
        self._waiting = [each for each in self._waiting if each[0].deadline > now]
        for question, (_, asked) in list(self._forwarded.items()):
            if asked.deadline <= now:
                del self._forwarded[question]
                self._doors.fail(asked, errors.TIMEOUT)
        if self._batch and now >= self._again_at:
            self._again_at = now + RETRY_S
            if not (self._leads and self._doors.again(self._batch, self._decoded)):
                self._batch = 0
        if self._leads and now >= self._promote_at:
            self._promote_at = now + AUTO_PROMOTE_EVERY_S
            self._promote_by_itself(now)
        self._work(now)

    def _promote_by_itself(self, now: float) -> None:
        if self._waiting or self._batch:
            return
        for m in self.members:
            if m[LEARNER] and rules.is_auto_promoted(m):
                request = ("member_change", (("promote", m[ID]),))
                nobody = Asked(b"", 0, OWN, pack([request]), {}, now + AUTO_PROMOTE_EVERY_S)
                self._waiting.append((nobody, (request,)))


def steps_of(decoded: Any) -> list[tuple[int, int]]:
    """The steps of all changes in a message, as they travel to the core."""
    return [
        (int(kind), member)
        for request in decoded
        if request[0] == "member_change"
        for kind, member in rules.steps_of(request[1])
    ]
