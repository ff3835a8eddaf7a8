"""The log and its storage: behaviours 110 to 115."""

import pytest
from sampan.raft import (
    NO_LIMIT,
    ConfState,
    Entry,
    EntryType,
    ErrCompacted,
    ErrSnapOutOfDate,
    ErrSnapshotTemporarilyUnavailable,
    ErrUnavailable,
    HardState,
    MemoryStorage,
    ProposalDropped,
    RaftPanic,
    Snapshot,
    SnapshotMetadata,
    StepLocalMsg,
    StepPeerNotFound,
    entry_size,
)
from sampan.raft.config import NullLogger
from sampan.raft.log import RaftLog
from sampan.raft.log_unstable import Unstable
from sampan.raft.types import entries_size, limit_size
from sampan.tests.raft.harness import Recorder


def snap(index, term, data=b"") -> Snapshot:
    return Snapshot(data, SnapshotMetadata(ConfState([1]), index, term))


def stored(first, last, term=None) -> MemoryStorage:
    """Entries first..last, whose terms are their indexes unless one is given."""
    storage = MemoryStorage()
    if first > 1:
        storage.apply_snapshot(snap(first - 1, term or first - 1))
    storage.append([Entry(term or i, i) for i in range(first, last + 1)])
    return storage


def half_and_half() -> RaftLog:
    """Snapshot at 100; 101..149 in storage, 150..199 unstable; terms are indexes."""
    log = RaftLog(stored(101, 149), NullLogger())
    log.append([Entry(i, i) for i in range(150, 200)])
    return log


@pytest.mark.parametrize(
    ("index", "want"),
    [(99, ErrCompacted), (100, 100), (101, 101), (149, 149), (150, 150), (199, 199),
     (200, ErrUnavailable)],
)  # fmt: skip
def test_110_terms_across_storage_and_unstable(index, want):
    log = half_and_half()
    if isinstance(want, int):
        assert (log.term(index), log.term_or_zero(index)) == (want, want)
        assert log.match_term(index, want)
        assert not log.match_term(index, want + 1)
        return
    with pytest.raises(want):
        log.term(index)
    assert log.term_or_zero(index) == 0
    assert not log.match_term(index, 0)


def test_110_terms_around_an_unstable_snapshot():
    log = RaftLog(stored(101, 103), NullLogger())
    log.restore(snap(150, 42))
    for index, want in [(100, 0), (103, 0), (149, 0), (150, 42), (151, 0)]:
        assert log.term_or_zero(index) == want
    with pytest.raises(ErrUnavailable):
        log.term(151)
    with pytest.raises(ErrCompacted):
        log.slice(101, 103, NO_LIMIT)
    assert (log.first_index(), log.last_index(), log.last_term()) == (151, 150, 42)
    assert log.snapshot().metadata.index == 150


@pytest.mark.parametrize(
    ("lo", "hi", "limit", "count"),
    [
        (101, 101, NO_LIMIT, 0),
        (101, 149, NO_LIMIT, 48),
        (148, 152, NO_LIMIT, 4),
        (150, 151, NO_LIMIT, 1),
        (199, 200, NO_LIMIT, 1),
        (150, 200, 0, 1),
        (149, 152, 0, 1),
        (148, 152, 6, 1),
        (148, 152, 7, 1),
        (148, 152, 12, 2),
        (149, 152, 12, 2),
        (149, 152, 11, 1),
        (148, 152, 18, 3),
        (147, 152, 17, 2),
        (150, 153, 12, 2),
        (150, 153, 13, 2),
    ],
)
def test_110_slices_are_bounded(lo, hi, limit, count):
    log = half_and_half()
    assert entry_size(Entry(150, 150)) == 6
    got = log.slice(lo, hi, limit)
    assert [e.index for e in got] == list(range(lo, lo + count))
    assert all(e.term == e.index for e in got)


def test_110_a_slice_has_no_gap_where_storage_was_cut_short():
    storage = MemoryStorage()
    storage.append([Entry(1, 1, data=b"x" * 10), Entry(1, 2, data=b"x" * 100)])
    log = RaftLog(storage, NullLogger())
    log.append([Entry(1, 3)])
    assert [e.index for e in log.slice(1, 4, 60)] == [1]
    assert [e.index for e in log.slice(1, 4, 200)] == [1, 2, 3]


