"""grpc.health.v1: whether the server is there. etcd's answers for the server as a whole only."""

from typing import Any

from .. import messages as pb
from ..backend import StatusError, unary
from ..grpc import Call, Code, Method, Stream, Streaming
from .streams import Messages

SERVICE = "/grpc.health.v1.Health/"
_SERVING, _UNKNOWN = 1, 3


class Health:
    """The service."""

    def methods(self) -> list[Method]:
        """What it serves."""
        return [
            unary(SERVICE + "Check", pb.HealthCheckRequest.FromString, self._check),
            Streaming(SERVICE + "Watch", self._watch),
        ]

    def _check(self, call: Call, request: Any) -> None:
        if request.service:
            raise StatusError(Code.NOT_FOUND, "unknown service")
        call.reply(pb.HealthCheckResponse(status=_SERVING).SerializeToString())

    def _watch(self, call: Call) -> Stream:
        return HealthWatch(call, pb.HealthCheckRequest.FromString)


class HealthWatch(Messages):
    """Tells it once; it does not change while this process lives."""

    def take(self, request: Any) -> None:
        """The request."""
        status = _UNKNOWN if request.service else _SERVING
        self.call.send(pb.HealthCheckResponse(status=status).SerializeToString())
