"""The archive of a member's log: from it a cluster is restored to any revision or moment.

    base-INDEX            a backup (backup.py) of the state at INDEX
    entries-FIRST-LAST    the committed entries from FIRST to LAST, all indexes in 16 hexadecimal
                          digits:

    MAGIC  size:u32 head  [term:u64 type:u8 size:u32 data] ...  SHA-256
    head        msgpack: [format, cluster's id, member's id, [index, term] of the entry before,
                [index, term] of the last, [[index, time], ...]]

SHA-256 is over all that stands before it. A pair of an index and a time, in milliseconds since
1970, says that the entries up to there were committed by then; both rise.

A file appears under its name when it is whole and durable, or a command is given it then. Where the
archive ends stands in the data directory's file `archived`, and what is known of the times of later
entries in `archive-times`.
"""

import contextlib
import hashlib
import json
import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import Any, BinaryIO, NamedTuple

from ..transport.codec import CodecError, pack, unpack
from .backup import Manifest, write_backup
from .data_dir import sync_directory, write_durably
from .errors import SnapshotError
from .log_store import LogEntry
from .snapshot_store import SnapshotStore

MAGIC = b"SAMPAN ENTRIES\n"
FORMAT_VERSION = 1
TIMES_MAX = 4_000
"""In memory and in a file: beyond, every other one goes. At one a second more than an hour."""
_UNFINISHED = ".unfinished-"
_SIZE = Struct(">I")
_ENTRY = Struct(">QBI")  # term, type, size; the data follows
_DIGEST_BYTES = 32
_HEAD_BYTES_MAX = 1 << 20

Times = list[tuple[int, int]]
"""(index, milliseconds since 1970), both rising."""
Place = tuple[int, int]
"""(index, term) of an entry."""


class Position(NamedTuple):
    """What is archived.

    Attributes:
        last: index of the last entry.
        term: its term.
        base: index of the newest base.
        base_bytes: its size.
        entry_bytes: of the entries that were archived since.
    """

    last: int
    term: int
    base: int
    base_bytes: int
    entry_bytes: int


class Base(NamedTuple):
    """A snapshot to be archived."""

    name: str
    at: int
    """Its index."""
    term: int
    revision: int


class Segment(NamedTuple):
    """Entries to be archived."""

    before: Place
    entries: Sequence[LogEntry]
    times: Times


