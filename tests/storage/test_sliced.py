"""What is done a slice at a time has the result of doing it at once, and no slice is large."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.storage import sliced
from sampan.storage.sliced import finish, joined, shortened, sort

parts = st.lists(st.binary(max_size=9) | st.binary(max_size=9).map(memoryview), max_size=9)


@given(parts, st.integers(1, 20))
def test_joined(parts, most):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliced, "JOINED_BYTES", most)
        assert finish(joined(parts)) == b"".join(parts)


def test_joined_copies_little_in_a_slice(monkeypatch):
    monkeypatch.setattr(sliced, "JOINED_BYTES", 100)
    for parts in ([bytes(10)] * 1000, [bytes(10_000)]):
        assert sum(1 for _ in joined(parts)) in range(90, 101)


@given(st.lists(st.integers(0, 9)), st.integers(0, 12), st.booleans(), st.integers(1, 5))
def test_sort_and_shortened(items, limit, down, most):
    pairs = list(enumerate(items))
    expected = sorted(pairs, key=lambda pair: pair[1], reverse=down)[: limit or None]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sliced, "ITEMS", most)
        work = sort(pairs, lambda pair: pair[1], reverse=down, limit=limit)
        assert finish(work) == expected
        assert finish(shortened(list(pairs), limit)) == pairs[:limit]


def test_what_a_limit_leaves_out_is_freed_in_slices(monkeypatch):
    """A range of a million keys, of which ten are wanted."""
    monkeypatch.setattr(sliced, "ITEMS", 10)
    assert sum(1 for _ in shortened(list(range(1000)), 10)) == 99
