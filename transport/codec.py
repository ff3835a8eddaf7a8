"""msgpack in and out: the only import of msgpack.

Everything that crosses a socket goes through here, with every limit written out. What comes from a
client or a peer is decoded to tuples, bytes, str, int, bool and None; anything else, and anything
that does not decode, is a `CodecError`.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, NoReturn

import msgpack

from ..config import limits


class CodecError(ValueError):
    """Bytes that are not what this protocol says they are."""


def _refuse(value: Any) -> NoReturn:
    raise TypeError(f"cannot travel: {type(value).__name__}")


# One packer for the process: building one costs more than packing a small message. The GIL makes a
# call atomic, since no Python code runs inside it.
pack: Callable[[Any], bytes] = msgpack.Packer(
    use_bin_type=True, strict_types=False, default=_refuse
).pack


def array_head(count: int) -> bytes:
    """What stands before the elements of a packed array."""
    if count < 16:
        return bytes((0x90 | count,))
    if count < 1 << 16:
        return b"\xdc" + count.to_bytes(2, "big")
    return b"\xdd" + count.to_bytes(4, "big")


def pack_array(packed: Sequence[bytes]) -> bytes:
    """An array of values that are packed already, as `pack` would pack it."""
    return b"".join((array_head(len(packed)), *packed))


def _refuse_ext(code: int, data: bytes) -> NoReturn:
    raise CodecError(f"ext type {code} is not part of the protocol")


MAP_MAX, TEXT_MAX = 1_024, 64 * limits.KIB
"""Pairs of a map; bytes of a str."""
_FEW, _HEADS_MAX = 512, 16
"""Requests, and bytes that may be heads of long arrays: more of both in a body and it is decoded
with care."""
_MALFORMED = (ValueError, TypeError, RecursionError, msgpack.OutOfData)
_HEAD_BYTES = 64
"""What stands before the keys of a range's result is shorter."""
_PIECE_BYTES = 64 * limits.KIB
"""What is fed to an unpacker at once: 200 keys with their values, or some thousand small ones."""


def unpack(
    data: bytes | bytearray | memoryview, *, array_max: int = limits.BODY_REQUESTS_MAX
) -> Any:
    """Decode one value whose arrays have at most `array_max` elements.

    Arrays become tuples, so an empty one costs nothing and none can be changed. Raises CodecError.
    """
    try:
        # The options stand here and below: passed on from one place they would cost a small message
        # as much as decoding it.
        return msgpack.unpackb(
            data,
            use_list=False,
            raw=False,
            strict_map_key=True,
            ext_hook=_refuse_ext,
            max_array_len=min(array_max, len(data)),
            max_map_len=MAP_MAX,
            max_str_len=TEXT_MAX,
            max_bin_len=limits.PEER_FRAME_BYTES_MAX,
            max_ext_len=0,
        )
    except _MALFORMED as error:
        raise CodecError(f"not msgpack of this protocol: {error}") from error


def unpack_header(data: bytes) -> tuple[Any, ...]:
    """Decode what stands first in a message, from whomever it may come: an array, short and flat.
    Raises CodecError."""
    if len(data) > limits.HEADER_BYTES_MAX:
        raise CodecError(f"a header of {len(data)} bytes")
    fields = unpack(data, array_max=limits.HEADER_FIELDS_MAX)
    if type(fields) is not tuple:
        raise CodecError("a header that is no array")
    return fields


def unpack_requests(body: bytes) -> Any:
    """Decode a client's body: an array of BODY_REQUESTS_MAX requests, whose own arrays are short.

    Memory for an array is taken when its head is read, whatever follows: three bytes take 80 kB,
    and a thousand heads in a row keep a node busy for 0.2 s. So no array may be much longer than
    that of the requests; and where those are many, and so, perhaps, are heads (in requests or in
    their values), requests are decoded one by one, which takes half as long again.

    Raises CodecError.
    """
    kind = body[0] if body else 0
    head = 1 if kind >> 4 == 9 else {0xDC: 3, 0xDD: 5}.get(kind, 0)
    count = kind & 15 if head == 1 else int.from_bytes(body[1:head], "big")
    if not head or count > limits.BODY_REQUESTS_MAX:
        raise CodecError(f"the body is an array of at most {limits.BODY_REQUESTS_MAX} requests")
    if count <= _FEW:
        return unpack(body, array_max=max(count, limits.REQUEST_ARRAY_MAX))
    if body.count(b"\xdc") + body.count(b"\xdd") <= _HEADS_MAX:
        return unpack(body)
    size = len(body) - head
    unpacker = _unpacker(size, limits.REQUEST_ARRAY_MAX)
    try:
        unpacker.feed(memoryview(body)[head:])
        decoded = tuple(unpacker)
    except _MALFORMED as error:
        raise CodecError(f"not msgpack of this protocol: {error}") from error
    if len(decoded) != count or unpacker.tell() != size:
        raise CodecError(f"not msgpack of this protocol: {count} requests announced")
    return decoded


