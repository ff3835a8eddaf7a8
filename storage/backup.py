"""Backups: a checkpoint of the state as one stream, and as one file.

    a file      MAGIC  size:u32 manifest  the bytes of all files, one after the other
                zeros up to a multiple of 512, SHA-256
    manifest    msgpack: [format, applied index, its term, revision, [[file name, size], …]]

The files are a RocksDB checkpoint of the state database: keys, history, leases, users, all as of
one applied index. SHA-256 is over all that stands before it.
The length is what etcdctl wants of a file that it saves: so it can save ours, too.
"""

import hashlib
import os
import shutil
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from struct import Struct
from typing import Any, BinaryIO, NamedTuple

from ..transport.codec import CodecError, pack, unpack
from .errors import SnapshotError, StorageError
from .snapshot_store import FILES_MAX, is_database_file
from .state_store import StateStore

MAGIC = b"SAMPAN BACKUP\n"
FORMAT_VERSION = 1
CHUNK_BYTES = 1 << 20
"""Read at a time: 0.3 ms from the page cache, and a client keeps one under way."""
DIGEST_BYTES = 32
_BLOCK_BYTES = 512
_SIZE = Struct(">I")
_MANIFEST_BYTES_MAX = 4 << 20


class Manifest(NamedTuple):
    """What is in a backup.

    Attributes:
        applied_index: of the state.
        applied_term: its term.
        revision: the state's revision.
        files: (name, bytes) of the database's files, in the order in which they follow.
    """

    applied_index: int
    applied_term: int
    revision: int
    files: tuple[tuple[str, int], ...]

    @property
    def size(self) -> int:
        """Bytes of the stream: all files, and the zeros after them."""
        size = sum(size for _, size in self.files)
        return size + -(len(head(self)) + size) % _BLOCK_BYTES

    def packed(self) -> bytes:
        """As it travels and stands in a file."""
        return pack((FORMAT_VERSION, *self))

    @classmethod
    def parse(cls, data: bytes) -> "Manifest":
        """Raises SnapshotError."""
        try:
            content: Any = unpack(data, array_max=FILES_MAX)
        except CodecError as error:
            raise SnapshotError(f"the backup's manifest is damaged: {error}") from error
        if type(content) is not tuple or content[:1] != (FORMAT_VERSION,) or len(content) != 5:
            raise SnapshotError(f"the backup is not of format {FORMAT_VERSION}")
        _, index, term, revision, files = content
        well = type(files) is tuple and all(map(is_database_file, files))
        if not well or {type(index), type(term), type(revision)} != {int}:
            raise SnapshotError("the backup's manifest does not list a database's files")
        return cls(index, term, revision, files)


class BackupSource:
    """A checkpoint in a directory of its own, to be read as one stream until it is removed."""

    def __init__(self, path: Path, state: StateStore) -> None:
        """Make it. Flush the state before: see StateStore.checkpoint. Raises SnapshotError."""
        self._path = path
        state.commit()  # what fails here is no matter of the backup's
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            state.checkpoint(path)
            files = sorted((file.name, file.stat().st_size) for file in path.iterdir())
        except (OSError, StorageError) as error:
            shutil.rmtree(path, ignore_errors=True)
            raise SnapshotError(f"cannot make a backup: {error}") from error
        self.manifest = Manifest(
            state.applied_index, state.applied_term, state.revision, tuple(files)
        )
        self._ends = list(accumulate(size for _, size in files))

    def read(self, position: int) -> bytes:
        """At most CHUNK_BYTES of the stream from a position on; empty at its end. Raises
        SnapshotError."""
        at = bisect_right(self._ends, position)
        if at == len(self._ends):
            return bytes(max(0, self.manifest.size - position))
        name, size = self.manifest.files[at]
        offset = position - (self._ends[at] - size)
        wanted = min(CHUNK_BYTES, size - offset)
        try:
            with open(self._path / name, "rb") as file:
                data = os.pread(file.fileno(), wanted, offset)
        except OSError as error:
            raise SnapshotError(f"cannot read the backup's {name}: {error}") from error
        if len(data) != wanted:
            raise SnapshotError(f"the backup's {name} ends at {offset + len(data)} of {size}")
        return data

    def remove(self) -> None:
        """Give its space back."""
        shutil.rmtree(self._path, ignore_errors=True)


