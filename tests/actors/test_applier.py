"""The applier over a real state database, with a host that a test plays."""

import pytest
from sampan.actors.actor import Impossible
from sampan.actors.applier import STOP_AFTER_REMOVAL_S, Applier
from sampan.actors.asked import NOBODY
from sampan.actors.compactor import Periodic
from sampan.actors.divergence import Divergence
from sampan.actors.entries import FORCE, member_change
from sampan.actors.quota import Quota
from sampan.actors.reconfiguration import FORCED, REMOVED
from sampan.actors.upkeep import Upkeep
from sampan.config import limits
from sampan.config.limits import LogLimits
from sampan.raft import ConfChangeSingle, ConfChangeType, ConfChangeV2
from sampan.storage import executor, hashing, packing, rocks, state_store, transactions
from sampan.storage.errors import StorageError
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import pack, unpack_local

from .helpers import take, tick, turn

ME, OTHER = 1, 2
NORMAL, CHANGE = 0, 2
BOUNDS = LogLimits(entries_max=64, bytes_max=1 << 20)


@pytest.fixture
def open_applier(log, tmp_path):
    """Opens the applier on one data dir; the one before is closed."""
    opened = []

    def open_it():
        if opened:
            opened.pop().close()
        applier = Applier(
            ME, lambda: StateStore.open(tmp_path / "state"),
            SnapshotStore(tmp_path / "snapshots"), BOUNDS, log,
        )  # fmt: skip
        applier.start()
        opened.append(applier)
        return applier

    yield open_it
    for applier in opened:
        applier.close()


@pytest.fixture
def applier(open_applier):
    made = open_applier()
    take(made)
    return made


def entry(index, *bodies, batch_id=9, origin=ME, term=1):
    data = pack((origin, batch_id, [pack(body) for body in bodies])) if bodies else b""
    return (term, index, NORMAL, data)


def stamped(index, *messages, batch_id=9, origin=ME, term=1):
    """An entry of (stamp, requests) messages."""
    stamps, bodies = zip(*messages, strict=True)
    packed = [pack(body) for body in bodies]
    return (term, index, NORMAL, pack((origin, batch_id, packed, stamps)))


def put(key, value=b"v"):
    return ("put", key, value)


def committed(*entries):
    return "applyc", ("entries", list(entries))


def results(out, what="write"):
    """(batch id, [results of each message, …]) of writes; (read id, [results]) of each read."""
    told = [rest for kind, *rest in out.on("resultc") if kind == what]
    if what == "read":
        large = [rest for kind, *rest in out.on("resultc") if kind == "large"]
        small = [each for (answers,) in told for each in answers]
        told = [(read_id, [body]) for read_id, body in small + large]
    return [(asked, [unpack_local(body) for body in bodies]) for asked, bodies in told]


def read(read_id, index, *requests, deadline=1e9):
    return "readc", (index, [(read_id, deadline, pack(requests), None, b"c")])


def wake(applier):
    """The next wake-up, as a host does it; what was emitted."""
    applier.now, applier.wake_at = max(applier.now, applier.wake_at), None
    applier.on_wake()
    applier.flush()
    return take(applier)


def all_reads(applier):
    """The answers until nothing is left to do."""
    told = []
    while applier.wake_at is not None:
        told += results(wake(applier), "read")
    return told


def ask(read_id, *questions, deadline=1e9):
    return "inspectc", (read_id, deadline, pack(questions), None)


def wake_until_answered(applier):
    """(answer, wake-ups it took)."""
    for count in range(1, 100_000):
        answers = results(wake(applier), "read")
        if answers:
            return answers[0][0], answers[0][1][0], count
    raise AssertionError("no answer")


def test_each_message_of_an_entry_gets_its_own_results(applier):
    out = turn(applier, committed(entry(1, [put(b"a"), put(b"b")], [put(b"c")])))
    assert results(out) == [(9, [((0, 2), (0, 3)), ((0, 4),)])]


def test_a_message_that_came_before_is_answered_by_whoever_it_came_through(applier):
    """After a restart, too; the first time it came through another member."""
    out = turn(applier, committed(entry(1, [("session_open", 1)])))
    ((_, (((_, _, session),),)),) = results(out)
    again = ((session, 1, 1), [put(b"a"), put(b"a")])
    first = stamped(2, again, (None, [put(b"b")]), origin=OTHER)
    second = stamped(3, (None, [put(b"a")]), again, ((session, 2, 2), [put(b"c")]))
    out = turn(applier, committed(first, second))
    assert results(out) == [(9, [((0, 5),), ((0, 2), (0, 3)), ((0, 6),)])]
    out = turn(applier, committed(stamped(4, again, (None, [put(b"b")]))))
    assert results(out) == [(9, [tuple(errors.SESSION_EXPIRED), ((0, 7),)])]


def test_the_node_hears_of_a_new_leaders_first_entry_after_the_results_before_it(applier):
    out = turn(applier, committed(entry(1, [put(b"a")]), entry(2, term=3)))
    assert [channel for channel, _ in out if channel in ("resultc", "termc")] == [
        "resultc",
        "termc",
    ]
    assert out.on("termc") == [3]
    assert turn(applier, committed(entry(3, [put(b"a")], term=3))).on("termc") == []


