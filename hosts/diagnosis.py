"""What is wrong with a stopped member's data directory: what its next start would find, and more.

Nothing in it changes: the databases are opened in a copy (storage/inspection.py), with the code by
which a node opens them.
"""

import shlex
import shutil
import stat
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..actors.actor import Impossible
from ..actors.divergence import Divergence
from ..actors.recovery import recover
from ..config.model import ClusterConfig
from ..storage import data_dir, log_mark, members
from ..storage.alarms import KINDS, NOSPACE
from ..storage.archive import noted
from ..storage.errors import CorruptionError, DataDirError, StorageError
from ..storage.inspection import copied
from ..storage.log_store import LogEntry, LogStore
from ..storage.rocks import LOG_WRITE_BUFFER_BYTES
from ..storage.snapshot_store import SnapshotStore
from ..storage.state_store import StateStore

OK, WARN, BAD = "ok", "warn", "bad"
MIB = 1 << 20
ROOM_BYTES_MIN = 2 * LOG_WRITE_BUFFER_BYTES
"""The log's next file, and the table that is made of the last one."""
_LESS_SPACE = "delete keys, `sampanctl compaction REVISION`, `sampanctl defrag`"
_LOOKS_LIKE = ("identity", "log", "state", "starts", "log-mark")


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: str
    """OK, WARN: the member may start, but somebody should know; BAD: it would not start, or should
    not."""
    about: str
    text: str
    do: str = ""
    """What helps, with the commands."""
    facts: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default is nobody's to change
    """The numbers in the text, for programs."""


class Wanted(NamedTuple):
    """What is known from elsewhere."""

    quota_bytes: int
    """Below 0: there is none."""
    config: ClusterConfig | None = None
    """In which the member should be."""
    deep: bool = False
    """Read all data."""


def is_data_dir(path: Path) -> bool:
    """Whether there is anything of a member's in it."""
    return any((path / name).exists() for name in _LOOKS_LIKE)


def diagnose(path: Path, wanted: Wanted) -> Iterator[Finding]:
    """All that can be said of the data directory of a member that does not run (data_dir.held).
    Raises OSError where it cannot be read, or not be copied."""
    identity: dict[str, int] = {}
    try:
        identity = data_dir.read_identity(path / "identity")
    except FileNotFoundError:
        yield Finding(BAD, "identity", f"{path / 'identity'} is gone", _restore(path, 0))
    except DataDirError as error:
        yield Finding(BAD, "identity", str(error), _restore(path, 0))
    if identity:
        yield _identity(path, identity)
        if wanted.config is not None:
            yield from _configured(path, identity, wanted.config)
    yield from _start_count(path, identity)
    yield from _permissions(path)
    try:
        with copied(path) as copy:
            yield from _databases(path, copy, identity, deep=wanted.deep)
    except StorageError as error:
        yield Finding(BAD, "state", str(error), _restore(path, 0))
    yield _snapshots(path)
    yield from _archive(path)
    yield _space(path, wanted.quota_bytes)


def _restore(path: Path, member_id: int) -> str:
    """What helps when something is lost that only this member had."""
    member = f"{member_id:x}" if member_id else "ID"
    away = _mv(path, path.with_name(f"{path.name}.lost"))
    return (
        f"put back all of {path} as it was last, if there is a copy of just that; else, with a "
        f"majority of the others up, replace the member: `sampanctl member remove {member}`, "
        f"`sampanctl member add NAME --peer-urls=HOST:PORT`, `{away}`, start it "
        "with --initial-cluster-state existing; without one: `sampan docs operations`, Losing the "
        "majority"
    )


def _mv(path: Path, to: Path) -> str:
    return shlex.join(["mv", str(path), str(to)])


# -- beside the databases


def _identity(path: Path, identity: dict[str, int]) -> Finding:
    text = (
        f"member {identity['member_id']:x} of cluster {identity['cluster_id']:x}, format "
        f"{identity['format']}, incarnation {identity['incarnation']:x}"
    )
    return Finding(OK, "identity", text, facts=dict(identity))


def _start_count(path: Path, identity: dict[str, int]) -> Iterator[Finding]:
    try:
        number = data_dir.starts(path)
    except DataDirError as error:
        do = _restore(path, identity.get("member_id", 0))
        yield Finding(BAD, "starts", str(error), do)
        return
    killed = (path / "pids.json").exists() or (path / "runtime").exists()
    ended = "the last one ended by kill -9 or a power cut, which is harmless" if killed else ""
    text = f"start number {number}" + (f"; {ended}" if ended else "")
    yield Finding(OK, "starts", text, facts={"starts": number, "killed": killed})


