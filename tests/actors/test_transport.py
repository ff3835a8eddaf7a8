"""The transport: whom it listens to, what it lets travel, and what it says of its peers."""

import itertools

import pytest
from sampan.actors.snapshot_pace import REST
from sampan.actors.transport import GUEST, SILENCE_S, SMALL_BYTES, Transport, TransportSettings
from sampan.config import limits
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport.codec import pack, unpack
from sampan.transport.introductions import FORMAT, Tell, pack_ask, pack_tell, unpack_tell

from .helpers import take, tick, turn, wake

CLUSTER, ME, PEER, OTHER = 77, 1, 2, 3
MINE, THEIRS = 1111, 2222  # incarnations


@pytest.fixture
def started(log, tmp_path):
    """It has met nobody, and does not know yet where its log ends."""
    settings = TransportSettings(
        cluster_id=CLUSTER, member_id=ME, incarnation=MINE, start=4, epoch=5,
        peers=((PEER, "127.0.0.1:2", ""), (OTHER, "127.0.0.1:3", "")),
    )  # fmt: skip
    made = Transport(settings, SnapshotStore(tmp_path / "snapshots"), log)
    made.now = 100.0
    made.start()
    return made


@pytest.fixture
def transport(started):
    """It has met its peers, the first a while ago."""
    turn(started, ("logendc", (3, 70)), peer(), peer(**{"from": OTHER}), now=90.0)
    turn(started, peer(**{"from": PEER}), now=100.0)
    return started


def test_a_snapshot_that_is_made_while_it_starts_stays(started, tmp_path):
    """The applier is a process of its own, and may have begun before."""
    name = f"snap-{1:016x}-{7:016x}"
    places = [tmp_path / "snapshots" / each / "files" for each in (f"{name}.making", name)]
    for place in places:
        place.mkdir(parents=True)
    started.start()
    assert all(place.is_dir() for place in places)


def members(incarnation=THEIRS):
    return tuple(
        (n, f"n{n}", (f"127.0.0.1:{n}",), (), False, incarnation if n == PEER else 0)
        for n in (ME, PEER, OTHER)
    )


def peer(kind="raft", *frames, **wrong):
    header = {
        "version": 2, "cluster": CLUSTER, "from": PEER, "to": ME, "incarnation": THEIRS,
        "epoch": 9, "sent": 0, "my_epoch": 5, "received": 0, "kind": kind,
        "start": 8, "term": 3, "last": 60,
    } | wrong  # fmt: skip
    return "peerc", (pack(tuple(header.values())), *frames)


def sent(out):
    """(peer, kind, frames) of what left."""
    return [(to, unpack(header)[9], frames) for to, (header, *frames) in out.on("linkc")]


def test_it_links_to_the_configured_peers_and_then_to_the_members(started):
    transport = started
    assert take(transport).on("linksc") == [{PEER: ("127.0.0.1:2", ""), OTHER: ("127.0.0.1:3", "")}]
    named = {PEER: ("127.0.0.1:2", "n2"), OTHER: ("127.0.0.1:3", "n3")}
    assert turn(transport, ("membersc", (members(), ()))).on("linksc") == [named]
    assert turn(transport, ("membersc", (members(), ()))).on("linksc") == []
    out = turn(transport, ("membersc", (members()[:2], ())))
    assert out.on("linksc") == [{PEER: ("127.0.0.1:2", "n2")}]


def test_a_peer_at_another_endpoint_is_the_same_peer(transport):
    """It does not hear this member there when that endpoint is wrong, and could not say again what
    its version can read."""
    turn(transport, peer("tell", pack_tell(Tell(PEER, members(), ()))))

    def known():
        (answer,) = turn(transport, ("statusc", 1)).on("statusrc")
        return {each[0]: each[1:] for each in answer[2]["peers"]}[PEER]

    before = known()
    assert before[1] == FORMAT
    me, it, other = members()
    moved = (*it[:2], ("127.0.0.1:9",), *it[3:])
    out = turn(transport, ("membersc", ((me, moved, other), ())))
    assert out.on("linksc") == [{PEER: ("127.0.0.1:9", "n2"), OTHER: ("127.0.0.1:3", "n3")}]
    assert known() == before
    out = turn(transport, peer("raft", b"m"))
    assert out.on("recvc") == [(PEER, [b"m"], "")]
    assert out.on("reportc") == []
    assert known() == before


