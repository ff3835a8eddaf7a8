"""What is known of the raft log beside it: that it is not another one, an older one or a new one.

    DATA_DIR/log-mark    one sector, written in place: version, log id, term, vote, commit, CRC-32

A log that is not there would otherwise be taken for that of a new member, which has promised
nothing: it could vote a second time in a term, and with one other member forget what both had
acknowledged.
"""

import os
import zlib
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from .data_dir import write_durably
from .errors import CorruptionError, StorageError

_VERSION = 1
_MARK = Struct(">BQQQQ")
_CHECK = Struct(">I")

REMEDY = (
    "what this member has promised is lost with it: restore the whole data directory as it was last"
)


class LogMark(NamedTuple):
    """The log's id, random, and a hard state that was durable in it. All but the id only grow."""

    log_id: int
    term: int
    vote: int
    commit: int


def read(path: Path) -> LogMark | None:
    """The mark in the file `path`; None when there is none.

    Raises StorageError, and CorruptionError when it makes no sense to this version.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    body, check = data[: _MARK.size], data[_MARK.size :]
    if len(check) != _CHECK.size or _CHECK.unpack(check)[0] != zlib.crc32(body):
        raise CorruptionError(f"{path} is damaged: {len(data)} bytes, {data[:64].hex()}")
    version, *fields = _MARK.unpack(body)
    if version != _VERSION:
        raise CorruptionError(f"{path} has version {version}, this is for {_VERSION}")
    return LogMark(*fields)


def write(path: Path, mark: LogMark) -> None:
    """Replace the mark, durably. Raises StorageError."""
    body = _MARK.pack(_VERSION, *mark)
    data = body + _CHECK.pack(zlib.crc32(body))
    try:
        if not path.exists():
            write_durably(path, data)
            return
        with path.open("r+b") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error}") from error


def check(path: Path, mark: LogMark, found: LogMark) -> None:
    """Refuse the log in `path` in which `found` stands instead of `mark`, or a later one.

    Raises CorruptionError.
    """
    known = (mark.term, mark.commit)
    if found.log_id != mark.log_id:
        why = "is not the one that was here" if found.log_id else "is empty"
    elif found.term < mark.term or found.commit < mark.commit:
        why = f"ends before what was durable in it, (term, commit) {known}"
    elif found.term == mark.term and mark.vote not in (0, found.vote):
        why = f"holds another vote in term {mark.term} than was durable in it, {mark.vote}"
    else:
        return
    has = f"term {found.term}, vote {found.vote}, commit {found.commit}"
    raise CorruptionError(f"the raft log in {path} {why} (it has {has}); {REMEDY}")
