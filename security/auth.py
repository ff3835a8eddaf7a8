"""Users, roles and what each user may do with which keys, and the requests that change them.

Every change is etcd's (server/auth/store.go), with its order of checks and its errors. A change
that is refused has changed nothing.
"""

from bisect import insort
from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, NamedTuple

from ..transport import errors
from ..transport.errors import WireError
from .ranges import OPEN_END, KeySet, is_valid

ROOT = "root"
"""The user and the role without which authentication cannot be enabled."""

READ, WRITE, READWRITE = range(3)
"""etcd's Permission.Type."""

Permission = tuple[int, bytes, bytes]
"""(READ, WRITE or READWRITE, key, range_end)."""

ROOT_PERMISSION: Permission = (READWRITE, b"", OPEN_END)
"""What the role root shows of itself."""

FIRST_REVISION = 1


class User(NamedTuple):
    """One user."""

    password: bytes
    """Its hash, see passwords.py; empty for a user who has none and cannot log in by it."""
    roles: tuple[str, ...] = ()
    """In order."""


class Rights(NamedTuple):
    """What the roles of a user allow together."""

    root: bool
    read: KeySet
    write: KeySet


class Auth:
    """All users and roles.

    Attributes:
        enabled: whether anybody is asked who they are.
        revision: counts the changes.
        users, roles: by name.
        changed: (`users` or `roles`, name) of what was changed since whoever keeps it has cleared
            this; empty while `stale` is False.
        stale: something was changed since then.
    """

    def __init__(self) -> None:
        self.enabled = False
        self.revision = FIRST_REVISION
        self.users: dict[str, User] = {}
        self.roles: dict[str, tuple[Permission, ...]] = {}
        self.changed: set[tuple[str, str]] = set()
        self.stale = False
        self._rights: dict[str, Rights | None] = {}
        self._changes: dict[str, Callable[..., WireError | None]] = {
            name: getattr(self, "_" + name) for name in CHANGES
        }

    def dump(self) -> tuple[Any, ...]:
        """All of it in tuples, for `load`."""
        return (self.enabled, self.revision, sorted(self.users.items()), sorted(self.roles.items()))

    @classmethod
    def load(cls, dumped: Iterable[Any]) -> "Auth":
        """What `dump` gave."""
        auth = cls()
        auth.enabled, auth.revision, users, roles = dumped
        auth.users = {name: User(*user) for name, user in users}
        auth.roles = dict(roles)
        return auth

    # -- who may do what

    def rights(self, user: str) -> Rights | None:
        """What a user may do, None for one that does not exist."""
        if user not in self._rights:
            found = self.users.get(user)
            self._rights[user] = None if found is None else self._rights_of(found)
        return self._rights[user]

    def _rights_of(self, user: User) -> Rights:
        granted = [each for role in user.roles for each in self.roles.get(role, ())]
        return Rights(
            ROOT in user.roles,
            KeySet((key, end) for kind, key, end in granted if kind != WRITE),
            KeySet((key, end) for kind, key, end in granted if kind != READ),
        )

    def permissions(self, role: str) -> tuple[Permission, ...] | None:
        """What a role shows of itself, None for one that does not exist."""
        found = self.roles.get(role)
        return found if found is None or role != ROOT else (ROOT_PERMISSION,)

    # -- changes

    def change(self, request: tuple[Any, ...]) -> WireError | None:
        """Execute a checked request of `CHANGES`, in its form of the log."""
        return self._changes[request[0]](*request[1:])

    def _touch(self, *changed: tuple[str, str]) -> None:
        self.revision += 1
        self._show(*changed)

    def _show(self, *changed: tuple[str, str]) -> None:
        self.changed.update(changed)
        self.stale = True
        self._rights.clear()

    def _auth_enable(self) -> WireError | None:
        if self.enabled:
            return None
        root = self.users.get(ROOT)
        if root is None:
            return errors.ROOT_USER_NOT_EXIST
        if ROOT not in root.roles:
            return errors.ROOT_ROLE_NOT_EXIST
        self.enabled = True
        self._show()
        return None

    def _auth_disable(self) -> None:
        if self.enabled:
            self.enabled = False
            self._touch()

    def _set_user(self, name: str, user: User) -> None:
        self.users[name] = user
        self._touch(("users", name))

    def _user_add(self, name: str, password: bytes) -> WireError | None:
        if not name:
            return errors.USER_EMPTY
        if name in self.users:
            return errors.USER_EXISTS
        self._set_user(name, User(password))
        return None

    def _user_delete(self, name: str) -> WireError | None:
        if self.enabled and name == ROOT:
            return errors.INVALID_AUTH_MGMT
        if name not in self.users:
            return errors.USER_NOT_FOUND
        del self.users[name]
        self._touch(("users", name))
        return None

    def _user_change_password(self, name: str, password: bytes) -> WireError | None:
        user = self.users.get(name)
        if user is None:
            return errors.USER_NOT_FOUND
        # One who has none gets none: it was made to be known by other means.
        self._set_user(name, user._replace(password=password if user.password else b""))
        return None

    def _user_grant_role(self, name: str, role: str) -> WireError | None:
        user = self.users.get(name)
        if user is None:
            return errors.USER_NOT_FOUND
        if role != ROOT and role not in self.roles:
            return errors.ROLE_NOT_FOUND
        if role not in user.roles:
            self._set_user(name, user._replace(roles=tuple(sorted((*user.roles, role)))))
        return None

    def _user_revoke_role(self, name: str, role: str) -> WireError | None:
        if self.enabled and name == role == ROOT:
            return errors.INVALID_AUTH_MGMT
        user = self.users.get(name)
        if user is None:
            return errors.USER_NOT_FOUND
        if role not in user.roles:
            return errors.ROLE_NOT_GRANTED
        self._set_user(name, _without(user, role))
        return None

    def _set_role(self, name: str, permissions: Iterable[Permission]) -> None:
        self.roles[name] = tuple(permissions)
        self._touch(("roles", name))

    def _role_add(self, name: str) -> WireError | None:
        if not name:
            return errors.ROLE_EMPTY
        if name in self.roles:
            return errors.ROLE_EXISTS
        self._set_role(name, ())
        return None

    def _role_delete(self, name: str) -> WireError | None:
        if self.enabled and name == ROOT:
            return errors.INVALID_AUTH_MGMT
        if name not in self.roles:
            return errors.ROLE_NOT_FOUND
        del self.roles[name]
        had = [user for user, found in self.users.items() if name in found.roles]
        for user in had:
            self.users[user] = _without(self.users[user], name)
        self._touch(("roles", name), *(("users", user) for user in had))
        return None

    def _role_grant_permission(
        self, name: str, kind: int, key: bytes, range_end: bytes = b""
    ) -> WireError | None:
        if not is_valid(key, range_end):
            return errors.INVALID_AUTH_MGMT
        role = self.roles.get(name)
        if role is None:
            return errors.ROLE_NOT_FOUND
        granted = (kind, key, range_end)
        now = [granted if each[1:] == granted[1:] else each for each in role]
        if granted not in now:
            insort(now, granted, key=itemgetter(1))
        self._set_role(name, now)
        return None

    def _role_revoke_permission(
        self, name: str, key: bytes, range_end: bytes = b""
    ) -> WireError | None:
        role = self.roles.get(name)
        if role is None:
            return errors.ROLE_NOT_FOUND
        kept = [each for each in role if each[1:] != (key, range_end)]
        if len(kept) == len(role):
            return errors.PERMISSION_NOT_GRANTED
        self._set_role(name, kept)
        return None


def _without(user: User, role: str) -> User:
    return user._replace(roles=tuple(each for each in user.roles if each != role))


CHANGES = frozenset(
    ("auth_enable", "auth_disable", "user_add", "user_delete", "user_change_password",
     "user_grant_role", "user_revoke_role", "role_add", "role_delete", "role_grant_permission",
     "role_revoke_permission")
)  # fmt: skip
"""The requests that change users, roles or whether anybody is asked who they are."""
