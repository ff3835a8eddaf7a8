"""Automatic compaction with a clock that a test turns."""

import pytest
from sampan.actors import compactor
from sampan.actors.compactor import Periodic, Revisions

HOUR = 3600.0


class Member:
    """A member whose compactor is asked every 6 s for the time of a test, in hours or minutes."""

    def __init__(self, made, *, per_hour=60, leading=True, works=True):
        self.compactor = made
        self.now = 1000.0
        self.per_hour = per_hour
        self.revision = 1
        self.compacted = 0
        self.leading = leading
        self.works = works

    def run(self, hours):
        """[(hours since the begin, revision compacted to), …]."""
        asked = []
        end = self.now + hours * HOUR
        while self.now < end - 1e-6:
            self.now += 6
            self.revision = 1 + int((self.now - 1000.0) / HOUR * self.per_hour)
            target = self.compactor.tick(
                self.now, self.revision, self.compacted, leading=self.leading
            )
            if target:
                asked.append((round((self.now - 1000.0) / HOUR, 2), target))
                if self.works:
                    self.compacted = target
        return asked


def test_a_period_of_less_than_an_hour_compacts_every_period():
    asked = Member(Periodic(HOUR / 2, 1000.0)).run(2.1)
    assert [at for at, _ in asked] == pytest.approx([0.5, 1.0, 1.5, 2.0], abs=0.06)
    assert [revision for _, revision in asked] == pytest.approx([1, 28, 58, 88], abs=3)


def test_a_longer_period_compacts_every_hour_and_keeps_the_whole_period():
    asked = Member(Periodic(3 * HOUR, 1000.0)).run(7.5)
    assert [at for at, _ in asked] == pytest.approx([3, 4, 5, 6, 7], abs=0.1)
    for at, revision in asked:
        kept_hours = at - (revision - 1) / 60
        assert 3 <= kept_hours <= 3.25


def test_nothing_new_is_not_compacted_again():
    member = Member(Periodic(HOUR, 1000.0), per_hour=0)
    assert len(member.run(5)) == 1


def test_only_a_leader_compacts_and_a_new_one_goes_on_at_once():
    member = Member(Periodic(HOUR, 1000.0), leading=False)
    assert member.run(3) == []
    member.leading = True
    ((at, revision), *_) = member.run(0.2)
    assert at == pytest.approx(3.05, abs=0.06)
    assert revision == pytest.approx(121, abs=10)
    member.leading = False
    assert member.run(3) == []


def test_a_compaction_that_did_not_happen_is_asked_for_again_soon():
    member = Member(Periodic(HOUR, 1000.0), works=False)
    asked = member.run(1.45)
    assert [at for at, _ in asked] == pytest.approx([1.0, 1.1, 1.2, 1.3, 1.4], abs=0.06)
    member.works = True
    assert [at for at, _ in member.run(1.2)] == pytest.approx([1.5, 2.5], abs=0.06)


def test_revisions_are_counted_every_five_minutes():
    member = Member(Revisions(100, 1000.0), per_hour=1200)
    asked = member.run(0.5)
    assert [at for at, _ in asked] == pytest.approx([n / 12 for n in range(1, 7)], abs=0.01)
    assert [revision for _, revision in asked] == pytest.approx([1, 101, 201, 301, 401, 501], abs=2)


def test_revisions_only_on_the_leader_and_only_when_there_are_more():
    member = Member(Revisions(100, 1000.0), per_hour=1200, leading=False)
    assert member.run(1) == []
    member.leading, member.per_hour = True, 0
    assert member.run(1) == []


def test_off_by_default():
    assert compactor.make("periodic", 0, 0.0) is None
    assert compactor.make("revision", 0, 0.0) is None
    assert isinstance(compactor.make("periodic", 60, 0.0), Periodic)
    assert isinstance(compactor.make("revision", 60, 0.0), Revisions)
