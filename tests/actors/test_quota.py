"""The quota: when a member raises NOSPACE, when it disarms it, when it gives space back."""

from types import SimpleNamespace

import pytest
from sampan.actors.quota import CHECK_S, QUOTA_BYTES_DEFAULT, Quota
from sampan.storage.alarms import NOSPACE

ME = 3
RAISE = ("alarm_raise", ME, NOSPACE)
DISARM = ("alarm_disarm", ME, NOSPACE)


class State:
    """What the quota looks at."""

    def __init__(self):
        self.size, self.is_raised = 0, False
        self.compacting, self.compact_revision = False, 0
        self.alarms = SimpleNamespace(
            raised=lambda *alarm: alarm == (ME, NOSPACE) and self.is_raised
        )

    def space_bytes(self):
        return self.size


@pytest.fixture
def state():
    return State()


def look(quota, state, size, now):
    state.size = size
    return quota.look(state, now)


def test_it_raises_above_the_quota_and_disarms_well_below(state):
    quota = Quota(ME, 1000, auto_disarm=True)
    assert look(quota, state, 1000, now=0) is None
    assert look(quota, state, 1001, now=CHECK_S) == RAISE
    assert look(quota, state, 1001, now=CHECK_S + 0.1) is None
    assert look(quota, state, 1001, now=2 * CHECK_S) == RAISE  # it was lost
    state.is_raised = True
    assert look(quota, state, 5000, now=3 * CHECK_S) is None
    assert look(quota, state, 900, now=4 * CHECK_S) is None
    assert look(quota, state, 899, now=5 * CHECK_S) == DISARM
    state.is_raised = False
    assert look(quota, state, 950, now=6 * CHECK_S) is None


def test_without_disarming(state):
    quota = Quota(ME, 1000, auto_disarm=False)
    state.is_raised = True
    assert look(quota, state, 0, now=0) is None
    state.is_raised = False
    assert look(quota, state, 2000, now=CHECK_S) == RAISE


def test_the_default_and_none(state):
    assert Quota(ME, 0, auto_disarm=True).bytes == QUOTA_BYTES_DEFAULT
    assert look(Quota(ME, -1, auto_disarm=True), state, 1 << 60, now=0) is None


def test_space_is_given_back_once_for_each_compaction_that_ended(state):
    quota = Quota(ME, 1000, auto_disarm=True)
    state.compact_revision = 5
    assert not quota.should_reclaim(state)
    state.is_raised, state.compacting = True, True
    assert not quota.should_reclaim(state)
    state.compacting = False
    assert quota.should_reclaim(state)
    assert not quota.should_reclaim(state)
    state.compact_revision = 6
    assert quota.should_reclaim(state)
