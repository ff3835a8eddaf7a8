"""What the storage tests share."""

import itertools
import tempfile
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def fast_directories():
    """Names of new directories, in memory where that exists: many short histories need no disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        yield (Path(root) / str(number) for number in itertools.count())
