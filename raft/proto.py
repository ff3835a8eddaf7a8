"""The protocol buffers wire format, as much of it as raftpb needs.

Field numbers live beside the types that use them; here are only varints, length-delimited fields
and an iterator over a message's fields. Format: protobuf.dev, "Encoding".
"""

from collections.abc import Iterator

from .errors import InvalidMessage

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_UINT64_BYTES_MAX = 10  # 64 bits in groups of seven


def varint_size(value: int) -> int:
    """Bytes that `value` takes as a varint (1 to 10)."""
    return (value.bit_length() + 6) // 7 or 1


def put_varint(out: bytearray, value: int) -> None:
    """Append an unsigned 64-bit varint."""
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def put_uint(out: bytearray, field: int, value: int) -> None:
    """Append an unsigned integer, enum or bool field, zero included."""
    put_varint(out, field << 3 | _VARINT)
    put_varint(out, value)


def put_bytes(out: bytearray, field: int, value: bytes | bytearray) -> None:
    """Append a bytes field or an embedded message."""
    put_varint(out, field << 3 | _BYTES)
    put_varint(out, len(value))
    out += value


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    for count in range(_UINT64_BYTES_MAX):
        if at + count >= len(data):
            raise InvalidMessage("unexpected EOF")
        byte = data[at + count]
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64:
                break
            return value, at + count + 1
        shift += 7
    raise InvalidMessage("proto: integer overflow")


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield (field number, value) in wire order; fixed-width fields, unused here, are skipped.

    Raises InvalidMessage on truncated or malformed input.
    """
    at = 0
    while at < len(data):
        tag, at = _read_varint(data, at)
        field, kind = tag >> 3, tag & 7
        if field == 0:
            raise InvalidMessage(f"proto: illegal tag {field} (wire type {kind})")
        if kind == _VARINT:
            number, at = _read_varint(data, at)
            yield field, number
            continue
        if kind == _BYTES:
            size, at = _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise InvalidMessage(f"proto: wrong wireType = {kind} for field {field}")
        if at + size > len(data):
            raise InvalidMessage("unexpected EOF")
        if kind == _BYTES:
            yield field, data[at : at + size]
        at += size


def as_int(value: int | bytes) -> int:
    """The value of a varint field; InvalidMessage if the wire held bytes."""
    if isinstance(value, bytes):
        raise InvalidMessage("proto: wrong wireType = 2 for an integer field")
    return value


def as_bytes(value: int | bytes) -> bytes:
    """The value of a length-delimited field; InvalidMessage if the wire held a varint."""
    if isinstance(value, int):
        raise InvalidMessage("proto: wrong wireType = 0 for a bytes field")
    return value


def as_ints(value: int | bytes) -> list[int]:
    """The values of one occurrence of a repeated integer field, packed or not."""
    if isinstance(value, int):
        return [value]
    numbers, at = [], 0
    while at < len(value):
        number, at = _read_varint(value, at)
        numbers.append(number)
    return numbers
