"""Reads in slices: what they find is what was there when they began, whatever happens meanwhile."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage.sliced import finish
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import unpack_local

from .test_state_store import Histories, back, plain, plain_put, range_, read_txn, step


class Reading:
    """A read that is under way, and what is to come of it."""

    def __init__(self, both, request):
        self.request, self.revision = request, request[4] if request[0] == "range" else 0
        self.expected = [plain(both.model.read(request))]
        self.compacted = both.model.compacted
        self.work = both.store.read_sliced(request)

    def advance(self, model):
        """Do a slice; whether it is over."""
        if self.request[0] == "txn" and model.compacted != self.compacted:
            self.compacted = model.compacted  # it begins anew, unless all was read
            self.expected.append(plain(model.read(self.request)))
        try:
            next(self.work)
        except StopIteration as end:
            answer = unpack_local(b"".join(end.value))
            compacted = 0 < self.revision < model.compacted
            assert answer in self.expected or (compacted and answer == tuple(errors.COMPACTED))
            return True
        return False


class SlicedHistories(Histories):
    """Reads may be under way from one step to the next."""

    def __init__(self, path):
        super().__init__(path)
        self.under_way = []

    def begin(self, request, revisions_back):
        revision = max(self.model.revision - revisions_back, 0)
        if request[0] == "range":
            request = (*request[:4], revision, *request[5:])
        self.under_way.append(Reading(self, request))
        self.slice()

    def slice(self):
        self.under_way = [each for each in self.under_way if not each.advance(self.model)]

    def crash(self):
        self.under_way.clear()  # their iterators, too
        super().crash()


sliced_step = st.one_of(
    step,
    st.tuples(st.just("begin"), range_, back),
    st.tuples(st.just("begin"), read_txn, st.just(0)),
    st.tuples(st.just("slice")),
    st.tuples(st.just("slice")),
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(plain_put, min_size=5), st.lists(sliced_step, min_size=10, max_size=60))
def test_a_read_in_slices_agrees_with_the_model(fast_directories, tiny_slices, puts, steps):
    both = SlicedHistories(next(fast_directories))
    both.apply(puts)
    for name, *arguments in steps:
        getattr(both, name)(*arguments)
    while both.under_way:
        both.slice()
    both.store.close()
    shutil.rmtree(both.path)


@pytest.fixture
def store(tmp_path):
    store = StateStore.open(tmp_path)
    store.apply(1, 1, [("put", b"%03d" % n, b"v") for n in range(100)])
    store.apply(2, 1, [("put", b"%03d" % n, b"w") for n in range(0, 100, 2)])
    yield store
    store.close()


OLD = 60
REQUESTS = {
    "all": ("range", b"0", b"9"),
    "count": ("range", b"0", b"9", 0, 0, 2),
    "limit and count": ("range", b"0", b"9", 3),
    "keys only": ("range", b"0", b"9", 0, 0, 1),
    "sorted": ("range", b"0", b"9", 0, 0, 0, 1, 2),
    "filtered": ("range", b"0", b"9", 0, 0, 0, 0, 0, 50),
    "old": ("range", b"0", b"9", 0, OLD),
    "old count": ("range", b"0", b"9", 3, OLD),
    "transaction": (
        "txn",
        [(3, 3, b"0", b"x", b"9")],
        [("range", b"0", b"9"), ("range", b"050"), ("txn", [], [("range", b"0", b"9", 9)], [])],
        [],
    ),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_every_kind_of_range_is_read_in_slices(store, tiny_slices, request_):
    store.commit()
    expected = store.read(request_)
    work = store.read_sliced(request_)
    next(work)
    store.apply(3, 1, [("delete", b"0", b"9")])
    store.commit()

    def rest():
        assert b"".join((yield from work)) == expected

    assert len(list(rest())) > 30


def test_a_revision_that_is_compacted_while_it_is_read(store, tiny_slices):
    work = store.read_sliced(REQUESTS["old"])
    next(work)
    store.apply(3, 1, [("compact", store.revision)])
    while store.compact_step(1000):
        pass
    assert unpack_local(b"".join(finish(work))) == tuple(errors.COMPACTED)


def test_a_transaction_begins_anew_when_what_it_reads_is_compacted(store, tiny_slices):
    work = store.read_sliced(REQUESTS["transaction"])
    for _ in range(150):  # it has made its compare, and is reading
        next(work)
    store.apply(3, 1, [("delete", b"0", b"9"), ("compact", store.revision + 1)])
    while store.compact_step(1000):
        pass
    assert unpack_local(b"".join(finish(work))) == plain(store.range(REQUESTS["transaction"]))


def test_a_large_value_costs_as_many_slices_as_many_small_ones(tmp_path):
    store = StateStore.open(tmp_path)
    store.apply(1, 1, [("put", b"k", bytes(1 << 20))])
    txn = ("txn", [], [("range", b"k")] * 32, [])
    assert sum(1 for _ in store.read_sliced(txn)) > 3
    store.close()


def test_what_is_small_is_one_slice(store):
    for request in REQUESTS.values():
        with pytest.raises(StopIteration):
            next(store.read_sliced(request))
