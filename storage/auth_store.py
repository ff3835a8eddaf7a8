"""Users and roles in the state, and the requests about them.

All of them are in memory, too: each request is judged by them. What the node has to know of them,
who may log in and who has, the applier tells it (`Auth.stale`, `logins`).
"""

from typing import Any, cast

from ..security.auth import CHANGES, Auth, User
from ..transport import errors
from ..transport.codec import pack, unpack_local
from . import keys
from .mvcc import Result
from .overlay import Overlay

_META_KEY = keys.META + b"auth"
_FAMILIES = {"users": keys.USER, "roles": keys.ROLE}

WRITES = CHANGES | {"authenticate"}


class AuthStore:
    """The families USER and ROLE of the overlay.

    Attributes:
        auth: all of it, for decisions. Only `execute` changes it.
        logins: (digest of a token, user) of those who have logged in since whoever tells the node
            of it has cleared this. They are not kept: a member that starts again knows no token
            but those that it applies again.
    """

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self.auth = Auth()
        self.logins: list[tuple[bytes, str]] = []
        raw = overlay.get(_META_KEY)
        if raw is not None:
            self.auth.enabled, self.auth.revision = cast("Any", unpack_local(raw))
        self.auth.users = {name: User(*user) for name, user in self._records("users")}
        self.auth.roles = dict(self._records("roles"))

    def _records(self, kind: str) -> list[tuple[str, Any]]:
        prefix = _FAMILIES[kind]
        found = self._overlay.pairs(prefix, keys.after_prefix(prefix))
        return [(stored[1:].decode(), unpack_local(record)) for stored, record in found]

    def execute(self, request: tuple[Any, ...], revision: int) -> Result:
        """Execute a checked request of `WRITES`; `revision` is the store's, for the answer."""
        if request[0] == "authenticate":
            refused = self._log_in(*request[1:])
        else:
            refused = self.auth.change(request)
            self._save()
        return refused or (0, revision)

    def _log_in(self, name: str, digest: bytes, revision: int) -> errors.WireError | None:
        """Somebody has given the right password, as it was at an auth revision."""
        auth = self.auth
        if not auth.enabled:
            return errors.AUTH_NOT_ENABLED
        if revision != auth.revision:
            return errors.AUTH_OLD_REVISION
        if name not in auth.users or not auth.users[name].password:
            return errors.AUTH_FAILED
        self.logins.append((digest, name))
        return None

    def _save(self) -> None:
        auth, writes = self.auth, self._overlay.writes
        if not auth.stale:
            return
        for kind, name in auth.changed:
            record = getattr(auth, kind).get(name)
            stored = _FAMILIES[kind] + name.encode()
            writes[stored] = None if record is None else pack(record)
        writes[_META_KEY] = pack((auth.enabled, auth.revision))
        auth.changed.clear()
        # A login of before the change is none any more if it was by another password.
        self.logins.clear()

    def read(self, request: tuple[Any, ...], revision: int) -> Result:
        """The result of a checked read about users and roles."""
        auth, name = self.auth, request[0]
        if name == "auth_status":
            return (0, revision, auth.enabled, auth.revision)
        if name == "user_list":
            return (0, revision, sorted(auth.users))
        if name == "role_list":
            return (0, revision, sorted(auth.roles))
        if name == "user_get":
            user = auth.users.get(request[1])
            return errors.USER_NOT_FOUND if user is None else (0, revision, user.roles)
        permissions = auth.permissions(request[1])
        return errors.ROLE_NOT_FOUND if permissions is None else (0, revision, permissions)
