"""Backups that clients read from this member, a piece at a time.

A backup is a checkpoint of the state, made right after a flush, so that making it takes no time.
Reading it is nobody's business but the client's: what is written meanwhile is not in it.
"""

import secrets
from pathlib import Path
from typing import Any

from ..storage.backup import BackupSource, head
from ..storage.errors import SnapshotError
from ..storage.sliced import Sliced
from ..storage.state_store import StateStore
from ..transport import errors

BACKUPS_MAX = 8
"""At a time: each keeps files of the state on the disk that would be gone."""
SILENT_S = 60.0
"""After so long without a read its client is gone."""

_PREFIX = "backup-"


class Backups:
    """The backups that are being read."""

    def __init__(self, directory: Path, log: Any) -> None:
        """In `directory`, which the node empties when it starts."""
        self._directory = directory
        self._log = log
        self._open: dict[int, BackupSource] = {}
        self._read_at: dict[int, float] = {}
        self._waiting: set[int] = set()
        self._failed: set[int] = set()
        self.now = 0.0

    @property
    def wants_flush(self) -> bool:
        """Whether a backup waits to be made after the next flush."""
        return bool(self._waiting)

    def flushed(self, state: StateStore) -> None:
        """The state was flushed: make what waits."""
        for backup in self._waiting:
            path = self._directory / f"{_PREFIX}{backup:016x}"
            try:
                self._open[backup] = BackupSource(path, state)
            except SnapshotError as error:
                self._log.error("no backup", reason=str(error))
                self._failed.add(backup)
            else:
                self._read_at[backup] = self.now
        self._waiting.clear()

    def begin(self, _state: StateStore) -> Sliced[tuple[Any, ...]]:
        """Answer `snapshot_open`: (0, revision, id, what stands in a file before the stream, bytes
        of the stream)."""
        if len(self._open) + len(self._waiting) >= BACKUPS_MAX:
            return errors.TOO_MANY_REQUESTS
        backup = secrets.randbits(63)
        self._waiting.add(backup)
        while (source := self._open.get(backup)) is None:
            if backup in self._failed:
                self._failed.remove(backup)
                return errors.SNAPSHOT_FAILED
            yield
        manifest = source.manifest
        return (0, manifest.revision, backup, head(manifest), manifest.size)

    def read(self, state: StateStore, backup: int, position: int) -> Sliced[tuple[Any, ...]]:
        """Answer `snapshot_read`: (0, revision, bytes); no bytes are the end."""
        source = self._open.get(backup)
        if source is None:
            return errors.SNAPSHOT_GONE
        self._read_at[backup] = self.now
        yield
        return (0, state.revision, source.read(position))

    def end(self, state: StateStore, backup: int) -> Sliced[tuple[Any, ...]]:
        """Answer `snapshot_close`."""
        self._remove(backup)
        yield
        return (0, state.revision)

    def expire(self, now: float) -> None:
        """Remove those that nobody reads any more."""
        self.now = now
        for backup in [b for b, at in self._read_at.items() if now - at > SILENT_S]:
            self._remove(backup)

    def _remove(self, backup: int) -> None:
        source = self._open.pop(backup, None)
        if source is not None:
            del self._read_at[backup]
            source.remove()
