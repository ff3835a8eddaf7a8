"""Packing what a message's requests have found, in slices, since that may be a million keys.

Only two things of a result may be much, and each is a list that stands last in it: what a range or
a deletion has found, and the results of a transaction's operations.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from ..transport.codec import array_head, pack
from .mvcc import Result
from .sliced import ITEMS, Sliced, joined

ITEM_BYTES = 512
"""That are copied as fast as a small item is packed."""


def pack_each(results: Sequence[Result]) -> Sliced[list[bytes]]:
    """Each of them as it travels. What they have found is freed on the way: that takes as long, so
    it is for members that nobody asked, too."""
    packed: list[bytes] = []
    room = ITEMS
    for result in results:
        parts: list[bytes | memoryview] = []
        for part, items in _parts_of_result(result):
            parts.append(part)
            room -= items + len(part) // ITEM_BYTES
            if room <= 0:
                yield
                room = ITEMS
        packed.append((yield from joined(parts)))
    return packed


def pack_sliced(result: Result) -> Sliced[bytes]:
    """`pack_each` of one."""
    (packed,) = yield from pack_each([result])
    return packed


_Part = tuple[bytes | memoryview, int]
"""Some of what travels, and how many items it holds."""


def _parts_of(items: list[Any]) -> Iterator[_Part]:
    yield array_head(len(items)), 0
    for begin in range(0, len(items), ITEMS):
        some = items[begin : begin + ITEMS]
        items[begin : begin + ITEMS] = [None] * len(some)  # which frees them
        if any(map(_may_be_much, some)):
            while some:
                yield from _parts_of_result(some.pop(0))
        else:
            yield memoryview(pack(some))[len(array_head(len(some))) :], len(some)


def _parts_of_result(result: Result) -> Iterator[_Part]:
    if not _may_be_much(result):
        yield pack(result), 1
        return
    *first, found = result
    yield b"".join((array_head(len(result)), *map(pack, first))), 1
    yield from _parts_of(found)


def _may_be_much(item: Any) -> bool:
    return type(item) is tuple and item != () and type(item[-1]) is list
