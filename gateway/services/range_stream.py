"""etcd's KV.RangeStream (3.7): a range of any size, as of one revision, a piece at a time.

Each page is a range of its own, asked for when the client has taken the one before, so that a huge
range holds nobody up and fills nobody's memory, neither the node's nor the gateway's. The first one
may be linearizable; the others are read at its revision, which this node has by then.
"""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

from ...client._link import Reply
from ...client._scan import PAGE_BYTES, next_limit
from ...transport import errors as wire
from ...transport.requests import (
    KIND_READ,
    KIND_SERIALIZABLE,
    RANGE_COUNT_ONLY,
    RANGE_KEYS_ONLY,
    RANGE_NO_COUNT,
)
from .. import messages as pb
from ..backend import Backend, StatusError, fill
from ..grpc import Call, Code, Method, Streaming
from .kv import SERVICE, add_kvs
from .streams import Answering

FIRST_KEYS = 16
"""Few: nothing is known of how large they are."""
_PAIR_BYTES = 32
"""About what a key and its value take in a message besides themselves."""
_TARGETS, _ORDERS = range(5), range(3)
_BY_KEY, _UNSORTED, _ASCENDING = 0, 0, 1

Pairs = Sequence[tuple[Any, ...]]


def range_stream(backend: Backend) -> Method:
    """The method, beside those of `kv.py`."""
    return Streaming(SERVICE + "RangeStream", partial(RangeStream, backend))


class RangeStream(Answering):
    """One range on its way."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(backend, call, pb.RangeRequest.FromString, KIND_READ)
        self._token = backend.token_of(call)

    def take(self, request: Any) -> None:
        """Begin.

        Raises:
            StatusError: what cannot be streamed.
        """
        _check(request)
        super().take(request)

    async def answer(self, request: Any) -> AsyncIterator[bytes]:
        """Keys in all messages; header, count and whether there is more in the last one."""
        kind = KIND_SERIALIZABLE if request.serializable else KIND_READ
        key, end, revision = request.key, request.range_end, max(0, request.revision)
        if request.count_only:
            counted = ("range", key, end, 0, revision, RANGE_COUNT_ONLY)
            reply, result = await self._backend.future(kind, counted, self._token)
            yield _last((), reply, *result[1:4])
            return
        flags = RANGE_NO_COUNT | request.keys_only * RANGE_KEYS_ONLY
        now, sent, page, most = 0, 0, FIRST_KEYS, max(0, request.limit)
        while True:
            limit = min(page, most - sent) if most else page
            asked = ("range", key, end, limit, revision, flags)
            reply, (_, seen, _, more, found) = await self._backend.future(kind, asked, self._token)
            kvs = tuple(found)  # many keys come packed
            sent, now = sent + len(kvs), now or seen
            revision, kind = revision or now, KIND_SERIALIZABLE
            *pieces, last = _cut(kvs)
            for piece in pieces:
                yield _message(piece)
            key = kvs[-1][0] + b"\0" if more else key
            if not more or sent == most:
                break
            yield _message(last)
            page = next_limit(limit, len(kvs), sum(map(_size, kvs)))
        if more:
            counted = ("range", key, end, 0, revision, RANGE_COUNT_ONLY)
            _, result = await self._backend.future(kind, counted, self._token)
            sent += result[2]
        yield _last(last, reply, now, sent, more)


def _check(request: Any) -> None:
    """As etcd's checkRangeStreamRequest."""
    target, order = request.sort_target, request.sort_order
    if not request.key:
        raise StatusError(*wire.EMPTY_KEY[:2])
    if target not in _TARGETS or order not in _ORDERS:
        raise StatusError(*wire.INVALID_SORT_OPTION[:2])
    if order != _UNSORTED and (target, order) != (_BY_KEY, _ASCENDING):
        text = "RangeStream does not support custom sort orders"
        raise StatusError(Code.UNIMPLEMENTED, text)
    if (
        request.min_mod_revision
        or request.max_mod_revision
        or request.min_create_revision
        or request.max_create_revision
    ):
        text = "RangeStream does not support revision filters"
        raise StatusError(Code.UNIMPLEMENTED, text)


def _size(kv: tuple[Any, ...]) -> int:
    return len(kv[0]) + len(kv[5]) + _PAIR_BYTES


def _cut(kvs: Pairs) -> list[Pairs]:
    """Messages of about a page's size, at least one: many clients have a bound of 4 MiB, and the
    values of a page may be larger than those of the page before."""
    pieces, begin, size = [], 0, 0
    for at, kv in enumerate(kvs):
        size += _size(kv)
        if size > PAGE_BYTES and at > begin:
            pieces.append(kvs[begin:at])
            begin, size = at, _size(kv)
    return [*pieces, kvs[begin:]]


def _message(kvs: Pairs) -> bytes:
    response = pb.RangeStreamResponse()
    add_kvs(response.range_response.kvs, kvs)
    data: bytes = response.SerializeToString()
    return data


def _last(kvs: Pairs, reply: Reply, revision: int, count: int, more: bool) -> bytes:
    response = pb.RangeStreamResponse()
    found = response.range_response
    fill(found.header, reply, revision)
    found.count, found.more = count, more
    add_kvs(found.kvs, kvs)
    data: bytes = response.SerializeToString()
    return data