def test_a_transaction_that_reads_is_a_read(applier):
    turn(applier, committed(entry(1, [put(b"a")])))
    both = ("txn", [], [("range", b"a"), ("txn", [], [("range", b"b")], [])], [])
    out = turn(applier, read(5, 1, both, both))
    for code, revision, succeeded, parts in results(out, "read")[0][1][0]:
        assert (code, revision, succeeded) == (0, 2, True)
        assert parts[0][4][0][:2] == (b"a", 2)


def applied(applier):
    """What the core is told when the news is no longer held back."""
    assert applier.wake_at is not None
    applier.on_wake()
    assert applier.wake_at is None
    return take(applier).on("advancec")


def test_the_core_is_told_once_of_all_that_was_applied_in_a_moment(applier):
    assert turn(applier, committed(entry(1, [put(b"a")]))).on("advancec") == []
    assert turn(applier, committed(entry(2, [put(b"a")]))).on("advancec") == []
    assert applied(applier) == [("applied", 2)]


def test_news_of_many_bytes_is_not_held_back(applier):
    half = put(b"a", b"v" * (limits.APPLIED_UNSAID_BYTES_MAX // 2))
    assert turn(applier, committed(entry(1, [half]))).on("advancec") == []
    assert turn(applier, committed(entry(2, [half]))).on("advancec") == [("applied", 2)]
    assert applier.wake_at is None


def test_entries_of_other_members_are_applied_and_not_answered(applier):
    out = turn(applier, committed(entry(1, [put(b"a")], origin=OTHER), entry(2)))
    assert results(out) == []
    assert applied(applier) == [("applied", 2)]
    out = turn(applier, read(5, 2, ("range", b"a")))
    assert results(out, "read")[0][1][0][0][2] == 1


def test_reads_wait_for_their_index(applier):
    asked = read(5, 2, ("range", b"a"))
    assert turn(applier, asked, committed(entry(1))).on("resultc") == []
    out = turn(applier, committed(entry(2, [put(b"a")], origin=OTHER)))
    ((read_id, (result,)),) = results(out, "read")
    assert (read_id, result[0][4][0][0]) == (5, b"a")


def test_reads_that_come_with_the_entries_see_them(applier):
    out = turn(applier, read(5, 0, ("range", b"a")), committed(entry(1, [put(b"a")])))
    assert results(out, "read")[0][1][0][0][2] == 1


def test_many_reads_leave_in_several_turns_and_too_much_in_one_is_refused(applier):
    value = bytes(limits.REQUEST_BYTES_MAX - 100)
    big = [committed(entry(n, [put(b"%d" % n, value)])) for n in range(1, 6)]
    turn(applier, *big)
    count = limits.READ_TURN_BYTES // (5 * len(value)) + 3
    everything = ("range", b"\0", b"\0")
    out = turn(applier, *(read(n, 0, everything) for n in range(count)))
    answered = len(results(out, "read"))
    assert 0 < answered < count
    assert turn(applier).on("resultc") == [], "the node gets time to send them on"
    while answered < count:
        while applier.wake_at is not None:
            answered += len(results(wake(applier), "read"))
        turn(applier, ("leftc", list(range(answered))))
    out = turn(applier, read(99, 0, *[everything] * count), now=applier.now + 1)
    while not results(out, "read"):
        out = wake(applier)
    ((_, (results_,)),) = results(out, "read")
    assert len(results_) == count
    assert results_[0][0] == 0
    assert results_[-1] == tuple(errors.TOO_MANY_REQUESTS)


def test_an_entry_that_was_lost_stops_the_node(applier):
    with pytest.raises(Exception, match="entry 3 of term 1 applied after entry 0"):
        turn(applier, committed(entry(3)))


ADD, REMOVE, UPDATE, LEARN = 0, 1, 2, 3
ALONE = ((ME,), (), (), (), False)
MINE = (ME, "n1", ("127.0.0.1:1",), (), False, 0)


def new_member(index, member, name, peer):
    """An entry of a new cluster."""
    change = ConfChangeV2(
        changes=[ConfChangeSingle(ConfChangeType.ConfChangeAddNode, member)],
        context=pack((name, peer)),
    )
    return (1, index, CHANGE, change.marshal())


def changing(index, *requests, batch_id=9, stamp=None, origin=ME):
    """An entry that changes the members."""
    stamps = () if stamp is None else ([stamp],)
    payload = pack((origin, batch_id, [pack(requests)], *stamps))
    return (1, index, CHANGE, member_change(payload, requests).marshal())


def add(member, peer, learner=0, auto_promote=0):
    return ("member_change", (("add", member, (peer,), learner, auto_promote),))


def remove(member):
    return ("member_change", (("remove", member),))


def change(applier, entry, voters):
    """Let it apply an entry; the steps that it asked the core for, and what came after."""
    ((index, _, _, steps),) = turn(applier, committed(entry)).on("confc")
    conf_state = (tuple(voters), (), (), (), False)
    return steps, turn(applier, ("confstatec", (index, conf_state)))


def test_a_configuration_change_waits_for_the_core(applier):
    """etcd's raftAdvancedC barrier: what comes after may depend on it."""
    first = new_member(1, ME, "n1", "127.0.0.1:1")
    out = turn(applier, committed(first, entry(2, [put(b"a")])))
    assert out.on("confc") == [(1, CHANGE, first[3], None)]
    assert out.on("advancec") == []
    out = turn(applier, ("confstatec", (1, ALONE)))
    assert out.on("membersc") == [((MINE,), ())]
    assert applied(applier) == [("applied", 2)]
    with pytest.raises(Impossible):
        turn(applier, ("confstatec", (7, ALONE)))


def test_members_are_added_changed_and_removed(applier, open_applier):
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    steps, out = change(applier, changing(2, add(7, "127.0.0.1:7", 1)), [ME])
    assert steps == ((LEARN, 7),)
    ((_, ((answer,),)),) = results(out, "write")
    assert answer == (0, 1, (7,), (MINE[:5], (7, "", ("127.0.0.1:7",), (), True)))
    steps, _ = change(applier, changing(3, ("member_change", (("promote", 7),))), [ME, 7])
    assert steps == ((ADD, 7),)
    update = ("member_change", (("update", 7, ("127.0.0.1:8",)),))
    steps, out = change(applier, changing(4, update), [ME, 7])
    assert steps == ((UPDATE, 7),)
    assert out.on("membersc")[0][0][1] == (7, "", ("127.0.0.1:8",), (), False, 0)
    steps, out = change(applier, changing(5, remove(7)), [ME])
    assert steps == ((REMOVE, 7),)
    assert out.on("membersc") == [((MINE,), ((7, ("127.0.0.1:8",)),))]
    applier._state.commit()
    applier._state.flush()
    (told,) = take(open_applier()).on("statec")
    assert (told[0], told[3], told[5]) == (5, (MINE,), ((7, ("127.0.0.1:8",)),))


REFUSED = [
    (add(ME, "127.0.0.1:9"), errors.MEMBER_EXISTS),
    (add(6, "http://127.0.0.1:1"), errors.PEER_URL_EXISTS),
    (add(8, "127.0.0.1:8"), errors.MEMBER_EXISTS),
    (add(9, "127.0.0.1:9", 1), errors.TOO_MANY_LEARNERS),
    (remove(9), errors.MEMBER_NOT_FOUND),
    (("member_change", (("update", 9, ("127.0.0.1:9",)),)), errors.MEMBER_NOT_FOUND),
    (("member_change", (("update", ME, ("127.0.0.1:7",)),)), errors.PEER_URL_EXISTS),
    (("member_change", (("promote", 9),)), errors.MEMBER_NOT_FOUND),
    (("member_change", (("promote", ME),)), errors.MEMBER_NOT_LEARNER),
    (remove(ME), errors.MEMBERS_NOT_STARTED),
    (("member_change", (("add", 9, ("127.0.0.1:9",), 0, 0), ("remove", 5))),
     errors.MEMBER_NOT_FOUND),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "refusal"), REFUSED)
def test_what_does_not_fit_is_refused_and_changes_nothing(applier, request_, refusal):
    """A learner, 7, and one that was removed, 8."""
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    change(applier, changing(2, add(7, "127.0.0.1:7", 1)), [ME])
    change(applier, changing(3, add(8, "127.0.0.1:8")), [ME])
    _, before = change(applier, changing(4, remove(8)), [ME])
    steps, out = change(applier, changing(5, request_), [ME])
    assert {member for _, member in steps} == {0}, "steps that do nothing"
    assert results(out, "write") == [(9, [(tuple(refusal),)])]
    assert out.on("membersc") == before.on("membersc")


def test_a_change_that_comes_twice_happens_once(applier):
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    out = turn(applier, committed(entry(2, [("session_open", 5)])))
    ((_, ((opened,),)),) = results(out, "write")
    stamp = (opened[2], 1, 1)
    once = changing(3, add(7, "127.0.0.1:7"), stamp=stamp)
    steps, first = change(applier, once, [ME, 7])
    assert steps == ((ADD, 7),)
    again = changing(4, add(8, "127.0.0.1:7"), stamp=stamp)
    steps, second = change(applier, again, [ME, 7])
    assert steps == ((0, 0),)
    assert results(second, "write") == results(first, "write")


def test_other_writes_of_the_message_are_applied_with_the_change(applier):
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    _, out = change(applier, changing(2, put(b"a"), add(7, "127.0.0.1:7")), [ME, 7])
    ((_, ((first, second),)),) = results(out, "write")
    assert (first, second[2]) == ((0, 2), (7,))


def test_its_own_removal_is_the_end_a_little_later(applier):
    """Its answer, and the news of the commit, are on their way."""
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    change(applier, new_member(2, OTHER, "n2", "127.0.0.1:2"), [ME, OTHER])
    _, out = change(applier, changing(3, remove(ME)), [OTHER])
    assert len(results(out, "write")) == 1
    assert out.on("fatalc") == []
    assert tick(applier, applier.now + 2 * STOP_AFTER_REMOVAL_S).on("fatalc") == [REMOVED]


def test_all_others_may_be_dropped(applier):
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    change(applier, new_member(2, OTHER, "n2", "127.0.0.1:2"), [ME, OTHER])
    force = ConfChangeV2(context=pack((FORCE, ME)))
    steps, out = change(applier, (1, 3, CHANGE, force.marshal()), [ME])
    assert steps == ((FORCED, ME),)
    assert out.on("membersc") == [((MINE,), ((OTHER, ("127.0.0.1:2",)),))]


def test_an_announcement_changes_the_member(applier):
    change(applier, new_member(1, OTHER, "", "127.0.0.1:2"), [OTHER])
    published = (1, 2, NORMAL, pack(("publish", OTHER, "n2", ("127.0.0.1:9",), 77)))
    out = turn(applier, committed(published))
    told = (OTHER, "n2", ("127.0.0.1:2",), ("127.0.0.1:9",), False, 77)
    assert out.on("membersc") == [((told,), ())]


def test_the_state_is_flushed_after_so_many_entries(applier):
    out = turn(applier, committed(*(entry(n) for n in range(1, BOUNDS.flush_entries))))
    assert out.on("jobc") == []
    out = turn(applier, committed(entry(BOUNDS.flush_entries)))
    assert out.on("jobc") == ["flush"]
    done = ("donec", ("flush", applier.jobs["flush"]()))
    assert turn(applier, done).on("durablec") == [BOUNDS.flush_entries]


def test_and_after_so_many_bytes(applier):
    out = turn(applier, committed(entry(1, [put(b"a", bytes(BOUNDS.flush_bytes))])))
    assert out.on("jobc") == ["flush"]


def flushed(applier, *messages):
    """A turn with the end of the flush that is under way."""
    return turn(applier, ("donec", ("flush", applier.jobs["flush"]())), *messages)


@pytest.mark.parametrize("what", ["hash", "history"])
def test_work_that_can_wait_goes_on_after_a_flush(applier, what, monkeypatch):
    """Also when nothing else happens any more."""
    monkeypatch.setattr(hashing, "SLICE_BYTES", 1000)
    filled = [entry(n, [put(b"%d" % k, b"v" * 100) for k in range(50)]) for n in range(1, 31)]
    turn(applier, committed(*filled))
    if what == "hash":
        turn(applier, ask(7, ("hash_kv",)))
    else:
        turn(applier, committed(entry(31, [("compact", 1400)])))
    at = applier._state.applied_index
    assert applier._inspector or applier._state.compacting
    turn(applier, committed(entry(at + 1), entry(at + 2)))
    flushed(applier)
    while applier.wake_at is not None:
        wake(applier)
    assert not applier._inspector
    assert not applier._state.compacting


def test_entries_are_applied_while_a_large_range_is_read(applier, monkeypatch, tmp_path):
    for name in ("FIRST_SLICE_BYTES", "SLICE_BYTES", "PAGE_PAIRS"):
        monkeypatch.setattr(rocks, name, 1)
    nine = [put(b"%d" % n) for n in range(9)]
    everything = ("range", b"\0", b"\0")
    turn(applier, committed(entry(1, nine)))
    applier._state.commit()
    assert results(turn(applier, read(5, 1, everything, ("range", b"1"))), "read") == []
    assert results(wake(applier), "read") == []
    out = turn(applier, committed(entry(2, [("delete", b"\0", b"\0")])), read(6, 2, everything))
    told = results(out, "read")
    while not results(out):
        out = wake(applier)
        told += results(out, "read")
    assert results(out) == [(9, [((0, 11, 9),)])]
    told += all_reads(applier)
    answers = {read_id: [result[1:3] for result in answer] for read_id, (answer,) in told}
    assert answers == {5: [(10, 9), (11, 0)], 6: [(11, 0)]}
    turn(applier, committed(entry(3, nine)))
    applier._state.commit()
    turn(applier, read(7, 3, everything))
    turn(applier, install(tmp_path, put(b"b"), put(b"a"), put(b"b")))
    ((read_id, ((found,),)),) = all_reads(applier)
    assert (read_id, found[2]) == (7, 2), "what it had read is no more"


@pytest.fixture
def tiny_slices(monkeypatch):
    for module in (executor, transactions):
        monkeypatch.setattr(module, "SLICE_COST", 1)
    monkeypatch.setattr(state_store, "LARGE_COMMIT", 2)


def test_an_entry_that_takes_long_is_never_seen_half_applied(tiny_slices, applier):
    """Whatever is asked meanwhile waits, and those that wait behind it come in order."""
    turn(applier, committed(entry(1, [put(b"%d" % n) for n in range(9)])))
    while applier.wake_at is not None:
        wake(applier)
    out = turn(
        applier,
        committed(
            entry(2, [put(b"9")], batch_id=8),
            entry(3, [("delete", b"\0", b"\0")], batch_id=9),
            entry(4, [put(b"a")], batch_id=10),
        ),
        read(5, 0, ("range", b"\0", b"\0")),
        read(6, 4, ("range", b"\0", b"\0")),
    )
    told, said, events, slices = results(out), out.on("advancec"), [], 0
    reads = results(out, "read")
    assert turn(applier, ("watchc", ("request", 1, [(b"\0", b"\0", False)]))) == []
    while len(told) < 3 or len(reads) < 2:
        assert applier.wake_at == applier.now, "at once, but after what has come"
        slices += 1
        state = turn(applier, ("statusc", 7)).on("statusrc")[0][2]
        assert state["applied"] in (2, 3, 4)
        assert tick(applier, applier.now) == []
        out = wake(applier)
        told += results(out)
        reads += results(out, "read")
        said += out.on("advancec")
        events += out.on("eventc")
    assert told == [(8, [((0, 11),)]), (9, [((0, 12, 10),)]), (10, [((0, 13),)])]
    assert [(read_id, found[0][1:3]) for read_id, (found,) in reads] == [(5, (13, 1)), (6, (13, 1))]
    assert [event[:2] for event in events] == [("taken", 1), ("live", 13)]
    assert [(revision, key) for revision, key, *_ in events[1][2]] == [(13, b"a")]
    assert slices > 10
    assert ("applied", 2) in said


TXN = ("txn", [], [("range", b"\0", b"\0"), put(b"a")], [])
STAMPED = ((0, 7), 1, 1)


@pytest.mark.parametrize("numbered", [False, True])
def test_what_a_transaction_has_found_is_packed_in_slices(applier, monkeypatch, numbered):
    """By each member, as it frees what it found; who answers is the one that was asked."""
    monkeypatch.setattr(transactions, "FOUND_MUCH", 10)
    monkeypatch.setattr(packing, "ITEMS", 5)
    out = turn(applier, committed(entry(1, [("session_open", 1)])))
    ((_, (((_, _, session),),)),) = results(out)
    turn(applier, committed(entry(2, [put(b"%02d" % n) for n in range(50)])))

    def apply(index, origin):
        message = ((session, index, 1) if numbered else None, [TXN, put(b"b")])
        return turn(applier, committed(stamped(index, message, origin=origin)))

    told, slices = results(apply(3, ME)), 0
    while applier._applying is not None:
        slices += 1
        told += results(wake(applier))
    assert slices >= 10
    (((_, _, _, (found, _)), second),) = told[0][1]
    assert [kv[0] for kv in found[4]] == [b"%02d" % n for n in range(50)]
    assert (len(told), found[2], second) == (1, 50, (0, 53))
    assert results(apply(4, OTHER)) == []
    while applier._applying is not None:
        assert results(wake(applier)) == []


def test_a_transaction_that_reads_much_is_read_in_slices_as_of_its_first(applier, monkeypatch):
    for module, name in ((rocks, "PAGE_PAIRS"), (rocks, "FIRST_SLICE_BYTES"), (packing, "ITEMS")):
        monkeypatch.setattr(module, name, 1)
    turn(applier, committed(entry(1, [put(b"%02d" % n) for n in range(9)])))
    reads = [("range", b"0", b"1"), ("range", b"03"), ("range", b"0", b"1", 0, 0, 2)]
    out = turn(applier, read(5, 1, ("txn", [(3, 0, b"03", b"v")], reads, [])))
    assert results(out, "read") == []
    out += turn(applier, committed(entry(2, [("delete", b"0", b"1")])))
    slices = 0
    while applier.wake_at is not None:
        slices += 1
        out += wake(applier)
    ((_, (((_, revision, holds, (all_, one, count)),),)),) = results(out, "read")
    assert (revision, holds, all_[1], count[:3]) == (10, True, 10, (0, 10, 9))
    assert [kv[0] for kv in all_[4]] == [b"%02d" % n for n in range(9)]
    assert one == (0, 10, 1, False, ((b"03", 5, 5, 1, 0, b"v"),))
    assert slices > 9


def test_a_flush_that_ends_during_a_long_entry_is_taken_in_after_it(tiny_slices, applier):
    turn(applier, committed(entry(1, [put(b"%d" % n) for n in range(9)])))
    while applier._applying is not None:
        wake(applier)
    applier._flushing = True
    turn(applier, committed(entry(2, [("delete", b"\0", b"\0")])))
    out = turn(applier, ("donec", ("flush", 1)))
    while applier._applying is not None:
        assert out.on("durablec") == []
        out = wake(applier)
    assert out.on("durablec") == [1]


def test_what_is_closed_in_the_middle_of_an_entry_is_applied_again(tiny_slices, open_applier):
    for slices in range(0, 40, 4):
        applier = open_applier()
        index = applier._state.applied_index
        turn(applier, committed(entry(index + 1, [put(b"%d" % n) for n in range(9)])))
        applier._state.commit()
        out = turn(applier, committed(entry(index + 2, [("delete", b"\0", b"\0")])))
        for _ in range(slices):
            if applier._applying is None:
                break
            out += wake(applier)
        done = bool(results(out))
        applier = open_applier()
        assert applier._state.applied_index in (index + 1, index + 2)
        if applier._state.applied_index == index + 1:
            assert not done or applier._state.count_keys() == 9
            turn(applier, committed(entry(index + 2, [("delete", b"\0", b"\0")])))
            while applier._applying is not None:
                wake(applier)
        assert applier._state.count_keys() == 0


def test_reads_behind_a_large_answer_wait_and_do_not_fail(applier, monkeypatch):
    monkeypatch.setattr(limits, "READ_TURN_BYTES", 10)
    turn(applier, committed(entry(1, [put(b"a")])))
    body = pack([("range", b"a")])
    three = [(read_id, 1e9, body, None, b"c") for read_id in (5, 6, 7)]
    answers = results(turn(applier, ("readc", (1, three))), "read")
    assert len(answers) == 1
    while applier.wake_at is not None:
        answers += results(wake(applier), "read")
    assert [(read_id, answer[0][0]) for read_id, (answer,) in answers] == [(5, 0), (6, 0), (7, 0)]


def test_reads_that_wait_for_room_are_not_forgotten_over_a_flush(applier, monkeypatch):
    monkeypatch.setattr(limits, "READ_TURN_BYTES", 10)
    turn(applier, committed(*(entry(n, [put(b"a")]) for n in range(1, BOUNDS.flush_entries + 1))))
    reads = [read(n, 1, ("range", b"a")) for n in (5, 6)]
    out = turn(applier, *reads)
    assert [read_id for read_id, _ in results(out, "read")] == [5]
    began = applier.now
    flushed(applier)
    while not results(wake(applier), "read"):
        pass
    assert applier.now == began + limits.READ_PAUSE_S


@pytest.fixture
def crowded(applier, tmp_path):
    """A member with an alarm for want of space and something to give back."""
    applier._quota = Quota(ME, 1000, auto_disarm=True)
    turn(applier, committed(entry(1, [put(b"a", bytes(2000))])))
    (raised,) = tick(applier, 100.0).on("proposec")
    turn(applier, committed((1, 2, NORMAL, raised)))
    turn(applier, committed(entry(3, [("delete", b"a")], [("compact", 3)])))
    while applier.wake_at is not None:
        wake(applier)
    assert tick(applier, 200.0).on("jobc") == ["reclaim"]
    return applier


def test_the_state_is_flushed_while_space_is_given_back(crowded):
    """Otherwise the log would grow without bound for minutes."""
    out = turn(crowded, committed(*(entry(n) for n in range(4, BOUNDS.flush_entries + 4))))
    assert out.on("jobc") == ["flush"]
    assert flushed(crowded).on("durablec") != []
    assert tick(crowded, 300.0).on("jobc") == []
    assert turn(crowded, ("donec", ("reclaim", crowded.jobs["reclaim"]()))).on("durablec") == []


def test_an_install_waits_until_space_was_given_back(crowded, tmp_path):
    assert turn(crowded, install(tmp_path, put(b"a"))).on("advancec") == []
    out = turn(crowded, ("donec", ("reclaim", crowded.jobs["reclaim"]())))
    assert out.on("advancec")[-1] == ("installed", 2)


def test_a_node_that_ends_while_it_gives_space_back_does_not_finish_that(crowded):
    crowded.cut_jobs_short()
    with pytest.raises(StorageError, match="Shutdown in progress"):
        crowded.jobs["flush"]()


def test_a_node_that_ends_otherwise_finishes_what_it_does(applier, tmp_path):
    turn(applier, committed(entry(1, [put(b"a")])))
    applier._state.commit()
    applier.cut_jobs_short()
    assert applier.jobs["flush"]() == 1


def test_a_snapshot_is_made_after_a_flush(applier, tmp_path):
    turn(applier, committed(entry(1, [put(b"a")])))
    assert turn(applier, ("snapshotc", None)).on("jobc") == ["flush"]
    ((name, index, term, *_),) = flushed(applier).on("snapreadyc")
    assert (index, term) == (1, 1)
    assert SnapshotStore(tmp_path / "snapshots").finished() == [name]


def test_a_snapshot_is_not_made_between_apply_and_commit(applier):
    """The flush ends in the same turn in which a configuration change was applied."""
    first, second = new_member(1, ME, "n1", "127.0.0.1:1"), new_member(2, OTHER, "", "127.0.0.1:2")
    turn(applier, committed(first), ("snapshotc", None))
    turn(applier, ("confstatec", (1, ALONE)))
    turn(applier, ("snapshotc", None), committed(second))
    applier.handle("confstatec", (2, ALONE))
    out = flushed(applier)
    assert [index for _, index, *_ in out.on("snapreadyc")] == [2]


def install(tmp_path, *requests, members=()):
    """The word to install a snapshot of another member, whose state `requests` led to."""
    source = StateStore.open(tmp_path / "other" / "state")
    source.apply_conf_state(1, 1, ((1,), (), (), (), False), members)
    for index, request in enumerate(requests, 2):
        source.apply(index, 3, [request])
    source.commit()
    source.flush()
    store = SnapshotStore(tmp_path / "other" / "snapshots")
    name, index = store.create(source), source.applied_index
    source.close()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "other" / "snapshots" / name).rename(tmp_path / "snapshots" / name)
    return "applyc", ("install", name, index, 3)