def test_110_bounds_of_slices():
    log = half_and_half()
    with pytest.raises(ErrCompacted):
        log.slice(100, 101, NO_LIMIT)
    with pytest.raises(RaftPanic, match=r"slice\[101,201\) out of bound \[101,199\]"):
        log.slice(101, 201, NO_LIMIT)
    with pytest.raises(RaftPanic, match="invalid slice 150 > 149"):
        log.slice(150, 149, NO_LIMIT)
    assert log.entries(200, NO_LIMIT) == []
    assert [e.index for e in log.entries(198, NO_LIMIT)] == [198, 199]


@pytest.mark.parametrize("page", [0, 6, 30, NO_LIMIT])
def test_110_scans_see_every_entry_once(page):
    log = half_and_half()
    pages = list(log.scan(120, 180, page))
    assert [e.index for p in pages for e in p] == list(range(120, 180))
    assert all(len(p) == 1 or sum(map(entry_size, p)) <= page for p in pages)
    assert list(log.scan(120, 120, page)) == []
    with pytest.raises(ErrCompacted):
        list(log.scan(99, 120, page))


def test_110_a_storage_that_gives_nothing_is_noticed():
    class Empty(MemoryStorage):
        def entries(self, lo, hi, max_size):
            return []

    class Gone(MemoryStorage):
        def entries(self, lo, hi, max_size):
            raise ErrUnavailable

    for kind, text in ((Empty, r"got 0 entries in \[1, 2\)"), (Gone, r"entries\[1:2\) is unavail")):
        storage = kind()
        storage.append([Entry(1, 1)])
        with pytest.raises(RaftPanic, match=text):
            list(RaftLog(storage, NullLogger()).scan(1, 2, NO_LIMIT))


def test_110_the_end_of_the_log_must_have_a_term():
    class NoTerm(MemoryStorage):
        def term(self, i):
            raise ErrUnavailable

    log = RaftLog(NoTerm(), NullLogger())
    with pytest.raises(RaftPanic, match="unexpected error when getting the last term"):
        log.last_term()


def test_110_sizes():
    big = Entry(2**32, 2**63, EntryType.EntryConfChange, b"x" * 200)
    assert entry_size(Entry()) == 4
    assert entry_size(Entry(127, 128)) == 5
    assert entry_size(Entry(128, 127)) == 5
    assert entry_size(Entry(1, 1, data=bytes(127))) == 4 + 1 + 1 + 127
    assert entry_size(Entry(1, 1, data=bytes(128))) == 4 + 1 + 2 + 128
    assert entry_size(big) == 2 + 5 + 10 + 2 + 1 + 2 + 200
    assert len(big.marshal()) == entry_size(big)
    entries = [Entry(1, i, data=b"x" * 10) for i in range(1, 4)]
    size = entry_size(entries[0])
    for limit, count in [(0, 1), (size, 1), (2 * size - 1, 1), (2 * size, 2), (3 * size, 3)]:
        assert limit_size(entries, limit) == entries[:count]
    assert limit_size([], 0) == []
    assert entries_size([]) == 0
    for lengths in ([1, 1], [127, 127], [127, 128], [200, 300], [0, 5], [5, 0]):
        for terms in ([1, 1], [127, 128]):
            for start in (1, 127):
                log = [
                    Entry(t, start + i, data=b"x" * n)
                    for i, (t, n) in enumerate(zip(terms, lengths, strict=True))
                ]
                assert entries_size(log) == sum(map(entry_size, log))
    mixed = [Entry(1, 1, data=b"x"), Entry(1, 2, EntryType.EntryConfChange, b"x")]
    assert entries_size(mixed) == sum(map(entry_size, mixed)) == 16


def test_errors_have_etcds_texts():
    texts = {
        ErrCompacted: "requested index is unavailable due to compaction",
        ErrUnavailable: "requested entry at index is unavailable",
        ErrSnapOutOfDate: "requested index is older than the existing snapshot",
        ErrSnapshotTemporarilyUnavailable: "snapshot is temporarily unavailable",
        ProposalDropped: "raft proposal dropped",
        StepLocalMsg: "raft: cannot step raft local message",
        StepPeerNotFound: "raft: cannot step as peer not found",
    }
    for kind, text in texts.items():
        assert str(kind()) == text


def test_111_the_commit_index_stays_within_the_log():
    log = RaftLog(stored(1, 3), NullLogger())
    log.commit_to(2)
    log.commit_to(1)
    assert log.committed == 2
    with pytest.raises(RaftPanic, match=r"tocommit\(4\) is out of range \[lastIndex\(3\)\]. Was"):
        log.commit_to(4)
    assert log.committed == 2
    assert not log.maybe_commit(2, 2)
    assert not log.maybe_commit(3, 2)
    assert not log.maybe_commit(9, 0)
    assert log.maybe_commit(3, 3)


