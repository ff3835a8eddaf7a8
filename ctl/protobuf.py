"""The few messages of etcd's `rpc.proto` and `kv.proto` that can be printed, encoded by hand."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ..client.alarm_calls import AlarmResponse
from ..client.types import (
    DeleteResponse,
    KeyValue,
    Member,
    MemberListResponse,
    PutResponse,
    RangeResponse,
    ResponseHeader,
    TxnResponse,
)

if TYPE_CHECKING:
    from ..client.member_calls import MemberAddResponse
    from ..client.watch import WatchResponse

_VARINT, _BYTES = 0, 2


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value) if value else b""


def _message(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(value)) + value


def _data(field: int, value: bytes) -> bytes:
    return _message(field, value) if value else b""


def _header(header: ResponseHeader) -> bytes:
    return _message(1, response_header(header))


def _kv(field: int, kv: KeyValue) -> bytes:
    numbers = (kv.create_revision, kv.mod_revision, kv.version)
    middle = b"".join(_number(i, value) for i, value in enumerate(numbers, 2))
    return _message(field, _data(1, kv.key) + middle + _data(5, kv.value) + _number(6, kv.lease))


def _kvs(field: int, kvs: Iterable[KeyValue]) -> bytes:
    return b"".join(_kv(field, kv) for kv in kvs)


def response_header(header: ResponseHeader) -> bytes:
    """etcdserverpb.ResponseHeader."""
    return b"".join(_number(i, value) for i, value in enumerate(header, 1))


def alarm_response(response: AlarmResponse, *, with_header: bool) -> bytes:
    """etcdserverpb.AlarmResponse."""
    alarms = [_number(1, member) + _number(2, alarm) for member, alarm in response.alarms]
    header = _header(response.header) if with_header else b""
    return header + b"".join(_message(2, alarm) for alarm in alarms)


def put_response(response: PutResponse) -> bytes:
    """etcdserverpb.PutResponse."""
    return _header(response.header) + _kvs(2, [response.prev_kv] if response.prev_kv else [])


def range_response(response: RangeResponse) -> bytes:
    """etcdserverpb.RangeResponse."""
    tail = _number(3, response.more) + _number(4, response.count)
    return _header(response.header) + _kvs(2, response.kvs) + tail


def delete_response(response: DeleteResponse) -> bytes:
    """etcdserverpb.DeleteRangeResponse."""
    return _header(response.header) + _number(2, response.deleted) + _kvs(3, response.prev_kvs)


def txn_response(response: TxnResponse) -> bytes:
    """etcdserverpb.TxnResponse."""
    encoded = _header(response.header) + _number(2, response.succeeded)
    for each in response.responses:
        if isinstance(each, RangeResponse):
            operation = _message(1, range_response(each))
        elif isinstance(each, PutResponse):
            operation = _message(2, put_response(each))
        elif isinstance(each, DeleteResponse):
            operation = _message(3, delete_response(each))
        else:
            operation = _message(4, txn_response(each))
        encoded += _message(3, operation)
    return encoded


def _member(member: Member) -> bytes:
    urls = b"".join(_message(3, url.encode()) for url in member.peer_urls)
    urls += b"".join(_message(4, url.encode()) for url in member.client_urls)
    body = _number(1, member.id) + _data(2, member.name.encode()) + urls
    return body + _number(5, member.is_learner)


def member_list_response(response: MemberListResponse) -> bytes:
    """etcdserverpb.MemberListResponse, and those of remove, update and promote."""
    members = [_message(2, _member(member)) for member in response.members]
    return _header(response.header) + b"".join(members)


def member_add_response(response: "MemberAddResponse") -> bytes:
    """etcdserverpb.MemberAddResponse."""
    members = [_message(3, _member(member)) for member in response.members]
    return _header(response.header) + _message(2, _member(response.member)) + b"".join(members)


def watch_response(response: "WatchResponse") -> bytes:
    """etcdserverpb.WatchResponse."""
    encoded = _header(response.header)
    for event in response.events:
        before = _kvs(3, [event.prev_kv] if event.prev_kv else [])
        encoded += _message(11, _number(1, event.type == "DELETE") + _kv(2, event.kv) + before)
    return encoded


def watch_canceled(header: ResponseHeader, compact_revision: int) -> bytes:
    """etcdserverpb.WatchResponse of a watch that was compacted."""
    return _header(header) + _number(4, True) + _number(5, compact_revision)
