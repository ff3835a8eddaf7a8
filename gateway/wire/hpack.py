"""Header blocks of HTTP/2 (RFC 7541): a decoder for what clients send, literals for what we send.

Tables and Huffman code are the hpack library's. The loop over a block is our own: the library's
takes 12 to 17 µs for the headers of one gRPC call, more than all the rest of it, this one 2 to 5.
"""

from collections import deque
from functools import lru_cache

from hpack.exceptions import HPACKDecodingError
from hpack.huffman_table import decode_huffman
from hpack.table import HeaderTable

from .fields import Field, field

TABLE_BYTES = 4096
"""The dynamic table's size: the protocol's default, which we leave."""

ENTRY_BYTES = 32
"""What an entry counts beside its characters (section 4.1)."""

INTEGER_BYTES_MAX = 4
"""Bytes after the prefix of an integer: 28 bits, far more than any header has."""

CACHED_BYTES_MAX = 64
"""Longer strings are not kept by the cache of decoded ones."""

STATIC: tuple[Field, ...] = (
    ("", "", "index 0"),  # not valid, and refused before it is looked up
    *(field(name.decode(), value.decode()) for name, value in HeaderTable.STATIC_TABLE),
)
DYNAMIC = len(STATIC)
"""The first index of the dynamic table."""

STATIC_BYTES_MAX = 64
"""More than any field of the static table counts."""


class HpackError(Exception):
    """The block is not valid. The table is unknown from here on: the connection has to end."""


class HeadersTooLargeError(Exception):
    """The block is valid, but its list of headers is too long. The table is as it should be."""


class Decoder:
    """One direction of one connection."""

    def __init__(self, list_bytes_max: int) -> None:
        self.changes = 0
        """How often the table has changed: as long as it has not, equal blocks mean the same."""
        self._list_bytes_max = list_bytes_max
        self._table: deque[Field] = deque()
        self._table_bytes = 0
        self._table_bytes_max = TABLE_BYTES
        self._largest = STATIC_BYTES_MAX  # no entry was ever larger

    def decode(self, block: bytes) -> list[Field]:
        """The fields of a block.

        Raises:
            HpackError: it is not valid.
            HeadersTooLargeError: it is valid, with too many or too long fields.
        """
        try:
            return self._decode(block)
        except IndexError:
            raise HpackError("a header block ends early or has an unknown index") from None

    def _decode(self, block: bytes) -> list[Field]:
        fields: list[Field] = []
        append = fields.append
        table = self._table
        at, end = 0, len(block)
        while at < end:
            byte = block[at]
            at += 1
            if byte & 0x80:  # indexed (6.1)
                index = byte & 0x7F
                if index == 0x7F:
                    index, at = integer(block, at, index)
                if index >= DYNAMIC:
                    append(table[index - DYNAMIC])
                elif index:
                    append(STATIC[index])
                else:
                    raise HpackError("index 0")
            elif byte & 0x40:  # literal with incremental indexing (6.2.1)
                new, at = self._literal(block, at, byte & 0x3F, 0x3F)
                append(new)
                self._add(new)
            elif not byte & 0x20:  # literal without indexing, or never indexed (6.2.2, 6.2.3)
                new, at = self._literal(block, at, byte & 0x0F, 0x0F)
                append(new)
            elif fields:
                raise HpackError("a table size update after a field")
            else:  # dynamic table size update (6.3)
                at = self._resize(block, at, byte & 0x1F)
        self._check_size(fields, end)
        return fields

    def _check_size(self, fields: list[Field], block_bytes: int) -> None:
        """A byte can stand for a field as long as the table, so a block says little of its list."""
        if len(fields) * self._largest + 2 * block_bytes > self._list_bytes_max:
            total = sum(ENTRY_BYTES + len(name) + len(value) for name, value, _ in fields)
            if total > self._list_bytes_max:
                raise HeadersTooLargeError(f"{total} bytes of headers")

    def _literal(self, block: bytes, at: int, index: int, mask: int) -> tuple[Field, int]:
        if index == mask:
            index, at = integer(block, at, mask)
        if not index:
            name, at = string(block, at)
        elif index < DYNAMIC:
            name = STATIC[index][0]
        else:
            name = self._table[index - DYNAMIC][0]
        value, at = string(block, at)
        return field(name, value), at

    def _add(self, new: Field) -> None:
        self.changes += 1
        self._table.appendleft(new)
        size = ENTRY_BYTES + len(new[0]) + len(new[1])
        self._table_bytes += size
        self._largest = max(self._largest, size)
        self._evict()

    def _evict(self) -> None:
        while self._table_bytes > self._table_bytes_max:
            name, value, _ = self._table.pop()
            self._table_bytes -= ENTRY_BYTES + len(name) + len(value)

    def _resize(self, block: bytes, at: int, size: int) -> int:
        if size == 0x1F:
            size, at = integer(block, at, size)
        if size > TABLE_BYTES:
            raise HpackError(f"a table of {size} bytes, more than {TABLE_BYTES}")
        self.changes += 1
        self._table_bytes_max = size
        self._evict()
        return at


def integer(block: bytes, at: int, value: int) -> tuple[int, int]:
    """The rest of an integer whose prefix was all ones (5.1), and where it ends."""
    for shift in range(0, 7 * INTEGER_BYTES_MAX, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise HpackError("an integer of more than 28 bits")


def string(block: bytes, at: int) -> tuple[str, int]:
    """A string literal (5.2), and where it ends."""
    byte = block[at]
    length = byte & 0x7F
    at += 1
    if length == 0x7F:
        length, at = integer(block, at, length)
    end = at + length
    if end > len(block):
        raise HpackError("a string ends after its block")
    raw = block[at:end]
    if byte < 0x80:
        return raw.decode("latin-1"), end
    return (huffman_cached if length <= CACHED_BYTES_MAX else huffman)(raw), end


def huffman(raw: bytes) -> str:
    """What a Huffman-coded string says."""
    try:
        return decode_huffman(raw).decode("latin-1")
    except HPACKDecodingError as error:
        raise HpackError("not a Huffman code") from error


huffman_cached = lru_cache(maxsize=1024)(huffman)


def literal(name: str, value: str) -> bytes:
    """A field for a block of ours, without indexing: our blocks leave the client's table alone, so
    that the same bytes mean the same on each connection, and are made once."""
    return b"\x00" + _plain(name) + _plain(value)


def _plain(text: str) -> bytes:
    raw = text.encode("latin-1")
    length = len(raw)
    if length < 0x7F:
        return bytes((length,)) + raw
    prefix = bytearray((0x7F,))
    length -= 0x7F
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + raw