def test_an_installed_snapshot_replaces_the_state(applier, tmp_path):
    members = ((ME, "n1", ("127.0.0.1:1",), (), False, 0),)
    word = install(tmp_path, *(put(b"key%d" % n) for n in range(2, 50)), members=members)
    turn(applier, committed(entry(1, [put(b"old")])))
    asked = read(5, 49, ("range", b"old"), ("range", b"key49"))
    out = turn(applier, asked, word)
    assert out.on("advancec") == [("installed", 49)]
    assert out.on("durablec") == [49]
    assert out.on("membersc") == [(members, ())]
    ((_, ((old, new),)),) = results(out, "read")
    assert (old[2], new[2]) == (0, 1)
    assert results(turn(applier, committed(entry(50, [put(b"a")], term=3)))) != []


def test_a_snapshot_is_not_installed_while_a_flush_uses_the_state(applier, tmp_path):
    turn(applier, committed(entry(1, [put(b"old")])))
    assert turn(applier, ("snapshotc", None)).on("jobc") == ["flush"]
    word = install(tmp_path, *(put(b"%d" % n) for n in range(8)))
    assert ("installed", 9) not in turn(applier, word).on("advancec")
    assert ("installed", 9) in flushed(applier).on("advancec")


def test_watches_learn_that_a_snapshot_replaced_the_state(applier, tmp_path):
    turn(applier, ("watchc", ("request", 1, [(b"k", b"", False)])))
    word = install(tmp_path, *[put(b"k")] * 5, ("compact", 6), put(b"k"))
    assert turn(applier, word).on("eventc") == [("gap", 7)]