def write_backup(
    file: BinaryIO, manifest: Manifest, directory: Path, check: Callable[[], None]
) -> None:
    """Write a backup of the checkpoint in `directory` into a new file. `check` is called now and
    then, and may raise. Raises OSError, and SnapshotError when the files are not those of the
    manifest."""
    digest = hashlib.sha256()

    def write(data: bytes) -> None:
        check()
        file.write(data)
        digest.update(data)

    write(head(manifest))
    for name, size in manifest.files:
        with (directory / name).open("rb") as source:
            for chunk in _chunks(source, size):
                write(chunk)
    write(bytes(-file.tell() % _BLOCK_BYTES))
    file.write(digest.digest())


def head(manifest: Manifest) -> bytes:
    """What stands in a file before the stream."""
    packed = manifest.packed()
    return MAGIC + _SIZE.pack(len(packed)) + packed


class BackupFile:
    """A backup in a file."""

    def __init__(self, path: Path) -> None:
        """Read its manifest. Raises SnapshotError."""
        self._path = path
        try:
            with path.open("rb") as file:
                self.manifest, self._begin = _read_head(file)
            self.size = path.stat().st_size
        except OSError as error:
            raise SnapshotError(f"cannot read {path}: {error.strerror}") from error
        if self.size != (wanted := self._begin + self.manifest.size + DIGEST_BYTES):
            raise SnapshotError(f"{path} has {self.size} bytes of {wanted}: it is not whole")

    def verify(self) -> bytes:
        """Compare the file with its SHA-256, which is returned. Raises SnapshotError."""
        digest = hashlib.sha256()
        try:
            with self._path.open("rb") as file:
                for chunk in _chunks(file, self.size - DIGEST_BYTES):
                    digest.update(chunk)
                found = file.read()
        except OSError as error:
            raise SnapshotError(f"cannot read {self._path}: {error.strerror}") from error
        if found != digest.digest():
            raise SnapshotError(f"{self._path} is damaged: its SHA-256 is another")
        return found

    def extract(self, directory: Path) -> tuple[int, int]:
        """Write the database's files into a new directory; returns (applied index, its term).
        Raises SnapshotError."""
        try:
            directory.mkdir(mode=0o700, parents=True)
            with self._path.open("rb") as source:
                source.seek(self._begin)
                for name, size in self.manifest.files:
                    with (directory / name).open("xb") as target:
                        for chunk in _chunks(source, size):
                            target.write(chunk)
                        target.flush()
                        os.fsync(target.fileno())
        except OSError as error:
            raise SnapshotError(f"cannot extract {self._path}: {error}") from error
        return self.manifest.applied_index, self.manifest.applied_term


def _read_head(file: BinaryIO) -> tuple[Manifest, int]:
    start = file.read(len(MAGIC) + _SIZE.size)
    if len(start) < len(MAGIC) + _SIZE.size or not start.startswith(MAGIC):
        raise SnapshotError(f"{file.name} is not a backup of Sampan")
    (size,) = _SIZE.unpack_from(start, len(MAGIC))
    if size > _MANIFEST_BYTES_MAX:
        raise SnapshotError(f"{file.name} is damaged: a manifest of {size} bytes")
    return Manifest.parse(file.read(size)), len(start) + size


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size > 0:
        chunk = file.read(min(CHUNK_BYTES, size))
        if not chunk:
            raise SnapshotError(f"{file.name} ends {size} bytes early")
        yield chunk
        size -= len(chunk)
