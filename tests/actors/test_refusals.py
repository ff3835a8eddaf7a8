"""Whoever must stop is told and stops, and nobody else does: transports as handlers, with links
between them."""

import pytest
from sampan.actors.peer_memory import refusal
from sampan.actors.reconfiguration import REMOVED
from sampan.actors.transport import DISOWNED_MAX, GUEST, Transport, TransportSettings
from sampan.storage.snapshot_store import SnapshotStore
from sampan.transport.codec import pack, unpack
from sampan.transport.introductions import Tell, pack_ask, pack_tell

from .helpers import take, tick, turn

CLUSTER, A, B = 77, 1, 2
INCARNATIONS = {A: 1111, B: 2222}


def endpoint(n):
    return f"127.0.0.1:{n}"


def members(*ids):
    return tuple((n, f"n{n}", (endpoint(n),), (), False, INCARNATIONS[n]) for n in ids)


@pytest.fixture
def make(log, tmp_path):
    """A member as it has just started; it knows its log and whom the configuration names."""

    def make(n, *, epoch, incarnation=None, known=True):
        settings = TransportSettings(
            cluster_id=CLUSTER, member_id=n, incarnation=incarnation or INCARNATIONS[n],
            start=epoch, epoch=epoch, advertise=endpoint(n),
            peers=tuple((peer, endpoint(peer), "") for peer in (A, B) if peer != n),
        )  # fmt: skip
        made = Transport(settings, SnapshotStore(tmp_path / f"{n}-{epoch}"), log)
        made.now = 100.0
        made.start()
        if known:
            made.on_membersc((members(A, B), ()))
        made.on_logendc((1, 10))
        return made

    return make


class Wire:
    """Carries messages between members until all are silent; keeps what else they emit."""

    def __init__(self, **nodes):
        self.nodes = {A: nodes["a"], B: nodes["b"]}
        self.emitted = {A: [], B: []}

    def restart(self, n, node):
        self.nodes[n] = node
        self.emitted[n] = []

    def run(self, now):
        for n, node in self.nodes.items():
            self._carry(n, tick(node, now))
        return self

    def do(self, n, *messages):
        self._carry(n, turn(self.nodes[n], *messages))
        return self

    def _carry(self, n, out):
        self.emitted[n] += out
        for to, message in out.on("linkc"):
            # There are two of them, so a guest is the other.
            other = B if n == A else A
            if to in (other, GUEST):
                self._carry(other, turn(self.nodes[other], ("peerc", tuple(message))))

    def on(self, n, channel):
        return [message for name, message in self.emitted[n] if name == channel]

    def heard(self, sender, receiver):
        before = len(self.on(receiver, "recvc"))
        self.do(sender, ("sendc", (receiver, b"m")))
        return len(self.on(receiver, "recvc")) > before


@pytest.fixture
def wire(make):
    """Two members that have met."""
    made = Wire(a=make(A, epoch=50), b=make(B, epoch=60)).run(101.0)
    assert made.heard(A, B)
    assert made.heard(B, A)
    return made


def test_a_restarted_member_is_met_again(wire, make):
    wire.restart(B, make(B, epoch=61))
    wire.run(102.0)
    assert wire.heard(A, B)
    assert wire.heard(B, A)
    assert [life.epoch for _, _, life in wire.on(A, "reportc")] == [60, 61]
    assert wire.on(A, "fatalc") == wire.on(B, "fatalc") == []


@pytest.mark.parametrize("restarted", [False, True])
def test_a_member_whose_data_dir_was_emptied_stops(wire, make, restarted):
    """Also when those that tell it have not met it before."""
    if restarted:
        wire.restart(A, make(A, epoch=51))
    wire.restart(B, make(B, epoch=61, incarnation=9, known=False))
    wire.run(102.0)
    (why,) = set(wire.on(B, "fatalc"))
    assert "already been bootstrapped with another data dir" in why
    assert wire.on(A, "fatalc") == []
    assert not wire.heard(B, A)


def test_a_member_that_was_put_back_from_an_older_copy_stops(wire, make):
    wire.restart(B, make(B, epoch=59))
    wire.run(102.0)
    wire.do(A, ("refusec", (B, 59, refusal("start 59"))))
    assert set(wire.on(B, "fatalc")) == {refusal("start 59")}
    assert not wire.heard(B, A)
    wire.restart(B, make(B, epoch=61))
    wire.run(103.0)
    assert wire.heard(B, A), "the newest copy is heard"
    assert wire.on(B, "fatalc") == wire.on(A, "fatalc") == []


@pytest.mark.parametrize("link", [False, True])
def test_a_removed_member_stops(wire, link):
    """Answered as a guest, or over a link that is there still."""
    wire.do(A, ("membersc", ((members(A, B) if link else members(A)), ((B, (endpoint(B),)),))))
    wire.run(103.0)
    assert set(wire.on(B, "fatalc")) == {REMOVED}
    assert wire.on(A, "fatalc") == []