class Archive:
    """Where a member's log is archived to. `put_base` and `put_segment` may take as long as they
    like, in a thread of their own; `cut_short` ends them."""

    def __init__(
        self, data_dir: Path, ids: tuple[int, int], directory: Path | None, command: str = ""
    ) -> None:
        """Of the member (cluster's id, member's id) in `data_dir`: into a directory, or by a
        command that is run by the shell with the file's path for %p and its name for %f."""
        self._mark = data_dir / "archived"
        self._times = data_dir / "archive-times"
        self._snapshots = SnapshotStore(data_dir / "snapshots")
        self._ids = ids
        self._directory = directory or data_dir / "archive"
        self._command = command
        self._looked = False
        self._running: subprocess.Popen[str] | None = None
        self._cut_short = threading.Event()

    def position(self) -> Position | None:
        """What was archived when the member stopped; None when it has to begin anew. Where it was
        archived to is not looked at: that may be slow, or hang."""
        return noted(self._mark.parent)

    def _found(self, position: Position | None) -> Position | None:
        """Likewise, as the directory has it when this process first writes there: what a kill has
        left of a file goes. Raises OSError and SnapshotError."""
        self._check_there()
        if self._looked:
            return position
        for left in self._directory.glob(f"{_UNFINISHED}*"):
            left.unlink()
        if not self._command:
            for path in self._directory.glob("entries-*"):
                if SegmentFile(path).cluster != self._ids[0]:
                    raise SnapshotError(
                        f"{self._directory} has the archive of another cluster, which must not be "
                        "mixed with this one's: move it away, or set another archive_dir"
                    )
                break  # they all are of one
            if position is not None and not self._is_there(position):
                position = None
        self._looked = True
        return position

    def _check_there(self) -> None:
        """Whoever mounts a disk makes what is above the member's own directory. Where that is gone
        the disk is, and what is made in its place would be hidden when it is back. Raises
        SnapshotError."""
        above = self._directory.parent
        if not above.is_dir():
            raise SnapshotError(
                f"archive_dir {above} does not exist: make it, or mount the disk it is on"
            )

    def _is_there(self, position: Position) -> bool:
        """Whether nobody has removed what the next files would go on from."""
        if position.last == position.base:
            return (self._directory / base_name(position.base)).exists()
        return any(self._directory.glob(f"entries-*-{position.last:016x}"))

    def begin_anew(self) -> None:
        """Go on from nothing that was archived."""
        self._mark.unlink(missing_ok=True)

    def times(self) -> Times:
        """What `note_times` was last given."""
        try:
            return [(int(index), int(at)) for index, at in json.loads(self._times.read_bytes())]
        except (OSError, TypeError, ValueError):
            return []

    def note_times(self, times: Times) -> None:
        """Keep them for the next start, if this one ends by kill -9: no fsync."""
        temporary = self._times.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # a full disk is told by who must write
            temporary.write_text(json.dumps(times))
            temporary.rename(self._times)

    def put_base(self, base: Base, position: Position | None) -> Position:
        """Archive a snapshot; returns what is archived then. Raises OSError and SnapshotError."""
        position = self._found(position)
        directory, files = self._snapshots.checkpoint(base.name)
        manifest = Manifest(base.at, base.term, base.revision, tuple(files))
        size = self._put(base_name(base.at), lambda file: self._copy(file, manifest, directory))
        last, term = (position.last, position.term) if position else (base.at, base.term)
        return self._noted(Position(last, term, base.at, size, 0))

    def _copy(self, file: BinaryIO, manifest: Manifest, directory: Path) -> None:
        write_backup(file, manifest, directory, self._check)

    def put_segment(self, segment: Segment, position: Position) -> Position | None:
        """Archive entries; returns what is archived then, None when what they go on from is gone.
        Raises OSError and SnapshotError."""
        if self._found(position) is None:
            self.begin_anew()
            return None
        term, last = segment.entries[-1][:2]
        name = segment_name(segment.before[0] + 1, last)
        size = self._put(name, lambda file: write_segment(file, self._ids, segment))
        size += position.entry_bytes
        return self._noted(position._replace(last=last, term=term, entry_bytes=size))

    def _noted(self, position: Position) -> Position:
        write_durably(self._mark, json.dumps(position).encode())
        return position

    def _put(self, name: str, write: Callable[[BinaryIO], None]) -> int:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        temporary = self._directory / f"{_UNFINISHED}{name}"
        try:
            with os.fdopen(os.open(temporary, _NEW_FILE, 0o600), "wb") as file:
                write(file)
                size = file.tell()
                file.flush()
                os.fsync(file.fileno())
            if self._command:
                self._check()
                self._hand_over(temporary, name)
            else:
                temporary.rename(self._directory / name)
                sync_directory(self._directory)
        finally:
            temporary.unlink(missing_ok=True)
        return size

    def _hand_over(self, path: Path, name: str) -> None:
        """Run the command. Raises SnapshotError when it fails."""
        command = self._command.replace("%p", shlex.quote(str(path))).replace("%f", name)
        with subprocess.Popen(
            ("/bin/sh", "-c", command),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True, errors="replace", process_group=0,
        ) as self._running:  # fmt: skip
            if self._cut_short.is_set():  # while it was being started
                self.cut_short()
            assert self._running.stderr is not None
            said = ""
            while more := self._running.stderr.read(4096):  # or a talkative one would die of it
                said = (said + more)[-4096:]
            code = self._running.wait()
        self._running = None
        if code:
            raise SnapshotError(f"`{command}` ended with {code}: {said.strip()[-200:]}")

    def _check(self) -> None:
        if self._cut_short.is_set():
            raise SnapshotError("the node stops")

    def cut_short(self) -> None:
        """End a base or a command that is under way: it will be done again after the next start."""
        self._cut_short.set()
        running = self._running
        if running is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(running.pid, 9)


