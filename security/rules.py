"""What each request of the protocol needs (etcd's `authApplierV3`, and where its server asks).

    put                      WRITE on the key; with a lease, on all keys of the lease as well: its
                             end deletes them; with prev_kv READ on the key
    delete                   WRITE on the range; with prev_kv READ on it
    range                    READ on the range
    txn                      all of it at any depth, both branches; READ on what it compares
    create (a watch)         READ on the range
    lease_revoke, _keep_alive    WRITE on all keys of the lease
    lease_time_to_live       with keys READ on all of them
    lease_list               READ on the keys of all leases
    user_get, role_get       root, the user itself, who has the role
    what is in `EVERY_USER`  any user
    authenticate             nobody yet: the password was compared before
    everything else          root

Who asks is checked first: without a user nothing is allowed, and what needs a right on keys is
refused when users or roles have changed since the user was looked up.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ..transport import errors
from ..transport.errors import WireError
from ..transport.requests import DELETE_PREV_KV, PUT_PREV_KV
from .auth import Auth, Rights

Request = tuple[Any, ...]
KeysOfLease = Callable[[int], Iterable[bytes]]
"""The keys that a lease holds, none for one that does not exist; of 0, those of all leases."""


class Who(NamedTuple):
    """For whom a request was admitted, and under which auth revision."""

    user: str
    auth_revision: int


ITSELF = ""
"""The name, of no user, under which a node's own pages and its supervisor ask it how it is."""
HEALTH_KEY = b"health"
"""What they read, whatever is there: etcd's health checks do."""

EVERY_USER = frozenset(
    ("session_open", "refused", "lease_grant", "alarm_list", "status", "metrics", "member_list",
     "cancel", "progress", "ack")
)  # fmt: skip
_ITS_PAGES = EVERY_USER | {"trace", "trace_of"}
"""What a node's own pages may ask: how it fares, and when what happened; no key, no value."""


def refusal(
    auth: Auth, who: Who | None, request: Request, keys_of: KeysOfLease
) -> WireError | None:
    """Why a checked request is not executed; None when it is."""
    name = request[0]
    if not auth.enabled or name == "authenticate":
        return None
    if who is None:
        return errors.USER_EMPTY
    if who.user == ITSELF:
        healthy = name == "range" and _range_of(request) == (HEALTH_KEY, b"")
        return None if healthy or name in _ITS_PAGES else errors.PERMISSION_DENIED
    rights = auth.rights(who.user)
    allowed = _ON_KEYS.get(name)
    if allowed is not None:
        if who.auth_revision < auth.revision:
            return errors.AUTH_OLD_REVISION
        may = rights is not None and (rights.root or allowed(rights, request, keys_of))
    elif rights is None:
        may = False
    else:
        may = rights.root or name in EVERY_USER or _asks_of_itself(auth, who.user, request)
    return None if may else errors.PERMISSION_DENIED


def may_put_all(auth: Auth, who: Who | None, puts: Iterable[Request]) -> bool:
    """Whether none of many puts of nothing but key and value is refused."""
    if not auth.enabled:
        return True
    if who is None or who.auth_revision < auth.revision:
        return False
    rights = auth.rights(who.user)
    if rights is None:
        return False
    return rights.root or all(map(rights.write.has, {put[1] for put in puts}))


def may_watch(auth: Auth, user: str, key: bytes, range_end: bytes) -> bool:
    """Whether a user may be told what happens in a range."""
    rights = auth.rights(user)
    return rights is not None and (rights.root or rights.read.covers(key, range_end))


def _asks_of_itself(auth: Auth, user: str, request: Request) -> bool:
    if request[0] == "user_get":
        return bool(request[1] == user)
    return request[0] == "role_get" and request[1] in auth.users[user].roles


# -- what needs rights on keys


def _put(rights: Rights, request: Request, keys_of: KeysOfLease) -> bool:
    _, key, _, lease, flags = (*request, 0, 0)[:5]
    return (
        rights.write.has(key)
        and (not lease or _may_write_all(rights, keys_of(lease)))
        and (not flags & PUT_PREV_KV or rights.read.has(key))
    )


def _range_of(request: Request) -> tuple[bytes, bytes]:
    return (request[1], request[2] if len(request) > 2 else b"")


def _delete(rights: Rights, request: Request, _: KeysOfLease) -> bool:
    range_ = _range_of(request)
    with_prev = len(request) > 3 and request[3] & DELETE_PREV_KV
    return rights.write.covers(*range_) and (not with_prev or rights.read.covers(*range_))


def _range(rights: Rights, request: Request, _: KeysOfLease) -> bool:
    return rights.read.covers(*_range_of(request))


def _create(rights: Rights, request: Request, _: KeysOfLease) -> bool:
    key, range_end = _range_of(request)
    return rights.read.covers(key or b"\x00", range_end)


def _txn(rights: Rights, request: Request, keys_of: KeysOfLease) -> bool:
    compares, success, failure = request[1:]
    return all(
        rights.read.covers(compare[2], compare[4] if len(compare) > 4 else b"")
        for compare in compares
    ) and all(_ON_KEYS[each[0]](rights, each, keys_of) for each in (*success, *failure))


def _may_write_all(rights: Rights, keys: Iterable[bytes]) -> bool:
    return all(map(rights.write.has, keys))


def _write_lease(rights: Rights, request: Request, keys_of: KeysOfLease) -> bool:
    return _may_write_all(rights, keys_of(request[1]))


def _time_to_live(rights: Rights, request: Request, keys_of: KeysOfLease) -> bool:
    with_keys = len(request) > 2 and request[2]
    return not with_keys or all(map(rights.read.has, keys_of(request[1])))


def _lease_list(rights: Rights, _: Request, keys_of: KeysOfLease) -> bool:
    return all(map(rights.read.has, keys_of(0)))


_ON_KEYS: dict[str, Callable[[Rights, Request, KeysOfLease], bool]] = {
    "put": _put,
    "delete": _delete,
    "range": _range,
    "txn": _txn,
    "create": _create,
    "lease_revoke": _write_lease,
    "lease_keep_alive": _write_lease,
    "lease_time_to_live": _time_to_live,
    "lease_list": _lease_list,
}
