"""The state database against the plain model, then what only a disk can do."""

import shutil
import subprocess
import sys
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage import hot_keys, records, state_store, writer
from sampan.storage.errors import CorruptionError, StorageError
from sampan.storage.keys import parse_chunk_key, parse_dead_key, parse_kept_key
from sampan.storage.members import Members
from sampan.storage.overlay import Overlay
from sampan.storage.records import decode_chunk, key_value
from sampan.storage.sessions import SESSIONS_MAX
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import unpack_local
from sampan.transport.requests import check_txn

from .model import Model


@pytest.fixture
def store(tmp_path):
    store = StateStore.open(tmp_path / "state")
    yield store
    store.close()


def apply(store, *requests):
    results = store.apply(store.applied_index + 1, 1, requests)
    store.commit()
    return results


def plain(result):
    """A result without the difference between lists and tuples."""
    return tuple(plain(r) if isinstance(r, (list, tuple)) else r for r in result)


def test_a_new_store_is_at_revision_1_and_empty(store):
    assert (store.revision, store.applied_index, store.applied_term) == (1, 0, 0)
    assert store.compact_revision == 0
    assert (store.members.all, store.members.removed) == ((), ())
    assert plain(store.range(("range", b"a"))) == (0, 1, 0, False, ())


def test_put_makes_versions_and_delete_begins_anew(store):
    assert apply(store, ("put", b"a", b"1"), ("put", b"a", b"2")) == [(0, 2), (0, 3)]
    assert plain(store.range(("range", b"a")))[4] == ((b"a", 2, 3, 2, 0, b"2"),)
    assert apply(store, ("delete", b"a"), ("delete", b"a")) == [(0, 4, 1), (0, 4, 0)]
    assert apply(store, ("put", b"a", b"3", 0, 0)) == [(0, 5)]
    assert plain(store.range(("range", b"a")))[4] == ((b"a", 5, 5, 1, 0, b"3"),)


def test_requests_see_those_before_them_in_the_same_entry(store):
    results = store.apply(
        1,
        1,
        [
            ("put", b"a", b"1"),
            ("put", b"b", b"2"),
            ("put", b"a", b"", 0, 3),
            ("delete", b"a", b"c", 1),
            ("put", b"a", b"", 0, 4),
        ],
    )
    assert plain(results[2]) == (0, 4, (b"a", 2, 2, 1, 0, b"1"))
    assert plain(results[3])[2:] == (2, ((b"a", 2, 4, 2, 0, b"1"), (b"b", 3, 3, 1, 0, b"2")))
    assert results[4] == errors.KEY_NOT_FOUND
    assert store.range(("range", b"a", b"z"))[2] == 0
    assert store.range(("range", b"a", b"z", 0, 4))[2] == 2


def test_an_unknown_lease_is_refused(store):
    assert apply(store, ("put", b"a", b"1", 77)) == [errors.LEASE_NOT_FOUND]
    assert store.revision == 1


def test_a_revision_of_the_future_is_refused(store):
    apply(store, ("put", b"a", b"1"))
    assert store.range(("range", b"a", b"", 0, 3)) == errors.FUTURE_REVISION
    assert store.range(("range", b"a", b"", 0, 2))[2] == 1


def test_entries_must_come_in_order(store):
    store.apply(1, 4, [])
    for index, term in ((1, 4), (3, 4), (2, 3)):
        with pytest.raises(StorageError, match="entries were lost or repeated"):
            store.apply(index, term, [("put", b"a", b"1")])
    assert (store.applied_index, store.applied_term, store.revision) == (1, 4, 1)


def test_the_configuration_comes_back(store):
    conf_state = ((1, 2), (), (), (), False)
    members = ((1, "one", (b"x",), ("tcp://a",), False, 9),)
    store.apply_conf_state(1, 1, conf_state, members)
    store.commit()
    again = Members(store._overlay)
    assert (again.conf_state, again.all, again.removed) == (conf_state, members, ())
    assert store.applied_index == 1


