"""A trace is put together of what nodes with clocks of their own noted."""

import pytest
from sampan.client.errors import SampanError
from sampan.client.trace import Step, Trace
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


def of(*steps, began=100.0):
    """A trace of steps (when, name) of the node that took the write and leads."""
    noted = [Step(at, 1, "actor", name, 0) for at, name in steps]
    return Trace(5, 7, 2, 1, sorted(noted), {1: 0.0}, began)


STEPS = ((0.0, "clientc"), (1.0, "propc"), (2.0, "propose"), (3.0, "readyc"), (5.0, "fsync"),
         (6.0, "applyc"), (7.0, "applied"), (8.0, "resultc"))  # fmt: skip


def waits(trace):
    return [seconds for _, seconds in trace.parts()]


def test_what_a_write_waits_for_adds_up():
    assert waits(of(*STEPS)) == [1, 1, 1, 2, 1, 1, 1]
    called = of(*STEPS).of_call(98.0, 111.0)
    assert called.travel_s == (2.0, 3.0)
    assert waits(called) == [2, 1, 1, 1, 2, 1, 1, 1, 3]


@pytest.mark.parametrize("durable", [6.5, 7.5, 9.0])
def test_it_does_not_wait_for_a_disk_that_is_slower_than_a_majority(durable):
    others = [step for step in STEPS if step[1] != "fsync"]
    assert waits(of(*others, (durable, "fsync"))) == [1, 1, 1, 3, 0, 1, 1]


def test_of_a_write_that_is_half_forgotten_nothing_is_made_up():
    trace = of(*STEPS[1:]).of_call(98.0, 111.0)
    assert (trace.took_s, trace.travel_s) == (0.0, None)
    assert sum(waits(trace)) == 0.0


def test_what_came_into_a_batch_later_waited_for_less():
    trace = of(*STEPS).of_call(100.75, 111.0)
    assert (trace.began, trace.took_s) == (100.75, 7.25)
    assert [(s.at, s.name) for s in trace.steps][:3] == [
        (0.0, "clientc"), (0.25, "propc"), (1.25, "propose"),
    ]  # fmt: skip
    assert waits(trace) == [0, 0.25, 1, 1, 2, 1, 1, 1, 3]


@pytest.mark.parametrize("began", [0.0, 80.0, 99.0, 105.0, 120.0, 900.0])
@pytest.mark.parametrize("latency", [7.0, 7.5, 8.0, 13.0])
def test_however_clocks_are_estimated_parts_add_up(began, latency):
    """At least seven seconds were spent between two steps of one clock."""
    trace = of(*STEPS, began=began).of_call(98.0, 98.0 + latency)
    assert sum(waits(trace)) == pytest.approx(latency)
    assert min(waits(trace)) >= 0.0
    assert waits(trace)[2:-1] == [1, 1, 2, 1, 1, 1]


def test_a_timeline_tells_which_clocks_are_others():
    one = of(*STEPS).of_call(98.0, 111.0)
    assert "off" not in str(one)
    other = one._replace(offsets={1: 0.0, 2: 3.5, 3: -60.0}, ahead=0.25)
    lines = other.timeline({1: "n1", 3: "n3"}).splitlines()
    assert lines[0] == (
        "revision 5, entry 7 of term 2: 8000.000 ms in n1, 13000.000 ms for the client: "
        "2000.000 ms to get there, connection and all, and 3000.000 ms back"
    )
    assert lines[-3:] == [
        "the clock of 2 was +3500.000 ms off, as far as one can tell",
        "the clock of n3 was -60000.000 ms off, as far as one can tell",
        "the way there and back is an estimate: this clock was -250.000 ms off that of n1, "
        "as far as one can tell",
    ]
