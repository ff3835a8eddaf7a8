"""Large answers: what takes longest to decode stays as it travelled until somebody looks at it."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from ..transport import codec, errors
from ..transport.zmtp import Frame
from ._collector import collector_paused
from .errors import MalformedReplyError
from .types import KeyValue, Kvs

if TYPE_CHECKING:
    from ._link import Call

_FIELDS = len(KeyValue._fields)
LARGE_BYTES = 64 << 10
"""Answers that are worth it."""
FEW_CALLS = 16
SMALL_BYTES = 4 << 10
"""Many calls whose answers are together no larger than small ones would be are decoded at once: to
look at each by itself takes longer than decoding it."""
MANY_KEYS = 64
"""Likewise: few of them are large values, which cost nothing to decode."""


def unpack_results(body: Frame, calls: Sequence["Call"]) -> Any:
    """The results of a message's calls. Keys of large ranges stay packed (`codec.PackedArray`).

    Raises:
        CodecError: it is not msgpack, as far as was looked.
    """
    size = len(body)  # every element has a byte
    if size < LARGE_BYTES or (len(calls) > FEW_CALLS and size < len(calls) * SMALL_BYTES):
        return codec.unpack(body, array_max=size)
    packed = codec.split_array(memoryview(body))
    if len(packed) != len(calls):
        return codec.unpack(body, array_max=size)  # an error for all of them, or none of ours
    return tuple(
        _unpack_result(result, call.request) for result, call in zip(packed, calls, strict=True)
    )


def _unpack_result(result: memoryview, request: tuple[Any, ...]) -> Any:
    size = len(result)
    if size < LARGE_BYTES:
        return codec.unpack(result, array_max=size)
    if request[0] == "range":
        return codec.unpack_but_last(result, MANY_KEYS)
    with collector_paused():
        return codec.unpack(result, array_max=size)


def checked(kvs: tuple[Any, ...]) -> Kvs:
    """Of kvs as they travel.

    Raises:
        TypeError: they are none.
    """
    if len(kvs) == 1:  # most have one
        good = type(kvs[0]) is tuple and len(kvs[0]) == _FIELDS
    else:
        good = set(map(type, kvs)) <= {tuple} and set(map(len, kvs)) <= {_FIELDS}
    if not good:
        raise TypeError("a kv has six elements")
    return kvs


class PackedKvs:
    """The keys of a large range, decoded and looked at whenever they are asked for."""

    __slots__ = ("_array",)

    def __init__(self, array: codec.PackedArray) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def pieces(self) -> Iterator[Kvs]:
        """Some of them at a time, in order.

        Raises:
            MalformedReplyError: they are none.
        """
        try:
            yield from map(checked, self._array.pieces())
        except (codec.CodecError, TypeError) as error:
            raise MalformedReplyError(
                errors.INTERNAL, f"sampan: malformed result: {error}"
            ) from error
