"""The calls about users, roles and who asks, of both clients, and what they return.

Each needs the role root, while users are asked who they are; a user sees itself and its own roles.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Unpack, cast

from ..transport import errors as wire
from ..transport.requests import KIND_READ, KIND_WRITE
from . import errors
from ._decode import Answer, header
from .ops import Bounds, Bytes, key_range, refuse_rest
from .types import ResponseHeader

READ, WRITE, READWRITE = range(3)
PERMISSIONS = {"read": READ, "write": WRITE, "readwrite": READWRITE}
"""Kinds of permission by name."""

Request = tuple[Any, ...]


class Permission(NamedTuple):
    """What a role allows: `kind` is READ, WRITE or READWRITE; `range_end` as in a range."""

    kind: int
    key: bytes
    range_end: bytes


class AuthResponse(NamedTuple):
    """Of a call that changes something."""

    header: ResponseHeader


class AuthStatusResponse(NamedTuple):
    """`enabled`: users are asked who they are; `auth_revision` counts the changes."""

    header: ResponseHeader
    enabled: bool
    auth_revision: int


class NamesResponse(NamedTuple):
    """Names in order: of users, of roles, or of a user's roles."""

    header: ResponseHeader
    names: list[str]


class RoleResponse(NamedTuple):
    """What a role allows, in the order of keys."""

    header: ResponseHeader
    permissions: list[Permission]


def _done(answer: Answer) -> AuthResponse:
    reply, result = answer
    return AuthResponse(header(reply, result[1]))


def _status(answer: Answer) -> AuthStatusResponse:
    return cast("AuthStatusResponse", _decoded(answer, AuthStatusResponse))


def _names(answer: Answer) -> NamesResponse:
    return cast(
        "NamesResponse", _decoded(answer, lambda head, names: NamesResponse(head, list(names)))
    )


def _role(answer: Answer) -> RoleResponse:
    def made(head: ResponseHeader, found: Any) -> RoleResponse:
        return RoleResponse(head, [Permission(*each) for each in found])

    return cast("RoleResponse", _decoded(answer, made))


def _decoded(answer: Answer, make: Callable[..., Any]) -> Any:
    reply, result = answer
    try:
        return make(header(reply, result[1]), *result[2:])
    except (IndexError, TypeError) as error:
        text = f"sampan: malformed result: {str(result)[:80]}"
        raise errors.MalformedReplyError(wire.INTERNAL, text) from error


def _grant(role: str, permission: str, key: Bytes, options: Bounds) -> Request:
    if permission not in PERMISSIONS:
        raise ValueError(f"permission is one of {', '.join(PERMISSIONS)}, not {permission!r}")
    return ("role_grant_permission", role, PERMISSIONS[permission], *_range(key, options))


def _range(key: Bytes, options: Bounds) -> tuple[bytes, bytes]:
    bounds = key_range(key, options)
    refuse_rest("permission", options)
    return bounds