def test_messages_of_a_turn_for_one_peer_leave_together(transport):
    out = turn(
        transport, ("sendc", (PEER, b"a")), ("sendc", (OTHER, b"b")), ("sendc", (PEER, b"c"))
    )
    assert sent(out) == [(PEER, "raft", [b"a", b"c"]), (OTHER, "raft", [b"b"])]


def test_never_more_frames_than_a_peer_takes(transport):
    count = limits.PEER_FRAMES_MAX + 1
    out = turn(transport, *(("sendc", (PEER, b"m")) for _ in range(count)))
    assert [len(frames) for _, _, frames in sent(out)] == [limits.PEER_FRAMES_MAX, 1]


def test_a_removed_member_gets_nothing(transport):
    turn(transport, ("membersc", (members()[:2], ((OTHER, ("127.0.0.1:3",)),))))
    assert sent(turn(transport, ("sendc", (OTHER, b"m")))) == []


def test_a_peers_messages_reach_the_core_in_order(transport):
    out = turn(transport, peer("raft", b"one", b"two"))
    assert out.on("recvc") == [(PEER, [b"one", b"two"], "")]


def test_a_full_window_drops_and_reports_but_lets_small_messages_pass(transport):
    chunk = bytes(1 << 20)
    for _ in range(limits.PEER_QUEUE_BYTES // len(chunk)):
        assert len(sent(turn(transport, ("sendc", (PEER, chunk))))) == 1
    out = turn(transport, ("sendc", (PEER, chunk)))
    assert sent(out) == []
    assert out.on("reportc") == [("unreachable", PEER)]
    assert len(sent(turn(transport, ("sendc", (PEER, bytes(SMALL_BYTES)))))) == 1
    assert len(sent(turn(transport, ("sendc", (OTHER, chunk))))) == 1, "one peer's queue is its own"


def test_the_window_opens_when_the_peer_says_what_it_received(transport):
    chunk = bytes(1 << 20)
    for _ in range(limits.PEER_QUEUE_BYTES // len(chunk)):
        turn(transport, ("sendc", (PEER, chunk)))
    turn(transport, peer(my_epoch=4, received=10 << 20))
    assert sent(turn(transport, ("sendc", (PEER, chunk)))) == [], "a count of an earlier life"
    turn(transport, peer(my_epoch=5, received=10 << 20))
    assert len(sent(turn(transport, ("sendc", (PEER, chunk))))) == 1


def test_a_peer_cannot_acknowledge_more_than_was_sent(transport):
    turn(transport, peer(my_epoch=5, received=2**63))
    for _ in range(limits.PEER_QUEUE_BYTES >> 20):
        turn(transport, ("sendc", (PEER, bytes(1 << 20))))
    assert sent(turn(transport, ("sendc", (PEER, bytes(1 << 20))))) == []


def test_headers_tell_what_arrived(transport):
    turn(transport, peer(sent=4321, epoch=66))
    ((_, (header, *_)),) = turn(transport, ("sendc", (PEER, b"m"))).on("linkc")
    assert unpack(header)[7:9] == (66, 4321)


def test_an_away_peer_is_reported_but_not_for_every_message(transport):
    out = turn(transport, ("linkfullc", PEER), ("linkfullc", PEER))
    assert out.on("reportc") == [("unreachable", PEER)]
    assert turn(transport, ("linkfullc", PEER), now=101.0).on("reportc") == [("unreachable", PEER)]


@pytest.mark.parametrize(
    "wrong", [{"version": 3}, {"cluster": 78}, {"to": OTHER}, {"from": 99}, {"from": ME}]
)
def test_who_is_not_a_peer_is_refused_and_counted(transport, wrong):
    assert turn(transport, peer("raft", b"m", **wrong)).on("recvc") == []
    assert transport.counts["refused"] == 1


@pytest.mark.parametrize(
    "message",
    [
        (),
        (b"",),
        (b"\xc1", b"m"),
        (pack(5),),
        (pack((1, 2)),),
        (pack(bytes((2, CLUSTER, PEER, ME, *range(1, 10)))),),
        peer("raft", epoch=None)[1],
        peer("raft", **{"from": {}})[1],
        peer("raft", sent="much")[1],
        peer("nonsense", b"m")[1],
        peer([], b"m")[1],
        peer("refuse")[1],
        peer("refuse", b"\xc1")[1],
        peer("refuse", pack(5))[1],
        peer("snap", b"\xc1")[1],
        peer("snap", pack(({},)))[1],
        peer("raft", *([b"m"] * (limits.PEER_FRAMES_MAX + 1)))[1],
    ],
)
def test_what_makes_no_sense_is_dropped_and_counted(transport, message):
    take(transport)
    assert turn(transport, ("peerc", message)) == []
    assert transport.counts["malformed"] == 1


def test_nothing_leaves_before_it_knows_where_its_log_ends(started):
    """A peer would take it for one that has forgotten everything."""
    out = turn(started, ("sendc", (PEER, b"m")), peer("hello", my_epoch=0), now=100.0)
    assert out.on("linkc") == []
    assert [(to, kind) for to, kind, _ in sent(turn(started, ("logendc", (3, 70))))] == [
        (PEER, "hello"),
        (OTHER, "hello"),
    ]
    ((_, (header, *_)), *_) = tick(started, 101.0).on("linkc")
    assert unpack(header)[10:] == (4, 3, 70)


def test_nobody_is_heard_who_does_not_hear_this_member(started):
    """He may be somebody else who speaks in the name of a peer: what this start is called travels
    only on the links to the peers."""
    turn(started, ("logendc", (3, 70)))
    out = turn(started, peer("raft", b"m", my_epoch=0), now=101.0)
    assert out.on("recvc") == out.on("reportc") == []
    assert sent(out) == [(PEER, "hello", [])]
    assert started.counts["strange"] == 1
    assert sent(turn(started, peer("raft", b"m", my_epoch=0))) == [], "once will do"


def test_two_members_meet(started):
    turn(started, ("logendc", (3, 70)))
    out = turn(started, peer("hello", my_epoch=0, epoch=33), now=101.0)
    assert (PEER, "raft", []) in sent(out)
    ((_, (header, *_)), *_) = out.on("linkc")
    assert unpack(header)[7] == 33, "it knows the start of the other"
    out = turn(started, peer("raft", epoch=33))
    assert out.on("reportc") == [("started", PEER, (8, 33, 3, 60))]
    assert sent(out) == [(PEER, "raft", [])]
    out = turn(started, peer("raft", b"m", epoch=33))
    assert out.on("reportc") == [], "it was told of once"
    assert out.on("recvc") == [(PEER, [b"m"], "")]
    greeted = [to for to, kind, _ in sent(tick(started, 102.0)) if kind == "hello"]
    assert greeted == [OTHER], "it is greeted still"


def test_a_hello_is_answered_each_time(transport):
    """The first answer was lost: there was no link yet."""
    for _ in range(3):
        assert sent(turn(transport, peer("hello", my_epoch=0))) != []


def test_a_peer_that_the_core_refuses_is_told_in_the_epoch_in_which_it_is_refused(transport):
    out = turn(transport, ("refusec", (PEER, 9, "an older copy")))
    ((_, kind, (frame,)),) = sent(out)
    assert (kind, unpack(frame)) == ("refuse", (9, "an older copy"))
    out = turn(transport, peer("raft", b"m", epoch=9))
    assert out.on("recvc") == []
    assert [kind for _, kind, _ in sent(out)] == ["refuse"]
    out = turn(transport, peer("raft", b"m", epoch=10))
    assert out.on("recvc") == [(PEER, [b"m"], "")], "the core judges each start"


def test_a_member_that_lost_its_data_dir_is_not_heard_and_told(transport):
    turn(transport, ("membersc", (members(), ())))
    out = turn(transport, peer("raft", b"vote for me", incarnation=9, epoch=19))
    assert out.on("recvc") == []
    ((to, kind, (frame,)),) = sent(out)
    assert (to, kind, unpack(frame)[0]) == (PEER, "refuse", 19)
    ((_, (header, _)),) = out.on("linkc")
    assert unpack(header)[7] == 19, "it does not hear what names another start"
    assert turn(transport, peer("raft", b"m")).on("recvc") != [], "the true one is heard"


def test_being_told_so_stops_this_member_only_when_it_is_meant(transport):
    out = turn(transport, peer("refuse", pack((9, "another data dir"))))
    assert out.on("fatalc") == []
    out = turn(transport, peer("refuse", pack((5, "this data dir"))))
    assert out.on("fatalc") == ["this data dir"]


def test_status_counts_the_peers_that_were_heard(transport):
    turn(transport, peer("raft", b"m"))
    ((_, _, status, _),) = turn(transport, ("statusc", 1)).on("statusrc")
    assert status["peers_heard"] == 1
    assert tick(transport, 200.0).on("recvc") == []
    ((_, _, status, _),) = turn(transport, ("statusc", 2)).on("statusrc")
    assert status["peers_heard"] == 0


def test_a_message_and_the_word_that_it_came_are_a_round_trip(transport):
    turn(transport, peer(my_epoch=5, sent=60))  # they have met
    before = measured_of(transport, PEER)
    transport.now = 200.0
    turn(transport, ("sendc", (PEER, b"first")))
    transport.now = 200.5
    turn(transport, ("sendc", (PEER, b"second")))
    turn(transport, peer(my_epoch=5, received=4, sent=70))
    assert measured_of(transport, PEER)["round_trips"] == before["round_trips"], "not all came"
    turn(transport, peer(my_epoch=5, received=5, sent=80))
    told = measured_of(transport, PEER)
    assert told["round_trips"][1] - before["round_trips"][1] == pytest.approx(0.5)
    assert sum(told["round_trips"][2]) == sum(before["round_trips"][2]) + 1
    assert (told["sent_bytes"], told["received_bytes"], told["failures"]) == (11, 80, 0)
    turn(transport, ("linkfullc", PEER))
    assert measured_of(transport, PEER)["failures"] == 1


def measured_of(transport, peer):
    ((_, _, _, measured),) = turn(transport, ("statusc", 1)).on("statusrc")
    return next(link for link in measured["peers"] if link["peer"] == peer)


def test_a_snapshot_that_does_not_exist_is_reported_failed(transport):
    name = "snap-0000000000000001-0000000000000001"
    out = turn(transport, ("snapsendc", (PEER, name, b"raft message")))
    assert out.on("reportc") == [("snapshot", PEER, False)]


def snapshot_of_a_key(folder):
    """The name of one that the transport can send."""
    state = StateStore.open(folder / "state")
    state.apply(1, 1, [("put", b"k", b"v")])
    state.commit()
    state.flush()
    name = SnapshotStore(folder / "snapshots").create(state)
    state.close()
    return name


def test_a_snapshot_goes_on_after_each_rest(transport, tmp_path):
    """Whether or not anything comes; without rests when it hurries."""
    times = itertools.count()
    transport.flight.clock = lambda: 100 + next(times) / 1000
    name = snapshot_of_a_key(tmp_path)
    turn(transport, peer("raft", b"m", epoch=9))

    def chunks(out):
        frames = [frame for _, kind, frames in sent(out) if kind == "snap" for frame in frames]
        return [frame for frame in frames if unpack(frame)[0] == "chunk"]

    assert len(chunks(turn(transport, ("snapsendc", (PEER, name, b"raft message"))))) == 1
    rests_until = transport.wake_at
    assert rests_until == pytest.approx(100.001 + REST / 1000)
    assert chunks(turn(transport, ("sendc", (PEER, b"m")), now=100.01)) == []
    transport.now = rests_until
    assert len(chunks(wake(transport))) == 1
    assert len(chunks(turn(transport, ("hurryc", True)))) > 1


def test_a_snapshot_to_a_peer_that_starts_again_is_reported_failed(transport, tmp_path):
    """... at once: its chunks were lost with the peer's last life, and nobody will answer them."""
    name = snapshot_of_a_key(tmp_path)
    turn(transport, peer("raft", b"m", epoch=9))
    assert turn(transport, ("snapsendc", (PEER, name, b"raft message"))).on("reportc") == []
    assert turn(transport, peer("raft", b"m", epoch=9)).on("reportc") == []
    out = turn(transport, peer("raft", b"m", epoch=10))
    assert out.on("reportc")[0] == ("snapshot", PEER, False)


def test_whoever_has_nothing_to_say_is_heard_all_the_same(transport):
    tick(transport, 100.9)  # they are asked what they can read
    turn(transport, ("sendc", (PEER, b"m")), now=101.0)
    assert sent(tick(transport, 101.35)) == [(OTHER, "raft", [])]
    assert sent(tick(transport, 101.45)) == [(PEER, "raft", [])]


def test_silent_peers_are_told_of_once_and_when_they_are_back(transport, log):
    def told():
        return [
            (event, fields["peer"]) for event, fields in log.events if event.startswith("peer ")
        ]

    tick(transport, 100.0 + SILENCE_S)
    assert told() == []
    turn(transport, peer())
    for n in range(1, 4):
        tick(transport, 100.0 + SILENCE_S + n)
    assert told() == [("peer not heard", OTHER)]
    tick(transport, 110.0 + SILENCE_S)
    assert told()[1:] == [("peer not heard", PEER)]
    turn(transport, peer())
    assert told()[2:] == [("peer heard", PEER)]


def test_only_who_has_something_to_say_is_missed(transport, log):
    def missed():
        return [had["peer"] for event, had in log.events if event == "peer not heard"]

    turn(transport, ("softstatec", (2, PEER, "follower")))
    tick(transport, 200.0)
    assert missed() == [PEER], "followers do not speak to each other"
    turn(transport, ("softstatec", (3, ME, "leader")))
    tick(transport, 200.0 + SILENCE_S)
    assert missed() == [PEER]
    tick(transport, 201.0 + SILENCE_S)
    assert missed() == [PEER, OTHER]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"version": 9}, "it speaks version 9, this node version 2"),
        ({"cluster": 5}, "is `cluster` the same in every file?"),
        ({"to": 77}, f"it takes this member, {ME}, for 77"),
    ],
)
def test_a_refusal_says_why(transport, log, fields, why):
    turn(transport, peer(**fields))
    ((_, told),) = [entry for entry in log.events if entry[0] == "peer refused"]
    assert why in told["why"]


