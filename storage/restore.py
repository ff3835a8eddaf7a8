"""Makes a member of a new cluster of a backup: etcd's `etcdutl snapshot restore`."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from ..transport.codec import pack
from . import applied
from .applied import unpack_applied
from .data_dir import DataDir, sync_directory
from .errors import DataDirForeignError, SnapshotError, StorageError
from .log_store import LogStore
from .members import CONFIGURATION_KEY
from .rocks import open_state

BUMP_REVISION = 1_000_000_000
"""As much as etcd's guide for operators takes: more than a cluster writes between two backups."""


class NewMember(NamedTuple):
    """A member of the new cluster."""

    id: int
    name: str
    peer: str


class Source(Protocol):
    """What a state is restored from."""

    def verify(self) -> bytes:
        """See BackupFile."""

    def extract(self, directory: Path) -> tuple[int, int]:
        """See BackupFile."""


def restore(
    source: Source,
    path: Path,
    cluster_id: int,
    member_id: int,
    members: Sequence[NewMember],
    *,
    bump_revision: int = BUMP_REVISION,
    mark_compacted: bool = False,
) -> int:
    """Fill a member's new data directory from a backup, or from an archive. Do the same for every
    member, from the same.

    Args:
        source: where from; its checksum is compared first.
        path: the data directory, which must not be there, or be empty.
        cluster_id: the new cluster's.
        member_id: which of `members` this is.
        members: all members of the new cluster.
        bump_revision: how much higher its revision is than the backup's. What the lost cluster
            wrote after the backup had revisions above it, and clients may have seen them.
        mark_compacted: end watches and reads that go on from a revision of the lost cluster.

    Returns:
        The new revision.

    Raises:
        SnapshotError: what is restored is damaged or does not suffice, or the disk refuses.
        DataDirError: the directory cannot be used, or holds something.
        StorageError: the disk refuses.
    """
    source.verify()
    data = DataDir.open(path, cluster_id, member_id)
    if any((path / "state").iterdir()):
        data.close()
        raise DataDirForeignError(f"data directory {path} holds data; name another one")
    try:
        revision = _fill(source, path, members, bump_revision, compact=mark_compacted)
    except (SnapshotError, StorageError):
        for name in ("state", "log"):
            shutil.rmtree(path / name, ignore_errors=True)
        data.close_unused()
        raise
    data.close()
    return revision


def _fill(
    source: Source, path: Path, members: Sequence[NewMember], bump_revision: int, *, compact: bool
) -> int:
    (path / "state").rmdir()
    applied = source.extract(path / "state")
    voters = tuple(sorted(member.id for member in members))
    configuration = (
        (voters, (), (), (), False),
        tuple((m.id, m.name, (m.peer,), (), False, 0) for m in members),
    )
    revision = _rebase(path / "state", configuration, bump_revision, compact=compact)
    _begin_log(path / "log", *applied)
    sync_directory(path)
    return revision


def _rebase(
    path: Path, configuration: tuple[Any, Any], bump_revision: int, *, compact: bool
) -> int:
    """Give the state other members, as `StateStore.apply_conf_state` would, and a higher revision,
    which is returned."""
    db = open_state(path)
    at = unpack_applied(db.get(applied.KEY))
    revision = at.revision + bump_revision
    at = at._replace(revision=revision)
    if compact:
        at = at._replace(compact_revision=revision)
    batch = db.batch()
    batch.put(applied.KEY, at.packed())
    batch.put(CONFIGURATION_KEY, pack(configuration))
    db.write(batch)
    db.flush()
    db.close()
    return revision


def _begin_log(path: Path, index: int, term: int) -> None:
    """A log that begins after the backup, as on a member that has just installed a snapshot."""
    log = LogStore.open(path)
    log.reset(index, term)
    log.save((), (term, 0, index))
    log.sync()
    log.close()