def _unpacker(size: int, array_max: int) -> msgpack.Unpacker:
    """For `size` bytes, in pieces or at once, whose arrays have at most `array_max` elements."""
    return msgpack.Unpacker(
        max_buffer_size=size,
        use_list=False,
        raw=False,
        strict_map_key=True,
        ext_hook=_refuse_ext,
        max_array_len=array_max,
        max_map_len=MAP_MAX,
        max_str_len=TEXT_MAX,
        max_ext_len=0,
    )


class PackedArray:
    """An array that stays as it travelled. Iterating decodes it a piece at a time.

    What is decoded and dropped piece by piece stays in the processor's caches, and Python's
    collector has nothing to look through: half of what a large array costs decoded whole.
    """

    __slots__ = ("_count", "_packed")

    def __init__(self, packed: memoryview, count: int) -> None:
        """Of `count` elements, one after the other."""
        self._packed, self._count = packed, count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.pieces())

    def pieces(self) -> Iterator[tuple[Any, ...]]:
        """Some elements at a time, in order. Raises CodecError."""
        unpacker = _unpacker(len(self._packed), len(self._packed))
        left = self._count
        try:
            for piece in _cut(self._packed):
                unpacker.feed(piece)
                elements = tuple(unpacker)
                left -= len(elements)
                yield elements
        except _MALFORMED as error:
            raise CodecError(f"not msgpack of this protocol: {error}") from error
        if left or unpacker.tell() != len(self._packed):
            raise CodecError(f"not msgpack of this protocol: {self._count} elements announced")


def split_array(data: memoryview) -> list[memoryview]:
    """The elements of an array, packed as they are. Raises CodecError."""
    unpacker = _unpacker(len(data), len(data))
    ends: list[int] = []
    count = 1
    for piece in _cut(data):
        unpacker.feed(piece)
        try:
            if not ends:
                count = unpacker.read_array_header()
                ends.append(unpacker.tell())
            while len(ends) < count:  # the last one's end is that of the data
                unpacker.skip()
                ends.append(unpacker.tell())
            break
        except msgpack.OutOfData:
            continue  # the unpacker goes on where it is
        except _MALFORMED as error:
            raise CodecError(f"not msgpack of this protocol: {error}") from error
    if not count:
        return []
    if len(ends) < count:
        raise CodecError(f"not msgpack of this protocol: {count} elements announced")
    return [data[begin:end] for begin, end in zip(ends, (*ends[1:], len(data)), strict=True)]


def _cut(data: memoryview) -> Iterator[memoryview]:
    return (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))


def result_codes(body: bytes) -> list[int] | None:
    """The code of each result in a node's answer, however large they are; None where the answer is
    an error of the whole message. Raises CodecError."""
    results = split_array(memoryview(body))
    if results and results[0][0] <= _SMALL_INT_MAX:
        return None
    return [result[_ARRAY_HEAD_BYTES.get(result[0], 1)] for result in results]


_SMALL_INT_MAX = 0x7F
_ARRAY_HEAD_BYTES = {0xDC: 3, 0xDD: 5}


def unpack_but_last(data: memoryview, many: int) -> Any:
    """Decode an array but for its last element, an array of `many` elements or more: that becomes a
    PackedArray. Anything else is decoded whole. Raises CodecError."""
    unpacker = _unpacker(len(data), len(data))
    unpacker.feed(data[:_HEAD_BYTES])
    try:
        first = [unpacker.unpack() for _ in range(unpacker.read_array_header() - 1)]
        count = unpacker.read_array_header()
    except _MALFORMED:
        count = 0
    if count < many:
        return unpack(data, array_max=len(data))
    return (*first, PackedArray(data[unpacker.tell() :], count))


def unpack_local(data: bytes) -> Any:
    """Decode what another actor of this node packed: trusted, so there are no limits."""
    return msgpack.unpackb(data, use_list=False, raw=False)