def test_what_was_flushed_survives_and_the_rest_comes_again(open_applier):
    applier = open_applier()
    turn(applier, committed(entry(1, [put(b"a")])), ("snapshotc", None))
    flushed(applier)
    turn(applier, committed(entry(2, [put(b"b")])))
    again = open_applier()
    ((applied, term, *_),) = take(again).on("statec")
    assert applied in (1, 2)
    assert term == 1
    turn(again, committed(*(entry(n, [put(b"c")]) for n in range(applied + 1, 4))))
    out = turn(again, read(5, 3, ("range", b"a", b"d")))
    assert results(out, "read")[0][1][0][0][4][0][0] == b"a"


def test_compacted_history_goes_step_by_step_between_the_turns(applier):
    count = 3 * limits.COMPACT_STEP_VERSIONS
    turn(applier, committed(entry(1, [put(b"k", b"%d" % n) for n in range(count)])))
    out = turn(applier, committed(entry(2, [("compact", count)])))
    assert results(out) == [(9, [((0, count + 1),)])]
    steps = 0
    while applier.wake_at is not None:
        wake(applier)
        steps += 1
    assert steps > 2
    old = ("range", b"k", b"", 0, count - 1)
    out = turn(applier, read(5, 2, old, ("range", b"k", b"", 0, count)))
    refused, found = results(out, "read")[0][1][0]
    assert refused == tuple(errors.COMPACTED)
    assert found[4][0][5] == b"%d" % (count - 2)


