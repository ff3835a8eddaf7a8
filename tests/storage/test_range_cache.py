"""Ranges that are kept in memory say what the database says, whatever was written since."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage import range_cache
from sampan.storage.state_store import StateStore
from sampan.transport.codec import unpack_local

KEYS = [b"%02d" % number for number in range(24)]
RANGES = [(b"00", b"12"), (b"06", b"\x00"), (b"05", b"05\xff")]

key = st.sampled_from(KEYS)
write = st.one_of(
    st.tuples(st.just("put"), key, st.binary(max_size=3)),
    st.tuples(st.just("delete"), key),
    st.tuples(st.just("delete"), key, key),
)
step = st.one_of(
    st.tuples(st.just("write"), st.lists(write, min_size=1, max_size=4)),
    st.tuples(st.just("list"), st.sampled_from(RANGES)),
    st.tuples(st.just("list"), st.sampled_from(RANGES)),
    st.tuples(st.just("commit"), st.just(None)),
)


@pytest.fixture
def store(tmp_path):
    store = StateStore.open(tmp_path / "state")
    yield store
    store.close()


def put(store, *numbers):
    requests = [("put", b"%05d" % number, b"v") for number in numbers]
    store.apply(store.applied_index + 1, 1, requests)
    store.commit()


def everything(store):
    return unpack_local(store.read(("range", b"\x00", b"\x00")))


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(step, min_size=20, max_size=80))
def test_what_is_listed_is_what_is_there(fast_directories, steps):
    path = next(fast_directories)
    store = StateStore.open(path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(range_cache, "KEYS_MIN", 1)
        patch.setattr(range_cache, "REBUILD_SHARE", 2)
        patch.setattr(range_cache, "RANGES_MAX", 2)
        for what, argument in steps:
            if what == "write":
                store.apply(store.applied_index + 1, 1, argument)
            elif what == "commit":
                store.commit()
            else:
                request = ("range", *argument)
                # With an order that is the usual one nothing is kept in memory.
                anew = unpack_local(store.read((*request, 0, 0, 0, 0, 1)))
                assert unpack_local(store.read(request)) == anew
    store.close()
    shutil.rmtree(path)


def test_a_range_that_is_read_again_is_not_read_from_the_database(store, monkeypatch):
    put(store, *range(100))
    first = everything(store)
    assert everything(store) == first
    monkeypatch.setattr(store._overlay, "pairs_sliced", None)  # not callable
    assert everything(store) == first
    put(store, 7, 1000)
    changed = everything(store)
    assert changed[2] == 101
    assert [kv[0] for kv in changed[4] if kv[2] > first[1]] == [b"00007", b"01000"]


def test_a_range_that_changed_much_is_read_anew_and_small_ones_always_are(store, monkeypatch):
    read = []
    pairs = store._overlay.pairs_sliced
    monkeypatch.setattr(
        store._overlay, "pairs_sliced", lambda *args: read.append(args) or pairs(*args)
    )
    put(store, *range(100))
    for _ in range(3):
        everything(store)
    assert len(read) == 2
    put(store, *range(60))
    everything(store)
    assert len(read) == 3
    for _ in range(3):
        store.read(("range", b"00000", b"00050"))
    assert len(read) == 6


def test_what_is_kept_is_bounded(store, monkeypatch):
    monkeypatch.setattr(range_cache, "BYTES_MAX", 100_000)
    put(store, *range(300))
    for _ in range(2):
        everything(store)  # more than a quarter: not kept
    assert not any(store._versions.range_cache._ranges.values())
    for begin in range(0, 200, 10):
        for _ in range(2):
            store.read(("range", b"%05d" % begin, b"%05d" % (begin + 70)))
    cache = store._versions.range_cache
    assert 0 < cache._size() <= range_cache.BYTES_MAX
    assert len(cache._ranges) <= range_cache.RANGES_MAX


def test_a_range_that_nobody_reads_any_more_is_let_go(store, monkeypatch):
    monkeypatch.setattr(range_cache, "IDLE_COMMITS_MAX", 3)
    put(store, *range(100))
    for _ in range(2):
        everything(store)
    kept = store._versions.range_cache._ranges
    for _ in range(3):
        put(store, 1)
    everything(store)
    for _ in range(3):
        put(store, 1)
    assert all(kept.values())
    put(store, 1)
    assert not any(kept.values())
