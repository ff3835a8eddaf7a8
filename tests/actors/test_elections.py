"""Why elections happened, as a member saw them."""

import pytest
from sampan.actors.campaigns import Campaigns
from sampan.actors.elections import KEPT, Elections

ELECTION_S = 1.0


@pytest.fixture
def campaigns():
    return Campaigns(2, ELECTION_S)


@pytest.fixture
def elections(campaigns):
    return Elections(campaigns)


def whys(elections, *softs):
    for soft in softs:
        elections.changed(soft, 1.0)
    return [why for *_, why in elections.told(1.0)]


def test_a_leader_that_is_silent(elections):
    assert whys(elections, (3, 1, "follower"), (3, 0, "candidate"), (4, 0, "candidate"),
                (4, 2, "leader")) == [
        "hears its leader",
        "asks for votes (PreVote): no word from a leader for an election timeout",
        "would be elected, so it stands",
        "a majority voted for it",
    ]  # fmt: skip


def test_a_leader_that_is_gone(elections, campaigns):
    elections.changed((3, 1, "follower"), 0.0)
    campaigns.leader_is_gone(1, (1, 2, 3), 1.0)
    assert whys(elections, (3, 0, "follower"), (3, 0, "candidate"))[1:] == [
        "its leader is gone",
        "asks for votes (PreVote): its leader's process is gone",
    ]


def test_the_first_start(elections, campaigns):
    campaigns.eager = True
    assert whys(elections, (1, 0, "follower"), (1, 0, "candidate"))[-1] == (
        "asks for votes (PreVote): the cluster's first start"
    )


def test_leadership_that_is_handed_over(elections):
    assert whys(elections, (3, 1, "follower"), (4, 0, "candidate"))[-1] == (
        "was told to by its leader"
    )


@pytest.mark.parametrize(
    ("after", "why"),
    [
        ((3, 0, "follower"), "no majority answers (CheckQuorum)"),
        ((4, 0, "follower"), "heard of a later term"),
        ((4, 3, "follower"), "heard of a later term"),
    ],
)
def test_a_leader_that_steps_down(elections, after, why):
    assert whys(elections, (3, 2, "leader"), after)[-1] == why


def test_a_start(elections):
    assert whys(elections, (5, 0, "follower"), (5, 1, "follower")) == [
        "has started", "hears its leader",
    ]  # fmt: skip


def test_who_follows_sees_others_stand(elections):
    assert whys(elections, (3, 1, "follower"), (4, 0, "follower"), (4, 3, "follower"))[1:] == [
        "another one stands for election", "hears its leader",
    ]  # fmt: skip


def test_the_last_are_told_with_their_age(elections):
    for term in range(1, KEPT + 10):
        elections.changed((term, 1, "follower"), float(term))
    elections.note("its disk is slow: hands over to 3", 100.0)
    told = elections.told(101.0)
    assert len(told) == KEPT
    assert told[-1] == (1.0, KEPT + 9, 1, "follower", "its disk is slow: hands over to 3")
    assert told[0][:2] == (101.0 - 11, 11)
