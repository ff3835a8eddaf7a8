"""etcd's Cluster service."""

from typing import Any

from ...client._link import Reply
from ...transport.requests import KIND_MAINTENANCE
from .. import messages as pb
from ..backend import Backend, fill, unary
from ..grpc import Call, Method

_HTTP = ("http://", "https://")


class Cluster:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._ask = backend.ask

    def methods(self) -> list[Method]:
        """What it serves."""
        parse = pb.MemberListRequest.FromString
        return [unary("/etcdserverpb.Cluster/MemberList", parse, self._list)]

    def _list(self, call: Call, _request: Any) -> None:
        self._ask(call, KIND_MAINTENANCE, ("member_list",), _members)


def _members(reply: Reply, result: Any) -> bytes:
    """A member's client URLs are its gateway's: etcd's clients go where these lead. The header has
    no revision, as etcd's."""
    response = pb.MemberListResponse()
    fill(response.header, reply)
    for member_id, name, peers, clients, is_learner in sorted(result[1]):
        response.members.add(
            ID=member_id,
            name=name,
            peerURLs=[each if each.startswith(_HTTP) else f"http://{each}" for each in peers],
            clientURLs=[each for each in clients if each.startswith(_HTTP)],
            isLearner=bool(is_learner),
        )
    encoded: bytes = response.SerializeToString()
    return encoded
