"""A member's log goes into its archive without a gap, or the gap is told."""

import pytest
import structlog
from sampan.actors.archiver import HELD_S, LOOK_S, RETRY_S, SEGMENT_ENTRIES_MAX, Archiver
from sampan.actors.log_tail import LogTail
from sampan.raft import ConfState, Entry, HardState
from sampan.storage.archive import Base, Position
from sampan.storage.errors import SnapshotError

BASE = Base("snap-1", 3, 1, 30)


class FakeArchive:
    """Keeps what it is given in memory."""

    def __init__(self, position=None, times=()):
        self.kept, self._position, self._times = [], position, list(times)
        self.bases, self.refuses, self.gone, self.size = [], False, False, 1
        self.moments = []

    def position(self):
        return self._position

    def times(self):
        return self._times

    def note_times(self, times):
        self._times = times

    def put_base(self, base, position):
        self.check()
        self.bases.append(base.at)
        last, term = (position.last, position.term) if position else (base.at, base.term)
        return Position(last, term, base.at, 10, 0)

    def put_segment(self, segment, position):
        self.check()
        if self.gone:
            return None
        assert segment.before == (position.last, position.term)
        self.kept += [index for _, index, _, _ in segment.entries]
        self.moments += segment.times
        last = segment.entries[-1]
        bytes_now = position.entry_bytes + self.size
        return position._replace(last=last[1], term=last[0], entry_bytes=bytes_now)

    def check(self):
        if self.refuses:
            raise SnapshotError("no room")


class Rig:
    """An archiver beside a log that grows."""

    def __init__(self, archive, entries=10, start=0):
        self.archive, self.now, self.wall = archive, 50.0, 1_000_000
        self.tail = LogTail(HardState(), ConfState(), (start, 1), [])
        self.grow(entries)
        self.archiver = Archiver(archive, lambda: self.wall, structlog.get_logger())
        self.archiver.start(self.tail, self.now)

    def grow(self, count, size=1):
        last = self.tail.last_index()
        self.tail.append([Entry(1, last + n, data=b"x" * size) for n in range(1, count + 1)])

    def look(self, after=LOOK_S, *, ends=True):
        """What the core does at a heartbeat; whether a job began."""
        self.now += after
        self.wall += int(after * 1000)
        job = self.archiver.look(self.tail, self.tail.last_index(), self.now)
        if job == "times":
            self.archiver.times_job()
        elif job and ends:
            self.end()
        return job

    def end(self):
        self.archiver.done(self.archiver.job(), self.now)

    def run(self, seconds):
        for _ in range(int(seconds)):
            self.look()


@pytest.fixture
def rig():
    rig = Rig(FakeArchive())
    rig.look()
    assert rig.tail.snapshot_wanted
    rig.archiver.take_snapshot(BASE)
    rig.look()
    assert rig.archive.bases == [3]
    return rig


def test_entries_follow_the_base_some_seconds_later(rig):
    assert rig.archiver.needed_after() == 3
    rig.run(HELD_S + 2)
    assert rig.archive.kept == list(range(4, 11))
    assert rig.archiver.needed_after() == 10
    rig.run(3 * HELD_S)
    assert rig.archive.kept == list(range(4, 11)), "nothing new is nothing to archive"


def test_what_fills_files_does_not_wait(rig):
    rig.grow(3 * SEGMENT_ENTRIES_MAX)
    rig.run(4)
    assert len(rig.archive.kept) == 3 * SEGMENT_ENTRIES_MAX
    assert rig.archive.kept == list(range(4, 4 + 3 * SEGMENT_ENTRIES_MAX))


def test_large_entries_fill_files_too(rig):
    rig.grow(20, size=1 << 20)
    rig.run(4)
    assert rig.archive.kept[-1] > 15


def test_a_stop_archives_what_there_is(rig):
    rig.look()
    assert not rig.archiver.idle
    rig.archiver.stopping = True
    rig.look(0.1)
    assert rig.archiver.idle
    assert rig.archive.kept == list(range(4, 11))


