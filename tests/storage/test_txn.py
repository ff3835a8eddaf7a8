"""Transactions: what the check refuses, and the rules that random histories rarely reach."""

import pytest
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.requests import READ_CHECKS, WRITE_CHECKS, check_request


@pytest.fixture
def store(tmp_path):
    store = StateStore.open(tmp_path / "state")
    yield store
    store.close()


def txn(*success, compares=(), failure=()):
    return ("txn", tuple(compares), tuple(success), tuple(failure))


def check(request, checks=WRITE_CHECKS):
    return check_request(request, checks)


PUT_A = ("put", b"a", b"")
PUT_B = ("put", b"b", b"")
DELETE_ALL = ("delete", b"\0", b"\0")


@pytest.mark.parametrize(
    "request_",
    [
        txn(),
        txn(PUT_A, PUT_B),
        txn(PUT_A, failure=[PUT_A]),
        txn(PUT_A, ("delete", b"a\0"), ("delete", b"b", b"a")),
        txn(PUT_A, ("delete", b"0", b"a")),
        txn(txn(PUT_A, failure=[PUT_A]), PUT_B),
        txn(txn(PUT_A), txn(DELETE_ALL)),  # etcd lets this order pass
        txn(compares=[(3, 0, b"a", b""), (4, 3, b"a", 2**64 - 1, b"\0")]),
    ],
)
def test_good_transactions_pass(request_):
    assert check(request_) is None


@pytest.mark.parametrize(
    "request_",
    [
        txn(PUT_A, PUT_A),
        txn(PUT_A, ("delete", b"a")),
        txn(("delete", b"0", b"aa"), PUT_A),
        txn(PUT_A, DELETE_ALL),
        txn(failure=[PUT_A, PUT_A]),
        txn(PUT_A, txn(PUT_A)),
        txn(txn(PUT_A), txn(failure=[PUT_A])),
        txn(DELETE_ALL, txn(PUT_A)),
        txn(txn(DELETE_ALL), PUT_A),
        txn(txn(DELETE_ALL), txn(PUT_A)),
        txn(txn(txn(PUT_A, PUT_A))),
    ],
)
def test_a_key_changed_twice_is_refused(request_):
    assert check(request_) == errors.DUPLICATE_KEY


def test_more_operations_than_allowed_are_refused():
    puts = [("put", b"%d" % i, b"") for i in range(129)]
    assert check(txn(*puts[:128])) is None
    assert check(txn(*puts)) == errors.TOO_MANY_OPS
    assert check(txn(failure=puts)) == errors.TOO_MANY_OPS
    assert check(txn(compares=[(0, 0, b"a", 0)] * 129)) == errors.TOO_MANY_OPS
    assert check(txn(txn(*puts[:127]))) is None
    assert check(txn(txn(*puts[:128]))) == errors.TOO_MANY_OPS
    nested = txn(PUT_A)
    for _ in range(128):
        nested = txn(nested)
    assert check(nested) == errors.TOO_MANY_OPS


@pytest.mark.parametrize(
    "request_",
    [
        ("txn", (), ()),
        ("txn", (), (), b""),
        txn(b"put"),
        txn(()),
        txn((7,)),
        txn(("compact", 3)),
        txn(("put", b"a")),
        txn(compares=[(5, 0, b"a", 0)]),
        txn(compares=[(0, 4, b"a", 0)]),
        txn(compares=[(0, 0, b"a", b"0")]),
        txn(compares=[(3, 0, b"a", 0)]),
        txn(compares=[(0, 0, "a", 0)]),
        txn(compares=[(0, 0, b"a", 0, None)]),
        txn(compares=[(0, 0, b"a")]),
        txn(compares=[b"abcd"]),
        ("lease_grant", 0, -5),
        ("lease_grant", 1),
        ("lease_revoke", -1),
        ("compact", b"1"),
        ("compact", 1, 2),
    ],
)
def test_the_wrong_shape_is_refused(request_):
    assert check(request_).text.startswith("sampan: malformed request")


def test_empty_keys_are_refused():
    assert check(txn(compares=[(0, 0, b"", 0)])) == errors.EMPTY_KEY
    assert check(txn(failure=[("put", b"", b"")])) == errors.EMPTY_KEY


