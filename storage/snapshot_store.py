"""Snapshots on disk: made to be sent, received, installed in place of the state.

    snapshots/snap-TERM-INDEX/          finished; both numbers in 16 hexadecimal digits
      manifest                          format, index, term, (file name, size) of all files
      files/                            a RocksDB checkpoint of the state at INDEX
    snapshots/*.making *.receiving *.old    unfinished or superseded
    state.new  state.old                an install under way, finished by `recover`
    installed                           index and term of the snapshot that was installed last

A snapshot travels file by file in the manifest's order; last goes `checksums`, the digests of all
files, which the sender computes while it reads, so that making a snapshot costs no reading. Small
files go first: what is under way when the receiver has told what it holds already is not much.

A stream that was cut leaves the files that came, with their digests in `digests`. The next one
takes them over, of whichever snapshot they are, and files of which the sender has seen the same
digest do not travel again.

Any number of SnapshotStores may work on one directory: all that they share is renames.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Collection, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..transport.codec import CodecError, pack, unpack
from .data_dir import sync_directory, write_durably
from .errors import CorruptionError, SnapshotError, StorageError
from .state_store import StateStore

FORMAT_VERSION = 1
FILES_MAX = 10_000
"""Of 64 MiB each: 640 GB."""
SYNC_BYTES = 4 << 20
"""What a receiver writes before it waits for the disk: no wait is long, none comes at the end."""
DIGEST_BYTES = 16

Digests = dict[tuple[str, int], bytes]
"""(name, size) of an immutable file -> its digest."""

_NAME = re.compile(r"snap-([0-9a-f]{16})-([0-9a-f]{16})")
_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MANIFEST = "manifest"
_FILES = "files"
_CHECKSUMS = "checksums"
_DIGESTS = "digests"
_DIGEST_LINE = "{} {}\n"
_DIGEST_PATTERN = re.compile(rf"([0-9a-f]{{{2 * DIGEST_BYTES}}}) (.+)\n")
_RECEIVING = ".receiving"
_IMMUTABLE = (".sst", ".blob")
"""Files of which RocksDB never writes another with the same name into the same database."""
_CURRENT = "CURRENT"
"""The file of a RocksDB database that names all others: without it there is none."""
_RECEIVED_MAX = 2
"""Finished snapshots that a receiver keeps: the newest may wait for its install, and be overtaken
by one more."""


def snapshot_name(term: int, index: int) -> str:
    """The name of the snapshot of the state at `index`; names sort within a term by index."""
    return f"snap-{term:016x}-{index:016x}"


class SnapshotStore:
    """The directory `path` of a data directory, beside the state database."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._state = path.parent / "state"
        self._installed = path.parent / "installed"

    # -- sending -------------------------------------------------------------------------------

    def create(self, state: StateStore) -> str:
        """Make a snapshot of `state` at its applied index, unless it is there; returns its name.

        Flush the state before: see StateStore.checkpoint. Raises SnapshotError, StorageError.
        """
        name = snapshot_name(state.applied_term, state.applied_index)
        if name in self.finished():
            return name
        making = self.path / f"{name}.making"
        try:
            shutil.rmtree(making, ignore_errors=True)
            making.mkdir(mode=0o700, parents=True)
            state.checkpoint(making / _FILES)
            sizes = sorted((file.stat().st_size, file.name) for file in (making / _FILES).iterdir())
            files = [(file, size) for size, file in sizes]
            manifest = pack((FORMAT_VERSION, state.applied_index, state.applied_term, files))
            write_durably(making / _MANIFEST, manifest)
            making.rename(self.path / name)
            sync_directory(self.path)
        except OSError as error:
            raise SnapshotError(f"cannot make snapshot {name}: {error}") from error
        return name

    def finished(self) -> list[str]:
        """The names of the snapshots that are complete, oldest term and index first."""
        if not self.path.is_dir():
            return []
        return sorted(
            child.name
            for child in self.path.iterdir()
            # Without files it is what an interrupted install left.
            if _NAME.fullmatch(child.name) and (child / _FILES).is_dir()
        )

    def manifest(self, name: str) -> bytes:
        """What the receiver must be given first. Raises SnapshotError when there is no `name`."""
        _parse_name(name)
        try:
            return (self.path / name / _MANIFEST).read_bytes()
        except OSError as error:
            raise SnapshotError(f"no snapshot {name}: {error}") from error

    def checkpoint(self, name: str) -> tuple[Path, list[tuple[str, int]]]:
        """Where a finished snapshot's files are, and their names and sizes. Raises
        SnapshotError."""
        return self.path / name / _FILES, _parse_manifest(name, self.manifest(name))

    def chunks(
        self, name: str, size: int, digests: Digests, held: Mapping[str, bytes]
    ) -> Iterator[tuple[str, int, bytes]]:
        """(file, offset, at most `size` bytes) of everything there is to send, in order.

        Args:
            name: the snapshot.
            size: of a chunk.
            digests: of files that were read before; those that are read now are added.
            held: what the receiver has, file by file, as it may say at any time.

        Raises SnapshotError, also at a later step: the snapshot may be pruned meanwhile.
        """
        files = _parse_manifest(name, self.manifest(name))
        return self._read_all(name, files, size, digests, held)

    def _read_all(
        self,
        name: str,
        files: list[tuple[str, int]],
        size: int,
        digests: Digests,
        held: Mapping[str, bytes],
    ) -> Iterator[tuple[str, int, bytes]]:
        checksums = b""
        for file in files:
            known = digests.get(file)
            if known is None or known != held.get(file[0]):
                known = yield from self._read(name, file, size)
                if file[0].endswith(_IMMUTABLE):
                    digests[file] = known
            checksums += known
        for offset in range(0, len(checksums), size):
            yield _CHECKSUMS, offset, checksums[offset : offset + size]

    def _read(
        self, name: str, file: tuple[str, int], size: int
    ) -> Generator[tuple[str, int, bytes], None, bytes]:
        """Yields the chunks of a file; returns its digest."""
        path, file_size = file
        digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        offset = 0
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(self.path / name / _FILES / path, flags), "rb") as source:
                while offset < file_size or file_size == 0:
                    data = source.read(min(size, file_size - offset))
                    if not data and file_size:
                        raise SnapshotError(f"{name}/{path} ends at {offset} of {file_size}")
                    digest.update(data)
                    yield path, offset, data
                    offset += len(data)
                    if file_size == 0:
                        break
        except OSError as error:
            raise SnapshotError(f"cannot read snapshot {name}: {error}") from error
        return digest.digest()

    def prune(self, keep: Collection[str] = (), *, before: str = "") -> None:
        """Remove all finished snapshots but these; with `before`, only those older than that."""
        for name in self.finished():
            if name not in keep and (not before or name < before):
                _remove(self.path / name)

    def clean(self) -> None:
        """Remove all snapshots, which nobody remembers, but what came of one that was being
        received.

        Before a node's processes start: nothing may be under way. Raises OSError.
        """
        if self.path.is_dir():
            for child in self.path.iterdir():
                if child.suffix != _RECEIVING:
                    _remove(child)

    def forget_received(self) -> None:
        """Remove what came of a snapshot that is not received any more."""
        for child in self.path.glob(f"*{_RECEIVING}"):
            _remove(child)

    # -- receiving -----------------------------------------------------------------------------

    def receive(self, name: str, manifest: bytes) -> "Receiving":
        """Begin to receive; the files that came of an unfinished one are taken over.

        Raises SnapshotError for a name or manifest that is not one, and when the disk refuses.
        """
        return Receiving(self, self.path, name, manifest)

    # -- installing ----------------------------------------------------------------------------

    def install(self, name: str) -> None:
        """Put a finished snapshot in place of the state database, which the caller has closed.

        After a crash at any point `recover` completes it, or nothing had begun. Snapshots up to
        this one are removed. Raises SnapshotError when there is no such snapshot.
        """
        term, index = _parse_name(name)
        try:
            write_durably(self._installed, pack((index, term)))
            (self.path / name / _FILES).rename(self._state.with_suffix(".new"))
        except OSError as error:
            raise SnapshotError(f"cannot install snapshot {name}: {error}") from error
        sync_directory(self._state.parent)
        self.recover()
        _remove(self.path / name)  # no snapshot any more: its files are the state
        self.prune(before=name)

    def installed(self) -> tuple[int, int] | None:
        """(index, term) of the snapshot that was installed last, or that was about to be; None
        when there was none. Only there may the state be ahead of the log. Raises StorageError."""
        try:
            index, term = unpack(self._installed.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read {self._installed}: {error}") from error
        except (CodecError, TypeError, ValueError) as error:
            raise CorruptionError(f"{self._installed} is damaged: {error}") from error
        return index, term

    def recover(self) -> None:
        """Finish an install that was interrupted; before the state database is opened. What holds
        no database replaces none.

        Raises StorageError.
        """
        new, old = self._state.with_suffix(".new"), self._state.with_suffix(".old")
        try:
            if (new / _CURRENT).is_file():
                if self._state.is_dir():
                    _remove(old)
                    self._state.rename(old)
                new.rename(self._state)
                sync_directory(self._state.parent)
            elif old.is_dir() and not self._state.is_dir():
                old.rename(self._state)
                sync_directory(self._state.parent)
        except OSError as error:
            raise StorageError(f"cannot put {new} in place of the state: {error}") from error
        _remove(new)
        _remove(old)


class Receiving:
    """A snapshot that is arriving: `write` its chunks in order, then `finish`, `pause` or
    `abandon`."""

    def __init__(self, store: SnapshotStore, path: Path, name: str, manifest: bytes) -> None:
        files = _parse_manifest(name, manifest)
        self._store = store
        self._path = path
        self._name = name
        self._manifest = manifest
        self._directory = path / f"{name}{_RECEIVING}"
        self._todo = iter([*files, (_CHECKSUMS, DIGEST_BYTES * len(files))])
        self._names = [file for file, _ in files]
        self._file, self._size, self._offset = "", 0, 0
        self._descriptor = -1
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        self._digests: dict[str, bytes] = {}  # of the files received
        self._checksums = b""  # as the sender computed them
        try:
            self._take_over(dict(files))
        except OSError as error:
            raise SnapshotError(f"cannot receive snapshot {name}: {error}") from error

    def _take_over(self, sizes: dict[str, int]) -> None:
        """Begin with the files of an earlier stream that have the same name and size."""
        for cut in sorted(self._path.glob(f"*{_RECEIVING}")):
            if not self._directory.exists():
                cut.rename(self._directory)
            elif cut != self._directory:
                _remove(cut)
        (self._directory / _FILES).mkdir(mode=0o700, parents=True, exist_ok=True)
        known = _read_digests(self._directory / _DIGESTS)
        for file in (self._directory / _FILES).iterdir():
            if known.get(file.name) and file.stat().st_size == sizes.get(file.name):
                self._digests[file.name] = known[file.name]
            else:
                file.unlink()
        lines = [_DIGEST_LINE.format(d.hex(), name) for name, d in self._digests.items()]
        (self._directory / _DIGESTS).write_text("".join(lines))

    @property
    def held(self) -> tuple[tuple[str, bytes], ...]:
        """The files that are here, and their digests."""
        return tuple(self._digests.items())

    def write(self, file: str, offset: int, data: bytes) -> None:
        """The next chunk. Raises SnapshotError when it is not; and when the disk refuses, which
        may be full: then the snapshot is gone."""
        try:
            if self._offset == self._size:
                self._next_file(file)
            if (file, offset) != (self._file, self._offset) or len(data) > self._size - offset:
                raise SnapshotError(
                    f"snapshot {self._name}: chunk of {file} at {offset}, expected "
                    f"{self._file} at {self._offset} of {self._size}"
                )
            self._append(data)
        except OSError as error:
            self.abandon()
            raise SnapshotError(f"cannot write snapshot {self._name}: {error}") from error

    def _next_file(self, wanted: str) -> None:
        """Go on to the file that comes; those before it are here."""
        file, size = next(self._todo, ("", -1))
        while file != wanted and file in self._digests:
            file, size = next(self._todo, ("", -1))
        if size < 0:
            raise SnapshotError(f"snapshot {self._name}: a chunk after the last")
        self._file, self._size, self._offset = file, size, 0
        self._digest = hashlib.blake2b(digest_size=DIGEST_BYTES)
        if file != _CHECKSUMS:
            path = self._directory / _FILES / file
            if self._digests.pop(file, None):
                path.unlink()  # the sender has another, or does not know that it is the same
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(path, flags, 0o600)

    def _append(self, data: bytes) -> None:
        before = self._offset
        self._offset += len(data)
        if self._file == _CHECKSUMS:
            self._checksums += data
            return
        self._digest.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]
        done = self._offset == self._size
        if done or before // SYNC_BYTES != self._offset // SYNC_BYTES:
            os.fsync(self._descriptor)
        if done:
            self._close()
            self._digests[self._file] = digest = self._digest.digest()
            # After the file's fsync: a line that a power failure leaves is of a file that is whole.
            with (self._directory / _DIGESTS).open("a") as file:
                file.write(_DIGEST_LINE.format(digest.hex(), self._file))

    def _close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def finish(self) -> None:
        """Check that everything came as it was sent and make the snapshot one of the finished.

        Raises SnapshotError, and then the snapshot is gone, unless it ended early.
        """
        if self._offset != self._size or self._file != _CHECKSUMS:
            self.pause()
            raise SnapshotError(f"snapshot {self._name} ended early, at {self._file!r}")
        try:
            if b"".join(self._digests[name] for name in self._names) != self._checksums:
                raise SnapshotError(f"snapshot {self._name} was damaged on its way")
            (self._directory / _DIGESTS).unlink()
            write_durably(self._directory / _MANIFEST, self._manifest)
            sync_directory(self._directory / _FILES)
            target = self._path / self._name
            if target.exists():
                old = self._path / f"{self._name}.old"
                _remove(old)
                target.rename(old)
                _remove(old)
            self._directory.rename(target)
            sync_directory(self._path)
            self._store.prune(keep={self._name, *self._store.finished()[-_RECEIVED_MAX:]})
        except (OSError, SnapshotError) as error:
            self.abandon()
            if isinstance(error, SnapshotError):
                raise
            raise SnapshotError(f"cannot finish snapshot {self._name}: {error}") from error

    def pause(self) -> None:
        """Leave what was received to the next stream."""
        self._close()

    def abandon(self) -> None:
        """Drop what was received."""
        self._close()
        _remove(self._directory)


