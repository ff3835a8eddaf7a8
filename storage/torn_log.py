"""RocksDB's log files after a power failure: cut off what no fsync had covered.

The newest log file has its size before it has its records (`rocks.Database.make_room`); zeros
stand where nothing was written. A process that is killed leaves whole writes behind, and RocksDB
reads up to the zeros. A power failure leaves parts of writes, too: sectors that did not reach the
disk in time are still zeros. RocksDB would skip such a hole and go on behind it, or find a
checksum that does not match and refuse the database, as it should when the disk has lost something.

So the log is cut at the first record that is missing (zeros for a header, and something follows)
or torn (its checksum is wrong and a sector of it was never written; etcd's `isTornEntry` decides
in this way). What does not match for another reason is left for RocksDB to refuse, unless it has
a sector of zeros by nature: then damage to it cannot be told from a tear.

Format: rocksdb/db/log_format.h and log_writer.h, as RocksDB writes files that it does not recycle.
"""

import os
import struct
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

_BLOCK = 32 * 1024
_HEADER = struct.Struct("<IHB")  # masked CRC-32C of type and data, length of the data, type
_NO_HEADER = bytes(_HEADER.size)
_TYPE_AT = 6
_SECTOR = 512


def cut_holes(folder: Path) -> str:
    """Cut the database's log at the first record that is missing; what was done, if anything.

    To be called before RocksDB opens it.
    """
    return _cut(folder, _hole)


def cut_torn(folder: Path) -> str:
    """Cut the database's log at the first torn record; what was done, if anything.

    Takes seconds, so it is for a log that RocksDB has found to be corrupt.
    """
    return _cut(folder, _tear)


def _cut(folder: Path, find: Callable[[bytes], int | None]) -> str:
    logs = sorted(folder.glob("[0-9]*.log"))
    for position, path in enumerate(logs):
        at = find(path.read_bytes())
        if at is not None:
            # What later files hold was written after it, and not durable before it was.
            for later in reversed(logs[position + 1 :]):
                _truncate(later, 0)
            _truncate(path, at)
            return f"{path.name} cut at byte {at}, where a write was under way"
    return ""


def _truncate(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())


def _records(log: bytes) -> Iterator[tuple[int, int]]:
    """(begin, end) of each record, up to where there is no header."""
    at = 0
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
    end = 0
    for _, end in _records(log):  # noqa: B007 - the last one's
        pass
    left = _BLOCK - end % _BLOCK
    if left < _HEADER.size:
        end += left
    return end if end < len(log.rstrip(b"\0")) else None


def _tear(log: bytes) -> int | None:
    for begin, end in _records(log):
        crc, _, _ = _HEADER.unpack_from(log, begin)
        if end > len(log) or _masked_crc(log[begin + _TYPE_AT : end]) != crc:
            return begin if _lacks_a_sector(log, begin, end) else None
    return None


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


def _masked_crc(data: bytes) -> int:
    """CRC-32C as RocksDB stores it (util/crc32c.h)."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
