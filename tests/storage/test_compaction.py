"""Compaction: what stays readable, what goes, and that it may be interrupted anywhere."""

import pytest
from sampan.storage.keys import parse_chunk_key, parse_kept_key
from sampan.storage.state_store import StateStore
from sampan.transport import errors


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def store(path):
    store = StateStore.open(path)
    yield store
    store.close()


def apply(store, *requests):
    return store.apply(store.applied_index + 1, 1, requests)


def fill(store, rounds=50):
    """`hot` is written each round, `cold` once, `gone` lives for a while twice."""
    apply(store, ("put", b"cold", b"0"))
    for i in range(rounds):
        apply(store, ("put", b"hot", b"%d" % i))
        if i % 20 == 5:
            apply(store, ("put", b"gone", b"%d" % i))
        if i % 20 == 10:
            apply(store, ("delete", b"gone"))
        store.commit()


def everything(store, revision):
    return store.range(("range", b"\0", b"\0", 0, revision))[4]


def finish(store):
    while store.compact_step(7):
        pass


def test_refusals_and_the_answer(store):
    apply(store, ("put", b"a", b"1"), ("put", b"a", b"2"))
    assert apply(store, ("compact", 4)) == [errors.FUTURE_REVISION]
    assert apply(store, ("compact", 0)) == [errors.COMPACTED]
    assert apply(store, ("compact", 2)) == [(0, 3)]
    assert apply(store, ("compact", 2)) == [errors.COMPACTED]
    assert store.range(("range", b"a", b"", 0, 1)) == errors.COMPACTED
    assert store.range(("range", b"a", b"", 0, 2))[2] == 1
    assert store.compacting
    finish(store)
    assert not store.compacting


def test_reads_below_are_refused_at_once_and_those_above_stay(store):
    fill(store)
    before = {revision: everything(store, revision) for revision in range(20, store.revision + 1)}
    apply(store, ("compact", 20))
    assert store.range(("range", b"hot", b"", 0, 19)) == errors.COMPACTED
    more = True
    while more:
        more = store.compact_step(5)
        assert all(everything(store, revision) == kvs for revision, kvs in before.items())
    oldest = store._db.pairs(b"e", b"f", 1)[0][0]
    assert parse_chunk_key(oldest) == (20, 0)
    assert [event[0] for event in store.history(20)][:2] == [20, 21]


def test_versions_replaced_while_compaction_runs_stay_readable(store):
    fill(store)
    at = store.revision
    before = everything(store, at)
    apply(store, ("compact", at))
    store.compact_step(3)
    apply(store, ("put", b"cold", b"new"), ("delete", b"hot"))
    store.compact_step(3)
    apply(store, ("put", b"hot", b"new"))
    finish(store)
    assert everything(store, at) == before
    assert [kv[5] for kv in everything(store, 0)] == [b"new", b"45", b"new"]
    apply(store, ("compact", store.revision))
    finish(store)
    assert store._db.pairs(b"o", b"p") == []
    assert store._db.pairs(b"d", b"e") == []


def kept(store):
    """(revision, key) of the versions that were moved out of the history."""
    return [parse_kept_key(stored) for stored, _ in store._db.pairs(b"o", b"p")]


def test_what_is_kept_goes_with_the_compaction_that_no_longer_needs_it(store):
    put_both = ("txn", [], [("put", b"a", b"1"), ("put", b"b", b"1")], [])
    for request in (put_both, ("put", b"c", b"1"), ("put", b"a", b"2"), ("put", b"a", b"3")):
        apply(store, request)
        store.commit()
    before = everything(store, 3)
    apply(store, ("compact", 3))
    finish(store)
    assert (2, b"a") in kept(store)  # b's version of that revision is the newest still
    assert everything(store, 3) == before
    apply(store, ("delete", b"b"))
    before = everything(store, 5)
    apply(store, ("compact", 5))
    finish(store)
    assert kept(store) == [(2, b"b")]
    assert everything(store, 5) == before
    apply(store, ("delete", b"a"), ("compact", 7))
    finish(store)
    assert kept(store) == []
    assert [kv[0] for kv in everything(store, 0)] == [b"c"]


def test_a_revision_of_many_chunks_is_kept_whole_and_dropped_whole(store):
    names = [b"%03d" % i for i in range(400)]
    apply(store, ("txn", [], [("put", name, b"1") for name in names], []))
    apply(store, ("delete", b"0", b"3"), ("put", b"other", b""))
    store.commit()
    apply(store, ("put", b"last", b""))
    store.commit()
    for revision, left in ((2, 400), (3, 100), (4, 101), (5, 102)):
        before = {at: everything(store, at) for at in range(revision, 6)}
        apply(store, ("compact", revision))
        finish(store)
        assert {at: everything(store, at) for at in range(revision, 6)} == before
        assert len(before[revision]) == left
        assert [event[0] for event in store.history(revision)].count(2) == 400 * (revision == 2)
    assert kept(store) == []
    assert store._db.pairs(b"d", b"e") == []


def test_it_goes_on_after_a_crash(path):
    store = StateStore.open(path)
    fill(store)
    apply(store, ("compact", 40))
    before = {revision: everything(store, revision) for revision in range(40, store.revision + 1)}
    for _ in range(8):
        store.compact_step(4)
        store.flush()
        store.compact_step(4)  # lost
        store.close()
        store = StateStore.open(path)
        assert all(everything(store, revision) == kvs for revision, kvs in before.items())
    finish(store)
    store.close()
    store = StateStore.open(path)
    assert all(everything(store, revision) == kvs for revision, kvs in before.items())
    store.close()


def test_members_that_compacted_differently_far_agree(tmp_path):
    lazy, eager = StateStore.open(tmp_path / "lazy"), StateStore.open(tmp_path / "eager")
    for store in (lazy, eager):
        fill(store)
        apply(store, ("compact", 33))
    finish(eager)
    for store in (lazy, eager):
        fill(store, 12)
    for revision in (33, 40, lazy.revision, 0):
        assert lazy.hash_kv(revision) == eager.hash_kv(revision)
    assert lazy.history_hash == eager.history_hash
    assert lazy.hash_kv(32) == errors.COMPACTED
    apply(eager, ("put", b"x", b""))
    apply(lazy, ("put", b"y", b""))
    assert lazy.hash_kv() != eager.hash_kv()
    assert lazy.history_hash != eager.history_hash
    for store in (lazy, eager):
        store.close()


def test_what_is_gone_before_a_change_is_said_to_be_unknown(store):
    for request in (("put", b"a", b"1"), ("put", b"a", b"2"), ("put", b"b", b"1")):
        apply(store, request)
        store.commit()
    (event,) = [event for event in store.history(3) if event[0] == 3]
    assert store.previous(event)[5] == b"1"
    apply(store, ("compact", 4))
    finish(store)
    assert store.previous(event) is None
