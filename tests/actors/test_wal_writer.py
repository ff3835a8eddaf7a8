"""The WAL writer: one sync for all that came, and nothing leaves before its sync."""

import pytest
from sampan.actors.wal_writer import WalWriter
from sampan.config.limits import LOG_MARK_S

from ..storage.memory_log import MemoryLog
from .helpers import take, tick, turn


class Disk(MemoryLog):
    """Counts what was asked of it."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def save(self, entries, hard_state):
        self.calls.append("save")
        super().save(entries, hard_state)

    def sync(self):
        self.calls.append("sync")

    def close(self):
        self.calls.append("close")


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def wal(disk):
    writer = WalWriter(disk)
    writer.start()
    take(writer)
    return writer


def append(seq, *indexes, hard_state=None, start=None, must_sync=True, messages=(), awaited=True):
    entries = [(1, index, 0, b"data") for index in indexes]
    what = (seq, entries, hard_state, start, must_sync, list(messages), awaited)
    return "readyc", ("append", *what)


def test_at_start_it_tells_what_the_log_holds(disk):
    disk.save([(1, 1, 0, b"a"), (1, 2, 0, b"b")], (1, 2, 1))
    writer = WalWriter(disk)
    writer.start()
    (held,) = take(writer).on("logc")
    assert held == ((1, 2, 1), (0, 0), ((1, 1, 0, b"a"), (1, 2, 0, b"b")))


def test_one_sync_for_all_that_came(wal, disk):
    out = turn(wal, append(1, 1), append(2, 2), append(3, 3))
    assert out.on("jobc") == ["sync"]
    assert disk.calls == ["save"] * 3
    out = turn(wal, ("donec", ("sync", None)))
    assert out.on("advancec") == [("durable", 3)]


def test_what_is_durable_is_marked_now_and_then(wal, disk):
    disk.is_marked = False
    assert tick(wal, 100.0).on("jobc") == ["mark"]
    assert tick(wal, 200.0) == [], "one at a time"
    assert turn(wal, ("donec", ("mark", None))) == []
    assert tick(wal, 200.0 + LOG_MARK_S / 2) == []
    assert tick(wal, 200.0 + LOG_MARK_S).on("jobc") == ["mark"]
    turn(wal, ("donec", ("mark", None)))
    disk.is_marked = True
    assert tick(wal, 300.0) == []


def test_a_mark_does_not_end_a_sync(wal, disk):
    turn(wal, append(1, 1, messages=[(2, b"acknowledged")]))
    disk.is_marked = False
    tick(wal, 100.0)
    assert turn(wal, ("donec", ("mark", None))) == []
    assert turn(wal, ("donec", ("sync", None))).on("sendc") == [(2, b"acknowledged")]


def test_news_that_the_core_does_not_wait_for_is_held_back(wal):
    turn(wal, append(1, 1, messages=[(2, b"acknowledged")], awaited=False))
    out = turn(wal, ("donec", ("sync", None)))
    assert out.on("sendc") == [(2, b"acknowledged")], "the leader waits for this"
    assert out.on("advancec") == []
    assert wal.wake_at is not None
    wal.on_wake()
    assert take(wal).on("advancec") == [("durable", 1)]
    assert wal.wake_at is None


def test_held_news_travels_with_the_next(wal):
    turn(wal, append(1, 1, awaited=False))
    turn(wal, append(2, 2), ("donec", ("sync", None)))
    assert turn(wal, ("donec", ("sync", None))).on("advancec") == [("durable", 2)]
    assert wal.wake_at is None


def test_nothing_leaves_before_its_sync(wal):
    out = turn(wal, append(1, 1, messages=[(2, b"one")]))
    assert out.on("sendc") == []
    assert out.on("advancec") == []
    # More comes while the disk works: it waits for the next sync.
    out = turn(wal, append(2, 2, messages=[(3, b"two")]))
    assert out == []
    out = turn(wal, ("donec", ("sync", None)))
    assert out.on("sendc") == [(2, b"one")]
    assert out.on("advancec") == [("durable", 1)]
    assert out.on("jobc") == ["sync"]
    out = turn(wal, ("donec", ("sync", None)))
    assert out.on("sendc") == [(3, b"two")]
    assert out.on("advancec") == [("durable", 2)]
    assert out.on("jobc") == []


def test_messages_leave_in_order(wal):
    turn(wal, append(1, 1, messages=[(2, b"a"), (3, b"b")]), append(2, 2, messages=[(2, b"c")]))
    assert turn(wal, ("donec", ("sync", None))).on("sendc") == [(2, b"a"), (3, b"b"), (2, b"c")]


def test_what_need_not_be_durable_costs_no_sync(wal, disk):
    out = turn(wal, append(1, must_sync=False, messages=[(2, b"m")]))
    assert out.on("jobc") == []
    assert out.on("sendc") == [(2, b"m")]
    assert disk.calls == []


def test_but_it_waits_for_what_came_before_it(wal):
    turn(wal, append(1, 1, messages=[(2, b"first")]))
    assert turn(wal, append(2, must_sync=False, messages=[(2, b"second")])) == []
    out = turn(wal, ("donec", ("sync", None)))
    assert out.on("sendc") == [(2, b"first"), (2, b"second")]
    assert out.on("advancec") == [("durable", 1), ("durable", 2)]


def test_hard_state_alone_is_synced(wal, disk):
    assert turn(wal, append(1, hard_state=(5, 2, 0))).on("jobc") == ["sync"]
    assert disk.hard_state() == (5, 2, 0)


def test_a_snapshots_start_comes_before_the_entries_after_it(wal, disk):
    turn(wal, append(1, 1, 2, 3))
    turn(wal, ("donec", ("sync", None)))
    turn(wal, append(2, 101, start=(100, 4)))
    assert disk.start == (100, 4)
    assert (disk.first_index, disk.last_index) == (101, 101)


def test_compaction_asks_for_no_sync(wal, disk):
    turn(wal, append(1, 1, 2, 3))
    turn(wal, ("donec", ("sync", None)))
    assert turn(wal, ("readyc", ("compact", 2, 1))) == []
    assert disk.first_index == 3


def test_a_disk_that_fails_acknowledges_nothing(wal, disk):
    def fail():
        raise OSError("no")

    disk.sync = fail
    out = turn(wal, append(1, 1, messages=[(2, b"m")]))
    with pytest.raises(OSError, match="no"):
        wal.jobs[out.on("jobc")[0]]()
    assert take(wal) == []
