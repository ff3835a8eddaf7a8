"""Raft's properties under loss, reordering, crashes and membership changes.

A failure names its seed: `Simulation(seed, size, asynchronous)` replays it step by step. Set
RAFT_SEEDS to "first:count" to look elsewhere, for longer.
"""

import os

import pytest
from sampan.raft import ConfState
from sampan.tests.raft.invariants import ViolationError, quorums_overlap
from sampan.tests.raft.simulation import Simulation

STEPS = 600
FIRST, COUNT = map(int, os.environ.get("RAFT_SEEDS", "0:260").split(":"))


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("size", [3, 5])
def test_properties_hold(size, asynchronous):
    for seed in range(FIRST, FIRST + COUNT):
        sim = Simulation(seed, size, asynchronous)
        try:
            sim.run(STEPS)
            sim.settle()
        except Exception as error:
            error.add_note(f"replay with Simulation({seed}, {size}, {asynchronous})")
            raise


def test_a_run_is_determined_by_its_seed():
    runs = [Simulation(7, 3, True) for _ in range(2)]
    for sim in runs:
        sim.run(STEPS)
    first, second = ([h.raw and h.raw.debug_state() for h in s.hosts.values()] for s in runs)
    assert first == second


def test_runs_get_somewhere():
    sims = [Simulation(seed, 3, seed % 2 == 0) for seed in range(20)]
    for sim in sims:
        sim.run(STEPS)
        sim.settle()
    assert sum(len(s.history.leaders) for s in sims) > 20
    assert sum(s.history.acknowledged for s in sims) > 80
    assert sum(len(s.history.configs) for s in sims) > 5


def test_the_checks_can_fail():
    sim = Simulation(1, 3, False)
    sim.history.saw_leader(5, 1)
    with pytest.raises(ViolationError, match="two leaders in term 5"):
        sim.history.saw_leader(5, 2)
    assert quorums_overlap(ConfState([1, 2, 3]), ConfState([1, 2]))
    assert not quorums_overlap(ConfState([1, 2, 3]), ConfState([4, 5, 6]))
    assert not quorums_overlap(ConfState([1, 2, 3]), ConfState([3, 4, 5]))
    assert quorums_overlap(ConfState([4, 5], [], [1, 2, 3]), ConfState([4, 5]))