def older(*frames, epoch=9, my_epoch=0, sent=0):
    """A message of the version before."""
    return "peerc", (
        pack((1, CLUSTER, PEER, ME, THEIRS, epoch, sent, my_epoch, 0, "raft")),
        *frames,
    )


def test_a_peer_of_the_older_version_is_spoken_to_in_it(started):
    turn(started, ("logendc", (3, 70)), now=100.0)
    out = turn(started, older(b"vote"))
    assert out.on("recvc") == [], "it has not heard this start yet"
    ((_, (header, *frames)),) = out.on("linkc")
    version, *_, kind = unpack(header)
    assert (version, kind, frames, len(unpack(header))) == (1, "hello", [], 10)
    my_epoch = unpack(header)[5]
    out = turn(started, older(b"vote", my_epoch=my_epoch, sent=4))
    assert out.on("recvc") == [(PEER, [b"vote"], "")]
    ((_, (header, *_)),) = turn(started, ("sendc", (PEER, b"m"))).on("linkc")
    assert unpack(header)[0] == 1
    greeted = [to for to, kind, _ in sent(tick(started, 101.0)) if kind == "hello"]
    assert PEER not in greeted
    turn(started, peer("hello", my_epoch=0, epoch=10), peer(epoch=10), now=102.0)
    ((_, (header, *_)),) = turn(started, ("sendc", (PEER, b"m"))).on("linkc")
    assert unpack(header)[0] == 2, "it was upgraded"


