"""The overlay: whatever was written, and wherever it is, ranges see all of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampan.storage.overlay import Overlay
from sampan.storage.rocks import open_state
from sampan.storage.sliced import finish

KEYS = st.binary(min_size=1, max_size=2).map(lambda key: bytes(byte % 4 for byte in key))
WRITES = st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=1)), max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), WRITES),
        st.tuples(st.just("commit")),
        st.tuples(st.just("look"), KEYS, KEYS, st.integers(0, 3)),
    ),
    max_size=20,
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    database = open_state(tmp_path_factory.mktemp("state"))
    yield database
    database.close()


@pytest.mark.parametrize("scan_max", [0, 1000])
@pytest.mark.parametrize("unsorted_max", [0, 2, 1000])
@given(steps=STEPS)
def test_ranges_see_what_was_written(database, unsorted_max, scan_max, steps):
    overlay = Overlay(database)
    overlay.UNSORTED_MAX, overlay.SCAN_MAX = unsorted_max, scan_max
    model = dict(database.pairs(b"", b"\xff"))
    for step, *given_ in steps:
        if step == "write":
            for key, value in given_[0]:
                overlay.writes[key] = value
                model.pop(key, None)
                if value is not None:
                    model[key] = value
        elif step == "commit":
            overlay.commit()
        else:
            start, end, limit = given_
            expected = sorted(pair for pair in model.items() if start <= pair[0] < end)
            assert overlay.pairs(start, end, limit) == expected[: limit or None]
            assert finish(overlay.count_sliced(start, end)) == len(expected)
