"""The log's tail in memory: etcd's MemoryStorage with a bound in bytes."""

import pytest
from sampan.actors.actor import Impossible
from sampan.actors.log_tail import LogTail
from sampan.raft import (
    ConfState,
    Entry,
    EntryType,
    ErrCompacted,
    ErrSnapshotTemporarilyUnavailable,
    ErrUnavailable,
    HardState,
    Snapshot,
    SnapshotMetadata,
)


def entry(index, term=1, size=10):
    return Entry(term, index, EntryType.EntryNormal, bytes(size))


def tail(first=1, count=10, start_term=0):
    made = [entry(n) for n in range(first, first + count)]
    return LogTail(HardState(1, 0, 0), ConfState(voters=[1]), (first - 1, start_term), made)


def consistent(t):
    """Positions and bytes agree with the entries."""
    found = t.entries(t.first_index(), t.last_index() + 1, 2**60) if len(t) else []
    assert [e.index for e in found] == list(range(t.first_index(), t.last_index() + 1))
    assert t.bytes == sum(len(e.data) for e in found)


def test_bounds_and_terms():
    t = tail(first=5, count=3, start_term=7)
    assert (t.first_index(), t.last_index(), len(t), t.bytes) == (5, 7, 3, 30)
    assert (t.term(4), t.term(5)) == (7, 1)
    with pytest.raises(ErrCompacted):
        t.term(3)
    with pytest.raises(ErrUnavailable):
        t.term(8)


def test_entries_are_cut_by_size_but_there_is_always_one():
    t = tail(count=5)
    assert [e.index for e in t.entries(2, 6, 0)] == [2]
    assert [e.index for e in t.entries(2, 6, 2 * 26)] == [2, 3]
    assert [e.index for e in t.entries(2, 6, 2**60)] == [2, 3, 4, 5]
    with pytest.raises(Impossible, match="the last is 5"):
        t.entries(2, 7, 0)


def test_compacted_entries_are_gone():
    t = tail(count=10)
    t.compact(4)
    assert (t.first_index(), t.term(4)) == (5, 1)
    with pytest.raises(ErrCompacted):
        t.entries(4, 6, 0)
    consistent(t)


def test_append_replaces_what_it_contradicts():
    t = tail(count=10)
    t.append([entry(6, term=2, size=100), entry(7, term=2, size=1)])
    assert (t.last_index(), t.term(5), t.term(6)) == (7, 1, 2)
    assert t.bytes == 50 + 101
    consistent(t)


def test_append_with_a_gap_or_before_the_start_is_impossible():
    t = tail(first=5, count=3)
    for index in (9, 4):
        with pytest.raises(Impossible, match="was a part of it lost"):
            t.append([entry(index)])


def test_reset_begins_anew():
    t = tail(count=10)
    t.reset(100, 9)
    assert (t.first_index(), t.last_index(), t.term(100), t.bytes) == (101, 100, 9, 0)
    t.append([entry(101, term=9)])
    consistent(t)


@pytest.mark.parametrize(
    ("limit", "keep_entries", "keep_bytes", "expected"),
    [
        (10, 3, 10**6, 7),  # entries decide
        (10, 100, 45, 6),  # bytes decide: four entries of ten fit
        (5, 3, 10**6, 5),  # never past what is durable
        (10, 100, 10**6, 0),  # all fit: nothing to compact
        (10, 0, 0, 10),
    ],
)
def test_compactable(limit, keep_entries, keep_bytes, expected):
    assert tail(count=10).compactable(limit, keep_entries, keep_bytes) == expected


def test_a_snapshot_is_wanted_until_one_is_made():
    t = tail(count=10)
    with pytest.raises(ErrSnapshotTemporarilyUnavailable):
        t.snapshot()
    assert t.snapshot_wanted
    made = Snapshot(b"name", SnapshotMetadata(ConfState(voters=[1]), 5, 1))
    t.snapshot_made = made
    assert t.snapshot() is made


def test_a_snapshot_from_before_the_log_is_of_no_use():
    t = tail(count=10)
    t.snapshot_made = Snapshot(b"name", SnapshotMetadata(ConfState(voters=[1]), 5, 1))
    t.compact(8)
    with pytest.raises(ErrSnapshotTemporarilyUnavailable):
        t.snapshot()
    assert t.snapshot_wanted