def test_a_peer_that_has_started_again_is_asked_again_what_it_can_read(transport):
    def known():
        (_, _, status, _) = turn(transport, ("statusc", 1)).on("statusrc")[0]
        return {peer: (heard_ms, form) for peer, heard_ms, form in status["peers"]}[PEER]

    told = pack_tell(Tell(PEER, members(), ()))
    turn(transport, peer("raft", my_epoch=5), now=200.0)
    turn(transport, peer("tell", told))
    turn(transport, peer("raft", my_epoch=5), now=200.9)
    assert known() == (900, FORMAT)
    turn(transport, peer("hello", my_epoch=0, epoch=77), now=201.0)
    turn(transport, peer("raft", my_epoch=5, epoch=77))
    assert known() == (0, 0), "nor does it count as up for long"


def test_who_asks_is_told_at_the_address_that_he_names(transport):
    turn(transport, ("membersc", (members(), ((7, ("127.0.0.1:7",)),))))
    out = turn(transport, peer("ask", pack_ask("127.0.0.1:2"), my_epoch=0))
    assert [(to, kind) for to, kind, _ in sent(out)] == [(PEER, "tell")]
    out = turn(
        transport, peer("ask", pack_ask("127.0.0.1:7"), **{"from": 7, "to": 0, "cluster": 1})
    )
    assert out.on("linksc")[-1][GUEST] == ("127.0.0.1:7", "")
    ((to, kind, (frame,)),) = sent(out)
    assert (to, kind) == (GUEST, "tell")
    assert unpack_tell([frame]).removed == ((7, ("127.0.0.1:7",)),)
    later = turn(transport, peer("ask", pack_ask("127.0.0.1:8"), **{"from": 8}))
    assert sent(later) == [], "one guest at a time"
    assert GUEST not in tick(transport, transport.now + 10).on("linksc")[-1]


