"""Which changes of members may be proposed, and how they find the leader."""

import pytest
from sampan.actors.asked import Asked
from sampan.actors.changes import ChangeSettings, Doors, Facts, MemberChanges, facts, judge
from sampan.transport import errors
from sampan.transport.codec import pack

ME = 1
SETTINGS = ChangeSettings(ME, health_s=5.0, election_s=1.0)


def members(*named, learners=(), unstarted=()):
    return tuple(
        (m, "" if m in unstarted else f"n{m}", (f"127.0.0.1:{m}",), (), m in learners, 0)
        for m in (*named, *learners)
    )


def known(heard=(2, 3), shortly=(), match=None, old=(), strange=(), last=100):
    heard_s = dict.fromkeys(heard, 60.0) | dict.fromkeys(shortly, 0.5)
    return Facts(last, match or {}, heard_s, frozenset(old), frozenset(strange))


def add(member=9, learner=0):
    return ("add", member, (f"127.0.0.1:{member}",), learner, 0)


def removal(member):
    return ("remove", member)


def promotion(member):
    return ("promote", member)


THREE = members(1, 2, 3)
JUDGED = [
    # a new voter
    ([add()], THREE, known(), None),
    ([add()], members(1), known(()), None),  # or it could never grow
    ([add()], members(1, 2), known((2,)), None),
    ([add()], members(1, 2, unstarted=(2,)), known(()), errors.MEMBERS_NOT_STARTED),
    ([add()], members(1, 2, 3, unstarted=(3,)), known((2,)), errors.MEMBERS_NOT_STARTED),
    ([add()], members(1, 2, 3, 4, unstarted=(4,)), known(), None),
    ([add()], THREE, known((2,)), errors.UNHEALTHY),
    ([add()], THREE, known((2,), shortly=(3,)), errors.UNHEALTHY),
    # a new learner takes no part in a majority
    ([add(learner=1)], members(1, 2, unstarted=(2,)), known(()), None),
    ([add(learner=1)], THREE, known((2,)), errors.UNHEALTHY),
    # a voter goes
    ([removal(3)], THREE, known(), None),
    ([removal(3)], THREE, known((2,)), None),  # it is down
    ([removal(2)], THREE, known((2,)), errors.UNHEALTHY),  # the one that is not
    ([removal(ME)], THREE, known((2,)), errors.UNHEALTHY),
    ([removal(ME)], THREE, known(), None),
    ([removal(2)], members(1, 2), known((2,)), None),
    ([removal(2)], members(1, 2), known(()), None),
    ([removal(2)], members(1, 2, 3, unstarted=(3,)), known((2,)), errors.MEMBERS_NOT_STARTED),
    ([removal(ME)], members(1), known(()), errors.MEMBERS_NOT_STARTED),
    ([removal(4)], members(1, learners=(4,)), known(()), None),
    ([removal(77)], THREE, known(), None),  # is refused when it is applied
    # a learner votes
    ([promotion(4)], members(1, 2, 3, learners=(4,)), known(match={4: 90}), None),
    ([promotion(4)], members(1, learners=(4,)), known(match={4: 89}), errors.LEARNER_NOT_READY),
    ([promotion(4)], members(1, learners=(4,)), known(), errors.MEMBER_NOT_FOUND),
    # others
    ([("update", 2, ("127.0.0.1:9",))], THREE, known(()), None),
    ([removal(2), add()], THREE, known(), None),
    ([removal(2), removal(3), add()], THREE, known(), None),
    ([removal(2), removal(3), add(8), add(9)], THREE, known(), errors.MEMBERS_NOT_STARTED),
    ([removal(1), removal(2), removal(3)], THREE, known(), errors.MEMBERS_NOT_STARTED),
    # versions
    ([add()], THREE, known(old=(3,)), errors.MIXED_VERSIONS),
    ([removal(3)], THREE, known(old=(3,)), None),
    ([add()], THREE, known(strange=(3,)), errors.UNHEALTHY),
]


