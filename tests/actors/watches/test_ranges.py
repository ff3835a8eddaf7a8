"""Ranges are found by the keys in them."""

from hypothesis import given
from hypothesis import strategies as st
from sampan.actors.watches.ranges import RangeMap
from sampan.transport.watches import prefix_end

from .model import holds

KEYS = st.binary(max_size=4).map(lambda key: bytes(b"\x00ab\xff"[byte % 4] for byte in key))
RANGES = st.one_of(
    KEYS.map(lambda key: (key, b"")),
    KEYS.map(lambda key: (key, prefix_end(key))),
    KEYS.map(lambda key: (key, b"\0")),
    st.tuples(KEYS, KEYS),
)


@given(
    kept=st.lists(RANGES, unique=True), gone=st.lists(RANGES, unique=True), keys=st.lists(KEYS)
)  # fmt: skip
def test_all_ranges_with_a_key_are_found_and_no_others(kept, gone, keys):
    ranges = RangeMap()
    for number, each in enumerate([*kept, *gone]):
        ranges.put(each, (each, number))
    gone = [each for each in gone if each not in kept]
    for each in gone:
        ranges.remove(each)
    for each in kept:
        ranges.put(each, each)
    assert len(ranges) == len(kept)
    assert all(ranges.get(each) is None for each in gone)
    for key in keys:
        assert sorted(ranges.at(key)) == sorted(r for r in kept if holds(*r, key))
