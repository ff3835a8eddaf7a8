"""A member's data directory: its lock, its identity and where the databases are.

DATA_DIR/      0700, owned by the user who runs the node
  LOCK         flock, taken before anything else is read or bound
  identity     JSON: format, cluster_id, member_id, incarnation
  starts       how often the node was started (actors/peer_memory.py)
  joined       JSON: id and peer address of the others, when it joined a cluster that was there
  log/         raft log database
  log-mark     what was durable in it (log_mark.py)
  state/       state database
  snapshots/
  pids.json    which process is which, and
  runtime      where their sockets are, while a node runs (hosts/supervisor.py)
  audit.log    who asked for what (actors/audit.py), and
  certificate/ what auto_tls made (hosts/certificates.py), where they are wanted
  installed    the snapshot that was installed last (snapshot_store.py)
  archived, archive-times, archive/    where the log has an archive (archive.py)
"""

import contextlib
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .errors import (
    DataDirAccessError,
    DataDirError,
    DataDirForeignError,
    DataDirFormatError,
    DataDirInUseError,
)

FORMAT_VERSION = 2
"""2: records are kept as they travel. Nothing turns 1 into 2: no release had it."""
_SUBDIRECTORIES = ("log", "state", "snapshots")
_JOINED = "joined"
_STARTS = b"%020d\n"
_IDENTITY_FIELDS = {"format", "cluster_id", "member_id", "incarnation"}


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_durably(path: Path, data: bytes) -> None:
    """Replace the file `path` by one that holds `data`: all of it or the old one, after a crash."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


class DataDir:
    """An open, locked data directory. Made by `open`; `close` releases the lock."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.incarnation = 0
        """Random u64 drawn when the directory was created: tells a wiped directory from this."""
        self._lock = lock
        self._made: list[Path] = []
        """Directories that were made for this one and that nobody has used, the innermost first."""

    @classmethod
    def open(
        cls,
        path: Path,
        cluster_id: int,
        member_id: int,
        joined: Sequence[tuple[int, str]] | None = None,
    ) -> "DataDir":
        """Lock `path` and check that it is this member's; an empty or missing one is created, for
        one that joins a cluster with (id, peer address) of the others.

        Raises DataDirError; its text is one sentence for the operator.
        """
        made = [each for each in (path, *path.parents) if not each.exists()]
        try:
            _refuse_renamed(path, cluster_id, member_id)
            _make_private(path)
            opened = cls(path, _take_lock(path))
        except OSError as error:
            remove_empty(made)
            raise _access_error(path, error) from error
        opened._made = made
        try:
            opened._identify(cluster_id, member_id, joined)
        except OSError as error:
            opened.close_unused()
            raise _access_error(path, error) from error
        except DataDirError:
            opened.close_unused()
            raise
        return opened

    def _identify(
        self, cluster_id: int, member_id: int, joined: Sequence[tuple[int, str]] | None
    ) -> None:
        identity_path = self.path / "identity"
        if not identity_path.exists():
            _refuse_leftovers(self.path)
            for name in _SUBDIRECTORIES:
                (self.path / name).mkdir(mode=0o700, exist_ok=True)
            self.incarnation = secrets.randbits(64)
            identity = {
                "format": FORMAT_VERSION,
                "cluster_id": cluster_id,
                "member_id": member_id,
                "incarnation": self.incarnation,
            }
            if joined is not None:
                write_durably(self.path / _JOINED, json.dumps(joined).encode())
            # Last, so that a directory with an identity is complete.
            write_durably(identity_path, json.dumps(identity).encode())
            sync_directory(self.path.parent)
            return
        identity = read_identity(identity_path)
        for name, expected in (("cluster_id", cluster_id), ("member_id", member_id)):
            if identity[name] != expected:
                raise DataDirForeignError(
                    f"data directory {self.path} has {name} {identity[name]:x}, "
                    f"but this node is configured as {expected:x}"
                )
        self.incarnation = identity["incarnation"]

    def count_start(self) -> int:
        """The number of the start that begins now, from 1 on; durable, so that there is no second
        of this number. Raises OSError, and DataDirFormatError when the count is damaged."""
        path = self.path / "starts"
        start = starts(self.path) + 1
        if start == 1:
            write_durably(path, _STARTS % 1)
            return 1
        with path.open("r+b") as file:  # in place: it must not fail on a full disk
            file.write(_STARTS % start)
            file.flush()
            os.fsync(file.fileno())
        return start

    def close(self) -> None:
        """Release the lock. Closing twice does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close_unused(self) -> None:
        """`close`, and take back what `open` made, where nothing was ever kept: whoever could not
        start is to leave no trace."""
        if self._made and self._lock >= 0:
            remove_empty([self.path / name for name in _SUBDIRECTORIES])
            if not any(self.path.joinpath(name).exists() for name in _SUBDIRECTORIES):
                for name in ("identity", "identity.tmp", "LOCK"):
                    self.path.joinpath(name).unlink(missing_ok=True)
                remove_empty(self._made)
        self.close()


def remove_empty(directories: list[Path]) -> None:
    """Remove those of the directories, innermost first, that are empty."""
    for path in directories:
        with contextlib.suppress(OSError):
            path.rmdir()


def _refuse_renamed(path: Path, cluster_id: int, member_id: int) -> None:
    """A member whose directory is missing must not start empty where it is there by another name:
    data is found by the member's name."""
    if (path / "identity").exists() or not path.parent.is_dir():
        return
    for beside in sorted(path.parent.iterdir()):
        with contextlib.suppress(OSError, DataDirError):  # not a directory of this kind
            identity = read_identity(beside / "identity")
            if (identity["cluster_id"], identity["member_id"]) == (cluster_id, member_id):
                break
    else:
        return
    first = f"rmdir {path} && " if path.exists() else ""
    raise DataDirForeignError(
        f"member {member_id} has its data in {beside}, and none in {path}: was it renamed? "
        f"`{first}mv {beside} {path}` lets it go on with them under its new name"
    )


