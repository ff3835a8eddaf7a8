"""Entries that are applied and committed in slices: a crash between any two leaves all or nothing,
and whatever came of it is what one step would have made."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage import redo
from sampan.storage.errors import StorageError
from sampan.storage.sliced import finish
from sampan.storage.state_store import StateStore

from .test_state_store import Histories, check_everything, plain, plain_put, step, write


def in_full(store, index, requests):
    """Apply an entry and commit it, as the applier does."""
    results = yield from store.apply_sliced(index, 1, requests)
    if store.has_much:
        yield from store.commit_sliced()
    return results


class CutHistories(Histories):
    """Entries are applied in slices, and crashes come between two of them."""

    def apply(self, requests):
        self.log.append(requests)
        index = len(self.log)
        results = finish(in_full(self.store, index, requests))
        assert plain(results) == plain(self.model.apply(request, index) for request in requests)

    def cut(self, requests, slices, flushed):
        """The crash comes after so many slices; everything so far may be on the disk, or not."""
        self.log.append(requests)
        index = len(self.log)
        for request in requests:
            self.model.apply(request, index)
        work = in_full(self.store, index, requests)
        for _ in range(slices):
            if next(work, work) is work:
                break
        work.close()
        if flushed:
            self.store.flush()
        self.crash()

    def apply_again(self, store):
        for index in range(store.applied_index + 1, len(self.log) + 1):
            finish(in_full(store, index, self.log[index - 1]))


everything = st.tuples(st.just("delete"), st.just(b"\0"), st.just(b"\0"))
cut = st.tuples(
    st.just("cut"),
    st.lists(st.one_of(write, everything), min_size=1, max_size=4),
    st.integers(0, 150),
    st.booleans(),
)


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(plain_put, min_size=5), st.lists(st.one_of(step, cut), min_size=5, max_size=30))
def test_a_history_with_cuts_agrees_with_the_model(fast_directories, tiny_slices, puts, steps):
    both = CutHistories(next(fast_directories))
    both.apply(puts)
    for name, *arguments in steps:
        getattr(both, name)(*arguments)
    check_everything(both.store, both.model)
    twin_path = next(fast_directories)
    twin = StateStore.open(twin_path)
    Histories.apply_again(both, twin)  # in one step each, and with small commits
    assert twin.history_hash == both.store.history_hash
    twin.close()
    both.store.close()
    for path in (both.path, twin_path):
        shutil.rmtree(path)


ENTRY = [("put", b"last", b"z"), ("delete", b"a", b"m"), ("lease_revoke", 7)]


def prepared(path):
    """Many keys, some of a lease, some that compaction must keep."""
    store = StateStore.open(path)
    store.apply(1, 1, [("lease_grant", 7, 60)])
    puts = [("put", b"a%d" % n, b"v%d" % n, 7 * (n % 3 == 0)) for n in range(9)]
    store.apply(2, 1, [*puts, ("put", b"n1", b"v", 7), ("put", b"n2", b"v")])
    store.apply(3, 1, [("compact", store.revision)])
    store.commit()
    return store


def seen(store):
    """Everything there is to see, of the last revision and the one before."""
    store.commit()
    all_keys = [
        store.range(("range", b"\0", b"\0", 0, revision))
        for revision in (store.revision - 1, store.revision)
    ]
    held = {lease: store.leases.keys(lease) for lease in store.leases.all()}
    return store.applied_index, store.history_hash, all_keys, held, store.history(1)


def test_a_crash_after_any_slice_leaves_all_or_nothing(fast_directories, tiny_slices):
    path = next(fast_directories)
    store = prepared(path)
    before = seen(store)
    finish(in_full(store, 4, ENTRY))
    after = seen(store)
    store.close()
    shutil.rmtree(path)
    outcomes, over = [], False
    while not over:
        path = next(fast_directories)
        store = prepared(path)
        work = in_full(store, 4, ENTRY)
        over = any(next(work, work) is work for _ in range(len(outcomes) + 1))
        work.close()
        store.close()  # which writes to the disk whatever was not yet there
        store = StateStore.open(path)
        found = seen(store)
        assert found in (before, after)
        outcomes.append(found == after)
        if found == before:
            finish(in_full(store, 4, ENTRY))
            assert seen(store) == after
        store.close()
        shutil.rmtree(path)
    assert outcomes == sorted(outcomes), "once it is there, it stays"
    assert outcomes.count(False) > 20
    assert outcomes.count(True) > 20


def test_a_copy_that_is_only_read_is_not_taken_for_whole(fast_directories, tiny_slices):
    path = next(fast_directories)
    store = prepared(path)
    work = in_full(store, 4, ENTRY)
    while store._db.get(redo.MARK) is None:
        next(work)
    work.close()
    store.close()
    with pytest.raises(StorageError, match="in the middle of a commit"):
        StateStore.inspect(path)
    StateStore.open(path).close()
    StateStore.inspect(path).close()
    shutil.rmtree(path)


def test_what_is_small_is_one_slice(tmp_path):
    store = StateStore.open(tmp_path)
    for index, requests in enumerate(([("put", b"a", b"")], ENTRY, [("txn", (), (), ())]), 1):
        with pytest.raises(StopIteration):
            next(store.apply_sliced(index, 1, requests))
        assert not store.has_much
    store.close()
