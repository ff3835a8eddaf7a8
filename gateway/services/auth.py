"""etcd's Auth service, as far as the gateway serves users: it says whether there are any."""

from typing import Any

from ...client._link import Reply
from ...transport.requests import KIND_READ
from .. import messages as pb
from ..backend import Backend, StatusError, fill, unary
from ..grpc import Call, Code, Method

SERVICE = "/etcdserverpb.Auth/"
NOT_ENABLED = "etcdserver: authentication is not enabled"
NOT_SERVED = "sampan: the gateway takes no tokens yet"


class Auth:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def methods(self) -> list[Method]:
        """What it serves."""
        parse = pb.AuthenticateRequest.FromString
        return [
            unary(SERVICE + "Authenticate", parse, self._authenticate),
            unary(SERVICE + "AuthStatus", pb.AuthStatusRequest.FromString, self._status),
        ]

    def _authenticate(self, call: Call, _request: Any) -> None:
        self._backend.run(call, KIND_READ, self._refuse())

    async def _refuse(self) -> bytes:
        _, (_, _, enabled, _) = await self._backend.future(KIND_READ, ("auth_status",))
        if enabled:
            raise StatusError(Code.UNIMPLEMENTED, NOT_SERVED)
        raise StatusError(Code.FAILED_PRECONDITION, NOT_ENABLED)

    def _status(self, call: Call, _request: Any) -> None:
        self._backend.ask(call, KIND_READ, ("auth_status",), _status)


def _status(reply: Reply, result: Any) -> bytes:
    _, revision, enabled, auth_revision = result
    response = pb.AuthStatusResponse(enabled=bool(enabled), authRevision=auth_revision)
    fill(response.header, reply, revision)
    encoded: bytes = response.SerializeToString()
    return encoded
