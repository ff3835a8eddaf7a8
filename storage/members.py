"""The members of a cluster as the state has them, and the rules by which they change.

A member is the tuple

    (id, name, (peer address, …), (client address, …), learner, incarnation[, auto_promote])

The name, the client addresses and the incarnation (of its data dir) are what the member announces
itself: before it has started for the first time they are empty. The last field is there only when
it is true, so that older versions can read what does not use it.

The rules are etcd's: server/etcdserver/api/membership, ValidateConfigurationChange and the
IsReadyTo… functions. What they refuse they refuse on every member at the same entry, whoever
proposed it and whatever was true then.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from ..config import addresses, limits
from ..raft import ConfChangeType
from ..transport import errors
from ..transport.codec import pack, unpack_local
from ..transport.errors import WireError
from . import keys
from .overlay import Overlay

CONFIGURATION_KEY = keys.META + b"configuration"
NO_CONF_STATE = ((), (), (), (), False)

MemberTuple = tuple[Any, ...]
Removed = tuple[tuple[int, tuple[str, ...]], ...]
"""(id, its peer addresses) of those that were removed, the oldest first."""
ID, NAME, PEERS, CLIENTS, LEARNER, INCARNATION, AUTO_PROMOTE = range(7)


class Step(NamedTuple):
    """What the raft core is told of one change."""

    kind: ConfChangeType
    member_id: int


class Changed(NamedTuple):
    """The members after a request, and what the core has to do for it."""

    members: tuple[MemberTuple, ...]
    removed: Removed
    steps: tuple[Step, ...] = ()


def is_auto_promoted(member: MemberTuple) -> bool:
    """Whether a learner is to become a voter by itself when it is in sync."""
    return len(member) > AUTO_PROMOTE and bool(member[AUTO_PROMOTE])


def apply_changes(before: Changed, changes: Iterable[Sequence[Any]]) -> Changed | WireError:
    """All of a request's changes, one after the other, or the first refusal; pure."""
    now = before._replace(steps=())
    for change in changes:
        kind, member_id, *rest = change
        after = _RULES[kind](now, member_id, *rest)
        if isinstance(after, WireError):
            return after
        now = after
    if not any(not m[LEARNER] for m in now.members):
        return errors.MEMBERS_NOT_STARTED  # as etcd says when the last one is to go
    return now


def steps_of(changes: Iterable[Sequence[Any]]) -> list[Step]:
    """What the core is told of changes that nobody has judged yet."""
    return [Step(_step_kind(change), change[1]) for change in changes]


def _step_kind(change: Sequence[Any]) -> ConfChangeType:
    if change[0] == "add" and change[3]:
        return ConfChangeType.ConfChangeAddLearnerNode
    return _STEP_KINDS[change[0]]


_STEP_KINDS = {
    "add": ConfChangeType.ConfChangeAddNode,
    "promote": ConfChangeType.ConfChangeAddNode,
    "remove": ConfChangeType.ConfChangeRemoveNode,
    "update": ConfChangeType.ConfChangeUpdateNode,
}


def find(members: Iterable[MemberTuple], member_id: int) -> MemberTuple | None:
    """The member of that id."""
    return next((m for m in members if m[ID] == member_id), None)


def _add(
    now: Changed, member_id: int, peers: tuple[str, ...], learner: int, auto_promote: int = 0
) -> Changed | WireError:
    if find(now.members, member_id) or member_id in dict(now.removed):
        return errors.MEMBER_EXISTS
    if _taken(now.members, peers, 0):
        return errors.PEER_URL_EXISTS
    if learner and sum(m[LEARNER] for m in now.members) >= limits.LEARNERS_MAX:
        return errors.TOO_MANY_LEARNERS
    extra = (True,) if learner and auto_promote else ()
    member = (member_id, "", peers, (), bool(learner), 0, *extra)
    kind = _step_kind(("add", member_id, peers, learner))
    return Changed((*now.members, member), now.removed, (*now.steps, Step(kind, member_id)))


def _remove(now: Changed, member_id: int) -> Changed | WireError:
    member = find(now.members, member_id)
    if member is None:
        return errors.MEMBER_NOT_FOUND
    left = tuple(m for m in now.members if m is not member)
    removed = (*now.removed, (member_id, member[PEERS]))[-limits.REMOVED_MEMBERS_MAX :]
    step = Step(ConfChangeType.ConfChangeRemoveNode, member_id)
    return Changed(left, removed, (*now.steps, step))


