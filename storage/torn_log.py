"""RocksDB's log files after kill -9 or a power failure: cut off what no fsync had covered.

The newest log file has its size before it has its records (`rocks.Database.make_room`); zeros
stand where nothing was written. RocksDB reads up to them, if all before them is whole.

A process that is killed can leave the beginning of a write. What does not fit into a block of
32 KiB is written as several fragments, by several calls, and the kernel ends a call of a killed
process between two pages. RocksDB refuses a record whose later fragments are zeros. A power failure
leaves any part of a write: sectors that did not reach the disk in time are still zeros. RocksDB
would skip such a hole and go on behind it, or find a checksum that does not match and refuse the
database, as it should when the disk has lost something.

So the log is cut at the first record that is missing (zeros for a header, and something follows),
unfinished (zeros follow its first fragments) or torn (its checksum is wrong and a sector of it was
never written; etcd's `isTornEntry` decides in this way), always at its first fragment. What does
not match for another reason is left for RocksDB to refuse.

Damage to a record that has a sector of zeros by nature looks like a tear. But only what no fsync
has covered can be torn, and each write begins with its number and that of the last one before it
that was durable by then (`SYNCED`): if a later one says that all before it were, the disk has lost
something.

Format: rocksdb/db/log_format.h and log_writer.h, as RocksDB writes files that it does not recycle.
"""

import os
import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain
from pathlib import Path

from .errors import CorruptionError
from .log_mark import REMEDY

SYNCED_KEY = b"msynced"
"""First in each write batch: the number of the write, and of the last one known to be durable."""
SYNCED = struct.Struct(">QQ")

_BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")  # masked CRC-32C of type and data, length of the data, type
_NO_HEADER = bytes(_HEADER.size)
_TYPE_AT = 6
_SECTOR = 512
_FULL, _FIRST, _LAST = 1, 2, 4  # types of the fragments with which a batch begins, or ends
_BATCH_HEAD_BYTES = 12  # sequence, count
_SYNCED_HEAD = bytes((1, len(SYNCED_KEY))) + SYNCED_KEY + bytes((SYNCED.size,))  # a put


def cut_holes(folder: Path) -> str:
    """Cut the database's log at the first record that is missing or unfinished; what was done, if
    anything.

    To be called before RocksDB opens it.
    """
    return _cut(folder, _hole)


def cut_torn(folder: Path) -> str:
    """Cut the database's log at the first torn record; what was done, if anything.

    Takes seconds, so it is for a log that RocksDB has found to be corrupt.
    """
    return _cut(folder, _tear)


def age(log: Path) -> tuple[int, str]:
    """Orders a database's log files, the oldest first: their numbers have six digits, until they
    need more."""
    return len(log.name), log.name


def _cut(folder: Path, find: Callable[[bytes], int | None]) -> str:
    logs = sorted(folder.glob("[0-9]*.log"), key=age)
    for position, path in enumerate(logs):
        content = path.read_bytes()
        at = find(content)
        if at is not None:
            _refuse_lost(path, at, content, logs[position + 1 :])
            # What later files hold was written after it, and not durable before it was.
            for later in reversed(logs[position + 1 :]):
                _truncate(later, 0)
            _truncate(path, at)
            return f"{path.name} cut at byte {at}, where a write was under way"
    return ""


def _refuse_lost(path: Path, at: int, log: bytes, later: Sequence[Path]) -> None:
    """Raise CorruptionError if what stands, or stood, there had been durable."""
    lost = _number_at(log, at)
    following = (_writes(other.read_bytes(), 0) for other in later)
    for number, synced in chain(_writes(log, at), chain.from_iterable(following)):
        lost = lost or number - 1
        if synced >= lost:
            raise CorruptionError(
                f"{path} is damaged at byte {at}, and write {number} after it tells that all up to "
                f"{synced} were durable: the disk has lost something; {REMEDY}"
            )


