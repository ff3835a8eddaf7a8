"""What the state machine does with leases: renewals, expiry, and what their timekeeper is told."""

import pytest
from sampan.storage.leases import Lease
from sampan.storage.state_store import StateStore
from sampan.transport import errors


@pytest.fixture
def store(tmp_path):
    store = StateStore.open(tmp_path / "state")
    yield store
    store.close()


def run(store, *requests):
    return store.apply(store.applied_index + 1, 1, requests)


def changed(store):
    found = dict(store.leases.changed)
    store.leases.changed.clear()
    return found


def test_a_renewal_that_is_ahead_in_the_log_wins_over_an_expiry(store):
    run(store, ("lease_grant", 7, 60))
    run(store, ("put", b"k", b"v", 7))
    run(store, ("lease_keep_alive", 7))
    assert run(store, ("lease_expire", ((7, 1),), 10)) == [(0, 2, 0)]
    assert store.leases.get(7) == Lease(60, 3)
    assert store.range(("range", b"k"))[2] == 1
    assert run(store, ("lease_expire", ((7, 3),), 10)) == [(0, 3, 1)]
    assert store.leases.get(7) is None
    assert store.range(("range", b"k"))[2] == 0


def test_an_expiry_does_not_end_a_later_lease_of_the_same_id(store):
    run(store, ("lease_grant", 7, 60))
    run(store, ("lease_revoke", 7))
    run(store, ("lease_grant", 7, 5))
    run(store, ("lease_expire", ((7, 1),), 10))
    assert store.leases.get(7) == Lease(5, 3)


def test_each_lease_goes_in_one_revision_of_its_own(store):
    run(store, ("lease_grant", 7, 60), ("lease_grant", 8, 60), ("lease_grant", 9, 60))
    run(store, *[("put", name, b"", 7 + name[0] % 2) for name in (b"a", b"b", b"c", b"d")])
    assert run(store, ("lease_expire", ((8, 1), (9, 1), (7, 1)), 10)) == [(0, 7, 3)]
    assert [event[:2] for event in store.history(6)] == [
        (6, b"a"), (6, b"c"), (7, b"b"), (7, b"d"),
    ]  # fmt: skip


def test_an_entry_ends_whole_leases_until_it_has_deleted_enough(store):
    run(store, *[("lease_grant", lease, 60) for lease in (1, 2, 3)])
    run(store, *[("put", b"%d" % i, b"", 1 + i // 4) for i in range(12)])
    changed(store)
    due = ((1, 1), (2, 1), (3, 1))
    assert run(store, ("lease_expire", due, 5))[0][2] == 2
    assert changed(store) == {1: None, 2: None, 3: Lease(60, 1)}
    assert run(store, ("lease_expire", due, 5))[0][2] == 1
    assert changed(store) == {3: None}
    assert store.range(("range", b"\0", b"\0"))[2] == 0


def test_what_changes_is_told(store):
    run(store, ("lease_grant", 7, 60), ("lease_grant", 8, 60))
    assert changed(store) == {7: Lease(60, 1), 8: Lease(60, 1)}
    assert run(store, ("lease_keep_alive", 7), ("lease_keep_alive", 6)) == [
        (0, 1, 7, 60),
        (0, 1, 6, 0),
    ]
    assert changed(store) == {7: Lease(60, 2)}
    run(store, ("lease_revoke", 7), ("lease_revoke", 6))
    assert changed(store) == {7: None}
    run(store, ("put", b"a", b"", 8))
    assert changed(store) == {}


def test_leases_and_their_keys_come_back(store, tmp_path):
    run(store, ("lease_grant", 7, 60), ("put", b"a", b"", 7), ("put", b"b", b"", 7))
    store.commit()
    run(store, ("lease_keep_alive", 7), ("delete", b"a"), ("put", b"c", b"", 7))
    assert store.leases.keys(7) == [b"b", b"c"]
    store.commit()
    store.flush()
    store.close()
    reopened = StateStore.open(tmp_path / "state")
    assert reopened.leases.all() == {7: Lease(60, 2)}
    assert reopened.leases.keys(7) == [b"b", b"c"]
    assert reopened.leases.changed == {}
    reopened.close()


def test_the_largest_ids(store):
    last = 2**64 - 1
    run(store, ("lease_grant", last, 60), ("put", b"a", b"", last))
    store.commit()
    assert store.leases.keys(last) == [b"a"]
    assert run(store, ("lease_revoke", last)) == [(0, 3)]
    assert run(store, ("put", b"a", b"", last)) == [errors.LEASE_NOT_FOUND]
