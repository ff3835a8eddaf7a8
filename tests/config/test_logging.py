"""What the log does when its lines cannot be written."""

import errno
import io
import json

import pytest
import structlog
from sampan.config import logging


class Disk(io.StringIO):
    """A file on a disk that may be full."""

    full = False

    def write(self, text):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.fixture(autouse=True)
def _as_before():
    yield
    structlog.reset_defaults()


def test_a_full_disk_ends_nobody_and_is_told_of_afterwards(monkeypatch):
    disk = Disk()
    monkeypatch.setattr(logging.sys, "stderr", disk)
    log = logging.setup("info", actor="x")
    log.info("before")
    disk.full = True
    log.info("lost")
    log.warning("lost")
    disk.full = False
    log.info("after")
    lines = [json.loads(line) for line in disk.getvalue().splitlines()]
    told = ["before", "lines of this log were late or lost", "after"]
    assert [line["event"] for line in lines] == told
    assert lines[1]["lines"] == 2
