"""When leases end, by a clock that the test moves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sampan.actors import lessor as module
from sampan.actors.lessor import EXPIRE_KEYS_MAX, RETRY_S, Lessor
from sampan.storage.leases import Lease
from sampan.transport.codec import unpack

ME, OTHER, NOBODY = 1, 2, 0


@pytest.fixture
def lessor():
    """Of a leader without grace, at time 0."""
    lessor = Lessor(grace_s=0.0)
    lessor.load({}, 0.0)
    lessor.lead(ME, True, 0.0)
    return lessor


def test_a_lease_is_due_at_its_deadline_and_not_before(lessor):
    lessor.take({7: Lease(10, 3)}, 100.0)
    assert lessor.remaining_s(7, 104.0) == 6.0
    assert lessor.due(109.999) == []
    assert lessor.due(110.0) == [(7, 3)]
    assert lessor.remaining_s(7, 111.0) == 0.0


def test_a_renewal_begins_the_time_anew(lessor):
    lessor.take({7: Lease(10, 3)}, 100.0)
    lessor.take({7: Lease(10, 4)}, 106.0)
    assert lessor.due(115.9) == []
    assert lessor.due(116.0) == [(7, 4)]


def test_a_renewal_after_the_proposal_begins_the_time_anew(lessor):
    lessor.take({7: Lease(10, 3)}, 100.0)
    assert lessor.due(110.0) == [(7, 3)]
    lessor.take({7: Lease(10, 4)}, 110.1)
    assert lessor.due(120.0) == []
    assert lessor.due(120.1) == [(7, 4)]


def test_a_lease_that_ended_is_forgotten(lessor):
    lessor.take({7: Lease(10, 3), 8: Lease(5, 3)}, 100.0)
    lessor.take({7: None}, 101.0)
    assert lessor.by_deadline() == [8]
    lessor.take({7: Lease(20, 5)}, 102.0)  # granted again
    assert lessor.by_deadline() == [8, 7]
    assert lessor.due(110.0) == [(8, 3)]
    lessor.take({8: None}, 110.0)
    assert lessor.due(121.9) == []
    assert lessor.due(122.0) == [(7, 5)]


def test_many_are_proposed_in_turns_each_after_the_one_before(lessor, monkeypatch):
    monkeypatch.setattr(module, "EXPIRE_LEASES_MAX", 3)
    lessor.take({lease: Lease(10, 1) for lease in range(1, 8)}, 0.0)
    ended = []
    while due := lessor.due(10.0):
        assert lessor.due(10.5) == []
        ended += due
        lessor.take({lease: None for lease, _ in due}, 10.6)
    assert ended == [(lease, 1) for lease in range(1, 8)]


def test_what_did_not_expire_with_its_entry_goes_with_the_next(lessor):
    lessor.take({1: Lease(10, 1), 2: Lease(10, 1)}, 0.0)
    assert lessor.due(10.0) == [(1, 1), (2, 1)]
    lessor.take({1: None, 2: Lease(10, 1)}, 10.1)
    assert lessor.due(10.1) == [(2, 1)]


def test_a_proposal_that_was_lost_is_made_again(lessor):
    lessor.take({1: Lease(10, 1), 2: Lease(10, 1)}, 0.0)
    assert lessor.due(10.0) == [(1, 1), (2, 1)]
    lessor.take({2: None}, 10.5)
    assert lessor.due(10.0 + RETRY_S - 0.01) == []
    assert lessor.due(10.0 + RETRY_S) == [(1, 1)]


def test_only_the_leader_proposes_and_a_new_one_gives_clients_time():
    lessor = Lessor(grace_s=1.0)
    lessor.load({7: Lease(10, 3)}, 0.0)
    lessor.lead(OTHER, False, 0.0)
    assert lessor.due(50.0) == []
    lessor.lead(ME, True, 50.0)
    assert lessor.due(50.9) == []
    assert lessor.due(51.0) == [(7, 3)]
    lessor.lead(OTHER, False, 51.5)
    assert lessor.due(60.0) == []


def test_a_new_leader_knows_what_remains():
    lessor = Lessor(grace_s=1.0)
    lessor.load({}, 0.0)
    lessor.lead(OTHER, False, 0.0)
    lessor.take({7: Lease(10, 3)}, 100.0)
    lessor.lead(ME, True, 104.0)
    assert lessor.remaining_s(7, 104.0) == 6.0
    assert lessor.due(109.9) == []
    assert lessor.due(110.0) == [(7, 3)]


def test_time_without_a_leader_does_not_count(lessor):
    lessor.take({7: Lease(10, 3)}, 100.0)
    lessor.lead(NOBODY, False, 104.0)
    assert lessor.remaining_s(7, 104.0) == lessor.remaining_s(7, 200.0) == 6.0
    lessor.take({8: Lease(3, 4)}, 200.0)
    lessor.lead(ME, True, 300.0)
    assert lessor.remaining_s(7, 300.0) == 6.0
    assert lessor.due(303.0) == [(8, 4)]
    lessor.take({8: None}, 303.0)
    assert lessor.due(306.0) == [(7, 3)]


def test_after_a_start_leases_have_their_full_time():
    lessor = Lessor(grace_s=0.0)
    lessor.load({7: Lease(10, 3)}, 1000.0)
    lessor.lead(ME, True, 1005.0)
    assert lessor.remaining_s(7, 1005.0) == 10.0
    assert lessor.due(1014.9) == []
    assert lessor.due(1015.0) == [(7, 3)]


def test_after_a_snapshot_it_knows_the_leases_of_the_snapshot(lessor):
    lessor.take({1: Lease(10, 1), 2: Lease(10, 1)}, 0.0)
    lessor.due(10.0)
    lessor.load({2: Lease(5, 9), 3: Lease(3, 9)}, 20.0)
    assert lessor.by_deadline() == [3, 2]
    assert lessor.due(25.0) == [(3, 9), (2, 9)]


def test_a_proposal_is_an_entry_that_nobody_waits_for(lessor):
    assert lessor.proposal(5.0) is None
    lessor.take({7: Lease(10, 3)}, 0.0)
    origin, _, (body,) = unpack(lessor.proposal(10.0))
    assert origin == 0
    assert unpack(body) == (("lease_expire", ((7, 3),), EXPIRE_KEYS_MAX),)
    assert lessor.proposal(10.0) is None


def test_leases_that_end_early_leave_nothing_behind(lessor):
    for lease in range(1, 1001):
        lessor.take({lease: Lease(9_000_000_000, lease)}, 0.0)
        lessor.take({lease: None}, 0.0)
    assert len(lessor._heap) <= 64


happenings = st.one_of(
    st.tuples(st.just("grant"), st.integers(1, 4), st.integers(1, 9)),
    st.tuples(st.just("renew"), st.integers(1, 4)),
    st.tuples(st.just("revoke"), st.integers(1, 4)),
    st.tuples(st.just("wait"), st.integers(1, 5)),
    st.tuples(st.just("lead"), st.sampled_from([ME, OTHER, NOBODY])),
    st.tuples(st.just("lose"), st.booleans()),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(happenings, max_size=40))
def test_no_lease_ends_early_and_each_ends_when_there_is_a_leader(steps):
    """The lessor with a log of one member: what it proposes is applied, or gets lost."""
    world = World()
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
        world.expire()
    world.lose(False)
    world.lead(ME)
    for _ in range(30):
        world.wait(1)
        world.expire()
    assert world.state == {}
    assert world.lessor.by_deadline() == []


class World:
    def __init__(self):
        self.lessor = Lessor(grace_s=0.5)
        self.lessor.load({}, 0.0)
        self.now, self.index, self.losing, self.leader = 0.0, 0, False, NOBODY
        self.state = {}  # lease -> Lease
        self.led_s = {}  # lease -> seconds with a leader since it was renewed

    def _change(self, lease, content):
        self.state.pop(lease, None)
        self.led_s.pop(lease, None)
        if content is not None:
            self.state[lease], self.led_s[lease] = content, 0.0
        self.lessor.take({lease: content}, self.now)

    def grant(self, lease, ttl):
        self.index += 1
        if lease not in self.state:
            self._change(lease, Lease(ttl, self.index))

    def renew(self, lease):
        self.index += 1
        if lease in self.state:
            self._change(lease, Lease(self.state[lease].ttl_s, self.index))

    def revoke(self, lease):
        if lease in self.state:
            self._change(lease, None)

    def wait(self, seconds):
        self.now += seconds
        if self.leader != NOBODY:
            self.led_s = {lease: led + seconds for lease, led in self.led_s.items()}

    def lead(self, leader):
        self.leader = leader
        self.lessor.lead(leader, leader == ME, self.now)

    def lose(self, losing):
        self.losing = losing

    def expire(self):
        due = self.lessor.due(self.now)
        assert not due or self.leader == ME
        for lease, renewed in due:
            if not self.losing:
                assert self.state[lease].renewed == renewed
                assert self.led_s[lease] >= self.state[lease].ttl_s
                self._change(lease, None)


def test_a_lease_granted_again_ends_by_its_own_time(lessor):
    """Revoked and granted with the same id in one turn, it looks like one that was renewed."""
    lessor.take({7: Lease(3600, 1)}, 100.0)
    lessor.take({7: Lease(2, 3)}, 100.0)
    assert lessor.due(101.9) == []
    assert lessor.due(102.1) == [(7, 3)]