def _update(now: Changed, member_id: int, peers: tuple[str, ...]) -> Changed | WireError:
    member = find(now.members, member_id)
    if member is None:
        return errors.MEMBER_NOT_FOUND
    if _taken(now.members, peers, member_id):
        return errors.PEER_URL_EXISTS
    updated = (*member[:PEERS], peers, *member[CLIENTS:])
    step = Step(ConfChangeType.ConfChangeUpdateNode, member_id)
    return Changed(_replaced(now.members, updated), now.removed, (*now.steps, step))


def _promote(now: Changed, member_id: int) -> Changed | WireError:
    member = find(now.members, member_id)
    if member is None:
        return errors.MEMBER_NOT_FOUND
    if not member[LEARNER]:
        return errors.MEMBER_NOT_LEARNER
    promoted = (*member[:LEARNER], False, member[INCARNATION])
    step = Step(ConfChangeType.ConfChangeAddNode, member_id)
    return Changed(_replaced(now.members, promoted), now.removed, (*now.steps, step))


_RULES: dict[str, Any] = {"add": _add, "remove": _remove, "update": _update, "promote": _promote}


def _taken(members: Iterable[MemberTuple], peers: Sequence[str], but: int) -> bool:
    wanted = set(map(addresses.parse, peers))
    return any(wanted & set(map(addresses.parse, m[PEERS])) for m in members if m[ID] != but)


def _replaced(members: Iterable[MemberTuple], member: MemberTuple) -> tuple[MemberTuple, ...]:
    return tuple(member if m[ID] == member[ID] else m for m in members)


class Members:
    """The members, those that were removed, and the raft configuration, in one record."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        raw = overlay.get(CONFIGURATION_KEY)
        kept = None if raw is None else cast("Any", unpack_local(raw))
        conf_state, members, *rest = kept or (NO_CONF_STATE, ())
        self.conf_state: Any = conf_state
        self.all: tuple[MemberTuple, ...] = members
        self.removed: Removed = rest[0] if rest else ()

    def plan(self, requests: Iterable[Sequence[Any]]) -> list[Step]:
        """What the core has to do for an entry's requests: those of them that will be refused
        leave nothing. Nothing changes yet."""
        now = Changed(self.all, self.removed)
        steps: list[Step] = []
        for request in requests:
            if request[0] == "member_change":
                after = apply_changes(now, request[1])
                if not isinstance(after, WireError):
                    steps += after.steps
                    now = after
        return steps

    def change(self, revision: int, changes: Sequence[Sequence[Any]]) -> Any:
        """Execute one request: its result, `(0, revision, (member id, …), (member, …))`, or the
        refusal, which has changed nothing."""
        after = apply_changes(Changed(self.all, self.removed), changes)
        if isinstance(after, WireError):
            return after
        self.all, self.removed = after.members, after.removed
        return (0, revision, [change[1] for change in changes], self.shown())

    def shown(self) -> list[MemberTuple]:
        """The members as clients are told of them."""
        return [m[:INCARNATION] for m in self.all]

    def announce(
        self, member_id: int, name: str, clients: tuple[str, ...], incarnation: int
    ) -> None:
        """What a member says of itself."""
        member = find(self.all, member_id)
        if member is not None:
            said = (member_id, name, member[PEERS], clients, member[LEARNER], incarnation)
            self.all = _replaced(self.all, (*said, *member[AUTO_PROMOTE:]))

    def only(self, member_id: int) -> None:
        """Drop all members but one, which votes."""
        left = [m for m in self.all if m[ID] == member_id]
        gone = [(m[ID], m[PEERS]) for m in self.all if m[ID] != member_id]
        self.all = tuple((*m[:LEARNER], False, m[INCARNATION]) for m in left)
        self.removed = (*self.removed, *gone)[-limits.REMOVED_MEMBERS_MAX :]
        self.conf_state = ((member_id,), (), (), (), False)

    def save(self) -> None:
        """Put the record with what is written next. It has its third part only once somebody was
        removed: until then older versions can read it."""
        record: tuple[Any, ...] = (self.conf_state, self.all)
        if self.removed:
            record = (*record, self.removed)
        self._overlay.writes[CONFIGURATION_KEY] = pack(record)