@pytest.mark.parametrize("frame", [b"", b"\xc1", pack(()), pack((7,)), pack(("nowhere",))])
def test_what_asks_for_nothing_is_dropped(transport, frame):
    take(transport)
    assert turn(transport, peer("ask", frame)).on("linkc") == []
    assert transport.counts["malformed"] == 1


def test_a_removed_member_stops_when_it_is_told(transport):
    told = pack_tell(Tell(0, members()[1:], ((ME, ("127.0.0.1:1",)),)))
    assert turn(transport, peer("tell", told, cluster=1)).on("fatalc") == []
    (reason,) = turn(transport, peer("tell", told)).on("fatalc")
    assert "permanently removed" in reason


def test_who_is_no_member_stops_when_the_leader_says_so_again_and_again(transport):
    follower = pack_tell(Tell(OTHER, members()[1:], ()))
    leader = pack_tell(Tell(PEER, members()[1:], ()))
    knows = pack_tell(Tell(PEER, members(), ()))
    for told in (follower, follower, follower, leader, leader, knows, leader, leader):
        assert turn(transport, peer("tell", told)).on("fatalc") == []
    (reason,) = turn(transport, peer("tell", leader)).on("fatalc")
    assert "sampanctl member add" in reason


def test_a_member_of_the_older_version_that_lost_its_data_dir_is_told_in_it(transport):
    """It knows itself by its data dir's number."""
    turn(transport, ("membersc", (members(4444), ())))
    ((_, (header, frame)),) = turn(transport, older(b"vote")).on("linkc")
    assert (unpack(header)[0], unpack(header)[9]) == (1, "refuse")
    assert unpack(frame)[0] == THEIRS


def test_a_member_of_the_older_version_can_tell_this_one(started):
    turn(started, ("logendc", (3, 70)), now=100.0)
    header = (1, CLUSTER, PEER, ME, THEIRS, 9, 0, 5, 0, "refuse")
    refuse = ("peerc", (pack(header), pack((MINE, "another data dir"))))
    assert turn(started, refuse).on("fatalc") == ["another data dir"]