def test_history_goes_faster_than_it_grows(applier):
    count, grown = 20 * limits.COMPACT_STEP_VERSIONS, limits.COMPACT_STEP_VERSIONS
    turn(applier, committed(entry(1, [put(b"k", b"%d" % n) for n in range(count)])))
    turn(applier, committed(entry(2, [("compact", count)])))
    steps = 0
    while applier._state.compacting:
        turn(applier, committed(entry(3 + steps, [put(b"other") for _ in range(grown)])))
        wake(applier)
        steps += 1
    assert 2 * grown <= count / steps <= limits.COMPACT_WORK_PER_WRITE * grown


def test_history_that_was_cut_off_before_a_restart_goes_after_it(open_applier):
    """Without a new entry: nothing may be written for hours."""
    applier = open_applier()
    count = 3 * limits.COMPACT_STEP_VERSIONS
    turn(applier, committed(entry(1, [put(b"k", b"%d" % n) for n in range(count)])))
    turn(applier, committed(entry(2, [("compact", count)])))
    applier._state.commit()
    applier._state.flush()
    applier = open_applier()
    assert applier._state.compacting
    while applier.wake_at is not None:
        wake(applier)
    assert not applier._state.compacting


def test_compacted_is_answered_when_the_history_is_gone(applier):
    count = 3 * limits.COMPACT_STEP_VERSIONS
    turn(applier, committed(entry(1, [put(b"k", b"%d" % n) for n in range(count)])))
    out = turn(applier, ask(5, ("compacted", 100)))
    for _ in range(100):
        out += wake(applier)
    assert out.on("resultc") == [], "revision 100 was not compacted yet"
    turn(applier, committed(entry(2, [("compact", count)])))
    read_id, answer, _ = wake_until_answered(applier)
    assert (read_id, answer) == (5, ((0, count + 1),))
    assert not applier._state.compacting
    turn(applier, ask(6, ("compacted", count)))
    assert wake_until_answered(applier) == (6, ((0, count + 1),), 1)


