"""etcd's KV service: requests become those of docs/protocol.md, results become responses.

Both directions are made without a step in between: this is where the time of a call goes.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

from ...client._link import Reply
from ...transport import errors as wire
from ...transport.requests import (
    DELETE_PREV_KV,
    KIND_INSPECT,
    KIND_READ,
    KIND_SERIALIZABLE,
    KIND_WRITE,
    PUT_IGNORE_LEASE,
    PUT_IGNORE_VALUE,
    PUT_PREV_KV,
    RANGE_COUNT_ONLY,
    RANGE_KEYS_ONLY,
    U64_MAX,
    is_read_only,
)
from .. import messages as pb
from ..backend import (
    Backend,
    Request,
    StatusError,
    encoded,
    signed,
    unary,
    unsigned,
)
from ..grpc import Call, Method

SERVICE = "/etcdserverpb.KV/"
_EQUAL, _LESS, _NOT_EQUAL = 0, 2, 3
_OPERAND = ("version", "create_revision", "mod_revision", "value", "lease")
"""The field of a compare that each target means."""
_VALUE, _LEASE = 3, 4
_SORT_MAX, _ORDER_MAX = 4, 2


class Kv:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._ask = backend.ask

    def methods(self) -> list[Method]:
        """What it serves."""
        return [
            unary(SERVICE + "Range", pb.RangeRequest.FromString, self._range),
            unary(SERVICE + "Put", pb.PutRequest.FromString, self._put),
            unary(SERVICE + "DeleteRange", pb.DeleteRangeRequest.FromString, self._delete),
            unary(SERVICE + "Txn", pb.TxnRequest.FromString, self._txn),
            unary(SERVICE + "Compact", pb.CompactionRequest.FromString, self._compact),
        ]

    def _range(self, call: Call, request: Any) -> None:
        kind = KIND_SERIALIZABLE if request.serializable else KIND_READ
        self._ask(call, kind, range_request(request), _range_response)

    def _put(self, call: Call, request: Any) -> None:
        self._ask(call, KIND_WRITE, put_request(request), _put_response)

    def _delete(self, call: Call, request: Any) -> None:
        self._ask(call, KIND_WRITE, delete_request(request), _delete_response)

    def _txn(self, call: Call, request: Any) -> None:
        translated = txn_request(request)
        kind = KIND_WRITE
        if is_read_only(translated):
            kind = KIND_SERIALIZABLE if _all_serializable(request) else KIND_READ
        self._ask(call, kind, translated, partial(_txn_response, translated))

    def _compact(self, call: Call, request: Any) -> None:
        translated = ("compact", max(0, request.revision))
        if request.physical:
            self._backend.run(
                call, KIND_WRITE, self._compact_physically(translated, self._backend.token_of(call))
            )
        else:
            self._ask(call, KIND_WRITE, translated, _compact_response)

    async def _compact_physically(self, request: Request, token: str) -> bytes:
        reply, result = await self._backend.future(KIND_WRITE, request, token)
        await self._backend.future(KIND_INSPECT, ("compacted", request[1]), token)
        return _compact_response(reply, result)


# -- requests


def put_request(request: Any) -> Request:
    """A put as it travels to the node."""
    flags = 0
    if request.prev_kv:
        flags += PUT_PREV_KV
    if request.ignore_value:
        flags += PUT_IGNORE_VALUE
    if request.ignore_lease:
        flags += PUT_IGNORE_LEASE
    lease = request.lease
    if lease or flags:
        return ("put", request.key, request.value, unsigned(lease), flags)
    return ("put", request.key, request.value)


def range_request(request: Any) -> Request:
    """A range as it travels. Negative numbers mean what 0 does, and an unknown order none."""
    order, target = request.sort_order, request.sort_target
    rest = (
        max(0, request.limit),
        max(0, request.revision),
        request.keys_only * RANGE_KEYS_ONLY + request.count_only * RANGE_COUNT_ONLY,
        target if 0 <= target <= _SORT_MAX else 0,
        order if 0 <= order <= _ORDER_MAX else 0,
        max(0, request.min_mod_revision),
        max(0, request.max_mod_revision),
        max(0, request.min_create_revision),
        max(0, request.max_create_revision),
    )
    if any(rest):
        return ("range", request.key, request.range_end, *rest)
    end = request.range_end
    return ("range", request.key, end) if end else ("range", request.key)


def delete_request(request: Any) -> Request:
    """A delete as it travels."""
    if request.prev_kv:
        return ("delete", request.key, request.range_end, DELETE_PREV_KV)
    return ("delete", request.key, request.range_end)


def txn_request(request: Any) -> Request:
    """A transaction as it travels.

    Raises:
        StatusError: an operation that is none.
    """
    return (
        "txn",
        tuple(map(_compare, request.compare)),
        tuple(map(_operation, request.success)),
        tuple(map(_operation, request.failure)),
    )


def _compare(compare: Any) -> tuple[Any, ...]:
    target, result = compare.target, compare.result
    operand = getattr(compare, _OPERAND[target] if 0 <= target <= _LEASE else "version")
    if target == _LEASE:
        operand = unsigned(operand)
    elif target != _VALUE and operand < 0:
        # Nothing is below zero: as if compared with what nothing reaches.
        operand, result = U64_MAX, _EQUAL if result in (_EQUAL, _LESS) else _NOT_EQUAL
    return (target, result, compare.key, operand, compare.range_end)


def _operation(operation: Any) -> Request:
    kind = operation.WhichOneof("request")
    if kind is None:
        raise StatusError(wire.KEY_NOT_FOUND.code, wire.KEY_NOT_FOUND.text)
    return _REQUESTS[kind](getattr(operation, kind))


_REQUESTS = {
    "request_range": range_request,
    "request_put": put_request,
    "request_delete_range": delete_request,
    "request_txn": txn_request,
}


def _all_serializable(request: Any) -> bool:
    """Whether every range of a transaction that only reads takes what this node has (etcd's
    isTxnSerializable)."""
    return all(
        each.request_range.serializable
        if each.HasField("request_range")
        else _all_serializable(each.request_txn)
        for branch in (request.success, request.failure)
        for each in branch
    )


# -- responses


def add_kv(message: Any, kv: tuple[Any, ...]) -> None:
    """Fill a KeyValue with what travels."""
    message.key, message.create_revision, message.mod_revision, message.version = kv[:4]
    if kv[4]:
        message.lease = signed(kv[4])
    message.value = kv[5]


def add_kvs(repeated: Any, kvs: Iterable[tuple[Any, ...]]) -> None:
    """Add each of what travels; many keys come packed (`codec.PackedArray`)."""
    for kv in kvs:
        add_kv(repeated.add(), kv)


def _fill_put(response: Any, result: Any) -> None:
    if len(result) > 2 and result[2] is not None:
        add_kv(response.prev_kv, result[2])


def _fill_range(response: Any, result: Any) -> None:
    _, _, response.count, response.more, kvs = result
    add_kvs(response.kvs, kvs)


def _fill_delete(response: Any, result: Any) -> None:
    response.deleted = result[2]
    if len(result) > 3:
        add_kvs(response.prev_kvs, result[3])


def _put_response(reply: Reply, result: Any) -> bytes:
    response = pb.PutResponse()
    _fill_put(response, result)
    return encoded(response, reply, result[1])


def _range_response(reply: Reply, result: Any) -> bytes:
    response = pb.RangeResponse()
    _fill_range(response, result)
    return encoded(response, reply, result[1])


def _delete_response(reply: Reply, result: Any) -> bytes:
    response = pb.DeleteRangeResponse()
    _fill_delete(response, result)
    return encoded(response, reply, result[1])


def _compact_response(reply: Reply, result: Any) -> bytes:
    response = pb.CompactionResponse()
    return encoded(response, reply, result[1])


def _txn_response(request: Request, reply: Reply, result: Any) -> bytes:
    response = pb.TxnResponse()
    _fill_txn(response, request, result)
    return encoded(response, reply, result[1])


def _fill_txn(response: Any, request: Request, result: Any) -> None:
    """Inner headers have a revision alone, those of inner transactions not even that, as etcd's."""
    _, _, response.succeeded, results = result
    operations = request[2] if response.succeeded else request[3]
    for operation, each in zip(operations, results, strict=True):
        inner = response.responses.add()
        name = operation[0]
        if name == "range":
            inner.response_range.header.revision = each[1]
            _fill_range(inner.response_range, each)
        elif name == "put":
            inner.response_put.header.revision = each[1]
            _fill_put(inner.response_put, each)
        elif name == "delete":
            inner.response_delete_range.header.revision = each[1]
            _fill_delete(inner.response_delete_range, each)
        else:
            inner.response_txn.header.SetInParent()
            _fill_txn(inner.response_txn, operation, each)