def _configured(path: Path, identity: dict[str, int], config: ClusterConfig) -> Iterator[Finding]:
    """Whether it is where the member of the configuration looks for its data, and that member's."""
    member_id = identity["member_id"]
    if config.cluster_id not in (0, identity["cluster_id"]):
        text = (
            f"it is of cluster {identity['cluster_id']:x}, the configuration of "
            f"{config.cluster_id:x} ({config.cluster!r})"
        )
        do = "name the directory or the file of the right cluster: nothing turns one into another"
        yield Finding(BAD, "configuration", text, do)
        return
    mine = next((m for m in config.members if m.id == member_id), None)
    mine = mine or next((m for m in config.members if m.name == path.name and not m.id), None)
    if mine is None:
        text = f"the configuration has no member {member_id:x} and none without an id by this name"
        yield Finding(WARN, "configuration", text)
        return
    place = Path(config.data_dir).absolute() / mine.name
    if place == path:
        yield Finding(OK, "configuration", f"member {mine.name!r} has its data here")
        return
    do = f"`{_mv(path, place)}`, or give the member its old name"
    text = f"member {member_id:x} is {mine.name!r} there and looks for its data in {place}"
    yield Finding(BAD, "configuration", text, do)


def _permissions(path: Path) -> Iterator[Finding]:
    """A node starts in a directory that is its user's own, and needs every file in it."""
    top = path.lstat()
    strange = [
        child
        for child in [path, *path.rglob("*")]
        if child.lstat().st_uid != top.st_uid or not _is_usable(child.lstat().st_mode)
    ]
    if strange:
        names = ", ".join(str(child) for child in strange[:3])
        text = f"user {top.st_uid} does not own, or may not read and write, {names}"
        text += f" and {len(strange) - 3} more" if len(strange) > 3 else ""
        here = shlex.quote(str(path))
        do = f"`chown -R {top.st_uid} {here} && chmod -R u+rwX {here}`"
        yield Finding(BAD, "permissions", text, do)
    elif stat.S_IMODE(top.st_mode) != 0o700:
        text = f"mode {stat.S_IMODE(top.st_mode):04o}: others may look in; the next start ends that"
        yield Finding(WARN, "permissions", text)
    else:
        yield Finding(OK, "permissions", f"mode 0700, all of user {top.st_uid}")


def _is_usable(mode: int) -> bool:
    needed = 0o700 if stat.S_ISDIR(mode) else 0o600
    return stat.S_ISLNK(mode) or mode & needed == needed


def _snapshots(path: Path) -> Finding:
    left = [path / name for name in ("state.new", "state.old") if (path / name).exists()]
    folder = path / "snapshots"
    left += sorted(folder.iterdir()) if folder.is_dir() else []
    if not left:
        return Finding(OK, "snapshots", "none left over")
    size = sum(file.stat().st_size for each in left for file in each.rglob("*") if file.is_file())
    names = [each.name for each in left]
    text = (
        f"left over: {', '.join(names[:4])}{' …' if len(names) > 4 else ''}, {size / MIB:.0f} MiB, "
        "of which tables may be the state's own; the next start finishes or removes them"
    )
    return Finding(WARN, "snapshots", text, facts={"names": names, "bytes": size})


def _space(path: Path, quota_bytes: int) -> Finding:
    free = shutil.disk_usage(path).free
    state = path / "state"
    used = sum(f.stat().st_size for f in state.iterdir() if f.is_file()) if state.is_dir() else 0
    facts = {"free_bytes": free, "state_bytes": used, "quota_bytes": quota_bytes}
    quota = f"of a quota of {quota_bytes / MIB:.0f}" if quota_bytes >= 0 else "without a quota"
    text = f"{free / MIB:.0f} MiB free; the state takes {used / MIB:.0f} MiB {quota}"
    if free < ROOM_BYTES_MIN:
        do = f"make room on the file system of {path}: at least {ROOM_BYTES_MIN // MIB} MiB"
        return Finding(BAD, "space", f"{text}: the log has no room", do, facts)
    if 0 <= quota_bytes < used:
        text += ": NOSPACE will be raised"
        return Finding(WARN, "space", text, f"{_LESS_SPACE}; or raise quota_bytes", facts)
    if free < max(quota_bytes - used, used if quota_bytes < 0 else 0):
        text += ": the disk is full before the state has the size of its quota"
        return Finding(WARN, "space", text, "make room, or lower quota_bytes", facts)
    return Finding(OK, "space", text, facts=facts)


