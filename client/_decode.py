"""Results as they travel, turned into what the calls return."""

from collections.abc import Callable
from typing import Any

from ..transport import errors as wire
from ..transport.codec import PackedArray
from ._large import PackedKvs, checked
from ._link import Reply
from .errors import MalformedReplyError, RequestTimeoutError, SampanError
from .types import (
    CompactResponse,
    DeleteResponse,
    HashKvResponse,
    KeyValue,
    KeyValues,
    Member,
    OpResponse,
    PutResponse,
    RangeResponse,
    ResponseHeader,
    StatusResponse,
    TxnResponse,
)

Answer = tuple[Reply, tuple[Any, ...]]


_new = tuple.__new__  # half the cost of calling a NamedTuple, and every put makes two of them


def header(reply: Reply, revision: int) -> ResponseHeader:
    """The header of a response that a reply brought."""
    return _new(ResponseHeader, (reply[0], reply[1], revision, reply[2]))


def key_value(kv: tuple[Any, ...]) -> KeyValue:
    """Of `[key, create_revision, mod_revision, version, lease, value]`.

    Raises:
        TypeError: it is not one.
    """
    if type(kv) is not tuple or len(kv) != len(KeyValue._fields):
        raise TypeError("a kv has six elements")
    return _new(KeyValue, kv)


def _kvs(kvs: tuple[Any, ...] | PackedArray) -> KeyValues:
    if isinstance(kvs, PackedArray):
        return KeyValues(None, PackedKvs(kvs))
    return KeyValues(checked(kvs))


def _malformed(result: Any) -> MalformedReplyError:
    return MalformedReplyError(wire.INTERNAL, f"sampan: malformed result: {str(result)[:80]}")


def put_response(answer: Answer) -> PutResponse:
    """Of `[0, revision]` or `[0, revision, kv or nil]`."""
    reply, result = answer
    try:
        prev_kv = key_value(result[2]) if len(result) > 2 and result[2] is not None else None
        # `header` without a call: there are more of these than of all others together.
        head = _new(ResponseHeader, (reply[0], reply[1], result[1], reply[2]))
        return _new(PutResponse, (head, prev_kv, None))
    except (IndexError, TypeError) as error:
        raise _malformed(result) from error


def range_response(answer: Answer) -> RangeResponse:
    """Of `[0, revision, count, more, [kv, …]]`."""
    reply, result = answer
    try:
        _, revision, count, more, kvs = result
        head = _new(ResponseHeader, (reply[0], reply[1], revision, reply[2]))  # as for a put
        return _new(RangeResponse, (head, _kvs(kvs), count, more))
    except (ValueError, TypeError) as error:
        raise _malformed(result) from error


def delete_response(answer: Answer) -> DeleteResponse:
    """Of `[0, revision, deleted]` or `[0, revision, deleted, [kv, …]]`."""
    reply, result = answer
    try:
        head = header(reply, result[1])
        prev_kvs = _kvs(result[3] if len(result) > 3 else ())
        return DeleteResponse(head, result[2], prev_kvs)
    except (IndexError, TypeError) as error:
        raise _malformed(result) from error


_BY_OPERATION: dict[str, Callable[[Answer], OpResponse]] = {
    "put": put_response,
    "delete": delete_response,
    "range": range_response,
}


def txn_response(answer: Answer, request: tuple[Any, ...]) -> TxnResponse:
    """Of `[0, revision, succeeded, [op result, …]]`; `request` tells what each operation was."""
    reply, result = answer
    try:
        _, revision, succeeded, results = result
        operations = request[2] if succeeded else request[3]
        responses: list[OpResponse] = [
            txn_response((reply, each), operation)
            if operation[0] == "txn"
            else _BY_OPERATION[operation[0]]((reply, each))
            for operation, each in zip(operations, results, strict=True)
        ]
    except (ValueError, TypeError) as error:
        raise _malformed(result) from error
    return TxnResponse(header(reply, revision), succeeded, responses)


def compact_response(answer: Answer) -> CompactResponse:
    """Of `[0, revision]`."""
    reply, result = answer
    try:
        return CompactResponse(header(reply, result[1]))
    except IndexError as error:
        raise _malformed(result) from error


def not_gone_yet(revision: int, error: SampanError) -> RequestTimeoutError:
    """What a physical compaction raises that happened and whose end was not seen, for `error`."""
    text = f"sampan: revision {revision} is compacted, its history not gone yet: {error.text}"
    return RequestTimeoutError(error.code, text)


def hash_kv_response(answer: Answer) -> HashKvResponse:
    """Of `[0, revision, hash, compact revision, hashed revision]`."""
    reply, result = answer
    try:
        _, revision, digest, compacted, hashed = result
    except ValueError as error:
        raise _malformed(result) from error
    return HashKvResponse(header(reply, revision), digest, compacted, hashed)


def status_response(answer: Answer) -> StatusResponse:
    """Of `[0, {name: value, …}]`. Its header's revision is the field of that name."""
    reply, result = answer
    try:
        fields = dict(result[1])
    except (IndexError, TypeError, ValueError) as error:
        raise _malformed(result) from error
    revision = fields.get("revision", 0)
    return StatusResponse(header(reply, revision), fields)


def _own(clients: tuple[str, ...]) -> list[str]:
    """Where Sampan's clients go. URLs lead etcd's clients to a member's gateway."""
    return [each for each in clients if not each.startswith(("http://", "https://"))]


def member_of(fields: Any) -> Member:
    """Of `[id, name, [peer endpoint, …], [client endpoint, …], is_learner]`; raises ValueError or
    TypeError."""
    member_id, name, peers, clients, is_learner = fields
    return Member(member_id, name, list(peers), _own(clients), bool(is_learner))