def test_what_fails_is_tried_again_and_nobody_waits_for_it(rig):
    rig.archive.refuses = True
    rig.run(HELD_S + 2)
    status = rig.archiver.status(rig.now)
    assert (status["failing"], status["behind"], rig.archive.kept) == ("no room", 7, [])
    assert rig.archiver.idle, "a node that stops does not wait either"
    rig.archive.refuses = False
    rig.run(RETRY_S + 1)
    assert rig.archive.kept == list(range(4, 11))
    assert rig.archiver.status(rig.now)["failing"] == ""


def test_while_a_file_takes_its_time_no_other_begins(rig):
    rig.run(HELD_S - 1)
    while not rig.look(ends=False):
        pass
    rig.grow(5)
    for _ in range(90):
        assert rig.look(ends=False) != "archive"
    assert rig.archiver.status(rig.now)["under_way_s"] == 90.0
    assert rig.archiver.needed_after() == 3
    rig.end()
    rig.run(HELD_S + 2)
    assert rig.archive.kept == list(range(4, 16))


def test_a_log_that_was_compacted_meanwhile_is_a_gap_and_a_new_base(rig):
    rig.tail.compact(8)
    rig.run(2)
    assert rig.tail.snapshot_wanted
    assert rig.archiver.needed_after() == 2**63, "nothing would be gained"
    rig.archiver.take_snapshot(Base("snap-9", 9, 1, 90))
    assert rig.archiver.needed_after() == 9
    rig.run(HELD_S + 2)
    assert (rig.archive.bases, rig.archive.kept) == ([3, 9], [10])


def test_a_snapshot_that_is_older_than_the_log_is_no_base():
    rig = Rig(FakeArchive(), start=5)
    rig.archiver.take_snapshot(BASE)
    rig.run(3)
    assert (rig.archive.bases, rig.tail.snapshot_wanted) == ([], True)


def test_a_member_that_starts_again_goes_on():
    rig = Rig(FakeArchive(Position(6, 1, 3, 10, 10), [(8, 77), (10, 88)]))
    rig.run(HELD_S + 2)
    assert (rig.archive.bases, rig.archive.kept) == ([], [7, 8, 9, 10])
    assert rig.archive.moments == [(8, 77), (10, 88)], "when they were committed, not archived"


def test_an_archive_that_somebody_has_removed_begins_anew():
    archive = FakeArchive(Position(6, 1, 3, 10, 10))
    archive.gone = True
    rig = Rig(archive)
    rig.run(HELD_S + 2)
    assert rig.tail.snapshot_wanted
    archive.gone = False
    rig.archiver.take_snapshot(Base("snap-10", 10, 1, 100))
    rig.grow(2)
    rig.run(HELD_S + 2)
    assert (archive.bases, archive.kept) == ([10], [11, 12])


def test_the_moments_of_another_log_are_forgotten():
    rig = Rig(FakeArchive(Position(900, 1, 3, 1, 1), [(1000, 77)]))
    rig.look()
    rig.look()
    assert [index for index, _ in rig.archive.times()] == [10]


@pytest.mark.parametrize("position", [Position(11, 1, 3, 1, 1), Position(6, 2, 3, 1, 1)])
def test_what_was_archived_of_another_log_is_not_gone_on_with(position):
    rig = Rig(FakeArchive(position))
    rig.look()
    assert rig.tail.snapshot_wanted


def test_a_new_base_comes_when_there_is_much_to_replay(rig):
    rig.archive.size = 300 << 20
    rig.run(HELD_S + 2)
    rig.tail.snapshot_wanted = False
    rig.run(2)
    assert rig.tail.snapshot_wanted
    rig.archiver.take_snapshot(Base("snap-10", 10, 1, 100))
    rig.tail.snapshot_wanted = False
    rig.grow(1)
    rig.run(HELD_S + 4)
    assert (rig.archive.bases, rig.archive.kept[-1]) == ([3, 10], 11)


def test_moments_are_kept_for_the_next_start_and_rise_whatever_the_clock_does(rig):
    rig.look()
    rig.grow(1)
    rig.wall = 5
    rig.look()
    rig.grow(1)
    rig.look()
    indexes, moments = zip(*rig.archive.times(), strict=True)
    assert (indexes, sorted(moments)) == ((10, 11, 12), list(moments))
