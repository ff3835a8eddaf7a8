"""etcd's Auth service of a cluster where authentication is not enabled."""

from typing import Any

from ...client._link import Reply
from ...transport.requests import KIND_MAINTENANCE
from .. import messages as pb
from ..backend import Backend, StatusError, fill, unary
from ..grpc import Call, Code, Method

SERVICE = "/etcdserverpb.Auth/"
NOT_ENABLED = "etcdserver: authentication is not enabled"


class Auth:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._ask = backend.ask

    def methods(self) -> list[Method]:
        """What it serves."""
        parse = pb.AuthenticateRequest.FromString
        return [
            unary(SERVICE + "Authenticate", parse, self._authenticate),
            unary(SERVICE + "AuthStatus", pb.AuthStatusRequest.FromString, self._status),
        ]

    def _authenticate(self, _call: Call, _request: Any) -> None:
        raise StatusError(Code.FAILED_PRECONDITION, NOT_ENABLED)

    def _status(self, call: Call, _request: Any) -> None:
        self._ask(call, KIND_MAINTENANCE, ("status",), _status)


def _status(reply: Reply, result: Any) -> bytes:
    response = pb.AuthStatusResponse()
    fill(response.header, reply, dict(result[1]).get("revision", 0))
    encoded: bytes = response.SerializeToString()
    return encoded
