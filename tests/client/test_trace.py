"""A trace is put together of what nodes with clocks of their own noted."""

import pytest
from sampan.client.errors import SampanError
from sampan.client.trace_calls import _Noted, _together

ORIGIN = (7, 2, 1, 99)


def noted(member_id, ahead, *steps, asked_s=0.001):
    return _Noted(member_id, ahead, asked_s, [(a, n, at + ahead, 0) for a, n, at in steps])


def test_steps_of_nodes_on_one_clock_are_in_order():
    trace = _together(5, ORIGIN, [
        noted(2, 0.0, ("raft_core", "recvc", 10.002), ("wal_writer", "fsync", 10.004)),
        noted(1, 0.0, ("node", "clientc", 10.0), ("node", "resultc", 10.005)),
    ])  # fmt: skip
    assert [(s.member_id, s.name) for s in trace.steps] == [
        (1, "clientc"), (2, "recvc"), (2, "fsync"), (1, "resultc"),
    ]  # fmt: skip
    assert [s.at for s in trace.steps] == pytest.approx([0.0, 0.002, 0.004, 0.005])
    assert trace.offsets == {1: 0.0, 2: 0.0}


@pytest.mark.parametrize("ahead", [3600.0, -12.5])
def test_a_clock_that_is_ahead_is_set_back(ahead):
    trace = _together(5, ORIGIN, [
        noted(1, 0.25, ("node", "clientc", 10.0), ("node", "resultc", 10.005)),
        noted(2, 0.25 + ahead, ("raft_core", "recvc", 10.002)),
    ])  # fmt: skip
    assert [s.at for s in trace.steps] == pytest.approx([0.0, 0.002, 0.005])
    assert trace.offsets[2] == pytest.approx(ahead)


def test_a_difference_that_asking_hides_is_none():
    trace = _together(5, ORIGIN, [
        noted(1, 0.0, ("node", "clientc", 10.0), asked_s=0.004),
        noted(2, 0.003, ("raft_core", "recvc", 10.002), asked_s=0.004),
    ])  # fmt: skip
    assert trace.offsets == {1: 0.0, 2: 0.0}


def test_without_the_node_that_took_the_write_there_is_no_beginning():
    with pytest.raises(SampanError, match="member 1, which took the write, does not answer"):
        _together(5, ORIGIN, [noted(2, 0.0, ("raft_core", "recvc", 10.0))])