def _read_digests(path: Path) -> dict[str, bytes]:
    """What a stream before has noted of the files that came; a line that is cut says nothing."""
    if not path.exists():
        return {}
    lines = path.read_text(errors="replace").splitlines(keepends=True)
    found = [_DIGEST_PATTERN.fullmatch(line) for line in lines]
    return {match[2]: bytes.fromhex(match[1]) for match in found if match}


def _parse_name(name: str) -> tuple[int, int]:
    """(term, index) of a snapshot's name; SnapshotError when it is not one."""
    match = _NAME.fullmatch(name)
    if match is None:
        raise SnapshotError(f"not a snapshot's name: {name[:80]!r}")
    return int(match[1], 16), int(match[2], 16)


def _parse_manifest(name: str, manifest: bytes) -> list[tuple[str, int]]:
    """The files and their sizes; SnapshotError when it is not the manifest of `name`."""
    term, index = _parse_name(name)
    try:
        content: Any = unpack(manifest, array_max=FILES_MAX)
    except CodecError as error:
        raise SnapshotError(f"manifest of snapshot {name}: {error}") from error
    if type(content) is not tuple or content[:1] != (FORMAT_VERSION,):
        raise SnapshotError(f"manifest of snapshot {name} is not of format {FORMAT_VERSION}")
    if len(content) != 4 or content[1:3] != (index, term) or type(content[3]) is not tuple:
        raise SnapshotError(f"manifest of snapshot {name} is of another snapshot or damaged")
    files = [file for file in content[3] if is_database_file(file)]
    names = {file[0] for file in files}
    if _CURRENT not in names or len(files) != len(content[3]) or len(names) != len(files):
        raise SnapshotError(f"manifest of snapshot {name} does not list a database's files")
    return files


def is_database_file(file: Any) -> bool:
    """Whether it is (name, size) as a manifest may list it."""
    return (
        type(file) is tuple
        and len(file) == 2
        and type(file[0]) is str
        and _FILE_NAME.fullmatch(file[0]) is not None
        and file[0] != _CHECKSUMS
        and type(file[1]) is int
        and 0 <= file[1] < 2**63
    )


def _remove(directory: Path) -> None:
    """Remove a directory, or a link to one, that nobody needs; one that does not go today goes at
    the next start."""
    if directory.is_symlink():
        directory.unlink(missing_ok=True)
    else:
        shutil.rmtree(directory, ignore_errors=True)