KEYS = [b"a", b"a\x00", b"a\x00\x01", b"b", b"\xff"]
key = st.sampled_from(KEYS)
end = st.sampled_from([b"", b"\x00", b"a\x00", b"b", b"\xff", b"\xff\xff"])
back = st.integers(0, 12)
lease = st.integers(0, 3)
flags = st.sampled_from([0, 0, 1, 2, 3, 4, 5, 6, 7])
plain_put = st.tuples(st.just("put"), key, st.binary(max_size=3))
put = st.one_of(
    plain_put,
    st.tuples(st.just("put"), key, st.binary(max_size=3), lease),
    st.tuples(st.just("put"), key, st.just(b""), st.just(0), flags),
)
delete = st.one_of(
    st.tuples(st.just("delete"), key), st.tuples(st.just("delete"), key, end, st.integers(0, 1))
)
range_ = st.builds(
    lambda *options: ("range", *options),
    key, end, st.integers(0, 4), st.just(0), st.sampled_from([0, 1, 2, 3, 4, 5]),
    st.integers(0, 4), st.integers(0, 2), *[st.sampled_from([0, 0, 0, 2, 5, 9])] * 4,
)  # fmt: skip
leases = st.one_of(
    st.tuples(st.just("lease_grant"), st.integers(1, 3), back),
    st.tuples(st.just("lease_revoke"), st.integers(1, 3)),
    st.tuples(st.just("lease_keep_alive"), st.integers(1, 3)),
)
compare = st.one_of(
    st.tuples(st.sampled_from([0, 1, 2, 4]), st.integers(0, 3), key, st.integers(0, 3), end),
    st.tuples(st.just(3), st.integers(0, 3), key, st.binary(max_size=1), end),
)
short_range = st.tuples(st.just("range"), key, end, st.just(0), st.sampled_from([0, 0, 2, 5]))


def txns(operation):
    part = st.lists(operation, max_size=3).map(tuple)
    compares = st.lists(compare, max_size=2).map(tuple)
    return st.tuples(st.just("txn"), compares, part, part)


txn = txns(st.recursive(st.one_of(put, delete, short_range), txns, max_leaves=6)).filter(
    lambda request: check_txn(request) is None
)
read_txn = txns(st.recursive(short_range, txns, max_leaves=4))
write = st.one_of(put, put, delete, txn, leases)
step = st.one_of(
    st.tuples(st.just("apply"), st.lists(write, min_size=1, max_size=6)),
    st.tuples(st.just("apply"), st.lists(plain_put, min_size=2, max_size=6)),
    st.tuples(st.just("range"), range_, back),
    st.tuples(st.just("read"), read_txn),
    st.tuples(st.just("commit")),
    st.tuples(st.just("compact"), back, st.integers(0, 20)),
    st.tuples(
        st.just("expire"), st.dictionaries(st.integers(1, 3), st.integers(0, 2)), st.integers(0, 3)
    ),
    st.tuples(st.just("flush_and_crash")),
    st.tuples(st.just("crash")),
)


class Histories:
    """A store and a model to which the same happens."""

    def __init__(self, path):
        self.path = path
        self.store, self.model, self.log = StateStore.open(path), Model(), []

    def apply(self, requests):
        self.log.append(requests)
        results = self.store.apply(len(self.log), 1, requests)
        index = len(self.log)
        assert plain(results) == plain(self.model.apply(request, index) for request in requests)

    def read(self, request):
        expected = plain(self.model.read(request))
        assert plain(self.store.range(request)) == expected
        assert unpack_local(self.store.read(request)) == expected

    def range(self, request, revisions_back):
        revision = max(self.model.revision - revisions_back, 0)
        self.read((*request[:4], revision, *request[5:]))

    def commit(self):
        self.store.commit()

    def compact(self, revisions_back, budget):
        self.apply([("compact", max(self.model.revision - revisions_back, 0))])
        self.store.commit()
        self.store.compact_step(budget)

    def expire(self, stale, keys_max):
        """Propose to expire leases as they were some renewals ago, or are."""
        due = [(lease, self.model.leases.get(lease, (0, 9))[1] - s) for lease, s in stale.items()]
        self.apply([("lease_expire", due, keys_max)])

    def flush_and_crash(self):
        """What was not flushed is lost, and applied again as from the log."""
        self.store.commit()
        self.store.flush()
        self.crash()

    def crash(self):
        """Likewise what was not committed; of that, history may be on the disk already."""
        self.store.close()
        self.store = StateStore.open(self.path)
        self.apply_again(self.store)

    def apply_again(self, store):
        for index in range(store.applied_index + 1, len(self.log) + 1):
            store.apply(index, 1, self.log[index - 1])


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(step, min_size=10, max_size=60), st.sampled_from([1, 2, 128]), st.sampled_from([1, 4])
)
def test_any_history_agrees_with_the_model(fast_directories, steps, chunk_events, hot_keys_max):
    both = Histories(next(fast_directories))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(state_store, "COMMIT_KEYS", 3)
        patch.setattr(hot_keys, "KEYS_MAX", hot_keys_max)
        patch.setattr(records, "CHUNK_EVENTS_MAX", chunk_events)
        patch.setattr(writer, "SKIP_1", 2)
        patch.setattr(writer, "SKIP_2", 4)
        for name, *arguments in steps:
            getattr(both, name)(*arguments)
        store, model = both.store, both.model
        check_everything(store, model)
        hashes = all_hashes(store)
        while store.compact_step(3):
            pass
        assert all_hashes(store) == hashes
        check_everything(store, model)
        check_nothing_is_left(store, model)
        twin_path = next(fast_directories)
        twin = StateStore.open(twin_path)
        both.apply_again(twin)
        assert twin.history_hash == store.history_hash
    twin.close()
    store.close()
    for path in (both.path, twin_path):
        shutil.rmtree(path)


