"""Whom a member links to while its log is behind."""

from sampan.actors.roster import Roster

ME, OLD, NEW, OTHER = 9, 1, 2, 3


def member(number, endpoint):
    return (number, f"n{number}", (endpoint,), (), False, 0)


def test_a_new_member_keeps_those_it_was_told_of_until_its_log_knows_it():
    roster = Roster(ME, [(NEW, "h:1", "new"), (OTHER, "h:3", "other")])
    assert roster.ways() == {NEW: ("h:1", "new"), OTHER: ("h:3", "other")}
    # Long ago somebody else had the address of one of today's, and of this member.
    roster.take((member(OLD, "h:1"), member(OTHER, "h:3")), ())
    assert set(roster.ways()) == {NEW, OTHER}
    roster.take((member(NEW, "h:1"), member(ME, "h:9")), ((OLD, ("h:1",)), (OTHER, ("h:3",))))
    assert set(roster.ways()) == {NEW}


def test_a_log_that_begins_adds_one_member_after_the_other_and_all_are_linked_to():
    """As at each start before the first flush of the state, when it is replayed from there."""
    roster = Roster(ME, [(OLD, "h:1", "n1"), (OTHER, "h:3", "n3")])
    all_three = [member(ME, "h:9"), member(OLD, "h:1"), member(OTHER, "h:3")]
    for count in (1, 2, 3):
        roster.take(tuple(all_three[:count]), ())
        assert roster.ways() == {OLD: ("h:1", "n1"), OTHER: ("h:3", "n3")}
    roster.take((all_three[0], all_three[2]), ((OLD, ("h:1",)),))
    assert roster.ways() == {OTHER: ("h:3", "n3")}


def test_what_the_file_says_counts_until_the_log_knows_this_member():
    roster = Roster(ME, [(OLD, "h:1", "")])
    roster.take((member(ME, "h:9"), member(OTHER, "h:3")), ())
    assert roster.ways() == {OTHER: ("h:3", "n3")}


def test_what_peers_say_counts_until_the_log_says_otherwise():
    roster = Roster(ME, [])
    assert not roster.hear([member(NEW, "h:2")]), "nothing is known of this member yet"
    roster.take((member(ME, "h:9"), member(OTHER, "h:3")), ())
    assert roster.hear([member(ME, "h:9"), member(OTHER, "h:3"), member(NEW, "h:2")])
    assert not roster.hear([member(NEW, "h:2")])
    assert roster.ways() == {OTHER: ("h:3", "n3"), NEW: ("h:2", "n2")}
    roster.take((member(ME, "h:9"), member(OTHER, "h:3")), ((NEW, ("h:2",)),))
    assert roster.is_removed(NEW)
    assert roster.ways() == {OTHER: ("h:3", "n3")}
    assert not roster.hear([member(NEW, "h:2")])
