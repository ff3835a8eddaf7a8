"""What was found is packed in slices to the same bytes, and is gone then."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage import packing
from sampan.storage.packing import pack_each
from sampan.storage.sliced import finish
from sampan.transport import errors
from sampan.transport.codec import pack

kv = st.tuples(st.binary(max_size=3), st.integers(0, 2**40), st.binary(max_size=3))
put = st.tuples(st.just(0), st.integers(0, 99), st.none() | kv)
found = st.tuples(st.just(0), st.integers(0, 99), st.booleans(), st.lists(kv, max_size=6))
simple = put | found | st.just(errors.COMPACTED) | st.just((0, 5))
results = st.recursive(
    simple,
    lambda inner: st.tuples(st.just(0), st.booleans(), st.lists(inner, max_size=4)),
    max_leaves=8,
)


@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.sampled_from([1, 2, 5, 8192]), st.lists(results, max_size=4))
def test_the_bytes_are_those_of_one_piece(monkeypatch, items, results):
    monkeypatch.setattr(packing, "ITEMS", items)
    expected = [pack(result) for result in results]
    assert finish(pack_each(results)) == expected


def test_what_is_packed_is_freed_between_slices():
    kvs = [(b"k", n, b"v") for n in range(packing.ITEMS * 4)]
    work = pack_each([(0, 5, 1, False, kvs)])
    held = []
    for _ in work:
        held.append(sum(each is not None for each in kvs))
    assert held == [packing.ITEMS * n for n in (3, 2, 1, 0)]


def test_many_small_results_are_not_one_slice():
    """That of a transaction each, say."""
    txns = [(0, 5, True, [(0, 5, 1, False, [(b"k", 1, b"")])]) for _ in range(packing.ITEMS)]
    work = pack_each(txns)
    assert sum(1 for _ in work) > 1


def test_values_are_what_takes_long_if_they_are_large():
    work = pack_each([(0, 5, 1, False, [(b"k", 1, bytes(1 << 20))]) for _ in range(32)])
    assert sum(1 for _ in work) > 3