def readable(store):
    return range(max(store.compact_revision, 1), store.revision + 1)


def all_hashes(store):
    return [store.hash_kv(revision) for revision in readable(store)]


def check_everything(store, model):
    """Every revision that can be read, the history that can be watched, the leases."""
    store.commit()
    assert (store.revision, store.compact_revision) == (model.revision, model.compacted)
    for revision in readable(store):
        request = ("range", b"\x00", b"\x00", 0, revision)
        assert plain(store.range(request)) == plain(model.read(request))
    first = readable(store)[0]
    events, at = [], first
    while batch := store.history(at, 1):
        events += batch
        at = batch[-1][0] + 1
    expected = [event for event in model.events if event[0] >= first]
    assert [shown(event) for event in events] == expected
    seen = set()
    for event in events:
        revision, name, _ = event
        if revision > first and (revision, name) not in seen:
            assert store.previous(event) == model.states[revision - 1].get(name)
        seen.add((revision, name))
    assert store.leases.all() == model.leases
    for lease_id in model.leases:
        held = [name for name, kv in model.states[model.revision].items() if kv[4] == lease_id]
        assert store.leases.keys(lease_id) == sorted(held)


def check_nothing_is_left(store, model):
    """Compaction keeps the newest versions, the history from the compact revision on, and the
    versions that were live at it."""
    compacted = model.compacted
    kept = {(r, name) for r, name in map(parse_kept_key, stored(store, b"o")) if r <= compacted}
    live = {(kv[2], name) for name, kv in model.states[max(compacted, 1)].items()}
    assert kept <= live
    chunks = [decode_chunk(chunk) for _, chunk in store._db.pairs(b"e", b"f")]
    assert all(chunk[-1][0] >= compacted for chunk in chunks)
    for _, deleted in map(parse_dead_key, stored(store, b"d")):
        assert deleted >= chunks[0][0][0]
    assert not store.compacting


def stored(store, prefix):
    return [key for key, _ in store._db.pairs(prefix, bytes([prefix[0] + 1]))]


def shown(event):
    revision, name, record = event
    return (revision, name, None if records.is_deletion(event) else key_value(name, record))


def test_a_much_written_key_is_found_at_every_revision(store):
    for _ in range(10):
        apply(store, *[("put", b"hot", b"%d" % i) for i in range(999)], ("put", b"other", b""))
    for revision in [2, 3, 65, 66, 129, 1000, 1001, 1002, 4097, 4100, 8194, 9000, store.revision]:
        (found,) = store.range(("range", b"hot", b"", 0, revision))[4]
        assert found[2] == revision - (revision % 1000 == 1 and revision > 1)
    assert store.range(("range", b"hot", b"", 0, 1))[2] == 0


def test_a_delete_of_many_keys_is_one_revision_over_many_chunks(store):
    apply(store, *[("put", b"%04d" % i, b"x") for i in range(500)])
    assert apply(store, ("delete", b"0", b"1")) == [(0, 502, 500)]
    assert len(store.history(502, 1)) == 500
    assert store.range(("range", b"0", b"1", 0, 501))[2] == 500
    (event,) = [e for e in store.history(502) if e[1] == b"0077"]
    assert store.previous(event) == (b"0077", 79, 79, 1, 0, b"x")


def test_large_values_make_small_chunks(tmp_path):
    store = StateStore.open(tmp_path / "state")
    apply(store, *[("put", b"%d" % i, b"x" * 40_000) for i in range(5)])
    assert [e[0] for e in store.history(3)] == [3, 4, 5, 6]
    store.flush()
    store.close()
    store = StateStore.open(tmp_path / "state")
    assert [e[0] for e in store.history(3, 1)] == [3]
    assert [e[0] for e in store.history(3)] == [3, 4, 5, 6]
    store.close()


