"""Alarms in the state machine: what NOSPACE refuses, who raised what."""

import pytest
from sampan.storage.alarms import CORRUPT, NOSPACE
from sampan.storage.sessions import Stamp
from sampan.storage.sliced import finish
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import pack


@pytest.fixture
def store(tmp_path):
    store = StateStore.open(tmp_path / "state")
    yield store
    store.close()


def run(store, *requests):
    return store.apply(store.applied_index + 1, 1, requests)


PUT = ("put", b"a", b"1")
GET = ("range", b"a")
DELETE = ("delete", b"a")


@pytest.fixture
def full(store):
    """A store with a key and a lease, and no space."""
    run(store, PUT, ("lease_grant", 7, 60))
    assert run(store, ("alarm_raise", 3, NOSPACE)) == [(0, 2, [(3, NOSPACE)])]
    return store


@pytest.mark.parametrize(
    "request_",
    [
        PUT,
        ("put", b"a", b"", 0, 1),
        ("lease_grant", 8, 60),
        ("txn", (), (PUT,), ()),
        ("txn", (), (), (PUT,)),
        ("txn", (), (("txn", (), (GET,), (PUT,)),), ()),
    ],
)
def test_what_makes_the_state_larger_is_refused(full, request_):
    assert run(full, request_, request_) == [errors.NO_SPACE] * 2
    assert full.revision == 2


@pytest.mark.parametrize(
    "request_",
    [
        DELETE,
        ("txn", (), (DELETE, GET), ()),
        ("lease_revoke", 7),
        ("lease_keep_alive", 7),
        ("compact", 2),
        ("lease_expire", ((7, 1),), 10),
        ("alarm_disarm",),
    ],
)
def test_what_does_not_is_not(full, request_):
    assert run(full, request_)[0][0] == 0


def test_reads_go_on(full):
    assert full.range(GET)[2] == 1
    assert full.range(("txn", (), (GET,), ()))[0] == 0


def test_it_lasts_until_the_last_member_has_space(full):
    run(full, ("alarm_raise", 4, NOSPACE))
    assert run(full, ("alarm_disarm", 3, NOSPACE)) == [(0, 2, [(3, NOSPACE)])]
    assert run(full, PUT) == [errors.NO_SPACE]
    assert run(full, ("alarm_disarm", 4, NOSPACE), PUT) == [(0, 2, [(4, NOSPACE)]), (0, 3)]
    assert run(full, PUT) == [(0, 4)]


def test_disarming_by_member_and_by_kind(store):
    for member, kind in ((2, CORRUPT), (1, NOSPACE), (2, NOSPACE), (1, CORRUPT), (1, NOSPACE)):
        run(store, ("alarm_raise", member, kind))
    assert store.alarms.all() == [(1, NOSPACE), (1, CORRUPT), (2, NOSPACE), (2, CORRUPT)]
    assert run(store, ("alarm_disarm", 2, CORRUPT))[0][2] == [(2, CORRUPT)]
    assert run(store, ("alarm_disarm", 2, CORRUPT))[0][2] == []
    assert run(store, ("alarm_disarm", 0, NOSPACE))[0][2] == [(1, NOSPACE), (2, NOSPACE)]
    assert run(store, ("alarm_disarm",))[0][2] == [(1, CORRUPT)]
    assert store.alarms.all() == []


def test_a_corrupt_member_does_not_keep_the_others_from_writing(store):
    run(store, ("alarm_raise", 3, CORRUPT))
    assert run(store, PUT) == [(0, 2)]


def test_alarms_come_back(full, tmp_path):
    full.commit()
    full.flush()
    full.close()
    reopened = StateStore.open(tmp_path / "state")
    assert reopened.alarms.all() == [(3, NOSPACE)]
    assert run(reopened, PUT) == [errors.NO_SPACE]
    run(reopened, ("alarm_disarm",))
    reopened.commit()
    reopened.flush()
    reopened.close()
    reopened = StateStore.open(tmp_path / "state")
    assert reopened.alarms.all() == []
    assert run(reopened, PUT) == [(0, 3)]
    reopened.close()


def test_a_refusal_is_remembered_for_a_message_that_comes_again(full):
    session = run(full, ("session_open", 60_000))[0][2]
    stamp = Stamp(session, 1, 1)
    first = finish(full.apply_once(full.applied_index + 1, 1, [[PUT]], [stamp]))
    run(full, ("alarm_disarm",))
    again = finish(full.apply_once(full.applied_index + 1, 1, [[PUT]], [stamp]))
    assert first == again == [pack([errors.NO_SPACE])]
    assert full.revision == 2


def test_what_only_memory_holds_so_far_takes_space(store):
    before = store.space_bytes()
    run(store, *[("put", b"%d" % k, bytes(10_000)) for k in range(50)])
    store.commit()
    assert store.space_bytes() > before + 50 * 10_000


@pytest.fixture
def crowded(store):
    """A store of which everything was deleted and nothing given back."""
    for i in range(20):
        run(store, *[("put", b"%d" % k, bytes([i]) * 5000) for k in range(50)])
    store.commit()
    store.flush()
    run(store, ("delete", b"\0", b"\0"))
    run(store, ("compact", store.revision))
    while store.compact_step(1000):
        pass
    store.commit()
    store.flush()
    return store


def test_reclaiming_gives_space_back(crowded):
    before = crowded.space_bytes()
    crowded.reclaim()
    assert crowded.space_bytes() < before


def test_a_store_that_is_to_be_closed_reclaims_nothing_more(crowded, tmp_path):
    before = crowded.space_bytes()
    crowded.stop_background()
    crowded.reclaim()
    assert crowded.space_bytes() >= before
    crowded.close()
    StateStore.open(tmp_path / "state").close()