@pytest.mark.parametrize(("changes", "there", "facts_", "refusal"), JUDGED)
def test_the_strict_check(changes, there, facts_, refusal):
    assert judge(changes, there, facts_, SETTINGS) == refusal


def test_without_the_strict_check_the_last_voter_stays_and_a_learner_must_be_ready():
    lax = SETTINGS._replace(strict=False)
    assert judge([add()], THREE, known(()), lax) is None
    assert judge([removal(2)], THREE, known(()), lax) is None
    assert judge([removal(1)], members(1), known(()), lax) == errors.MEMBERS_NOT_STARTED
    learner = members(1, learners=(4,))
    assert judge([promotion(4)], learner, known(match={4: 1}), lax) == errors.LEARNER_NOT_READY


def test_facts_tell_who_is_of_an_older_version():
    status = {
        "raft_index": 7,
        "progress": [(2, 5, 6, "replicate", True)],
        "peers": [(2, 9000, 0), (3, 100, 0), (4, -1, 0)],
    }
    found = facts(status)
    assert (found.last, found.match) == (7, {2: 5})
    assert (found.old, found.strange) == ({2}, {3})
    assert found.heard_s[4] < 0


class Node:
    """A node that notes what its changes want of it."""

    def __init__(self):
        self.done = []
        self.open = set()
        self.forbidden = None
        self.changes = MemberChanges(
            SETTINGS,
            Doors(
                ask=lambda: self.done.append("ask"),
                forbids=lambda _asked, _decoded: self.forbidden,
                propose=self.propose,
                again=self.again,
                transfer=lambda target: self.done.append(("transfer", target)),
                forward=lambda message: self.done.append(("forward", message)),
                fail=lambda asked, error: self.done.append(("fail", asked.message_id, error)),
                refuse=lambda asked, decoded, refused: self.done.append(("refuse", refused)),
                finish=lambda asked, body: self.done.append(("finish", asked.message_id, body)),
                new_id=lambda: 700,
            ),
        )
        self.changes.members = THREE

    def propose(self, asked, decoded):
        self.done.append(("propose", asked.message_id))
        self.open.add(asked.message_id)
        return asked.message_id

    def again(self, batch, _decoded):
        self.done.append(("again", batch))
        return batch in self.open

    def take(self, message_id, *changes, now=0.0, peer=None):
        request = ("member_change", changes)
        asked = Asked(b"c", message_id, "write", pack([request]), {}, now + 7.0, None, now, peer)
        self.changes.take(asked, (request,), now)

    def did(self):
        done, self.done = self.done, []
        return done


@pytest.fixture
def node():
    return Node()


@pytest.fixture
def leading(node):
    node.changes.on_soft_state(ME, "leader", 0.0)
    return node


def test_a_leader_takes_one_after_the_other(leading):
    leading.take(11, add())
    leading.take(12, removal(2))
    assert leading.did() == ["ask"]
    leading.changes.on_facts(known(), 0.1)
    assert leading.did() == [("propose", 11)]
    leading.changes.on_done(11, 0.2)
    assert leading.did() == ["ask"]
    leading.changes.on_facts(known((2,)), 0.3)
    assert leading.did() == [("refuse", {0: errors.UNHEALTHY})]


def test_what_the_core_has_emptied_is_proposed_again_until_it_is_answered(leading):
    leading.take(11, add())
    leading.changes.on_facts(known(), 0.1)
    leading.did()
    leading.changes.on_timer(0.2)
    assert leading.did() == []
    leading.changes.on_timer(0.7)
    assert leading.did() == [("again", 11)]
    leading.open.clear()
    leading.changes.on_timer(1.3)
    leading.changes.on_timer(1.9)
    assert leading.did() == [("again", 11)]


