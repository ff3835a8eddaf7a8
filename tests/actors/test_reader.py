"""The order of reads, how many are answered at once, and those that take longer than a slice."""

import pytest
from sampan.actors.reader import Reader
from sampan.config import limits

LATE = 1e9
SIZE = 100
"""Larger answers are there after one slice."""


class Reads:
    """A reader whose reads take as many slices as their bodies say, one byte of answer each."""

    def __init__(self):
        self.begun = []
        self.told = []
        self.reader = Reader(self.answer, self.told.extend)

    def answer(self, body, who):
        self.begun.append(body)
        if int(body) > SIZE:
            return bytes(int(body))
        for _ in range(int(body) - 1):
            yield
        return bytes(int(body))

    def take(self, index, *slices, first_id=1, deadline=LATE, client=b""):
        bodies = [b"%d" % each for each in slices]
        reads = [(first_id + n, deadline, body, None, client) for n, body in enumerate(bodies)]
        self.reader.take(index, reads)

    @property
    def answered(self):
        return [read_id for read_id, _ in self.told]


@pytest.fixture
def reads():
    return Reads()


def test_reads_wait_for_their_index_and_no_longer(reads):
    reads.take(5, 1, first_id=10)
    reads.take(3, 1, 1, first_id=20)
    reads.reader.serve(2, 0.0)
    assert (reads.answered, reads.reader.busy(2), reads.reader.busy(3)) == ([], False, True)
    reads.reader.serve(4, 0.0)
    assert reads.answered == [20, 21]
    reads.reader.serve(5, 0.0)
    assert reads.answered == [20, 21, 10]
    assert not reads.reader.busy(5)


def test_a_long_read_is_passed_by_short_ones_and_makes_long_ones_wait(reads):
    reads.take(0, 3, 1, 2, 1)
    reads.reader.serve(0, 0.0)
    assert reads.answered == [2, 4]
    told = []
    while reads.reader.busy(0):
        reads.reader.advance(0.0)
        told.append(list(reads.answered))
    assert reads.answered == [2, 4, 1, 3]
    assert told.index([2, 4, 1]) == 1, "two slices were left"
    assert reads.begun == [b"3", b"1", b"2", b"1", b"2"], "what waits keeps nothing that it found"


def test_nobody_waits_for_a_read_whose_time_is_over(reads):
    reads.take(0, 1, 2, deadline=1.0)
    reads.take(0, 5, first_id=3, deadline=2.0)
    reads.reader.serve(0, 0.5)
    assert reads.answered == [1]
    reads.take(0, 1, first_id=4, deadline=1.0)
    reads.reader.serve(0, 1.0)
    reads.reader.advance(1.0)
    assert reads.answered == [1]
    reads.reader.advance(1.5)
    reads.reader.advance(2.0)
    assert not reads.reader.busy(0)
    assert reads.answered == [1]


def test_work_that_was_dropped_is_done_again(reads):
    reads.take(0, 3)
    reads.reader.serve(0, 0.0)
    reads.reader.advance(0.0)
    reads.reader.drop_work()
    for _ in range(3):
        assert reads.answered == []
        reads.reader.advance(0.0)
    assert reads.answered == [1]


def test_what_was_read_gets_time_to_leave(reads, monkeypatch):
    monkeypatch.setattr(limits, "READ_TURN_BYTES", 2)
    reads.take(0, 1, 1, 1)
    reads.reader.serve(0, 0.0)
    assert reads.answered == [1, 2]
    reads.reader.serve(0, limits.READ_PAUSE_S / 2)
    assert (reads.answered, reads.reader.after) == ([1, 2], limits.READ_PAUSE_S)
    reads.reader.serve(0, limits.READ_PAUSE_S)
    assert reads.answered == [1, 2, 3]
    reads.take(0, 3, first_id=4)
    reads.take(0, 3, first_id=5)
    reads.reader.serve(0, 1.0)
    assert reads.answered == [1, 2, 3], "trying to read something large takes room, too"
    for _ in range(2):
        reads.reader.advance(1.0 + limits.READ_PAUSE_S)
    assert reads.answered == [1, 2, 3, 4]
    assert reads.reader.after > 1.0 + limits.READ_PAUSE_S


# -- answers that have not left


@pytest.fixture
def few(monkeypatch):
    """Answers over 100 bytes are large; a client may have 300, all together 1000, long ones 600."""
    monkeypatch.setattr(limits, "LARGE_ANSWER_BYTES", SIZE)
    monkeypatch.setattr(limits, "CLIENT_LARGE_ANSWERS_BYTES", 300)
    monkeypatch.setattr(limits, "LARGE_ANSWERS_BYTES_MAX", 1000)
    monkeypatch.setattr(limits, "LONG_ANSWERS_BYTES_MAX", 601)


def settle(reads, now=0.0):
    """Everything that can be done; what was answered by it."""
    before = len(reads.told)
    reads.reader.serve(0, now)
    while reads.reader.busy(0):
        reads.reader.advance(now)
        reads.reader.serve(0, now)
    return reads.answered[before:]


def test_who_has_much_on_its_way_gets_no_other_large_answer(reads, few):
    reads.take(0, 200, 200, 200, 1, client=b"slow")
    reads.take(0, 200, 3, first_id=11, client=b"other")
    assert settle(reads) == [1, 2, 4, 11, 12]
    assert not reads.reader.busy(0), "nothing to do until something has left"
    reads.reader.left([11, 99])
    assert settle(reads) == []
    reads.take(0, 200, first_id=5, client=b"slow")
    assert settle(reads) == []
    reads.reader.left([1])
    assert settle(reads) == [3]
    reads.reader.left([2, 3])
    assert settle(reads) == [5]


def test_when_all_leave_much_no_large_answer_is_made_and_small_ones_are(reads, few):
    for n in range(1, 8):
        reads.take(0, 200, first_id=n, client=b"%d" % n)
    reads.take(0, 1, first_id=8)
    assert settle(reads) == [1, 2, 3, 4, 5, 8]
    reads.reader.left([1])
    assert settle(reads) == [], "what has waited goes when there is room for long ones"
    reads.reader.left([2])
    assert settle(reads) == [6]
    reads.take(0, 3, first_id=9)
    assert settle(reads) == []
    reads.reader.left([3])
    assert settle(reads) == [7]
    reads.reader.left([4])
    assert settle(reads) == [9]


def test_reads_that_wait_for_others_to_leave_are_forgotten_in_time(reads, few):
    for n in range(1, 6):
        reads.take(0, 200, first_id=n, client=b"%d" % n)
    reads.take(0, 200, first_id=6, deadline=1.0)
    reads.take(0, 200, 200, 200, first_id=7, client=b"c", deadline=1.0)
    assert settle(reads) == [1, 2, 3, 4, 5]
    reads.reader.expire(1.0)
    reads.reader.left([1, 2, 3, 4, 5])
    reads.take(0, 200, 200, first_id=10, client=b"c")
    assert settle(reads) == [10, 11]
    reads.take(0, 200, first_id=12, client=b"c", deadline=1.0)
    reads.take(0, 200, first_id=13, client=b"c")
    assert settle(reads, 0.5) == []
    reads.reader.expire(1.0)
    reads.reader.left([10])
    assert settle(reads, 1.0) == [13]
