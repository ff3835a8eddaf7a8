"""`snapshot save`, `snapshot status` and `snapshot restore`: backups."""

import json
import os
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ..config import model
from ..config.ids import with_id
from ..storage.archived import ArchivedState, Target
from ..storage.backup import BackupFile
from ..storage.errors import DataDirError, SnapshotError, StorageError
from ..storage.restore import BUMP_REVISION, NewMember, restore
from ..storage.state_store import StateStore
from . import gofmt
from .commands import CommandError, Run, bad_arguments
from .flags import Flag, bool_flag, string_flag
from .printers import TablePrinter

RESTORE_FLAGS = (
    string_flag("config", "the new cluster's file, as for sampan node"),
    string_flag("name", "which member this is"),
    string_flag("data-dir", "where members keep their data, instead of the file's"),
    Flag("bump-revision", BUMP_REVISION, "how much higher the revision becomes", gofmt.parse_int),
    bool_flag("mark-compacted", "end watches and reads at revisions of the lost cluster"),
    string_flag("archive", "restore from this archive, or archives, instead of a file"),
    Flag("revision", 0, "with --archive: the last revision that is restored", gofmt.parse_int),
    string_flag("time", "with --archive: what was committed by then is restored, in RFC 3339"),
)


class Status(NamedTuple):
    """What is in a backup."""

    digest: str
    revision: int
    keys: int
    size: int


def save(run: Run) -> None:
    """`snapshot save <filename>`: all or nothing, and never over another file half."""
    if len(run.args) != 1:
        bad_arguments("snapshot save expects one argument")
    endpoints = run.flags["endpoints"]
    if len(endpoints) != 1:
        bad_arguments(f"snapshot must be requested to one selected node, not multiple {endpoints}")
    path = Path(run.args[0])
    with run.client() as client:
        _write_whole(path, client.snapshot())
    run.stdout.write(os.fsencode(f"Snapshot saved at {path}\n"))


def _write_whole(path: Path, pieces: Iterable[bytes]) -> None:
    partial = path.with_name(path.name + ".part")
    try:
        with partial.open("wb") as file:
            os.fchmod(file.fileno(), 0o600)  # it holds everything that the cluster does
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def status(run: Run) -> None:
    """`snapshot status <filename>`: whether it is whole, and what is in it."""
    if len(run.args) != 1:
        bad_arguments("snapshot status requires exactly one argument")
    try:
        found = _look_into(BackupFile(Path(run.args[0])))
    except (SnapshotError, StorageError) as error:
        raise CommandError(str(error)) from error
    _show(run, found)


def _look_into(backup: BackupFile) -> Status:
    digest = backup.verify()
    with tempfile.TemporaryDirectory(prefix="sampan-") as folder:
        backup.extract(Path(folder) / "state")
        state = StateStore.open(Path(folder) / "state")
        try:
            keys = state.count_keys()
        finally:
            state.close()
    return Status(digest[:4].hex(), backup.manifest.revision, keys, backup.size)


def _show(run: Run, found: Status) -> None:
    kind = run.flags["write-out"]
    if kind == "json":
        told = {
            "hash": int(found.digest, 16), "revision": found.revision, "totalKey": found.keys,
            "totalSize": found.size,
        }  # fmt: skip
        text = json.dumps(told, separators=(",", ":"))
    elif kind == "simple":
        size = gofmt.size(found.size)
        text = f"{found.digest}, {found.revision}, {found.keys}, {size}"
    elif kind == "table":
        TablePrinter(run.stdout, run.stderr, run.flags["hex"]).table(
            ("HASH", "REVISION", "TOTAL KEYS", "TOTAL SIZE"),
            [(found.digest, str(found.revision), str(found.keys), gofmt.size(found.size))],
        )
        return
    else:
        raise CommandError("unsupported output format")
    run.stdout.write(os.fsencode(f"{text}\n"))


def restore_member(run: Run) -> None:
    """`snapshot restore <filename> --config FILE --name NAME`, or `--archive DIR` for a file."""
    if len(run.args) != (0 if run.flags["archive"] else 1):
        bad_arguments("snapshot restore requires exactly one argument, or --archive")
    if not run.flags["archive"] and (run.flags["revision"] or run.flags["time"]):
        bad_arguments("--revision and --time need --archive")
    for name in ("config", "name"):
        if not run.flags[name]:
            bad_arguments(f"snapshot restore needs --{name}: the file of the new cluster, and who "
                          "of its members this is")  # fmt: skip
    try:
        path, revision = _restore(run, _target(run))
    except (model.ConfigError, SnapshotError, StorageError, DataDirError) as error:
        raise CommandError(str(error)) from error
    run.stdout.write(os.fsencode(f"Restored {path} at revision {revision}\n"))


def _restore(run: Run, target: Target) -> tuple[Path, int]:
    flags = run.flags
    file = Path(flags["config"])
    values = model.load(file) | ({"data_dir": flags["data-dir"]} if flags["data-dir"] else {})
    config = model.build(values, str(file))
    members = [with_id(member, config.cluster_id) for member in config.members]
    member = with_id(config.member(flags["name"]), config.cluster_id)
    path = Path(config.data_dir) / member.name
    archive = flags["archive"]
    revision = restore(
        ArchivedState(Path(archive), target) if archive else BackupFile(Path(run.args[0])),
        path,
        config.cluster_id,
        member.id,
        [NewMember(m.id, m.name, m.peer) for m in members],
        bump_revision=flags["bump-revision"],
        mark_compacted=flags["mark-compacted"],
    )
    return path, revision


def _target(run: Run) -> Target:
    revision, time = run.flags["revision"], run.flags["time"]
    if revision and time:
        bad_arguments("--revision and --time are two answers to one question")
    return Target(revision or None, _moment(time) if time else None)


def _moment(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        bad_arguments(f"{text} is not a time as 2026-01-31T23:59:59Z")
    if moment.tzinfo is None:
        bad_arguments(f"{text} is of which zone? Write {text}Z, or {text}+02:00")
    return int(moment.timestamp() * 1000)
