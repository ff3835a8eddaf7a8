"""Writing more than one batch may hold, and yet all of it or nothing.

A batch of a million keys takes seconds, in which nothing else happens. RocksDB keeps no log of the
state: after a crash it is where it was last flushed, which may be between any two batches. So what
is to be written goes there twice. First as it is to be: in chunks, each the value of a key of its
own, and behind them a mark. Then, in slices, to where it belongs; the last one takes mark and
chunks away. A start that finds the mark writes it all again, one that finds chunks without it drops
them.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import cast

from ..transport.codec import pack, unpack_local
from . import keys
from .errors import StorageError
from .many_writes import ManyWrites
from .rocks import Database
from .sliced import Sliced

WRITES = 4096
"""Of a slice: 5 to 10 ms."""
SLICE_BYTES = 1 << 20
"""Likewise, but for one write that is larger."""

MARK = keys.META + b"redo"
_CHUNKS = MARK + b"-"
_END = MARK + b"."

Writes = dict[bytes, bytes | None] | ManyWrites
"""Key -> value, None for a deletion."""


def write_sliced(db: Database, writes: Writes) -> Sliced[None]:
    """Write all, and take it out of `writes` meanwhile. Nobody else may write to the database
    between two slices."""
    chunks = yield from _save(db, writes)
    while writes:
        part: list[tuple[bytes, bytes | None]] = []
        size = 0
        while writes and len(part) < WRITES and size < SLICE_BYTES:
            key, value = writes.popitem()
            part.append((key, value))
            size += len(value or b"")
        _write(db, sorted(part))  # in order, as in overlay.py
        yield
    _drop(db, map(_chunk_key, range(chunks)))


def _save(db: Database, writes: Writes) -> Sliced[int]:
    """Returns the number of chunks."""
    items = iter(writes.items())
    number = 0
    while chunk := _chunk(items):
        batch = db.batch()
        batch[_chunk_key(number)] = chunk
        db.write(batch)
        number += 1
        yield
    batch = db.batch()
    batch[MARK] = b""
    db.write(batch)
    return number


def _chunk_key(number: int) -> bytes:
    return _CHUNKS + keys.pack_u64(number)


def _chunk(items: Iterator[tuple[bytes, bytes | None]]) -> bytes:
    """The next ones packed; empty at the end."""
    part: list[bytes | None] = []
    size = 0
    for key, value in islice(items, WRITES):
        part += (key, value)
        size += len(key) + len(value or b"")
        if size >= SLICE_BYTES:
            break
    return pack(part) if part else b""


def _write(db: Database, part: list[tuple[bytes, bytes | None]]) -> None:
    batch = db.batch()
    for key, value in part:
        if value is None:
            batch.delete(key)
        else:
            batch[key] = value
    db.write(batch)


def _drop(db: Database, chunks: Iterable[bytes]) -> None:
    batch = db.batch()
    batch.delete(MARK)
    for key in chunks:
        batch.delete(key)
    db.write(batch)


def recover(db: Database) -> None:
    """At a start: finish what a crash has cut short, or forget it."""
    whole = db.get(MARK) is not None
    chunks = []
    for key, chunk in db.scan(_CHUNKS, _END):
        chunks.append(key)
        if whole:
            part = cast("tuple[bytes | None, ...]", unpack_local(chunk))
            written = zip(cast("tuple[bytes, ...]", part[::2]), part[1::2], strict=True)
            _write(db, sorted(written))
    if whole or chunks:
        _drop(db, chunks)


def check(db: Database) -> None:
    """Of a copy that is only read: raises StorageError when something was cut short."""
    if db.get(MARK) is not None:
        raise StorageError(f"{db.path} is in the middle of a commit: the next start finishes it")