def test_defragment_is_answered_when_a_reclaim_that_began_after_it_is_done(applier):
    turn(applier, committed(entry(1, [put(b"k")])))
    out = turn(applier, ask(5, ("defragment",)))
    out += wake(applier)
    assert out.on("jobc") == ["reclaim"]
    turn(applier, ask(6, ("defragment",)))
    out = wake(applier)
    out += turn(applier, committed(entry(2, [put(b"meanwhile")])))
    assert [r[1] for r in results(out)] == [[((0, 3),)]], "a write waited"
    assert out.on("jobc") == []
    out = turn(applier, ("donec", ("reclaim", None)))
    for _ in range(3):
        out += wake(applier)
    assert [read_id for read_id, _ in results(out, "read")] == [5]
    assert out.on("jobc") == ["reclaim"], "the second was asked while the first was under way"
    turn(applier, ("donec", ("reclaim", None)))
    assert wake_until_answered(applier)[0] == 6


def test_hash_kv_goes_on_in_slices_while_the_state_changes(applier, monkeypatch):
    monkeypatch.setattr(hashing, "SLICE_BYTES", 8192)
    turn(applier, committed(entry(1, [put(b"%04d" % n) for n in range(500)])))
    turn(applier, ask(5, ("hash_kv",), ("hash_kv", 300)))
    index, answered = 1, []
    while not answered:
        index += 1
        out = turn(applier, committed(entry(index, [put(b"%04d" % (index * 7), b"new")])))
        assert results(out)[0][1] == [((0, 500 + index),)], "a write waited"
        answered = results(wake(applier), "read")
    assert index > 10
    for answer, revision in zip(answered[0][1][0], (502, 300), strict=True):
        assert answer[2:] == applier._state.hash_kv(revision)[2:]


