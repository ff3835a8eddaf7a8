"""Followers that need longer for a snapshot than the log's bound lasts, in virtual time."""

import itertools

import pytest
from sampan.config.limits import LogLimits

from .three_cores import ALL_WAYS, ThreeCores

PUT_S = 0.02
BOUND = LogLimits(entries_max=64)
FULL_S = BOUND.held_entries_max * PUT_S
"""By then writes have filled the log, if nothing slows them down."""


@pytest.mark.parametrize("times", [2, 20])
@pytest.mark.parametrize("seed", [1, 2])
def test_one_snapshot_brings_a_follower_back_however_long_it_takes(log, times, seed):
    """And writes go on all the time."""
    cores = ThreeCores(log, seed, snapshot_s=times * FULL_S, log_limits=BOUND)
    leader = cores.elect()
    away = 1 + leader % 3
    cores.cut_all([way for way in ALL_WAYS if away in way])
    cores.put(2 * FULL_S, every_s=PUT_S)
    cores.heal(0.5)
    before, began = cores.applied[away][0], cores.now

    def is_in_sync():
        applied = cores.applied[away][0]
        return applied > before and cores.applied[leader][0] - applied < 10

    assert cores.put(1.5 * cores.snapshot_s, every_s=PUT_S, until=is_in_sync)
    assert (cores.leader(), cores.installed[away]) == (leader, 1)
    while_it_took = [at for at in cores.committed_at if began < at < cores.now]
    gaps = [late - early for early, late in itertools.pairwise(while_it_took)]
    assert max(gaps) < FULL_S, "writes become slower and do not stop"
