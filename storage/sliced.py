"""Work that is done a slice at a time, so that whoever does it can see to other things between.

Such work is a generator that yields between two slices, each of a few milliseconds, and returns its
result. What it reads is as it was when the work was made, whatever is written meanwhile.
"""

import heapq
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from typing import Any, TypeAlias, TypeVar, cast

Done = TypeVar("Done")
Item = TypeVar("Item")
Sliced: TypeAlias = Generator[None, None, Done]

FIRST_SLICE_BYTES = 8 << 20
SLICE_BYTES = 1 << 20
"""Read in one slice: 1 or 2 ms in the best case, 10 when all was overwritten lately. The first one
may be larger, so that few reads need another."""
JOINED_BYTES = FIRST_SLICE_BYTES
"""Copied in one slice, in 3 ms."""
ITEMS = 8192
"""Of a slice that costs half a microsecond for each."""


def finish(work: Sliced[Done]) -> Done:
    """All of it at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            done: Done = end.value
            return done


def in_parts(
    items: Sequence[Item], do: Callable[[Sequence[Item]], list[Done]]
) -> Sliced[list[Done]]:
    """What `do` makes of the items, given a slice of them at a time."""
    done = do(items[:ITEMS])
    for begin in range(ITEMS, len(items), ITEMS):
        yield
        done += do(items[begin : begin + ITEMS])
    return done


def discard(items: list[Any]) -> Sliced[None]:
    """Free them: a million pairs at once take a tenth of a second."""
    while len(items) > ITEMS:
        del items[-ITEMS:]
        yield
    items.clear()


def joined(parts: Sequence[bytes | memoryview]) -> Sliced[bytes]:
    """As `b"".join`. What takes more than a slice is a bytearray, which nobody may change."""
    if sum(map(len, parts)) <= JOINED_BYTES:
        return b"".join(parts)
    whole = bytearray()
    end = JOINED_BYTES
    for part in parts:
        for begin in range(0, len(part), JOINED_BYTES):
            whole += part[begin : begin + JOINED_BYTES]
            if len(whole) >= end:
                yield
                end = len(whole) + JOINED_BYTES
    return cast("bytes", whole)  # a copy would be one step


def joined_and_freed(parts: list[bytes]) -> Sliced[bytes]:
    """Likewise, and nobody needs the parts any more."""
    whole = yield from joined(parts)
    yield from discard(parts)
    return whole


def shortened(items: list[Item], limit: int) -> Sliced[list[Item]]:
    """The first `limit` of them; the others are freed."""
    kept = items[:limit]
    yield from discard(items)
    return kept


def sort(
    items: Sequence[Item], key: Callable[[Item], Any], *, reverse: bool = False, limit: int = 0
) -> Sliced[list[Item]]:
    """The first `limit` (0: all) of what `sorted` returns: in runs that are merged then."""
    runs = yield from in_parts(items, lambda run: [sorted(run, key=key, reverse=reverse)])
    if len(runs) == 1:
        return runs[0][: limit or None]
    # Of equals those of earlier runs come first.
    merging = islice(heapq.merge(*runs, key=key, reverse=reverse), limit or None)
    ordered: list[Item] = []
    while part := list(islice(merging, ITEMS)):
        ordered += part
        yield
    return ordered


def ready(done: Done) -> Sliced[Done]:
    """No work at all."""
    yield from ()
    return done


def length(work: Sliced[list[Item]]) -> Sliced[int]:
    """How many it finds."""
    return len((yield from work))
