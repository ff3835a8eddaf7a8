"""etcd's Auth service: who may do what is the node's to say (`security/rules.py`).

A token is the node's: it comes back with each call (`Backend.token_of`).
"""

import asyncio
from collections.abc import Callable
from typing import Any

from ...client._link import Reply
from ...config import limits
from ...transport.auth import KIND_AUTH
from ...transport.requests import KIND_READ, KIND_WRITE
from .. import messages as pb
from ..backend import Backend, Encode, Request, fill, unary
from ..grpc import Call, Method

SERVICE = "/etcdserverpb.Auth/"

CHANGES: dict[str, Callable[[Any], Request]] = {
    "AuthEnable": lambda _: ("auth_enable",),
    "AuthDisable": lambda _: ("auth_disable",),
    "UserAdd": lambda r: ("user_add", r.name, r.password, int(r.options.no_password)),
    "UserDelete": lambda r: ("user_delete", r.name),
    "UserChangePassword": lambda r: ("user_change_password", r.name, r.password),
    "UserGrantRole": lambda r: ("user_grant_role", r.user, r.role),
    "UserRevokeRole": lambda r: ("user_revoke_role", r.name, r.role),
    "RoleAdd": lambda r: ("role_add", r.name),
    "RoleDelete": lambda r: ("role_delete", r.role),
    "RoleGrantPermission": lambda r: (
        "role_grant_permission", r.name, r.perm.permType, r.perm.key, r.perm.range_end
    ),
    "RoleRevokePermission": lambda r: ("role_revoke_permission", r.role, r.key, r.range_end),
}  # fmt: skip
"""What each method asks of the node."""
QUESTIONS: dict[str, Callable[[Any], Request]] = {
    "AuthStatus": lambda _: ("auth_status",),
    "UserGet": lambda r: ("user_get", r.name),
    "UserList": lambda _: ("user_list",),
    "RoleGet": lambda r: ("role_get", r.role),
    "RoleList": lambda _: ("role_list",),
}


class Auth:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        # As many as the node takes of one connection: the others wait here for their turn.
        self._turns = asyncio.Semaphore(limits.PASSWORDS_OF_CLIENT_MAX)

    def methods(self) -> list[Method]:
        """What it serves."""
        parse = pb.AuthenticateRequest.FromString
        changes = [self._method(name, KIND_WRITE, make) for name, make in CHANGES.items()]
        questions = [self._method(name, KIND_READ, make) for name, make in QUESTIONS.items()]
        return [unary(SERVICE + "Authenticate", parse, self._authenticate), *changes, *questions]

    def _method(self, name: str, kind: str, make: Callable[[Any], Request]) -> Method:
        prefix = "" if name.startswith("Auth") else "Auth"
        parse = getattr(pb, f"{prefix}{name}Request").FromString
        encode = _encoder(getattr(pb, f"{prefix}{name}Response"), _FILL.get(name))

        def serve(call: Call, request: Any) -> None:
            self._backend.ask(call, kind, make(request), encode)

        return unary(SERVICE + name, parse, serve)

    def _authenticate(self, call: Call, request: Any) -> None:
        asked = ("authenticate", request.name, request.password)
        self._backend.run(call, KIND_AUTH, self._log_in(asked))

    async def _log_in(self, request: Request) -> bytes:
        async with self._turns:
            reply, result = await self._backend.future(KIND_AUTH, request)
        _, revision, token = result
        response = pb.AuthenticateResponse(token=token)
        fill(response.header, reply, revision)
        encoded: bytes = response.SerializeToString()
        return encoded


def _fill_status(response: Any, result: Any) -> None:
    response.enabled, response.authRevision = bool(result[2]), result[3]


def _fill_role(response: Any, result: Any) -> None:
    for kind, key, range_end in result[2]:
        response.perm.add(permType=kind, key=key, range_end=range_end)


_FILL: dict[str, Callable[[Any, Any], None]] = {
    "AuthStatus": _fill_status,
    "UserGet": lambda response, result: response.roles.extend(result[2]),
    "UserList": lambda response, result: response.users.extend(result[2]),
    "RoleGet": _fill_role,
    "RoleList": lambda response, result: response.roles.extend(result[2]),
}
"""What a response has besides its header."""


def _encoder(message: Any, fill_rest: Callable[[Any, Any], None] | None) -> Encode:
    def encode(reply: Reply, result: Any) -> bytes:
        response = message()
        fill(response.header, reply, result[1])
        if fill_rest is not None:
            fill_rest(response, result)
        encoded: bytes = response.SerializeToString()
        return encoded

    return encode
