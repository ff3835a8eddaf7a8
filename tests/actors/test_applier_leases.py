"""Leases in the applier: whose time it keeps, what the leader's proposes, what it answers."""

import pytest
from sampan.actors.applier import Applier
from sampan.config.limits import LogLimits
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport.codec import pack, unpack, unpack_local

from .helpers import take, tick, turn
from .test_applier import install

ME, OTHER = 1, 2


@pytest.fixture
def open_applier(log, tmp_path):
    """Opens the applier on one data dir at a given time; the one before is closed."""
    opened = []

    def open_it(now):
        if opened:
            opened.pop().close()
        applier = Applier(
            ME, lambda: StateStore.open(tmp_path / "state"), SnapshotStore(tmp_path / "snapshots"),
            LogLimits(entries_max=64, bytes_max=1 << 20), log, lease_grace_s=1.0,
        )  # fmt: skip
        applier.now = now
        applier.start()
        take(applier)
        opened.append(applier)
        return applier

    yield open_it
    for applier in opened:
        applier.close()


def committed(index, *requests, origin=OTHER):
    data = pack((origin, 9, [pack(requests)]))
    return "applyc", ("entries", [(1, index, 0, data)])


def lead(applier, now, leader=ME):
    role = "leader" if leader == ME else "follower"
    return turn(applier, ("softstatec", (1, leader, role)), now=now)


def read(applier, *requests, now=None):
    out = turn(applier, ("readc", (0, [(5, 1e9, pack(requests), None, b"c")])), now=now)
    ((_, ((_, results),)),) = out.on("resultc")
    return unpack_local(results)


def test_the_leader_proposes_to_expire_and_nobody_waits_for_the_result(open_applier):
    applier = open_applier(now=0.0)
    lead(applier, now=0.0)
    put = ("put", b"k", b"v", 7)
    turn(applier, committed(1, ("lease_grant", 7, 10), put, origin=ME), now=5.0)
    assert tick(applier, now=14.9).on("proposec") == []
    (entry,) = tick(applier, now=15.0).on("proposec")
    out = turn(applier, ("applyc", ("entries", [(1, 2, 0, entry)])), now=15.1)
    assert out.on("resultc") == []
    assert read(applier, ("range", b"k"), ("lease_list",)) == ((0, 3, 0, False, ()), (0, 3, ()))


def test_the_next_entry_is_proposed_when_the_one_before_was_applied(open_applier):
    applier = open_applier(now=0.0)
    lead(applier, now=0.0)
    turn(applier, committed(1, *[("lease_grant", each, 5) for each in range(1, 1201)]), now=1.0)
    (entry,) = tick(applier, now=6.0).on("proposec")
    for index in (2, 3):
        assert tick(applier, now=6.05).on("proposec") == []
        out = turn(applier, ("applyc", ("entries", [(1, index, 0, entry)])), now=6.1)
        (entry,) = out.on("proposec")
    out = turn(applier, ("applyc", ("entries", [(1, 4, 0, entry)])), now=6.1)
    assert out.on("proposec") == []
    assert read(applier, ("lease_list",)) == ((0, 1, ()),)


def test_a_follower_keeps_the_time_and_a_new_leader_acts_on_it(open_applier):
    applier = open_applier(now=0.0)
    lead(applier, now=0.0, leader=OTHER)
    turn(applier, committed(1, ("lease_grant", 7, 10)), now=5.0)
    turn(applier, committed(2, ("lease_keep_alive", 7)), now=8.0)
    assert tick(applier, now=100.0).on("proposec") == []
    lead(applier, now=100.0)
    assert tick(applier, now=100.9).on("proposec") == []
    (entry,) = tick(applier, now=101.0).on("proposec")
    assert unpack(unpack(entry)[2][0])[0][:2] == ("lease_expire", ((7, 2),))


def test_what_remains(open_applier):
    applier = open_applier(now=0.0)
    lead(applier, now=0.0)
    turn(
        applier,
        committed(1, ("lease_grant", 7, 10), ("lease_grant", 6, 5), ("put", b"b", b"", 7)),
        committed(2, ("put", b"a", b"", 7)),
        now=5.0,
    )
    assert read(
        applier,
        ("lease_time_to_live", 7),
        ("lease_time_to_live", 7, 1),
        ("lease_time_to_live", 8, 1),
        ("lease_list",),
        now=7.5,
    ) == (
        (0, 3, 7, 10, 7, ()),
        (0, 3, 7, 10, 7, (b"a", b"b")),
        (0, 3, 8, 0, -1, ()),
        (0, 3, (6, 7)),
    )


def test_after_a_restart_leases_have_their_full_time(open_applier):
    applier = open_applier(now=0.0)
    lead(applier, now=0.0)
    turn(applier, committed(1, ("lease_grant", 7, 10)), now=5.0)
    applier._state.commit()
    applier._state.flush()
    applier = open_applier(now=14.0)
    lead(applier, now=16.0)
    assert tick(applier, now=25.9).on("proposec") == []
    assert len(tick(applier, now=26.0).on("proposec")) == 1


def test_leases_of_an_installed_snapshot_end(open_applier, tmp_path):
    applier = open_applier(now=0.0)
    turn(applier, install(tmp_path, ("lease_grant", 7, 10), ("put", b"k", b"", 7)), now=5.0)
    lead(applier, now=5.0)
    assert tick(applier, now=14.9).on("proposec") == []
    (entry,) = tick(applier, now=16.0).on("proposec")
    assert unpack(unpack(entry)[2][0])[0][:2] == ("lease_expire", ((7, 2),))