def noted(data_dir: Path) -> Position | None:
    """What a member has noted as archived; None where nothing is."""
    try:
        return Position(*map(int, json.loads((data_dir / "archived").read_bytes())))
    except (OSError, TypeError, ValueError):
        return None


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC


def base_name(index: int) -> str:
    """A base's file."""
    return f"base-{index:016x}"


def segment_name(first: int, last: int) -> str:
    """A segment's file."""
    return f"entries-{first:016x}-{last:016x}"


def write_segment(file: BinaryIO, ids: tuple[int, int], segment: Segment) -> None:
    """Write a segment into a new file; `ids` are the cluster's and the member's."""
    term, last, *_ = segment.entries[-1]
    head = pack((FORMAT_VERSION, *ids, segment.before, (last, term), segment.times))
    parts = [MAGIC, _SIZE.pack(len(head)), head]
    for term, _, kind, data in segment.entries:
        parts += (_ENTRY.pack(term, kind, len(data)), data)
    content = b"".join(parts)
    file.write(content)
    file.write(hashlib.sha256(content).digest())


class SegmentFile:
    """A segment in a file.

    Attributes:
        cluster: the cluster's id.
        before: (index, term) of the entry before its first.
        last: of its last entry.
        times: when its entries were committed.
    """

    def __init__(self, path: Path) -> None:
        """Read its head. Raises SnapshotError."""
        self.path = path
        try:
            with path.open("rb") as file:
                start = file.read(len(MAGIC) + _SIZE.size)
                (size,) = _SIZE.unpack_from(start, len(MAGIC))
                head: Any = unpack(file.read(min(size, _HEAD_BYTES_MAX)), array_max=TIMES_MAX)
            format_version, self.cluster, _, before, last, times = head
            self.before: Place = (int(before[0]), int(before[1]))
            self.last: Place = (int(last[0]), int(last[1]))
            self.times: Times = [(int(index), int(at)) for index, at in times]
            self._begin = len(start) + size
        except OSError as error:
            raise SnapshotError(f"cannot read {path}: {error.strerror}") from error
        except (CodecError, TypeError, ValueError, StructError) as error:
            raise SnapshotError(f"{path} is damaged: {error}") from error
        if format_version != FORMAT_VERSION:
            raise SnapshotError(f"{path} is not of format {FORMAT_VERSION}")

    def entries(self) -> Iterator[LogEntry]:
        """Its entries, once the whole of it was found to be undamaged. Raises SnapshotError."""
        try:
            content = self.path.read_bytes()
        except OSError as error:
            raise SnapshotError(f"cannot read {self.path}: {error.strerror}") from error
        end = len(content) - _DIGEST_BYTES
        if hashlib.sha256(content[:end]).digest() != content[end:]:
            raise SnapshotError(f"{self.path} is damaged: its SHA-256 is another")
        at, index = self._begin, self.before[0]
        while at < end:
            term, kind, size = _ENTRY.unpack_from(content, at)
            at += _ENTRY.size + size
            index += 1
            yield term, index, kind, content[at - size : at]
        if index != self.last[0]:
            raise SnapshotError(f"{self.path} ends at entry {index} instead of {self.last[0]}")

    def leads_on(self, place: Place) -> bool:
        """Whether it has that entry, or is the next after it, and goes on. Raises
        SnapshotError."""
        if self.before[0] == place[0]:
            return self.before == place
        if not self.before[0] < place[0] < self.last[0]:
            return False
        return any(entry[:2] == (place[1], place[0]) for entry in self.entries())