def test_much_that_is_applied_is_committed_by_itself(tmp_path, monkeypatch):
    """Neither memory nor what a flush would leave out grows with what is applied."""
    monkeypatch.setattr(state_store, "COMMIT_KEYS", 10)
    monkeypatch.setattr(state_store, "COMMIT_BYTES", 10_000)
    store = StateStore.open(tmp_path / "state")
    for index in range(1, 21):
        store.apply(index, 1, [("put", b"%d" % index, b"")])
    assert store.flush() >= 9
    for index in range(21, 24):
        store.apply(index, 1, [("put", b"big", b"x" * 9_000)])
    assert store.flush() >= 22
    store.commit()
    assert store.flush() == 23
    store.close()


@pytest.fixture
def soon_hot(monkeypatch):
    """Small bounds for when records wait for the next flush."""
    monkeypatch.setattr(state_store, "COMMIT_KEYS", 4)
    monkeypatch.setattr(hot_keys, "KEYS_MAX", 8)


def put_often(store, names, rounds):
    for i in range(rounds):
        for name in names:
            store.apply(store.applied_index + 1, 1, [("put", name, b"%d" % i)])


HOT = [b"%d" % i for i in range(6)]


def test_records_of_a_few_keys_wait_for_the_next_flush(store, soon_hot):
    put_often(store, HOT, 8)
    waits_since = store.flush()
    put_often(store, HOT, 100)
    assert store.flush() == waits_since
    assert len(store._overlay.writes) <= len(HOT) + 1
    assert len(store._versions.recent) <= 5, "history does not wait"
    assert store.range(("range", b"5"))[4] == [(b"5", 7, 649, 108, 0, b"99")]
    assert len(store.history(2, 1000)) == 648
    assert store.range(("range", b"5", b"", 0, 300))[4][0][2] == 295
    store.commit()
    assert store.flush() == 648


