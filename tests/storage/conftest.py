"""What the storage tests share."""

import itertools
import os
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fast_directories():
    """Names of new directories, in memory where that exists: many short histories need no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        yield (Path(root) / str(number) for number in itertools.count())


@pytest.fixture
def disk_calls(monkeypatch):
    """What was called, in order: ("sync", path) and ("rename", from, to). A kill loses nothing that
    was written, so only the calls tell whether a power failure would."""
    calls = []
    fsync, rename = os.fsync, os.rename

    def noting_fsync(descriptor):
        calls.append(("sync", Path(os.readlink(f"/proc/self/fd/{descriptor}"))))
        fsync(descriptor)

    def noting_rename(source, target):
        calls.append(("rename", Path(source), Path(target)))
        rename(source, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(os, "rename", noting_rename)
    return calls
