"""What the entries of the log hold, and which of them a peer may forward.

    (member, batch, (body, …))                what clients of a member asked to write; it awaits
                                              the results under this number
    (member, batch, (body, …), (stamp, …))    where bodies are numbered: a stamp or None for each
                                              (storage/sessions.py)
    (member, batch, (body, …), stamps, (who, …))    while users are asked who they are: of each
                                              body for whom it was admitted and under which auth
                                              revision, or None; `stamps` may be None
    (NOBODY, 0, (body,))                      what a member asks for itself: leases to end, alarms
    ("publish", member, name, (client endpoint, …), incarnation)
    ("check", member), ("claim", member, index of the marker, hash)       see divergence.py
    nothing                                   a new leader's first

A change of the raft configuration holds writes as above as its context, with `member_change` among
their requests, and the steps that the core takes for them; those of a new cluster hold (name, peer
address), and the one that drops all other members ("force", member).

What is in the log is applied without a further look, or members might differ in what they refuse.
So one entry that makes no sense would stop all of them, again at each start. A node checks what its
clients ask, and a leader what a follower forwards.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

from ..config import limits
from ..raft import ConfChangeSingle, ConfChangeV2, Entry, EntryType, confchange
from ..storage.members import steps_of
from ..transport import errors, requests
from ..transport.codec import CodecError, pack, unpack
from ..transport.requests import is_u64
from .asked import NOBODY

PUBLISH = "publish"
"""A member announces its client endpoints and its data dir."""
MARKER = "check"
"""A leader asks all members to claim the hash of their history at this entry."""
CLAIM = "claim"
"""A member claims the hash it had there."""
FORCE = "force"
"""All other members are gone for good, and this one goes on alone."""


def own_entry(request: tuple[Any, ...]) -> bytes:
    """An entry of one request whose result nobody waits for. It may get lost: whoever proposes it
    looks at the state, and proposes it again."""
    return pack((NOBODY, 0, [pack([request])]))


def check_forwarded(entry: Entry) -> None:
    """Raise CodecError, or the core's InvalidMessage, for an entry that members could not apply."""
    if entry.type != EntryType.EntryNormal:
        _check_change(entry)
        return
    origin, *rest = _fields(unpack(entry.data))
    if type(origin) is str:
        if origin not in _OWN or not _OWN[origin](rest):
            raise CodecError(f"not an entry of kind {origin[:16]!r}")
    else:
        _check_writes(origin, rest)


def _fields(value: Any) -> tuple[Any, ...]:
    if type(value) is not tuple or not value:
        raise CodecError("an array with something in it is missing")
    return value


def member_change(payload: bytes, decoded: Iterable[Any]) -> ConfChangeV2:
    """The configuration change that carries a payload of writes, with `decoded` as its requests."""
    steps = [
        ConfChangeSingle(*step)
        for request in decoded
        if request[0] == "member_change"
        for step in steps_of(request[1])
    ]
    return ConfChangeV2(changes=steps, context=payload)


def _check_change(entry: Entry) -> None:
    change = confchange.decode(entry.type, entry.data).as_v2()
    origin, *rest = _fields(unpack(change.context))
    _check_writes(origin, rest, changes_members=True)
    asked = member_change(change.context, chain.from_iterable(map(unpack, rest[1])))
    if not asked.changes or change != asked:
        raise CodecError("the steps of a change of members are not those of its requests")


def _check_writes(origin: Any, rest: list[Any], *, changes_members: bool = False) -> None:
    if not is_u64(origin) or not 2 <= len(rest) <= 4 or not is_u64(rest[0]):
        raise CodecError("writes have a member, a number, bodies, stamps and who asks")
    bodies = _fields(rest[1])
    checks = requests.LOGGED_CHECKS if origin != NOBODY else _OWN_CHECKS
    for body in bodies:
        decoded = _fields(unpack(_bytes(body)))
        if requests.all_plain_puts(decoded, checks):
            continue
        for request in decoded:
            refusal = requests.check_request(request, checks)
            if refusal is not None:
                raise CodecError(refusal.text)
            if request[0] == "member_change" and not changes_members:
                raise CodecError("members change with the raft configuration only")
    _check_each(rest[2:3], len(bodies), _is_stamp, "stamp")
    _check_each(rest[3:], len(bodies), _is_who, "user")


def _check_each(given: list[Any], count: int, is_one: Callable[[Any], bool], what: str) -> None:
    """Whether what is given for the bodies, if it is, is there for each."""
    for each in given:
        if each is not None and not (len(_fields(each)) == count and all(map(is_one, each))):
            raise CodecError(f"there is a {what}, or None, for each body")


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise CodecError("a body is bin")
    return value


def _is_stamp(stamp: Any) -> bool:
    if stamp is None:
        return True
    if type(stamp) is not tuple or not 3 <= len(stamp) <= 4 or not all(map(is_u64, stamp[:3])):
        return False
    refused = stamp[3] if len(stamp) == 4 else ()
    return type(refused) is tuple and all(
        type(each) is tuple
        and len(each) == 2
        and is_u64(each[0])
        and each[0] < limits.BODY_REQUESTS_MAX
        for each in refused
    )


def _is_who(who: Any) -> bool:
    return who is None or (
        type(who) is tuple and len(who) == 2 and type(who[0]) is str and is_u64(who[1])
    )


def _is_publish(rest: list[Any]) -> bool:
    return (
        list(map(type, rest)) == [int, str, tuple, int]
        and is_u64(rest[0])
        and all(type(endpoint) is str for endpoint in rest[2])
        and is_u64(rest[3])
    )


_OWN: dict[str, Callable[[list[Any]], bool]] = {
    PUBLISH: _is_publish,
    MARKER: lambda rest: len(rest) == 1 and is_u64(rest[0]),
    CLAIM: lambda rest: len(rest) == 3 and all(map(is_u64, rest)),
}


def _check_expire(request: tuple[Any, ...]) -> errors.WireError | None:
    """`("lease_expire", ((lease, index of its renewal), …), keys_max)`."""
    shaped = len(request) == 3 and type(request[1]) is tuple and is_u64(request[2])
    if shaped and all(
        type(due) is tuple and len(due) == 2 and all(map(is_u64, due)) for due in request[1]
    ):
        return None
    return errors.malformed("lease_expire takes leases with their renewals, keys_max")


def _check_alarm(request: tuple[Any, ...]) -> errors.WireError | None:
    """`(name, member, kind)`."""
    if len(request) == 3 and all(map(is_u64, request[1:])):
        return None
    return errors.malformed(f"{request[0]} takes member, kind")


def _check_promotion(request: tuple[Any, ...]) -> errors.WireError | None:
    """All that a node asks for itself: that a learner which is in sync votes."""
    refusal = requests.check_member_change(request)
    if refusal is None and any(change[0] != "promote" for change in request[1]):
        return errors.malformed("a node promotes, and nothing else")
    return refusal


_OWN_CHECKS: dict[str, requests.Check] = {
    "lease_expire": _check_expire,
    "alarm_raise": _check_alarm,
    "alarm_disarm": _check_alarm,
    "compact": requests.check_compact,
    "member_change": _check_promotion,
}