def test_history_that_is_ahead_of_its_records_is_dropped_and_made_again(tmp_path, soon_hot):
    store = StateStore.open(tmp_path / "state")
    put_often(store, HOT, 40)
    ahead = store._db.pairs(b"e", b"f")[-1][0]
    store.close()
    store = StateStore.open(tmp_path / "state")
    applied = store.applied_index
    assert applied < 240
    assert parse_chunk_key(ahead)[0] > applied + 1
    assert [event[0] for event in store.history(2, 1000)] == list(range(2, applied + 2))
    for index in range(applied + 1, 241):
        store.apply(index, 1, [("put", HOT[(index - 1) % 6], b"%d" % ((index - 1) // 6))])
    assert [event[0] for event in store.history(2, 1000)] == list(range(2, 242))
    assert store.range(("range", b"3"))[4] == [(b"3", 5, 239, 40, 0, b"39")]
    store.close()


def test_many_keys_or_bytes_end_the_waiting(store, soon_hot, monkeypatch):
    put_often(store, HOT, 8)
    put_often(store, [b"other%d" % i for i in range(10)], 1)
    assert store.flush() >= 50
    put_often(store, HOT, 12)
    waits_since = store.flush()
    put_often(store, HOT, 2)
    assert store.flush() == waits_since
    monkeypatch.setattr(state_store, "WAITING_BYTES_MAX", 10_000)
    store.apply(store.applied_index + 1, 1, [("put", b"0", bytes(10_000))])
    put_often(store, HOT, 2)
    assert store.flush() > waits_since + 12


def test_everything_is_seen_before_it_is_committed(store):
    puts = [("put", b"%04d" % i, b"x") for i in range(400)]
    store.apply(1, 1, puts)
    assert store.range(("range", b"0399"))[4][0][2] == 401
    assert store.range(("range", b"0100", b"0200"))[2] == 100
    store.apply(2, 1, puts)
    assert store.range(("range", b"0", b"1", 3, 300))[2] == 299
    assert [event[0] for event in store.history(400)][:3] == [400, 401, 402]
    assert store.hash_kv(401) == store.hash_kv(401)
    store.apply(3, 1, [("delete", b"0", b"1")])
    assert store.range(("range", b"0", b"1"))[2] == 0


def test_values_kept_in_memory_are_bounded_and_never_old(store, monkeypatch):
    monkeypatch.setattr(Overlay, "READ_BYTES_MAX", 5_000)
    for round_number in range(3):
        value = b"%d" % round_number * 100
        apply(store, *[("put", b"%d" % i, value) for i in range(100)])
        for _ in range(2):
            for i in range(100):
                assert store.range(("range", b"%d" % i))[4][0][5] == value
        held = sum(len(key) + len(value) for key, value in store._overlay._read.items())
        assert 0 < held == store._overlay._read_bytes < 5_500
    apply(store, ("delete", b"1", b"2"))
    assert store.range(("range", b"17"))[2:] == (0, False, [])


def test_flush_tells_what_it_made_durable_while_others_apply(tmp_path):
    store = StateStore.open(tmp_path / "state")
    durable, stop = [0], threading.Event()

    def flushing():
        while not stop.is_set():
            durable.append(store.flush())

    thread = threading.Thread(target=flushing)
    thread.start()
    for i in range(300):
        apply(store, ("put", b"%d" % i, b"x" * 100))
        store.range(("range", b"0", b"\x00"))
    stop.set()
    thread.join()
    assert durable == sorted(durable)
    assert store.flush() == 300
    store.close()


APPLIER = """
import sys, threading
from pathlib import Path
from sampan.storage.state_store import StateStore
store = StateStore.open(Path(sys.argv[1]))
def flushing():
    while True:
        print(store.flush(), flush=True)
threading.Thread(target=flushing, daemon=True).start()
while True:
    index = store.applied_index + 1
    store.apply(index, 1, [("put", b"index", b"%d" % index), ("put", b"k%d" % index, b"x" * 500)])
    if index % 7 == 0:
        store.commit()
"""


def test_after_kill_9_data_and_applied_index_agree(tmp_path):
    """The keys written by an entry are there if and only if the applied index says so."""
    for round_number in range(4):
        child = subprocess.Popen(
            [sys.executable, "-c", APPLIER, str(tmp_path / "state")], stdout=subprocess.PIPE
        )
        for _ in range(3 + 2 * round_number):
            durable = int(child.stdout.readline())
        while not durable:  # until the first commit
            durable = int(child.stdout.readline())
        child.kill()
        child.communicate()
        store = StateStore.open(tmp_path / "state")
        applied = store.applied_index
        assert applied >= durable > 0
        assert store.revision == 1 + 2 * applied
        assert store.range(("range", b"index"))[4][0][5] == b"%d" % applied
        assert store.range(("range", b"k", b"l", 0, 0, 2))[2] == applied
        assert store.history(store.revision - 1)[0][1] == b"index"
        store.close()


def test_a_checkpoint_is_the_state_at_the_applied_index(tmp_path):
    store = StateStore.open(tmp_path / "state")
    apply(store, ("put", b"a", b"1"))
    store.checkpoint(tmp_path / "copy")
    apply(store, ("put", b"a", b"2"))
    store.close()
    copy = StateStore.open(tmp_path / "copy")
    assert (copy.applied_index, copy.revision) == (1, 2)
    assert copy.range(("range", b"a"))[4][0][5] == b"1"
    copy.close()


def test_a_missing_version_is_an_error_not_an_answer(store):
    apply(store, ("put", b"a", b"1"))
    apply(store, ("put", b"a", b"2"))
    batch = store._db.batch()
    for stored, _ in store._db.pairs(b"e", b"f"):
        batch.delete(stored)
    store._db.write(batch)
    with pytest.raises(CorruptionError, match="at revision 2 is missing"):
        store.range(("range", b"a", b"", 0, 2))


def test_a_key_that_is_written_again_and_again_without_a_value_is_committed_too(store):
    requests = [("put", b"hot", b"")] * 1000
    for index in range(1, 8):
        store.apply(index, 1, requests)
    assert len(store._versions.recent) < 6000


def test_long_keys_count_against_the_bounds_of_memory(store):
    """A key may have up to a request's size."""
    many = 40
    for i in range(many):
        apply(store, ("put", b"%02d" % i + b"x" * (1 << 20), b""))
        apply(store, ("put", b"%02d" % i + b"y" * (1 << 20), b"", 0, 1))
    assert sum(map(len, store._overlay.writes)) < 20 << 20, "a part was committed meanwhile"
    store.commit()
    assert sum(map(len, store._writer._heads)) < 1 << 20
    for i in range(many):
        assert store.range(("range", b"%02d" % i + b"x" * (1 << 20)))[2] == 1
        assert store.range(("range", b"%02d" % i + b"x" * (1 << 20)))[2] == 1
    assert sum(map(len, store._overlay._read)) <= Overlay.READ_BYTES_MAX


def test_sessions_that_were_only_opened_are_committed_now_and_then(store):
    for index in range(1, 25):
        store.apply(index, 1, [("session_open", 7)] * 1000)
    assert store.sessions.changed <= SESSIONS_MAX