def _archive(path: Path) -> Iterator[Finding]:
    """How far a log is archived that is; one that never was has no file."""
    position = noted(path)
    if position is not None:
        text = f"the log is archived up to entry {position.last}, its base is of {position.base}"
        yield Finding(OK, "archive", text, facts=position._asdict())


# -- the databases


def _databases(
    path: Path, copy: Path, identity: dict[str, int], *, deep: bool
) -> Iterator[Finding]:
    do = _restore(path, identity.get("member_id", 0))
    try:
        disk = yield from _log(copy)
    except StorageError as error:
        disk = None
        yield Finding(BAD, "log", _named(error, copy, path), do)
    try:
        installed = SnapshotStore(copy / "snapshots").installed()
        applied = (0, 0)
        if (copy / "state" / "CURRENT").exists():
            applied = yield from _state(path, copy, identity, deep=deep)
        else:
            yield Finding(OK, "state", "none yet: it is made of the log")
        if disk is not None:
            yield _agreement(disk, applied, installed, do)
    except StorageError as error:
        yield Finding(BAD, "state", _named(error, copy, path), do)


def _named(error: Exception, copy: Path, path: Path) -> str:
    """What it says, of the directory itself; what to do stands elsewhere."""
    return str(error).replace(str(copy), str(path)).replace(f"; {log_mark.REMEDY}", "")


_Log = tuple[tuple[int, int, int], tuple[int, int], list[LogEntry]]
"""(hard state, (index, term) before the first entry, entries), as `recover` takes it."""
_EMPTY_LOG: _Log = ((0, 0, 0), (0, 0), [])


def _log(copy: Path) -> Generator[Finding, None, _Log]:
    """What the log holds; entries without their data."""
    mark = log_mark.read(copy / "log-mark")
    if mark is None and not (copy / "log" / "CURRENT").exists():
        yield Finding(OK, "log", "none yet: the member has never run")
        return _EMPTY_LOG
    store = LogStore.inspect(copy / "log")
    try:
        hard_state = term, vote, commit = store.hard_state()
        entries = [
            (entry_term, index, kind, b"")
            for entry_term, index, kind, _ in store.entries(store.first_index, store.last_index + 1)
        ]
    finally:
        store.close()
    _check_terms(store.start[1], entries, term)
    if store.repaired:
        text = f"the next start cuts its tail: {store.repaired}. Harmless: it was never durable"
        yield Finding(WARN, "log", text, facts={"cut": store.repaired})
    kept = f"entries {store.first_index} to {store.last_index}" if entries else "no entries"
    told = "not before what log-mark tells" if mark else "there is no log-mark yet"
    text = f"{kept}, term {term}, vote {vote:x}, commit {commit}, {told}"
    facts = {"first": store.first_index, "last": store.last_index}
    yield Finding(OK, "log", text, facts=facts | {"term": term, "vote": vote, "commit": commit})
    return hard_state, store.start, entries


def _check_terms(before: int, entries: Sequence[LogEntry], hard_term: int) -> None:
    """Terms never fall, nor does one reach the log before it is the member's own. Raises
    CorruptionError."""
    for term, index, *_ in entries:
        if term < before:
            raise CorruptionError(
                f"log entry {index} is of term {term}, the one before of {before}"
            )
        before = term
    if entries and before > hard_term:
        raise CorruptionError(f"the log ends in term {before}, but the member's is {hard_term}")


def _agreement(disk: _Log, applied: tuple[int, int], installed: Any, do: str) -> Finding:
    """Whether a core would go on with the two."""
    try:
        found = recover(disk, (*applied, (), (), installed))
    except Impossible as error:
        return Finding(BAD, "log and state", str(error), do)
    if found.is_reset:
        text = (
            f"a snapshot's install was interrupted: the next start begins the log at {applied[0]}"
        )
        return Finding(WARN, "log and state", text)
    commit = found.hard_state.commit
    if commit > found.last:
        text = f"commit {commit} is past the log's last entry {found.last}: entries are gone"
        return Finding(BAD, "log and state", text, do)
    again = max(commit - applied[0], 0)
    text = f"the next start goes on at {applied[0]}: {again} entries to {commit} are applied again"
    return Finding(OK, "log and state", text, facts={"applied_again": again})