def test_only_transactions_that_read_are_reads():
    assert check(txn(("range", b"a"), txn(("range", b"b"))), READ_CHECKS) is None
    assert "sent as a write" in check(txn(failure=[txn(PUT_A)]), READ_CHECKS).text


def run(store, request):
    assert check(request) is None
    (result,) = store.apply(store.applied_index + 1, 1, [request])
    return result


def test_one_revision_for_all_changes_and_reads_see_those_before(store):
    result = run(
        store,
        txn(
            ("range", b"a"), PUT_A, ("range", b"a"), txn(PUT_B, ("range", b"a", b"z")),
            ("delete", b"x"), ("delete", b"c", b"z", 1),
        ),
    )  # fmt: skip
    assert result[:3] == (0, 2, True)
    revisions = [r[1] for r in result[3]]
    assert revisions == [1, 2, 2, 2, 2, 2]
    assert [kv[0] for kv in result[3][3][3][1][4]] == [b"a", b"b"]
    assert [event[:2] for event in store.history(2)] == [(2, b"a"), (2, b"b")]


def test_compares_are_all_made_before_anything_changes(store):
    """The nested transaction does not see the put before it."""
    absent = (0, 0, b"a", 0)
    result = run(store, txn(PUT_A, txn(PUT_B, compares=[absent]), compares=[absent]))
    assert result[3][1][2] is True
    result = run(store, txn(PUT_A, txn(PUT_B, compares=[absent]), compares=[absent]))
    assert result == (0, 2, False, [])


def test_a_transaction_that_fails_on_its_path_changes_nothing(store):
    run(store, PUT_A)
    for bad, error in (
        (("put", b"b", b"", 9), errors.LEASE_NOT_FOUND),
        (("put", b"b", b"", 0, 2), errors.KEY_NOT_FOUND),
        (("range", b"b", b"", 0, 999), errors.FUTURE_REVISION),
        (txn(("put", b"b", b"", 0, 4)), errors.KEY_NOT_FOUND),
    ):
        assert run(store, txn(PUT_A, bad)) == error
        assert run(store, txn(PUT_A, failure=[bad]))[:1] == (0,)
    run(store, ("compact", store.revision))
    assert run(store, txn(PUT_A, ("range", b"b", b"", 0, 1))) == errors.COMPACTED


def test_a_transaction_that_changes_nothing_makes_no_revision(store):
    run(store, PUT_A)
    assert run(store, txn(("delete", b"x"), ("range", b"a")))[:2] == (0, 2)
    read = txn(("range", b"a"), compares=[(0, 1, b"a", 0)])
    assert store.range(read)[:3] == (0, 2, True)
    assert store.revision == 2


def test_put_and_delete_of_a_key_by_nested_transactions(store):
    run(store, PUT_A)
    run(store, txn(txn(("put", b"a", b"2")), txn(("delete", b"a", b"", 1))))
    assert store.range(("range", b"a"))[2] == 0
    assert store.range(("range", b"a", b"", 0, 2))[4][0][3] == 1
    put, delete = store.history(3)
    assert store.previous(put)[3] == 1
    assert store.previous(delete)[2:4] == (3, 2)


def test_leases(store):
    assert run(store, ("lease_grant", 7, 60)) == (0, 1, 7, 60)
    assert run(store, ("lease_grant", 7, 60)) == errors.LEASE_EXISTS
    assert run(store, ("lease_grant", 8, 9_000_000_001)) == errors.LEASE_TTL_TOO_LARGE
    for name in (b"b", b"a", b"c"):
        run(store, ("put", name, b"", 7))
    run(store, ("put", b"c", b""))  # detaches
    assert store.leases.keys(7) == [b"a", b"b"]
    assert store.leases.get(7).ttl_s == 60
    assert run(store, ("lease_revoke", 7)) == (0, 6)
    assert [event[:2] for event in store.history(6)] == [(6, b"a"), (6, b"b")]
    assert store.range(("range", b"\0", b"\0"))[2] == 1
    assert run(store, ("lease_revoke", 7)) == errors.LEASE_NOT_FOUND
    assert store.leases.all() == {}
