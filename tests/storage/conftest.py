"""What the storage tests share."""

import itertools
import os
import tempfile
from pathlib import Path

import pytest
from sampan.storage import (
    executor,
    many_writes,
    mvcc,
    overlay,
    packing,
    redo,
    rocks,
    sliced,
    state_store,
    transactions,
)


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


@pytest.fixture
def tiny_slices(monkeypatch):
    """Every page, key, lookup, chunk, part and write is a slice of its own, and every commit and
    every answer is a large one."""
    for module, name, value in (
        (rocks, "PAGE_PAIRS", 1),
        (rocks, "FIRST_SLICE_BYTES", 0),
        (rocks, "SLICE_BYTES", 0),
        (rocks, "ITEMS", 1),
        (sliced, "ITEMS", 1),
        (sliced, "JOINED_BYTES", 8),
        (overlay.Overlay, "ONE_DICT_MAX", 1),
        (many_writes, "FULL", 3),
        (mvcc, "ITEMS", 1),
        (mvcc, "_VISITS", 1),
        (mvcc, "_LOOKUPS", 1),
        (packing, "ITEMS", 1),
        (transactions, "FOUND_MUCH", 0),
        (transactions, "SLICE_COST", 1),
        (executor, "SLICE_COST", 1),
        (executor, "_LEASED", 1),
        (redo, "WRITES", 1),
        (state_store, "CHUNKS_A_SLICE", 1),
        (state_store, "COMMIT_KEYS", 3),
        (state_store, "LARGE_COMMIT", 0),
    ):
        monkeypatch.setattr(module, name, value)
