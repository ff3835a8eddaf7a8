"""Finds in archives what a state at a revision or a moment is made of.

Files of several members of a cluster may be in one archive: raft's logs agree, so what one member
did not archive another's files make up for. Files join where both know an entry by the same index
and term.
"""

import heapq
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ..transport.codec import CodecError
from . import archive, backup
from .archive import Place, SegmentFile, Times
from .backup import BackupFile
from .errors import CorruptionError, SnapshotError
from .log_store import LogEntry
from .replay import Replay
from .state_store import StateStore


class Target(NamedTuple):
    """Where to stop; neither: at the end.

    Attributes:
        revision: the last one.
        time_ms: since 1970; what was committed by then is there.
    """

    revision: int | None = None
    time_ms: int | None = None


class ArchivedState:
    """A state that archived files make; as BackupFile, something to restore from."""

    def __init__(self, directory: Path, target: Target) -> None:
        """Look at what is there. Raises SnapshotError when it does not reach the target."""
        if not directory.is_dir():
            raise SnapshotError(f"{directory} is not a directory")
        self._directory = directory
        self._target = target
        bases, segments = _scan(directory)
        if not bases:
            raise SnapshotError(f"there is no base in {directory}: nothing to begin with")
        times = sorted({pair for each in segments for pair in each.times})
        self._base = self._begin(bases, times)
        self._chain = _chain(self._base, segments)
        self._last = self._end(times)
        self.revision = 0
        """Of the state, once it was extracted."""

    def _begin(self, bases: Sequence[BackupFile], times: Times) -> BackupFile:
        """The newest base that is not beyond the target."""
        wanted, moment = self._target
        fit = list(bases)
        if wanted is not None:
            fit = [base for base in bases if base.manifest.revision <= wanted]
            if not fit:
                first = min(base.manifest.revision for base in bases)
                raise SnapshotError(f"the archive begins at revision {first}, after {wanted}")
        elif moment is not None:
            fit = [base for base in bases if _moment(base, times) <= moment]
            if not fit:
                first = min(_moment(base, times) for base in bases)
                raise SnapshotError(f"the archive begins at {shown(first)}, after {shown(moment)}")
        return max(fit, key=lambda base: base.manifest.applied_index)

    def _end(self, times: Times) -> int | None:
        """Index of the last entry that is wanted; None where a revision says it, or all are."""
        moment = self._target.time_ms
        if moment is None:
            return None
        end = self._chain[-1].last[0] if self._chain else self._base.manifest.applied_index
        reached = [(index, at) for index, at in times if index <= end]
        if not reached or reached[-1][1] < moment:
            newest = shown(reached[-1][1]) if reached else "an unknown time"
            raise SnapshotError(
                f"the archive ends at {newest}, before {shown(moment)}; without a time all of it "
                "is restored"
            )
        before = [index for index, at in reached if at <= moment]
        return max(before, default=self._base.manifest.applied_index)

    def verify(self) -> bytes:
        """Compare the base with its SHA-256, which is returned. Entries are compared as they are
        read. Raises SnapshotError."""
        return self._base.verify()

    def extract(self, directory: Path) -> tuple[int, int]:
        """Make the state in a new directory; returns (applied index, its term). Raises
        SnapshotError and StorageError."""
        self._base.extract(directory)
        state = StateStore.open(directory)
        try:
            self._replay(state)
            state.commit()
            state.flush()
            self.revision = state.revision
            return state.applied_index, state.applied_term
        finally:
            state.close()

    def _replay(self, state: StateStore) -> None:
        replay = Replay(state, self._target.revision)
        try:
            for entry in self._entries(state.applied_index):
                if replay.done:
                    break
                replay.apply(entry)
        except CodecError as error:
            raise CorruptionError(f"the archive holds what is no entry: {error}") from error
        wanted = self._target.revision
        if wanted is not None and not replay.done:
            raise SnapshotError(
                f"the archive ends, or has a gap, after revision {state.revision}, entry "
                f"{state.applied_index}: {wanted} is not in it"
            )
        replay.compact()

    def _entries(self, applied: int) -> Iterator[LogEntry]:
        expected = applied + 1
        for segment in self._chain:
            for entry in segment.entries():
                if self._last is not None and entry[1] > self._last:
                    return
                if entry[1] == expected:
                    yield entry
                    expected += 1


def _scan(directory: Path) -> tuple[list[BackupFile], list[SegmentFile]]:
    """The bases, and the entries in their order, in a directory and those in it."""
    bases, segments = [], []
    for path in sorted(directory.rglob("[!.]*")):
        if path.is_file():
            with path.open("rb") as file:
                start = file.read(len(archive.MAGIC))
            if start == archive.MAGIC:
                segments.append(SegmentFile(path))
            elif start.startswith(backup.MAGIC):
                bases.append(BackupFile(path))
    clusters = {segment.cluster for segment in segments}
    if len(clusters) > 1:
        raise SnapshotError(
            f"{directory} holds archives of {len(clusters)} clusters: name the directory of one"
        )
    return bases, segments


def _chain(base: BackupFile, segments: Sequence[SegmentFile]) -> list[SegmentFile]:
    """The segments that lead on from a base. Where several do, the one that leads farthest."""
    place: Place = (base.manifest.applied_index, base.manifest.applied_term)
    later = deque(sorted(segments, key=lambda segment: segment.before[0]))
    begun: list[tuple[int, Path, SegmentFile]] = []  # a heap, of those that may lead on
    found: list[SegmentFile] = []
    while True:
        while later and later[0].before[0] <= place[0]:
            segment = later.popleft()
            heapq.heappush(begun, (-segment.last[0], segment.path, segment))
        while begun and not begun[0][2].leads_on(place):
            heapq.heappop(begun)
        if not begun:
            return found
        *_, segment = heapq.heappop(begun)
        found.append(segment)
        place = segment.last


def _moment(base: BackupFile, times: Times) -> int:
    """By when a base's state was committed; far in the future when that is not known."""
    index = base.manifest.applied_index
    return next((at for last, at in times if last >= index), 2**63)


def shown(moment_ms: int) -> str:
    """A moment as people write it."""
    return datetime.fromtimestamp(moment_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