def _state(
    path: Path, copy: Path, identity: dict[str, int], *, deep: bool
) -> Generator[Finding, None, tuple[int, int]]:
    """What the state holds; returns (applied index, its term)."""
    state = StateStore.inspect(copy / "state")
    try:
        facts = {
            "applied": state.applied_index,
            "applied_term": state.applied_term,
            "revision": state.revision,
            "compact_revision": state.compact_revision,
            "history_hash": state.history_hash,
        }
        text = (
            f"applied {state.applied_index} of term {state.applied_term}, revision "
            f"{state.revision}, compacted at {state.compact_revision}, history hash "
            f"{state.history_hash:08x}"
        )
        yield Finding(OK, "state", text, facts=facts)
        yield _members(path, state, identity)
        yield from _alarms(state, path, identity)
        if deep:
            yield _all_data(state)
        return state.applied_index, state.applied_term
    finally:
        state.close()


def _members(path: Path, state: StateStore, identity: dict[str, int]) -> Finding:
    everybody = state.members.all
    names = ", ".join(f"{m[members.ID]:x} {m[members.NAME] or '(unstarted)'}" for m in everybody)
    facts = {"members": [{"id": m[members.ID], "name": m[members.NAME]} for m in everybody]}
    text = names or "none in the state yet"
    member_id = identity.get("member_id", 0)
    if member_id in dict(state.members.removed):
        text = f"member {member_id:x} was removed from the cluster, and never comes back by this id"
        away = _mv(path, path.with_name(f"{path.name}.removed"))
        do = (
            f"`{away}`, `sampanctl member add NAME --peer-urls=HOST:PORT`, and "
            "start it with --initial-cluster-state existing"
        )
        return Finding(BAD, "members", text, do, facts)
    mine = members.find(everybody, member_id)
    if mine is None:
        if everybody and member_id:
            text += f"; this one, {member_id:x}, comes with an entry that is not in the state yet"
        return Finding(OK, "members", text, facts=facts)
    if mine[members.INCARNATION] not in (0, identity["incarnation"]):
        text = (
            f"the cluster has met member {member_id:x} with a data directory of incarnation "
            f"{mine[members.INCARNATION]:x}: this is another one, and the others refuse it"
        )
        return Finding(BAD, "members", text, _restore(path, member_id), facts)
    if mine[members.NAME] not in ("", path.name):
        text += (
            f"; this one is {mine[members.NAME]!r}, its directory {path.name!r}: was it renamed?"
        )
        do = f"`{_mv(path, path.with_name(mine[members.NAME]))}`, or --name {path.name}"
        return Finding(WARN, "members", text, do, facts)
    return Finding(OK, "members", text, facts=facts)


def _alarms(state: StateStore, path: Path, identity: dict[str, int]) -> Iterator[Finding]:
    member_id = identity.get("member_id", 0)
    diverged = Divergence(member_id, identity.get("incarnation", 0), 0.0).reason_to_stop(state)
    if diverged:
        yield Finding(BAD, "alarms", diverged, _restore(path, member_id))
    raised = state.alarms.all()
    if not raised:
        yield Finding(OK, "alarms", "none as of this index")
    for member, kind in raised:
        text = f"{KINDS[kind]} of member {member:x}"
        do = f"look at member {member:x} with `sampan doctor`; then `sampanctl alarm disarm`"
        if kind == NOSPACE:
            text += ": the cluster refuses to grow"
            do = _LESS_SPACE + ", `sampanctl alarm disarm`"
        yield Finding(WARN, "alarms", text, do, {"member": member, "alarm": KINDS[kind]})


def _all_data(state: StateStore) -> Finding:
    """Every checksum is compared, or RocksDB says what is damaged."""
    pairs = state.read_all()
    _, revision, found, *_ = state.hash_kv()
    text = (
        f"{pairs} pairs read; hash {found:08x} at revision {revision}, as `sampanctl endpoint "
        f"hashkv --rev {revision}` of every other member has it until that is compacted"
    )
    return Finding(OK, "data", text, facts={"pairs": pairs, "hash": found, "revision": revision})