def test_a_leader_hands_over_before_it_goes(leading):
    leading.take(11, removal(ME))
    leading.changes.on_facts(known(), 0.1)
    assert leading.did() == ["ask", ("transfer", 0)]
    leading.changes.on_soft_state(2, "follower", 0.2)
    ((what, message),) = leading.did()
    assert (what, message[:3]) == ("forward", ("ask", 2, 700))


def test_a_leader_stays_when_it_is_not_to_go(leading):
    leading.take(11, removal(ME))
    leading.changes.on_facts(known((2,)), 0.1)
    assert leading.did() == ["ask", ("refuse", {0: errors.UNHEALTHY})]
    leading.forbidden = errors.PERMISSION_DENIED
    for facts_ in (known(), known((2,))):  # whoever may not is not told of the cluster's health
        leading.take(12, removal(ME))
        leading.changes.on_facts(facts_, 0.2)
        assert leading.did() == ["ask", ("refuse", {0: errors.PERMISSION_DENIED})]


def test_a_leader_that_nobody_relieves_goes_itself(leading):
    leading.take(11, removal(ME))
    leading.changes.on_facts(known(), 0.1)
    leading.changes.on_timer(1.0)
    assert leading.did() == ["ask", ("transfer", 0)]
    leading.changes.on_timer(1.7)
    assert leading.did() == ["ask"]
    leading.changes.on_facts(known(), 1.8)
    assert leading.did() == [("propose", 11)]


def test_a_follower_forwards_and_gives_the_answer_back(node):
    node.take(11, add())
    assert node.did() == [], "nobody leads"
    node.changes.on_soft_state(2, "follower", 1.0)
    ((_, (what, to, question, about, _)),) = node.did()
    assert (what, to, about[:3]) == ("ask", 2, ("write", 6000, None))
    node.changes.on_answer(question, b"body")
    node.changes.on_answer(question, b"again")
    assert node.did() == [("finish", 11, b"body")]


def test_what_was_forwarded_to_a_leader_that_is_gone_is_unknown(node):
    node.changes.on_soft_state(2, "follower", 0.0)
    node.take(11, add())
    node.did()
    node.changes.on_soft_state(3, "follower", 1.0)
    assert node.did() == [("fail", 11, errors.LEADER_CHANGED)]


@pytest.mark.parametrize(
    ("older", "error"), [(True, errors.MIXED_VERSIONS), (False, errors.NO_LEADER)]
)
def test_a_leader_that_cannot_be_asked(node, older, error):
    node.changes.on_soft_state(2, "follower", 0.0)
    node.take(11, add())
    node.did()
    node.changes.on_refusal(700, older)
    assert node.did() == [("fail", 11, error)]


def test_what_another_node_has_forwarded_goes_no_further(node):
    node.changes.on_soft_state(2, "follower", 0.0)
    node.take(11, add(), peer=(3, 5))
    assert node.did() == [("fail", 11, errors.NO_LEADER)]


def test_time_runs_out(node):
    node.take(11, add())
    node.changes.on_timer(8.0)
    assert node.did() == [("fail", 11, errors.NO_LEADER)]
    node.changes.on_soft_state(2, "follower", 0.0)
    node.take(12, add())
    node.did()
    node.changes.on_timer(8.0)
    assert node.did() == [("fail", 12, errors.TIMEOUT)]
    assert not node.changes.busy


def test_a_learner_that_wants_it_is_promoted_when_it_is_in_sync(leading):
    learner = (4, "n4", ("127.0.0.1:4",), (), True, 0, True)
    leading.changes.members = (*THREE, learner)
    leading.changes.on_timer(1.0)
    assert leading.did() == ["ask"]
    leading.changes.on_facts(known(match={4: 10}), 1.1)
    assert leading.did() == [("refuse", {0: errors.LEARNER_NOT_READY})]
    leading.changes.on_timer(3.0)
    leading.changes.on_facts(known(match={4: 95}), 3.1)
    assert leading.did() == ["ask", ("propose", 0)]