def test_hash_kv_begins_anew_when_a_snapshot_replaces_the_state(applier, monkeypatch, tmp_path):
    monkeypatch.setattr(hashing, "SLICE_BYTES", 8192)
    turn(applier, committed(entry(1, [put(b"%04d" % n) for n in range(500)])))
    turn(applier, ("snapshotc", None))
    applier._state.flush()
    (made,) = turn(applier, ("donec", ("flush", 1))).on("snapreadyc")
    expected = applier._state.hash_kv()
    turn(applier, committed(entry(2, [put(b"later")])))
    turn(applier, ask(5, ("hash_kv",)))
    wake(applier)
    wake(applier)
    turn(applier, ("applyc", ("install", made[0], 1, 1)))
    assert wake_until_answered(applier)[1] == (expected,)


def test_questions_refuse_what_cannot_be_answered(applier):
    turn(applier, committed(entry(1, [put(b"k", b"%d" % n) for n in range(9)], [("compact", 5)])))
    turn(applier, ask(5, ("hash_kv", 4), ("hash_kv", 99), ("hash_kv", 5)))
    _, (compacted, future, good), _ = wake_until_answered(applier)
    assert (compacted, future) == (tuple(errors.COMPACTED), tuple(errors.FUTURE_REVISION))
    assert good[0] == 0


