"""etcd's Maintenance service, as far as a node has what it asks for."""

from typing import Any

from ...client._link import Reply
from ...client.alarm_calls import AlarmMember
from ...transport import errors as wire
from ...transport.requests import KIND_INSPECT, KIND_MAINTENANCE, KIND_READ, KIND_WRITE
from .. import messages as pb
from ..backend import Backend, StatusError, encoded, unary
from ..grpc import Call, Code, Method, Stream, Streaming
from .snapshot import SnapshotStream

SERVICE = "/etcdserverpb.Maintenance/"
ETCD_VERSION = "3.6.6"
"""The etcd whose API this is: clients choose by it what they ask for, and how."""
STORAGE_VERSION = "3.6.0"
_GET, _DEACTIVATE = 0, 2


class Maintenance:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._ask = backend.ask

    def methods(self) -> list[Method]:
        """What it serves."""
        return [
            unary(SERVICE + "Status", pb.StatusRequest.FromString, self._status),
            unary(SERVICE + "Alarm", pb.AlarmRequest.FromString, self._alarm),
            unary(SERVICE + "Hash", pb.HashRequest.FromString, self._hash),
            unary(SERVICE + "HashKV", pb.HashKVRequest.FromString, self._hash_kv),
            unary(SERVICE + "Defragment", pb.DefragmentRequest.FromString, self._defragment),
            unary(SERVICE + "MoveLeader", pb.MoveLeaderRequest.FromString, self._move_leader),
            Streaming(SERVICE + "Snapshot", self._snapshot),
        ]

    def _status(self, call: Call, _request: Any) -> None:
        self._ask(call, KIND_MAINTENANCE, ("status",), _status)

    def _alarm(self, call: Call, request: Any) -> None:
        if request.action == _GET:
            self._ask(call, KIND_READ, ("alarm_list",), _alarms)
        elif request.action == _DEACTIVATE:
            disarmed = ("alarm_disarm", request.memberID, request.alarm)
            self._ask(call, KIND_WRITE, disarmed, _alarms)
        else:
            raise StatusError(Code.UNIMPLEMENTED, "sampan: only members raise alarms")

    def _hash(self, call: Call, _request: Any) -> None:
        self._ask(call, KIND_INSPECT, ("hash_kv",), _hash)

    def _hash_kv(self, call: Call, request: Any) -> None:
        self._ask(call, KIND_INSPECT, ("hash_kv", max(0, request.revision)), _hash_kv)

    def _defragment(self, call: Call, _request: Any) -> None:
        self._ask(call, KIND_INSPECT, ("defragment",), _bare)

    def _snapshot(self, call: Call) -> Stream:
        return SnapshotStream(self._backend, call)

    def _move_leader(self, call: Call, request: Any) -> None:
        self._backend.ask_alone(call, ("move_leader", request.targetID), _bare)


def _status(reply: Reply, result: Any) -> bytes:
    fields = dict(result[1])
    quota = fields.get("quota_bytes", 0)
    response = pb.StatusResponse(
        version=ETCD_VERSION,
        dbSize=fields.get("db_size", 0),
        dbSizeInUse=fields.get("db_size", 0),
        dbSizeQuota=max(0, quota),
        leader=fields.get("leader", 0),
        raftIndex=fields.get("commit", 0),
        raftAppliedIndex=fields.get("applied", 0),
        raftTerm=fields.get("term", 0),
        isLearner=fields.get("role") == "learner",
        storageVersion=STORAGE_VERSION,
    )
    response.downgradeInfo.SetInParent()
    if not response.leader:
        response.errors.append(wire.NO_LEADER.text)
    for member_id, kind in fields.get("alarms", ()):
        response.errors.append(f"memberID:{member_id} alarm:{AlarmMember(member_id, kind).name} ")
    return encoded(response, reply, fields.get("revision", 0))


def _alarms(reply: Reply, result: Any) -> bytes:
    response = pb.AlarmResponse()
    for member_id, kind in result[2]:
        response.alarms.add(memberID=member_id, alarm=kind)
    return encoded(response, reply, result[1])


def _hash(reply: Reply, result: Any) -> bytes:
    response = pb.HashResponse(hash=result[2])
    return encoded(response, reply, result[1])


def _hash_kv(reply: Reply, result: Any) -> bytes:
    _, revision, digest, compacted, hashed = result
    never = compacted or -1  # as etcd has it, where nothing was compacted yet
    response = pb.HashKVResponse(hash=digest, compact_revision=never, hash_revision=hashed)
    return encoded(response, reply, revision)


def _bare(_reply: Reply, _result: Any) -> bytes:
    return b""  # without a header, as etcd's