def test_a_member_that_the_leader_does_not_know_stops(wire):
    wire.do(A, ("softstatec", (2, A, "leader")), ("membersc", (members(A), ())))
    for second in range(DISOWNED_MAX):
        assert wire.on(B, "fatalc") == []
        wire.run(103.0 + 2 * second)
    assert "is not a member of this cluster" in wire.on(B, "fatalc")[0]


def test_a_stranger_that_others_know_is_heard_from_then_on(wire):
    """Such as a leader that was added while this member was away: its log comes from there."""
    c = 3
    stranger = (c, "n3", (endpoint(c),), (), False, 3333)
    everybody = (*members(A, B), stranger)
    wire.do(A, ("membersc", (everybody, ()))).run(110.0)
    header = (2, CLUSTER, c, B, 3333, 70, 0, 60, 0, "raft", 1, 1, 10)
    message = ("peerc", (pack(header), b"m"))
    wire.do(B, message)  # is refused, and B asks
    assert wire.on(B, "linksc")[-1] == {A: (endpoint(A), "n1"), c: (endpoint(c), "n3")}
    wire.do(B, message)
    assert (c, [b"m"], "") in wire.on(B, "recvc")
    wire.do(B, ("membersc", (members(A, B), ())))
    assert c in wire.on(B, "linksc")[-1], "the log does not know it yet"
    wire.do(B, ("membersc", (members(A, B), ((c, (endpoint(c),)),))))
    assert wire.on(B, "linksc")[-1] == {A: (endpoint(A), "n1")}


def test_a_stranger_that_nobody_knows_stays_one(wire):
    header = (2, CLUSTER, 3, B, 3333, 70, 0, 60, 0, "raft", 1, 1, 10)
    for second in range(3):
        wire.do(B, ("peerc", (pack(header), b"m"))).run(103.0 + 2 * second)
    assert all(set(links) == {A} for links in wire.on(B, "linksc"))
    assert all(peer == A for peer, *_ in wire.on(B, "recvc"))


FORGED = {
    "refuse": [pack((60, "you must stop"))],
    "tell": [pack_tell(Tell(A, members(A), ((B, (endpoint(B),)),)))],
    "hello": [],
    "raft": [b"m"],
    "snap": [b"m"],
    "forward": [pack((1, "write", 1000, None, None)), b""],
    "answer": [pack((1,)), b""],
    "ask": [pack_ask(endpoint(7))],
}


def forged(kind, *, version=2, epoch=1, echo=0, incarnation=None):
    """By somebody who has not heard what the present start of B is called."""
    start = (2**40, 3, 2**40) if version == 2 else ()
    header = (version, CLUSTER, A, B, incarnation or INCARNATIONS[A], epoch, 0, echo, 0, kind)
    return "peerc", (pack((*header, *start)), *FORGED[kind])


@pytest.mark.parametrize("kind", FORGED)
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("epoch", [0, 1, 49])
@pytest.mark.parametrize("incarnation", [0, 99])
def test_who_only_speaks_in_a_members_name_changes_nothing(wire, kind, version, epoch, incarnation):
    def told():
        names = ("fatalc", "recvc", "reportc", "forwardedc")
        return [wire.on(n, name) for n in (A, B) for name in names]

    before = told()
    for _ in range(2 * DISOWNED_MAX):
        wire.do(
            B, forged(kind, version=version, epoch=epoch, incarnation=incarnation),
            forged(kind, version=version, epoch=epoch, echo=59, incarnation=incarnation),
        )  # fmt: skip
    assert told() == before
    take(wire.nodes[B])
    ((_, (header, _)),) = turn(wire.nodes[B], ("sendc", (A, b"m"))).on("linkc")
    assert (unpack(header)[0], unpack(header)[7]) == (2, 50), "it speaks to the one that it met"
    assert wire.heard(A, B)
    assert wire.heard(B, A)


@pytest.mark.parametrize("epoch", [0, 1, 50])
def test_nobody_makes_two_members_take_each_other_for_older(make, epoch):
    """By a word in the older version before they have met."""
    wire = Wire(a=make(A, epoch=50), b=make(B, epoch=60))
    wire.do(B, forged("raft", version=1, epoch=epoch)).run(101.0)
    assert wire.heard(A, B)
    assert wire.heard(B, A)
    assert [len(wire.on(n, "reportc")) for n in (A, B)] == [1, 1], "each has judged the other"


def test_a_guest_does_not_hear_what_this_start_is_called(wire):
    """He could speak in a member's name then."""
    out = turn(wire.nodes[B], forged("ask"))
    ((to, (header, _)),) = out.on("linkc")
    assert to == GUEST
    assert 60 not in unpack(header)
    assert unpack(header)[7] == 1