def _make_private(path: Path) -> None:
    """Create the directory, or make the one that is there ours alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise DataDirAccessError(
            f"data directory {path} is a symbolic link or a file; name the directory itself"
        )
    if status.st_uid != os.geteuid():
        raise DataDirAccessError(
            f"data directory {path} belongs to user {status.st_uid}, not to {os.geteuid()}"
        )
    if stat.S_IMODE(status.st_mode) != 0o700:
        path.chmod(0o700)


def _take_lock(path: Path) -> int:
    lock_path = path / "LOCK"
    lock = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = _holder(lock)
        os.close(lock)
        raise DataDirInUseError(
            f"data directory {path} is in use by another process (pid {holder})"
        ) from None
    except OSError:
        os.close(lock)
        raise
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _holder(lock: int) -> str:
    """Who says that it has the lock."""
    return os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"


@contextlib.contextmanager
def held(path: Path) -> Iterator[bool]:
    """Keep nodes from starting in a data directory meanwhile; nothing in it changes. False where
    there is nothing to lock, as in a copy. Raises DataDirInUseError, and DataDirAccessError."""
    try:
        lock = os.open(path / "LOCK", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        yield False
        return
    except OSError as error:
        raise _access_error(path, error) from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataDirInUseError(f"a node runs in {path} (pid {_holder(lock)})") from None
        except OSError as error:
            raise _access_error(path, error) from error
        yield True
    finally:
        os.close(lock)


def _refuse_leftovers(path: Path) -> None:
    """Without an identity there may only be what an interrupted creation leaves."""
    for child in path.iterdir():
        if child.name in ("LOCK", "identity.tmp", _JOINED, _JOINED + ".tmp"):
            continue
        if child.name in _SUBDIRECTORIES and child.is_dir() and not any(child.iterdir()):
            continue
        raise DataDirForeignError(
            f"data directory {path} has no identity but contains {child.name!r}; "
            "name an empty directory"
        )


def identity(path: Path) -> tuple[int, int] | None:
    """(cluster's id, member's id) of a data directory; None while it has none. Raises
    DataDirError."""
    try:
        found = read_identity(path / "identity")
        return found["cluster_id"], found["member_id"]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _access_error(path, error) from error


def starts(path: Path) -> int:
    """How often the node was started. Raises OSError, and DataDirFormatError."""
    file = path / "starts"
    try:
        text = file.read_bytes()
    except FileNotFoundError:
        return 0
    if len(text) != len(_STARTS % 1) or not text.rstrip().isdigit():
        raise DataDirFormatError(f"{file} is damaged: it is not a number but {text[:64]!r}")
    return int(text)


def joined(path: Path) -> list[tuple[int, str]] | None:
    """(id, peer address) of the others when this member joined them; None for one of the first.
    Raises DataDirError."""
    file = path / _JOINED
    try:
        return [(int(member), str(peer)) for member, peer in json.loads(file.read_bytes())]
    except FileNotFoundError:
        return None
    except (TypeError, ValueError) as error:
        raise DataDirFormatError(f"{file} is damaged: {error}") from error
    except OSError as error:
        raise _access_error(path, error) from error


def read_identity(path: Path) -> dict[str, int]:
    """The fields of the file `path`: format, cluster_id, member_id, incarnation. Raises OSError,
    and DataDirFormatError."""
    try:
        identity: Any = json.loads(path.read_bytes())
    except ValueError as error:
        raise DataDirFormatError(f"{path} is damaged: {error}") from error
    if not isinstance(identity, dict) or type(identity.get("format")) is not int:
        raise DataDirFormatError(f"{path} is damaged: it has no format number")
    if identity["format"] < FORMAT_VERSION:
        raise DataDirFormatError(
            f"data directory {path.parent} has format {identity['format']}, older than "
            f"{FORMAT_VERSION}, the oldest that this version reads: start with an empty one"
        )
    if identity["format"] > FORMAT_VERSION:
        raise DataDirFormatError(
            f"data directory {path.parent} has format {identity['format']}, newer than "
            f"{FORMAT_VERSION}, the newest that this version reads"
        )
    if set(identity) != _IDENTITY_FIELDS or any(type(v) is not int for v in identity.values()):
        raise DataDirFormatError(f"{path} is damaged: expected {sorted(_IDENTITY_FIELDS)}")
    return identity


def _access_error(path: Path, error: OSError) -> DataDirAccessError:
    return DataDirAccessError(f"data directory {path} cannot be used: {error}")
