"""etcd's Lease service."""

from typing import Any

from ...client._link import Reply
from ...transport.requests import KIND_READ, KIND_WRITE
from .. import messages as pb
from ..backend import Backend, encoded, fill, signed, status, unary, unsigned
from ..grpc import Call, Method, Stream, Streaming
from .streams import Messages

SERVICE = "/etcdserverpb.Lease/"


class Lease:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._ask = backend.ask

    def methods(self) -> list[Method]:
        """What it serves."""
        return [
            unary(SERVICE + "LeaseGrant", pb.LeaseGrantRequest.FromString, self._grant),
            unary(SERVICE + "LeaseRevoke", pb.LeaseRevokeRequest.FromString, self._revoke),
            unary(SERVICE + "LeaseTimeToLive", pb.LeaseTimeToLiveRequest.FromString, self._left),
            unary(SERVICE + "LeaseLeases", pb.LeaseLeasesRequest.FromString, self._leases),
            Streaming(SERVICE + "LeaseKeepAlive", self._keep_alive),
        ]

    def _grant(self, call: Call, request: Any) -> None:
        wanted = ("lease_grant", unsigned(request.ID), max(0, request.TTL))
        self._ask(call, KIND_WRITE, wanted, _granted)

    def _revoke(self, call: Call, request: Any) -> None:
        self._ask(call, KIND_WRITE, ("lease_revoke", unsigned(request.ID)), _revoked)

    def _left(self, call: Call, request: Any) -> None:
        wanted = ("lease_time_to_live", unsigned(request.ID), int(request.keys))
        self._ask(call, KIND_READ, wanted, _left)

    def _leases(self, call: Call, _request: Any) -> None:
        self._ask(call, KIND_READ, ("lease_list",), _leases)

    def _keep_alive(self, call: Call) -> Stream:
        return KeepAlive(self._backend, call)


class KeepAlive(Messages):
    """One stream of keep-alives: each request is answered, in order."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(call, pb.LeaseKeepAliveRequest.FromString)
        self._backend = backend
        self._token = backend.token_of(call)
        self._unanswered = 0
        self._ended = False

    def take(self, request: Any) -> None:
        """Renew a lease; one that does not exist has 0 seconds."""
        self._unanswered += 1
        wanted = ("lease_keep_alive", unsigned(request.ID))
        future = self._backend.future(KIND_WRITE, wanted, self._token)
        future.add_done_callback(self._answered)

    def _answered(self, future: Any) -> None:
        self._unanswered -= 1
        if self.gone or future.cancelled():
            return
        if (error := future.exception()) is not None:
            self.finish(*status(error, KIND_WRITE))
            return
        reply, (_, revision, lease_id, ttl_s) = future.result()
        response = pb.LeaseKeepAliveResponse(ID=signed(lease_id), TTL=ttl_s)
        fill(response.header, reply, revision)
        self.call.send(response.SerializeToString())
        self._finish_if_over()

    def end(self) -> None:
        """The client has sent its last one."""
        self._ended = True
        self._finish_if_over()

    def _finish_if_over(self) -> None:
        if self._ended and not self._unanswered:
            self.finish()


def _granted(reply: Reply, result: Any) -> bytes:
    _, revision, lease_id, ttl_s = result
    return encoded(pb.LeaseGrantResponse(ID=signed(lease_id), TTL=ttl_s), reply, revision)


def _revoked(reply: Reply, result: Any) -> bytes:
    return encoded(pb.LeaseRevokeResponse(), reply, result[1])


def _left(reply: Reply, result: Any) -> bytes:
    _, revision, lease_id, granted_s, left_s, keys = result
    response = pb.LeaseTimeToLiveResponse(
        ID=signed(lease_id), TTL=left_s, grantedTTL=granted_s, keys=keys
    )
    return encoded(response, reply, revision)


def _leases(reply: Reply, result: Any) -> bytes:
    response = pb.LeaseLeasesResponse()
    for lease_id in result[2]:
        response.leases.add(ID=signed(lease_id))
    return encoded(response, reply, result[1])