def test_111_applied_stays_between_itself_and_committed():
    log = RaftLog(stored(1, 5), NullLogger())
    log.commit_to(4)
    log.applied_to(3, 0)
    for index in (2, 5):
        with pytest.raises(
            RaftPanic,
            match=rf"applied\({index}\) is out of range \[prevApplied\(3\), committed\(4\)\]",
        ):
            log.applied_to(index, 0)
    with pytest.raises(RaftPanic, match=r"applying\(5\) is out of range \[prevApplying\(3\), comm"):
        log.accept_applying(5, 0, True)
    with pytest.raises(RaftPanic, match=r"after\(3\) is out of range \[committed\(4\)\]"):
        log.append([Entry(9, 4)])
    assert log.append([]) == 5


@pytest.mark.parametrize(
    ("index", "unstable", "room", "paused"),
    [(3, True, 100, True), (3, False, 100, True), (4, False, 100, False), (5, True, 100, False),
     (5, True, 101, True), (4, True, 100, True)],
)  # fmt: skip
def test_111_applying_pauses_when_the_room_is_used_or_the_page_was_cut(
    index, unstable, room, paused
):
    log = RaftLog(stored(1, 4, 1), NullLogger(), 101)
    log.append([Entry(1, 5)])
    log.commit_to(5)
    log.accept_applying(index, room, unstable)
    assert log._applying_paused == paused
    log.applied_to(index, 60)
    assert not log._applying_paused
    log.accept_applying(index, 200, unstable)
    log.applied_to(index, 99)
    assert log._applying_paused, "still more than the bound under way"


def test_111_applying_stays_paused_at_the_bound():
    log = RaftLog(stored(1, 4, 1), NullLogger(), 100)
    log.commit_to(4)
    log.accept_applying(3, 150, True)
    log.applied_to(2, 50)
    assert not log.has_next_committed(True)
    log.applied_to(3, 1)
    assert log.has_next_committed(True)


def test_111_no_room_left_without_a_pause_is_a_bug():
    log = RaftLog(stored(1, 2, 1), NullLogger(), 10)
    log.commit_to(2)
    log._applying_size = 10
    with pytest.raises(RaftPanic, match=r"applying entry size \(10-10\)=0 not positive"):
        log.next_committed(True)


def test_111_applying_what_was_compacted_is_a_bug():
    storage = stored(1, 5, 1)
    log = RaftLog(storage, NullLogger())
    log.commit_to(5)
    storage.compact(3)
    with pytest.raises(RaftPanic, match="unexpected error when getting unapplied entries"):
        log.next_committed(True)


def test_112_compaction():
    storage = stored(1, 1000)
    log = RaftLog(storage, NullLogger())
    log.commit_to(1000)
    log.applied_to(1000, 0)
    storage.compact(500)
    assert (log.first_index(), log.last_index()) == (501, 1000)
    assert [log.match_term(i, i) for i in (499, 500, 501, 1000)] == [False, True, True, True]
    with pytest.raises(ErrCompacted):
        storage.compact(500)
    with pytest.raises(RaftPanic, match=r"compact 1001 is out of bound lastindex\(1000\)"):
        storage.compact(1001)
    log.append([Entry(1001, 1001)])
    assert (log.last_index(), log.unstable.next_entries()) == (1001, [Entry(1001, 1001)])


def test_113_unstable_bounds():
    u = Unstable(5, NullLogger())
    assert (u.maybe_first_index(), u.last, u.maybe_term(5)) == (None, 4, None)
    assert (u.next_entries(), u.next_snapshot()) == ([], None)
    u.truncate_and_append([Entry(1, 5)])
    assert (u.maybe_first_index(), u.last) == (None, 5)
    assert [u.maybe_term(i) for i in (4, 5, 6)] == [None, 1, None]
    u.restore(snap(4, 3))
    assert (u.maybe_first_index(), u.last) == (5, 4)
    assert [u.maybe_term(i) for i in (3, 4, 5)] == [None, 3, None]
    u.truncate_and_append([Entry(4, 5)])
    assert (u.last, u.maybe_term(5)) == (5, 4)
    assert (u.offset, u.offset_in_progress, u.snapshot_in_progress) == (5, 5, False)


def test_113_a_restored_snapshot_replaces_what_is_being_written():
    for index in (3, 20):
        u = Unstable(5, NullLogger())
        u.truncate_and_append([Entry(1, 5), Entry(1, 6)])
        u.accept_in_progress()
        u.restore(snap(index, 2))
        assert (u.offset, u.offset_in_progress, u.entries) == (index + 1, index + 1, [])
        u.truncate_and_append([Entry(2, index + 1)])
        assert u.next_entries() == [Entry(2, index + 1)]


