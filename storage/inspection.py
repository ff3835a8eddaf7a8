"""A copy of a stopped member's data directory, in which its databases can be opened as they are.

RocksDB writes into what it opens, even to be read: its text log, and what a start cuts off and
finishes. So it is given a directory of its own: what may be written there is copied, the tables and
blobs, which nobody ever writes again, are symbolic links. A copy takes the space of RocksDB's log.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .snapshot_store import SnapshotStore

_FILES = ("log-mark", "installed")
_DATABASES = ("log", "state", "state.new", "state.old")
_NEVER_WRITTEN = (".sst", ".blob")
_NOT_NEEDED = ("LOG", "LOCK")


@contextmanager
def copied(path: Path) -> Iterator[Path]:
    """The copy, in the directory for temporary files; an interrupted install of a snapshot is
    finished in it. It goes at the end. Raises OSError, StorageError."""
    with tempfile.TemporaryDirectory(prefix="sampan-doctor-") as folder:
        copy = Path(folder)
        for name in _FILES:
            if (path / name).is_file():
                shutil.copyfile(path / name, copy / name)
        for name in _DATABASES:
            if (path / name).is_dir():
                _copy_database(path / name, copy / name)
        SnapshotStore(copy / "snapshots").recover()
        yield copy


def _copy_database(path: Path, copy: Path) -> None:
    copy.mkdir()
    for file in path.resolve().iterdir():
        if file.name.startswith(_NOT_NEEDED) or not file.is_file():
            continue
        if file.suffix in _NEVER_WRITTEN:
            (copy / file.name).symlink_to(file)
        else:
            shutil.copyfile(file, copy / file.name)
