"""Why a node may not join, in the sentence that it ends with: the peers' answers are played."""

import pytest
import structlog
from sampan.actors.reconfiguration import REMOVED
from sampan.config.model import ConfigError
from sampan.hosts import joining
from sampan.hosts.joining import Asker, Joined, _Joining
from sampan.transport.codec import pack, unpack
from sampan.transport.introductions import PEER_VERSION, Tell, pack_tell

CLUSTER, LEADER, NEW = 0xC1, 1, 0xFEDC_BA98_7654_3210
OURS, THEIRS, THIRD = "127.0.0.1:9", "127.0.0.1:1", "127.0.0.1:2"


def member(number, peer, *, incarnation=0):
    return (number, f"n{number:x}", (peer,), (), False, incarnation)


MEMBERS = (member(LEADER, THEIRS, incarnation=5), member(2, THIRD, incarnation=6))
WITH_US = (*MEMBERS, member(NEW, OURS))


class FakePort:
    """A peer that answers each question at once, with what the test says."""

    def __init__(self, tell, cluster=CLUSTER):
        self.tell, self.cluster = tell, cluster

    def open(self, _poller, deliver):
        self.deliver = deliver

    def linksc(self, item):
        self.links = item[1]

    def linkc(self, item):
        _, (_, (header, _)) = item
        epoch = unpack(header)[5]
        if self.tell is not None:
            head = (PEER_VERSION, self.cluster, LEADER, 0, 5, 7, 0, epoch, 0, "tell")
            self.deliver(("peerc", (pack(head), pack_tell(self.tell))))

    def tick(self):
        """Nothing to do."""


class Poller:
    def wait(self, _timeout_s):
        """Nobody sleeps here."""


def join(tell, *, configured=(OURS, THEIRS, THIRD), cluster=0, answering=CLUSTER, own=0):
    asker = Asker(cluster, "n9", OURS, OURS, own)
    port = FakePort(tell, answering)
    named = dict.fromkeys(configured, "")
    return _Joining(asker, named, port, Poller()).run()


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(joining, "ANSWER_S", 0.2)
    monkeypatch.setattr(joining, "ASK_EVERY_S", 0.0)
    structlog.reset_defaults()


def test_who_was_added_is_told_who_it_is():
    expected = Joined(CLUSTER, NEW, ((LEADER, THEIRS), (2, THIRD)))
    assert join(Tell(LEADER, WITH_US, ())) == expected
    assert join(Tell(LEADER, WITH_US, ()), cluster=CLUSTER, own=NEW) == expected


@pytest.mark.parametrize(
    ("told", "asked", "words"),
    [
        (None, {}, "no peer at 127.0.0.1:1, 127.0.0.1:2 has answered within 0.2 s: is the cluster "
         "up, and does it reach 127.0.0.1:9?"),
        (None, {"configured": (OURS,)}, "no peer at any address has answered"),
        (Tell(LEADER, WITH_US, ()), {"cluster": 7},
         "the peers are of cluster c1, not 7: is `cluster` the same in every file?"),
        (Tell(LEADER, MEMBERS, ()), {}, "no member of the cluster has the peer address "
         "127.0.0.1:9: add it first, with `sampanctl member add n9 --peer-urls=127.0.0.1:9`"),
        (Tell(LEADER, MEMBERS, ((NEW, (OURS,)),)), {"own": NEW}, REMOVED),
        (Tell(LEADER, (*MEMBERS, member(NEW, OURS, incarnation=8)), ()), {},
         "member fedcba9876543210 at 127.0.0.1:9 has been started before, with another data dir: "
         "put that one back; or, if it is lost, `sampanctl member remove fedcba9876543210`"),
        (Tell(LEADER, WITH_US, ()), {"own": 3}, "it is configured as member 3, but the cluster "
         "knows its address as member fedcba9876543210: take id out of the file"),
        (Tell(LEADER, WITH_US, ()), {"configured": (OURS, THEIRS)}, "the members in the file are "
         "not those of the cluster: 127.0.0.1:2 is missing"),
        (Tell(LEADER, WITH_US, ()), {"configured": (OURS, THEIRS, "127.0.0.1:3")},
         "127.0.0.1:3 is no member's peer address; 127.0.0.1:2 is missing"),
    ],
)  # fmt: skip
def test_each_refusal_is_one_sentence(told, asked, words):
    with pytest.raises(ConfigError) as refused:
        join(told, **asked)
    assert str(refused.value).startswith("n9: ")
    assert words in str(refused.value)