def test_113_unstable_in_progress():
    u = Unstable(5, NullLogger())
    u.restore(snap(4, 1))
    u.truncate_and_append([Entry(1, 5), Entry(1, 6)])
    assert u.next_snapshot() is not None
    u.accept_in_progress()
    assert (u.next_entries(), u.next_snapshot(), u.offset_in_progress) == ([], None, 7)
    u.truncate_and_append([Entry(1, 7)])
    assert u.next_entries() == [Entry(1, 7)]
    u.stable_to(4, 1)  # the snapshot's, not an entry's
    assert u.offset == 5
    u.stable_snap_to(3)
    assert u.snapshot is not None
    u.stable_snap_to(4)
    assert (u.snapshot, u.snapshot_in_progress) == (None, False)
    u.stable_to(5, 1)
    assert (u.offset, u.offset_in_progress, len(u.entries)) == (6, 7, 2)
    u.stable_to(7, 1)
    assert (u.offset, u.offset_in_progress, u.entries) == (8, 8, [])


@pytest.mark.parametrize(
    ("start", "terms", "offset", "want"),
    [
        (7, [2], 5, [1, 1, 2]),
        (6, [2, 2], 5, [1, 2, 2]),
        (5, [2], 5, [2]),
        (4, [2, 2, 2], 4, [2, 2, 2]),
    ],
)
def test_113_unstable_truncation(start, terms, offset, want):
    recorder = Recorder()
    u = Unstable(5, recorder)
    u.truncate_and_append([Entry(1, 5), Entry(1, 6)])
    u.accept_in_progress()
    fresh = [Entry(t, i) for i, t in enumerate(terms, start)]
    u.truncate_and_append(fresh)
    fresh.clear()
    assert (u.offset, [e.term for e in u.entries]) == (offset, want)
    assert u.offset_in_progress == min(7, start)
    how = {7: [], 6: ["truncate the unstable entries before index 6"]}
    assert recorder.lines == how.get(start, [f"replace the unstable entries from index {start}"])
    assert [e.index for e in u.entries] == list(range(offset, offset + len(want)))


def test_113_unstable_slices():
    u = Unstable(5, NullLogger())
    u.truncate_and_append([Entry(1, 5), Entry(1, 6)])
    assert [e.index for e in u.slice(5, 7)] == [5, 6]
    u.slice(5, 7).clear()
    assert len(u.entries) == 2
    assert u.slice(6, 6) == []
    with pytest.raises(RaftPanic, match=r"invalid unstable\.slice 6 > 5"):
        u.slice(6, 5)
    for lo, hi in [(4, 6), (5, 8)]:
        with pytest.raises(RaftPanic, match=r"out of bound \[5,7\]"):
            u.slice(lo, hi)
    with pytest.raises(RaftPanic, match=r"unstable.slice\[5,9\) out of bound"):
        u.truncate_and_append([Entry(1, 9)])


def test_114_storage_terms_and_entries():
    storage = stored(4, 6)
    for index, want in [(2, ErrCompacted), (3, 3), (4, 4), (6, 6), (7, ErrUnavailable)]:
        if isinstance(want, int):
            assert storage.term(index) == want
        else:
            with pytest.raises(want):
                storage.term(index)
    for lo in (2, 3):
        with pytest.raises(ErrCompacted):
            storage.entries(lo, 6, NO_LIMIT)
    assert [e.index for e in storage.entries(4, 7, NO_LIMIT)] == [4, 5, 6]
    assert [e.index for e in storage.entries(4, 7, 0)] == [4]
    assert [e.index for e in storage.entries(4, 7, 8)] == [4, 5]
    with pytest.raises(RaftPanic, match=r"entries' hi\(8\) is out of bound lastindex\(6\)"):
        storage.entries(4, 8, NO_LIMIT)
    with pytest.raises(ErrUnavailable):
        stored(4, 3).entries(4, 4, NO_LIMIT)
    storage.entries(4, 7, NO_LIMIT).clear()
    assert (storage.first_index(), storage.last_index()) == (4, 6)


@pytest.mark.parametrize(
    ("start", "terms", "want"),
    [
        (1, [1, 2], [3, 4, 5]),
        (3, [3, 4, 5], [3, 4, 5]),
        (3, [3, 6, 6], [3, 6, 6]),
        (3, [3, 4, 5, 5], [3, 4, 5, 5]),
        (2, [3, 3, 5], [3, 5]),
        (4, [5], [3, 5]),
        (6, [5], [3, 4, 5, 5]),
    ],
)
def test_114_storage_append(start, terms, want):
    storage = stored(4, 5)  # after a dummy for index 3
    storage.append([Entry(t, i) for i, t in enumerate(terms, start)])
    dummy, *rest = storage._entries
    assert [dummy.term, *(e.term for e in rest)] == want or [
        3, *(e.term for e in rest)
    ] == want  # fmt: skip
    assert [e.index for e in rest] == list(range(4, 4 + len(rest)))
    storage.append([])


