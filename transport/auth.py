"""The shapes of requests about users, roles and who asks; docs/protocol.md has their meaning.

Passwords travel from a client to its node and no further: in the log a request has a hash in its
place, or a digest of the token that a password was exchanged for (`LOGGED_CHECKS`).
"""

from collections.abc import Callable
from typing import Any

from . import errors
from .errors import WireError

KIND_AUTH = "auth"
"""Messages that ask for a token."""

NAME_BYTES_MAX = 256
"""Of a user or a role: each entry of the log names who wrote it."""
PASSWORD_BYTES_MAX = 72
"""bcrypt looks at no more."""
HASH_BYTES_MAX = 128
"""Of a password or a token."""
PERMISSION_KINDS = 3

Request = tuple[Any, ...]


def for_user(own_token: str, user: str) -> str:
    """The token by which a process of a node's own asks for a user whom it knows otherwise. Such
    tokens are made here only: nobody else knows a node's own one."""
    return f"{own_token}/{user}"


def names_user(token: str, own_token: str) -> bool:
    """Whether a token is one of `for_user`."""
    return bool(own_token) and token.startswith(f"{own_token}/")


def split_token(token: str) -> tuple[str, str]:
    """(the token of who asks, the user for whom, if any). No other token has a slash."""
    asking, _, user = token.partition("/")
    return asking, user


def _is_name(value: Any) -> bool:
    return type(value) is str and len(value.encode()) <= NAME_BYTES_MAX


def _are_names(count: int, what: str) -> Callable[[Request], WireError | None]:
    """A check that a request consists of `count` names."""

    def check(request: Request) -> WireError | None:
        if len(request) == count + 1 and all(map(_is_name, request[1:])):
            return None
        return errors.malformed(f"{request[0]} takes {what}: str of {NAME_BYTES_MAX} bytes")

    return check


def _check_password(request: Request) -> WireError | None:
    if not _is_name(request[1]) or type(request[2]) is not str:
        return errors.malformed(f"{request[0]}: name and password are str")
    if len(request[2].encode()) > PASSWORD_BYTES_MAX:
        return errors.PASSWORD_TOO_LONG
    return None


def check_user_add(request: Request) -> WireError | None:
    """`("user_add", name, password, no_password=0)`."""
    if not 3 <= len(request) <= 4 or (len(request) > 3 and request[3] not in (0, 1)):
        return errors.malformed("user_add takes name, password, no_password")
    return _check_password(request)


def check_name_and_password(request: Request) -> WireError | None:
    """`(name of the request, name, password)`."""
    if len(request) != 3:
        return errors.malformed(f"{request[0]} takes name, password")
    return _check_password(request)


def _is_range(rest: Request) -> bool:
    return 1 <= len(rest) <= 2 and all(type(each) is bytes for each in rest)


def check_grant_permission(request: Request) -> WireError | None:
    """`("role_grant_permission", role, kind, key, range_end=b"")`; 0 READ, 1 WRITE, 2 READWRITE."""
    if not 4 <= len(request) <= 5 or not _is_name(request[1]) or not _is_range(request[3:]):
        return errors.malformed("role_grant_permission takes role, kind, key, range_end")
    if type(request[2]) is not int or not 0 <= request[2] < PERMISSION_KINDS:
        return errors.malformed("role_grant_permission: kind is 0 to 2")
    return None


def check_revoke_permission(request: Request) -> WireError | None:
    """`("role_revoke_permission", role, key, range_end=b"")`."""
    if not 3 <= len(request) <= 4 or not _is_name(request[1]) or not _is_range(request[2:]):
        return errors.malformed("role_revoke_permission takes role, key, range_end")
    return None


def _check_logged_hash(request: Request) -> WireError | None:
    """`(name of the request, name, hash)`; no hash for no password."""
    if len(request) != 3 or not _is_name(request[1]) or not _is_hash(request[2]):
        return errors.malformed(f"{request[0]} takes name, hash")
    return None


def _check_logged_login(request: Request) -> WireError | None:
    """`("authenticate", name, digest of the token, auth revision)`."""
    if (
        len(request) != 4
        or not _is_name(request[1])
        or not _is_hash(request[2])
        or type(request[3]) is not int
    ):
        return errors.malformed("authenticate takes name, digest, revision")
    return None


def _is_hash(value: Any) -> bool:
    return type(value) is bytes and len(value) <= HASH_BYTES_MAX


_NOTHING = _are_names(0, "nothing")
_ONE = _are_names(1, "name")
_USER_AND_ROLE = _are_names(2, "user, role")

WRITES: dict[str, Callable[[Request], WireError | None]] = {
    "auth_enable": _NOTHING,
    "auth_disable": _NOTHING,
    "user_add": check_user_add,
    "user_delete": _ONE,
    "user_change_password": check_name_and_password,
    "user_grant_role": _USER_AND_ROLE,
    "user_revoke_role": _USER_AND_ROLE,
    "role_add": _ONE,
    "role_delete": _ONE,
    "role_grant_permission": check_grant_permission,
    "role_revoke_permission": check_revoke_permission,
}
READS: dict[str, Callable[[Request], WireError | None]] = {
    "auth_status": _NOTHING,
    "user_get": _ONE,
    "user_list": _NOTHING,
    "role_get": _ONE,
    "role_list": _NOTHING,
}
LOGGED = {
    "user_add": _check_logged_hash,
    "user_change_password": _check_logged_hash,
    "authenticate": _check_logged_login,
}
"""What differs in the log."""
AUTH_CHECKS = {"authenticate": check_name_and_password}
"""Of messages of kind "auth"."""


def has_password(request: Request) -> bool:
    """Whether a checked write has a password that must not get into the log."""
    return request[0] in ("user_add", "user_change_password")