class AsyncAuthCalls:
    """The part of `AsyncClient` that is about users and roles; `AuthCalls` tells more."""

    _submit: Callable[..., Awaitable[Any]]

    async def _change(self, timeout_s: float | None, *request: Any) -> AuthResponse:
        return _done(await self._submit(KIND_WRITE, request, timeout_s))

    async def auth_status(self, *, timeout_s: float | None = None) -> AuthStatusResponse:
        """Whether users are asked who they are."""
        return _status(await self._submit(KIND_READ, ("auth_status",), timeout_s))

    async def auth_enable(self, *, timeout_s: float | None = None) -> AuthResponse:
        """Ask users who they are from now on."""
        return await self._change(timeout_s, "auth_enable")

    async def auth_disable(self, *, timeout_s: float | None = None) -> AuthResponse:
        """Ask nobody any more."""
        return await self._change(timeout_s, "auth_disable")

    async def user_add(
        self, name: str, password: str | None, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Add a user; without a password it cannot log in by one."""
        request = ("user_add", name, password or "", int(password is None))
        return await self._change(timeout_s, *request)

    async def user_delete(self, name: str, *, timeout_s: float | None = None) -> AuthResponse:
        """Delete a user, with its tokens and watches."""
        return await self._change(timeout_s, "user_delete", name)

    async def user_change_password(
        self, name: str, password: str, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Change a password; tokens of the old one end."""
        return await self._change(timeout_s, "user_change_password", name, password)

    async def user_grant_role(
        self, name: str, role: str, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Give a user a role."""
        return await self._change(timeout_s, "user_grant_role", name, role)

    async def user_revoke_role(
        self, name: str, role: str, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Take a role from a user."""
        return await self._change(timeout_s, "user_revoke_role", name, role)

    async def user_get(self, name: str, *, timeout_s: float | None = None) -> NamesResponse:
        """The roles of a user."""
        return _names(await self._submit(KIND_READ, ("user_get", name), timeout_s))

    async def user_list(self, *, timeout_s: float | None = None) -> NamesResponse:
        """All users."""
        return _names(await self._submit(KIND_READ, ("user_list",), timeout_s))

    async def role_add(self, name: str, *, timeout_s: float | None = None) -> AuthResponse:
        """Add a role, which allows nothing yet."""
        return await self._change(timeout_s, "role_add", name)

    async def role_delete(self, name: str, *, timeout_s: float | None = None) -> AuthResponse:
        """Delete a role, and take it from all users."""
        return await self._change(timeout_s, "role_delete", name)

    async def role_get(self, name: str, *, timeout_s: float | None = None) -> RoleResponse:
        """What a role allows."""
        return _role(await self._submit(KIND_READ, ("role_get", name), timeout_s))

    async def role_list(self, *, timeout_s: float | None = None) -> NamesResponse:
        """All roles."""
        return _names(await self._submit(KIND_READ, ("role_list",), timeout_s))

    async def role_grant_permission(
        self,
        role: str,
        permission: str,
        key: Bytes,
        *,
        timeout_s: float | None = None,
        **options: Unpack[Bounds],
    ) -> AuthResponse:
        """Allow a role to "read", "write" or "readwrite" a key or a range of keys."""
        return await self._change(timeout_s, *_grant(role, permission, key, options))

    async def role_revoke_permission(
        self, role: str, key: Bytes, *, timeout_s: float | None = None, **options: Unpack[Bounds]
    ) -> AuthResponse:
        """Take a permission for exactly this key or range from a role."""
        request = ("role_revoke_permission", role, *_range(key, options))
        return await self._change(timeout_s, *request)


class AuthCalls:
    """The part of `Client` that is about users and roles."""

    _call: Callable[..., Any]

    def _change(self, timeout_s: float | None, *request: Any) -> AuthResponse:
        return _done(self._call(KIND_WRITE, request, timeout_s))

    def auth_status(self, *, timeout_s: float | None = None) -> AuthStatusResponse:
        """Whether users are asked who they are."""
        return _status(self._call(KIND_READ, ("auth_status",), timeout_s))

    def auth_enable(self, *, timeout_s: float | None = None) -> AuthResponse:
        """Ask users who they are from now on.

        Raises:
            AuthError: there is no user root with the role root.
        """
        return self._change(timeout_s, "auth_enable")

    def auth_disable(self, *, timeout_s: float | None = None) -> AuthResponse:
        """Ask nobody any more."""
        return self._change(timeout_s, "auth_disable")

    def user_add(
        self, name: str, password: str | None, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Add a user; without a password it cannot log in by one."""
        request = ("user_add", name, password or "", int(password is None))
        return self._change(timeout_s, *request)

    def user_delete(self, name: str, *, timeout_s: float | None = None) -> AuthResponse:
        """Delete a user, with its tokens and watches."""
        return self._change(timeout_s, "user_delete", name)

    def user_change_password(
        self, name: str, password: str, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Change a password; tokens of the old one end."""
        return self._change(timeout_s, "user_change_password", name, password)

    def user_grant_role(
        self, name: str, role: str, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Give a user a role."""
        return self._change(timeout_s, "user_grant_role", name, role)

    def user_revoke_role(
        self, name: str, role: str, *, timeout_s: float | None = None
    ) -> AuthResponse:
        """Take a role from a user."""
        return self._change(timeout_s, "user_revoke_role", name, role)

    def user_get(self, name: str, *, timeout_s: float | None = None) -> NamesResponse:
        """The roles of a user."""
        return _names(self._call(KIND_READ, ("user_get", name), timeout_s))

    def user_list(self, *, timeout_s: float | None = None) -> NamesResponse:
        """All users."""
        return _names(self._call(KIND_READ, ("user_list",), timeout_s))

    def role_add(self, name: str, *, timeout_s: float | None = None) -> AuthResponse:
        """Add a role, which allows nothing yet."""
        return self._change(timeout_s, "role_add", name)

    def role_delete(self, name: str, *, timeout_s: float | None = None) -> AuthResponse:
        """Delete a role, and take it from all users."""
        return self._change(timeout_s, "role_delete", name)

    def role_get(self, name: str, *, timeout_s: float | None = None) -> RoleResponse:
        """What a role allows."""
        return _role(self._call(KIND_READ, ("role_get", name), timeout_s))

    def role_list(self, *, timeout_s: float | None = None) -> NamesResponse:
        """All roles."""
        return _names(self._call(KIND_READ, ("role_list",), timeout_s))

    def role_grant_permission(
        self,
        role: str,
        permission: str,
        key: Bytes,
        *,
        timeout_s: float | None = None,
        **options: Unpack[Bounds],
    ) -> AuthResponse:
        """Allow a role to "read", "write" or "readwrite" a key or a range of keys (`ops.Bounds`).

        Raises:
            ValueError: another `permission`; two of range_end, prefix and from_key.
        """
        return self._change(timeout_s, *_grant(role, permission, key, options))

    def role_revoke_permission(
        self, role: str, key: Bytes, *, timeout_s: float | None = None, **options: Unpack[Bounds]
    ) -> AuthResponse:
        """Take a permission for exactly this key or range from a role."""
        request = ("role_revoke_permission", role, *_range(key, options))
        return self._change(timeout_s, *request)