def test_114_storage_append_leaves_no_gap():
    storage = stored(1, 3)
    with pytest.raises(RaftPanic, match=r"missing log entry \[last: 3, append at: 5\]"):
        storage.append([Entry(5, 5)])


def test_114_storage_snapshots():
    storage = stored(1, 5)
    made = storage.create_snapshot(4, ConfState([1, 2, 3]), b"data")
    assert made == Snapshot(b"data", SnapshotMetadata(ConfState([1, 2, 3]), 4, 4))
    assert storage.snapshot() == made
    with pytest.raises(ErrSnapOutOfDate):
        storage.create_snapshot(4, None, b"")
    with pytest.raises(RaftPanic, match=r"snapshot 6 is out of bound lastindex\(5\)"):
        storage.create_snapshot(6, None, b"")
    assert storage.create_snapshot(5, None, b"").metadata.conf_state == ConfState([1, 2, 3])
    with pytest.raises(ErrSnapOutOfDate):
        storage.apply_snapshot(snap(5, 5))
    storage.apply_snapshot(snap(6, 6))
    assert (storage.first_index(), storage.last_index(), storage.term(6)) == (7, 6, 6)
    empty = MemoryStorage()
    empty.apply_snapshot(snap(0, 0))
    assert empty.initial_state() == (HardState(), ConfState([1]))
    assert (empty.first_index(), empty.last_index()) == (1, 0)
    empty.apply_snapshot(snap(0, 0))


def test_115_conflicts():
    log = RaftLog(stored(1, 3), NullLogger())
    for start, terms, want in [
        (1, [], 0), (1, [1, 2, 3], 0), (2, [2, 3], 0), (3, [3], 0),
        (1, [1, 2, 3, 4], 4), (4, [4, 4], 4), (1, [4, 4], 1), (2, [1, 4], 2), (3, [1], 3),
    ]:  # fmt: skip
        assert log.find_conflict([Entry(t, i) for i, t in enumerate(terms, start)]) == want


@pytest.mark.parametrize(
    ("terms", "index", "term", "want"),
    [
        ([0, 2, 2, 5, 5, 5], 100, 2, (100, 0)),
        ([0, 2, 2, 5, 5, 5], 5, 6, (5, 5)),
        ([0, 2, 2, 5, 5, 5], 5, 5, (5, 5)),
        ([0, 2, 2, 5, 5, 5], 5, 4, (2, 2)),
        ([0, 2, 2, 5, 5, 5], 5, 2, (2, 2)),
        ([0, 2, 2, 5, 5, 5], 5, 1, (0, 0)),
        ([0, 2, 2, 5, 5, 5], 1, 2, (1, 2)),
        ([0, 2, 2, 5, 5, 5], 0, 0, (0, 0)),
    ],
)
def test_115_conflicts_by_term(terms, index, term, want):
    storage = MemoryStorage()
    storage.append([Entry(t, i) for i, t in enumerate(terms) if i])
    assert RaftLog(storage, NullLogger()).find_conflict_by_term(index, term) == want


def test_115_up_to_date():
    log = RaftLog(stored(1, 3), NullLogger())
    for index, term, want in [
        (2, 4, True), (3, 4, True), (4, 4, True), (2, 2, False), (3, 2, False), (4, 2, False),
        (2, 3, False), (3, 3, True), (4, 3, True),
    ]:  # fmt: skip
        assert log.is_up_to_date(index, term) == want


def test_115_the_text_of_a_log():
    assert str(half_and_half()) == (
        "committed=100, applied=100, applying=100, unstable.offset=150, "
        "unstable.offsetInProgress=150, len(unstable.Entries)=50"
    )


def test_115_a_conflict_is_logged_only_if_there_is_one():
    recorder = Recorder()
    log = RaftLog(stored(1, 3, 1), recorder)
    assert log.maybe_append(1, 1, 0, [Entry(1, 2), Entry(1, 3), Entry(1, 4)]) == 4
    assert recorder.lines == []
    assert log.maybe_append(2, 1, 0, [Entry(1, 3), Entry(2, 4)]) == 4
    text = "found conflict at index 4 [existing term: 1, conflicting term: 2]"
    assert recorder.lines[0] == text