def _number_at(log: bytes, at: int) -> int:
    """The number of the write that stands, or stood, at `at`; 0 when the file does not tell."""
    number = 0
    for begin, end in fragments(log):
        written = _head(log, begin)
        if begin >= at:
            return written[0] if begin == at and written and _is_whole(log, begin, end) else number
        number = written[0] + 1 if written else number
    return number


def _head(log: bytes, begin: int) -> tuple[int, int] | None:
    """(number, number of a durable one) of the write that begins in this fragment; None if none
    does."""
    head = begin + _HEADER.size + _BATCH_HEAD_BYTES
    if log[begin + _TYPE_AT] in (_FULL, _FIRST) and log.startswith(_SYNCED_HEAD, head):
        number, synced = SYNCED.unpack_from(log, head + len(_SYNCED_HEAD))
        return number, synced
    return None


def _writes(log: bytes, at: int) -> Iterator[tuple[int, int]]:
    """(number, number of a durable one) of the writes that begin in records that are whole, in the
    rest of the block after the record at `at`, which may be damaged, and in all blocks after it."""
    length = _HEADER.unpack_from(log, at)[1] if at and at + _HEADER.size <= len(log) else -1
    after = at + _HEADER.size + length if length >= 0 else at
    for start in (after, *range(at - at % _BLOCK + _BLOCK, len(log), _BLOCK)):
        for begin, end in fragments(log, start):
            if begin >= start - start % _BLOCK + _BLOCK or not _is_whole(log, begin, end):
                break
            written = _head(log, begin)
            if written:
                yield written


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def fragments(log: bytes, at: int = 0) -> Iterator[tuple[int, int]]:
    """(begin, end) of each fragment from `at` on, up to where there is no header."""
    while at + _HEADER.size <= len(log):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER.size:
            at += left
        elif log.startswith(_NO_HEADER, at):
            return
        else:
            begin, (_, length, _) = at, _HEADER.unpack_from(log, at)
            at += _HEADER.size + length
            yield begin, at


def _hole(log: bytes) -> int | None:
    begin = end = 0
    unfinished = None  # where the record of the last fragments begins, while its last is missing
    for begin, end in fragments(log):  # noqa: B007 - the last one's
        unfinished = _begin_of_record(log, begin, unfinished)
        if log[begin + _TYPE_AT] in (_FULL, _LAST):
            unfinished = None
    if unfinished is not None and end < len(log):
        is_ours = _is_whole(log, begin, end) or _lacks_a_sector(log, begin, end)
        return unfinished if is_ours else None
    left = _BLOCK - end % _BLOCK
    if left < _HEADER.size:
        end += left
    return end if end < len(log.rstrip(b"\0")) else None


def _tear(log: bytes) -> int | None:
    record = None
    for begin, end in fragments(log):
        record = _begin_of_record(log, begin, record)
        if not _is_whole(log, begin, end):
            return record if _lacks_a_sector(log, begin, end) else None
    return None


def _begin_of_record(log: bytes, fragment: int, before: int | None) -> int:
    """Where the record of the fragment at `fragment` begins, and that of the one before began."""
    return fragment if before is None or log[fragment + _TYPE_AT] in (_FULL, _FIRST) else before


def _is_whole(log: bytes, begin: int, end: int) -> bool:
    crc: int = _HEADER.unpack_from(log, begin)[0]
    return end <= len(log) and masked_crc(log[begin + _TYPE_AT : end]) == crc


def _lacks_a_sector(log: bytes, begin: int, end: int) -> bool:
    """Whether a sector is as it was before the record: nothing but zeros from its begin on."""
    first = begin - begin % _SECTOR
    return any(
        not any(log[max(begin, sector) : sector + _SECTOR]) for sector in range(first, end, _SECTOR)
    )


@cache
def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


def masked_crc(data: bytes) -> int:
    """CRC-32C as RocksDB stores it (util/crc32c.h)."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