def test_questions_whose_time_is_up_are_dropped_and_there_are_not_too_many(applier):
    for read_id in range(limits.INSPECTIONS_MAX):
        turn(applier, ask(read_id, ("compacted", 99), deadline=10.0))
    out = turn(applier, ask(999, ("compacted", 99)))
    assert results(out, "read") == [(999, [tuple(errors.TOO_MANY_REQUESTS)])]
    applier.now = 10.0
    while applier.wake_at is not None:
        assert wake(applier) == []


def test_only_the_leader_proposes_an_automatic_compaction(applier, log):
    applier.upkeep = Upkeep(Divergence(ME, 0, 0.0), Periodic(10.0, 0.0), log)
    turn(applier, committed(entry(1, [put(b"k"), put(b"k")])))
    for role, proposed in (("follower", []), ("leader", [(("compact", 3),)])):
        turn(applier, ("softstatec", (1, 1, role)))
        payloads = []
        for _ in range(20):
            payloads += tick(applier, applier.now + 1.0).on("proposec")
        bodies = [unpack_local(payload)[2] for payload in payloads]
        assert [unpack_local(body) for (body,) in bodies[:1]] == proposed


def test_the_core_hears_what_was_applied_before_what_is_durable(applier):
    """It compacts its log behind the one, and reads what comes after the other."""
    turn(applier, committed(*(entry(n, [put(b"k")]) for n in range(1, 60))))
    assert applier.jobs["flush"]() == 59
    out = turn(applier, ("donec", ("flush", 59)))
    assert [m for m in out if m[0] in ("advancec", "durablec")] == [
        ("advancec", ("applied", 59)),
        ("durablec", 59),
    ]


def test_what_a_node_asks_for_itself_changes_the_members_too(applier):
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    change(applier, changing(2, add(7, "127.0.0.1:7", 1, 1)), [ME])
    promotion = ("member_change", (("promote", 7),))
    steps, out = change(applier, changing(3, promotion, origin=NOBODY), [ME, 7])
    assert steps == ((ADD, 7),)
    assert results(out, "write") == []
    assert out.on("membersc")[0][0][1] == (7, "", ("127.0.0.1:7",), (), False, 0)


def test_a_change_that_was_applied_is_not_refused_when_it_comes_again(applier):
    """It is judged before it goes into the log, and the second time by what the first has made."""
    change(applier, new_member(1, ME, "n1", "127.0.0.1:1"), [ME])
    out = turn(applier, committed(entry(2, [("session_open", 5)])))
    ((_, ((opened,),)),) = results(out, "write")
    stamp = (opened[2], 1, 1)
    _, first = change(applier, changing(3, add(7, "127.0.0.1:7"), stamp=stamp), [ME, 7])
    refused = ("refused", *errors.MEMBERS_NOT_STARTED)
    again = turn(applier, committed(stamped(4, (stamp, [refused]))))
    assert results(again, "write") == results(first, "write")
    other = turn(applier, committed(stamped(5, ((opened[2], 2, 1), [refused]))))
    assert results(other, "write") == [(9, [(tuple(errors.MEMBERS_NOT_STARTED),)])]
