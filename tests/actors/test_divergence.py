"""Finding the member that differs: the verdict, and what members propose and conclude."""

import pytest
from sampan.actors.divergence import CLAIM, CLAIM_RETRY_S, MARKER, Divergence, judge
from sampan.storage.alarms import CORRUPT
from sampan.storage.state_store import StateStore
from sampan.transport.codec import unpack_local

A, B = 0xA, 0xB
VOTERS = (1, 2, 3)
MEMBERS = tuple((number, f"n{number}", (), (), False, 70 + number) for number in VOTERS)
"""As the state keeps them; the last is the incarnation."""


@pytest.mark.parametrize(
    ("claims", "wrong"),
    [
        ({}, None),
        ({1: A}, None),
        ({1: A, 2: A}, {}),
        ({1: A, 2: B}, None),
        ({1: A, 2: B, 3: B}, {1: A}),
        ({3: A, 2: A, 1: B}, {1: B}),
        ({2: A, 3: A, 4: B}, {4: B}),  # a learner is judged, too
        ({1: A, 4: A, 5: A}, None),  # but does not judge
    ],
)
def test_a_majority_of_the_voters_is_right(claims, wrong):
    verdict = judge(claims, VOTERS, 1)
    assert (verdict and verdict.wrong) == wrong


def test_without_a_majority_the_proposer_is_right():
    assert judge({1: A, 2: B}, (1, 2), 2).wrong == {1: A}
    assert judge({1: A, 2: B, 3: 0xC}, VOTERS, 3).wrong == {1: A, 2: B}
    assert judge({1: A, 2: A, 3: B, 4: B}, (1, 2, 3, 4), 4).wrong == {1: A, 2: A}
    assert judge({1: A, 2: B}, (1, 2), 9) is None, "who is gone cannot be right"


class Member:
    """A member whose entries a test carries to the others."""

    def __init__(self, number, path):
        self.state = StateStore.open(path / str(number))
        self.divergence = Divergence(number, 70 + number, 10.0)

    def tick(self, now, *, leading=False):
        payload = self.divergence.tick(self.state, now, leading=leading, members=3)
        return None if payload is None else unpack_local(payload)

    def apply(self, *entries):
        for entry in entries:
            index = self.state.applied_index + 1
            if entry[0] in (MARKER, CLAIM):
                self.divergence.apply(self.state, (index, 1), entry, (VOTERS, MEMBERS))
            else:
                self.state.apply(index, 1, [entry])


@pytest.fixture
def members(tmp_path):
    members = [Member(number, tmp_path) for number in VOTERS]
    yield members
    for member in members:
        member.state.close()


def everywhere(members, *entries):
    for member in members:
        member.apply(*entries)


def put(key=b"k", value=b"v"):
    return ("put", key, value)


def one_check(members, now):
    """Marker and claims, at each member; the marker must be due."""
    marker = members[0].tick(now, leading=True)
    assert marker == (MARKER, 1)
    everywhere(members, marker)
    claims = [member.tick(now) for member in members]
    assert all(claim[0] == CLAIM for claim in claims)
    everywhere(members, *claims)


def reasons(members):
    return [member.divergence.reason_to_stop(member.state) for member in members]


def test_members_that_agree(members):
    everywhere(members, put(), put())
    members[1].state.commit()  # at other times than the others
    one_check(members, 100.0)
    assert reasons(members) == ["", "", ""]
    assert members[0].tick(200.0, leading=True) is None, "nothing has changed since"
    everywhere(members, put())
    assert members[1].tick(200.0) is None, "only the leader puts markers"
    members[2].state.commit()
    one_check(members, 200.0)
    assert reasons(members) == ["", "", ""]
    everywhere(members, put())
    assert members[0].tick(209.0, leading=True) is None, "not so soon"


def test_the_member_that_differs_is_told_why_and_the_others_know_it(members):
    everywhere(members, put())
    members[1].apply(put(b"k", b"lost"))
    members[1].state._index -= 1
    everywhere(members, put())
    one_check(members, 100.0)
    first, second, third = reasons(members)
    assert (first, third) == ("", "")
    assert "at index 3, revision 4" in second
    assert [member.state.alarms.all() for member in members] == [[(2, CORRUPT)]] * 3
    assert "of member 1, " in second
    everywhere(members[::2], put(), (MARKER, 1))
    for member in members:
        assert Divergence.diverged(member.state, MEMBERS) == [2], "a later check does not forget"
        replaced = [(*m[:5], 99) if m[0] == 2 else m for m in MEMBERS]
        assert Divergence.diverged(member.state, replaced) == [], "with another data dir"


def test_a_claim_that_was_lost_is_made_again(members):
    everywhere(members, put(), (MARKER, 1))
    claim = members[1].tick(100.0)
    assert members[1].tick(100.0 + CLAIM_RETRY_S / 2) is None
    assert members[1].tick(100.0 + CLAIM_RETRY_S) == claim
    members[1].apply(claim)
    assert members[1].tick(200.0) is None


def test_a_claim_for_an_earlier_marker_says_nothing(members):
    everywhere(members, put(), (MARKER, 1), (MARKER, 1), (CLAIM, 2, 2, A), (CLAIM, 3, 2, A))
    everywhere(members, members[0].tick(100.0))
    assert reasons(members) == ["", "", ""]
    assert Divergence.diverged(members[0].state, MEMBERS) == []


def test_a_verdict_survives_a_restart(members, tmp_path):
    everywhere(members, put())
    members[0].apply(put())
    members[0].state._index -= 1
    one_check(members, 100.0)
    assert reasons(members)[0]
    members[0].state.commit()
    members[0].state.flush()
    members[0].state.close()
    members[0] = Member(1, tmp_path)
    assert reasons(members)[0]


def test_a_member_alone_and_one_that_is_told_not_to_put_no_markers(members):
    everywhere(members, put())
    alone = members[0]
    assert alone.divergence.tick(alone.state, 100.0, leading=True, members=1) is None
    assert Divergence(1, 71, 0.0).tick(alone.state, 100.0, leading=True, members=3) is None
