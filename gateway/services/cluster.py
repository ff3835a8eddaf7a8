"""etcd's Cluster service."""

from collections.abc import Callable
from typing import Any

from ...client import member_calls
from ...client._link import Reply
from ...config import addresses
from ...transport import errors as wire
from ...transport.requests import KIND_MAINTENANCE, KIND_READ, KIND_WRITE
from .. import messages as pb
from ..backend import Backend, StatusError, fill, unary
from ..grpc import Call, Method

SERVICE = "/etcdserverpb.Cluster/"
_HTTP = ("http://", "https://")


class Cluster:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._ask = backend.ask

    def methods(self) -> list[Method]:
        """What it serves."""
        return [
            unary(SERVICE + "MemberList", pb.MemberListRequest.FromString, self._list),
            unary(SERVICE + "MemberAdd", pb.MemberAddRequest.FromString, self._add),
            unary(SERVICE + "MemberRemove", pb.MemberRemoveRequest.FromString, self._remove),
            unary(SERVICE + "MemberUpdate", pb.MemberUpdateRequest.FromString, self._update),
            unary(SERVICE + "MemberPromote", pb.MemberPromoteRequest.FromString, self._promote),
        ]

    def _list(self, call: Call, request: Any) -> None:
        kind = KIND_READ if request.linearizable else KIND_MAINTENANCE
        self._ask(call, kind, ("member_list",), _members(pb.MemberListResponse))

    def _add(self, call: Call, request: Any) -> None:
        change = member_calls.add(_peers(request.peerURLs), learner=request.isLearner)
        self._change(call, change, _members(pb.MemberAddResponse))

    def _remove(self, call: Call, request: Any) -> None:
        change = member_calls.remove(request.ID)
        self._change(call, change, _members(pb.MemberRemoveResponse))

    def _update(self, call: Call, request: Any) -> None:
        change = member_calls.update(request.ID, _peers(request.peerURLs))
        self._change(call, change, _members(pb.MemberUpdateResponse))

    def _promote(self, call: Call, request: Any) -> None:
        change = member_calls.promote(request.ID)
        self._change(call, change, _members(pb.MemberPromoteResponse))

    def _change(
        self, call: Call, change: member_calls.Change, encode: Callable[[Reply, Any], bytes]
    ) -> None:
        self._ask(call, KIND_WRITE, ("member_change", (change,)), encode)


def _peers(urls: Any) -> tuple[str, ...]:
    """Peer addresses of their URLs.

    Raises:
        StatusError: one is no `http://HOST:PORT`.
    """
    try:
        if not all(url.startswith("http://") for url in urls):
            raise StatusError(wire.MEMBER_BAD_URLS.code, wire.MEMBER_BAD_URLS.text)
        return tuple(addresses.plain(url) for url in urls)
    except addresses.EndpointError as error:
        raise StatusError(wire.MEMBER_BAD_URLS.code, wire.MEMBER_BAD_URLS.text) from error


def _members(message: Any) -> Callable[[Reply, Any], bytes]:
    """Encodes a response with the members in it. Its header has no revision, as etcd's.

    A member's client URLs are its gateway's: etcd's clients go where these lead.
    """

    def encode(reply: Reply, result: Any) -> bytes:
        response = message()
        fill(response.header, reply)
        for member in sorted(result[-1]):
            _fill_member(response.members.add(), member)
        if message is pb.MemberAddResponse:
            added = next(each for each in result[-1] if each[0] == result[2][0])
            _fill_member(response.member, added)
        encoded: bytes = response.SerializeToString()
        return encoded

    return encode


def _fill_member(message: Any, member: tuple[Any, ...]) -> None:
    message.ID, message.name, peers, clients, is_learner = member[:5]
    message.peerURLs.extend(each if each.startswith(_HTTP) else f"http://{each}" for each in peers)
    message.clientURLs.extend(each for each in clients if each.startswith(_HTTP))
    message.isLearner = bool(is_learner)
