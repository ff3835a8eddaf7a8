"""Records, events and chunks of events: what the state database's values look like.

A record is one version of a key: a header of seven numbers and the value. `prev` chains it to the
version before, and two skip pointers let a reader in the past leave out 64 or 4096 versions a step,
so that a key that was written a million times costs a few hundred steps at worst. What follows
these three is msgpack already, as clients get it: a range is answered by joining keys and records.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple, cast

from ..transport.codec import array_head, pack, unpack_local
from . import keys

Event = tuple[int, bytes, bytes]
"""(revision, key, record), or of a deletion (revision, key, mod revision u64 of what it deleted).
Events of one revision stand in the order in which they happened."""

KeyValue = tuple[bytes, int, int, int, int, bytes]
"""(key, create revision, mod revision, version, lease, value), as it travels."""

# In msgpack each number follows the byte that says what it is. These sizes always: a record's
# parts have fixed places.
U64, BIN32 = 0xCF, 0xC6
HEADER = Struct(">QQQxQxQxQxQ5x")
"""The numbers of a header, in the order of `Header`, for `unpack_from` alone."""
HEADER_SIZE = HEADER.size
pack_header = Struct(">QQQBQBQBQBQBI").pack
"""Of prev, skip_1, skip_2, U64, create, U64, mod, U64, version, U64, lease, BIN32, value's size."""
PUBLIC = 24
"""Where the part of a record that clients see begins."""
_EMPTY_VALUE = bytes(4)
_unpack_public = Struct(">xQxQxQxQ").unpack_from
_unpack_first = keys.U64.unpack_from

SKIP_1 = 64
"""Versions between the targets of `skip_1`; a power of two, as SKIP_2."""
SKIP_2 = 4096

CHUNK_EVENTS_MAX = 128
"""One read in the past decodes one chunk: about 20 µs."""
CHUNK_BYTES_MAX = 64 * 1024


class Header(NamedTuple):
    """All numbers of a record, in their order on disk."""

    prev: int
    """Mod revision of the version before in this generation, 0 for the first."""
    skip_1: int
    """Mod revision of the newest earlier version that is a multiple of SKIP_1, 0 for none."""
    skip_2: int
    """Likewise of SKIP_2."""
    create_revision: int
    mod_revision: int
    version: int
    lease: int


def read_header(record: bytes) -> Header:
    """The header of a record or of a deleted generation."""
    return Header(*HEADER.unpack_from(record))


def make_record(head: Sequence[int], value: bytes = b"") -> bytes:
    """The record of a header and a value; without one, what is kept of a deleted generation."""
    prev, skip_1, skip_2, create, mod, version, lease = head
    return (
        pack_header(
            prev, skip_1, skip_2, U64, create, U64, mod, U64, version, U64, lease, BIN32, len(value)
        )
        + value
    )


def without_value(record: bytes) -> bytes:
    """The record as if its value were empty."""
    return record[: HEADER_SIZE - 4] + _EMPTY_VALUE


def key_value(key: bytes, record: bytes) -> KeyValue:
    """What a client sees of a record."""
    return (key, *_unpack_public(record, PUBLIC), record[HEADER_SIZE:])


_KEY_SIZES = 1024  # remembered; longer keys are rare


class _KvHeads(dict[int, bytes]):
    """Length of a key -> what stands before it in a packed KeyValue."""

    def __missing__(self, length: int) -> bytes:
        head = array_head(6) + (pack(bytes(length))[:-length] if length else pack(b""))
        if length < _KEY_SIZES:
            self[length] = head
        return head


_kv_heads = _KvHeads()


def pack_key_value(key: bytes, record: bytes) -> bytes:
    """`key_value` as it travels."""
    return _kv_heads[len(key)] + key + record[PUBLIC:]


def pack_key_values(pairs: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """`pack_key_value` of each KV key and its record."""
    return [pack_key_value(stored[1:], record) for stored, record in pairs]


def range_head(revision: int, count: int, more: bool, found: int) -> bytes:
    """What stands before the packed KeyValues that a range has found, as its result travels."""
    return pack((0, revision, count, more, ()))[:-1] + array_head(found)


def is_deletion(event: Event) -> bool:
    """Whether the event deleted its key."""
    return len(event[2]) < HEADER_SIZE


def replaced_revision(event: Event) -> int:
    """Mod revision of the version that the event replaced or deleted, 0 when there was none."""
    return cast("int", _unpack_first(event[2])[0])


def encode_chunks(events: Sequence[Event]) -> Iterator[tuple[bytes, bytes]]:
    """The chunks, with their keys, of events of which the first begins a revision."""
    start = sub = 0
    while start < len(events):
        end = min(start + CHUNK_EVENTS_MAX, len(events))
        chunk = pack(events[start:end])
        while len(chunk) > CHUNK_BYTES_MAX and end - start > 1:
            end = start + (end - start) // 2
            chunk = pack(events[start:end])
        yield keys.chunk_key(events[start][0], sub), chunk
        if end == len(events):
            return
        first = end  # of the events that share the revision at which the next chunk begins
        while first > start and events[first - 1][0] == events[end][0]:
            first -= 1
        sub = end - first + (sub if first == start else 0)
        start = end


def chunk_body(chunk: bytes) -> memoryview:
    """The packed events of a chunk one after the other, without what depends on their number."""
    # msgpack: an array of up to 15 elements begins with one byte, of up to 65,535 with three
    return memoryview(chunk)[3 if chunk[0] == 0xDC else 1 :]


def decode_chunk(chunk: bytes) -> tuple[Event, ...]:
    """The events of a chunk."""
    return cast("tuple[Event, ...]", unpack_local(chunk))
