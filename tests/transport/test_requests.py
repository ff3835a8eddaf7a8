"""What passes the checks can be applied on every member without a further look."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.storage.state_store import StateStore
from sampan.transport import errors, requests
from sampan.transport.codec import CodecError, pack, unpack

ODD = (
    st.none() | st.booleans() | st.integers(-2, 9) | st.integers(0, 2**64 - 1) | st.floats()
    | st.binary(max_size=3) | st.sampled_from([b"", b"\0", b"a", b"b", b"\xff" * 3, "a"])
    | st.lists(st.none() | st.binary(max_size=1), max_size=2).map(tuple)
    | st.dictionaries(st.text(max_size=1), st.none(), max_size=1)
)  # fmt: skip
KEYS = st.sampled_from([b"", b"\0", b"\0\0", b"a", b"ab", b"b", b"\xff", b"\xff\xff", b"k" * 300])
NUMBERS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 2**32, 2**63, 2**64 - 1])
LIKELY = (
    st.tuples(st.just("put"), KEYS, st.binary(max_size=5))
    | st.tuples(st.just("put"), KEYS, st.sampled_from([b"", b"v"]), NUMBERS)
    | st.tuples(st.just("put"), KEYS, st.sampled_from([b"", b"v"]), NUMBERS, NUMBERS)
    | st.tuples(st.just("delete"), KEYS)
    | st.tuples(st.just("delete"), KEYS, KEYS)
    | st.tuples(st.just("delete"), KEYS, KEYS, NUMBERS)
    | st.tuples(st.just("range"), KEYS, KEYS, *[NUMBERS] * 4)
    | st.tuples(st.just("range"), KEYS, KEYS, *[NUMBERS] * 9)
)
STRANGE = st.tuples(st.sampled_from(["put", "delete", "range"])).flatmap(
    lambda name: st.lists(ODD, max_size=13).map(lambda rest: (*name, *rest))
)
REQUESTS = LIKELY | STRANGE | ODD


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    store = StateStore.open(tmp_path_factory.mktemp("state") / "state")
    yield store
    store.close()


@given(batch=st.lists(REQUESTS, min_size=1, max_size=6))
@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
def test_what_passes_can_be_applied_and_read(state, batch):
    """As it comes from the wire: packed and decoded again."""
    writes, reads = [], []
    for request in unpack(pack(batch)):
        for checks, passed in ((requests.WRITE_CHECKS, writes), (requests.READ_CHECKS, reads)):
            error = requests.check_request(request, checks)
            if error is None:
                assert requests.size(request) >= 0
                passed.append(request)
            else:
                assert isinstance(error, errors.WireError)
                assert error.outcome == "not applied"
    results = state.apply(state.applied_index + 1, 1, writes)
    state.commit()
    assert len(results) == len(writes)
    for result in [*results, *map(state.range, reads)]:
        unpack(pack(result))
        assert result[0] == 0 or result[2] in ("not applied", "unknown")


@given(batch=st.lists(REQUESTS, min_size=1, max_size=5).map(tuple))
@settings(max_examples=400, deadline=None)
def test_the_fast_check_agrees_with_the_slow_one(batch):
    if requests.all_plain_puts(batch, requests.WRITE_CHECKS):
        assert all(requests.check_request(r, requests.WRITE_CHECKS) is None for r in batch)


@given(st.binary(max_size=100))
@settings(max_examples=500, deadline=None)
def test_arbitrary_bytes(data):
    try:
        request = unpack(data)
    except CodecError:
        return
    requests.check_request(request, requests.WRITE_CHECKS)
    requests.check_request(request, requests.READ_CHECKS)


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (("put", b"", b"v"), errors.EMPTY_KEY),
        (("put", b"k", b"v", 0, requests.PUT_IGNORE_VALUE), errors.VALUE_PROVIDED),
        (("put", b"k", b"", 5, requests.PUT_IGNORE_LEASE), errors.LEASE_PROVIDED),
        (("delete", b""), errors.EMPTY_KEY),
    ],
)
def test_etcds_errors_for_writes(request_, error):
    assert requests.check_request(request_, requests.WRITE_CHECKS) == error


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (("range", b""), errors.EMPTY_KEY),
        (("range", b"k", b"", 0, 0, 0, 5), errors.INVALID_SORT_OPTION),
        (("range", b"k", b"", 0, 0, 0, 0, 3), errors.INVALID_SORT_OPTION),
    ],
)
def test_etcds_errors_for_reads(request_, error):
    assert requests.check_request(request_, requests.READ_CHECKS) == error


@pytest.mark.parametrize(
    "request_",
    [
        ("lease_grant", 1),
        ("lease_grant", 1, 2, 3),
        ("lease_grant", b"1", 2),
        ("lease_grant", 0, -1),
        ("lease_revoke",),
        ("lease_revoke", 2**64),
        ("lease_keep_alive", None),
        ("lease_expire", ((1, 1),), 10),
        ("alarm_raise", 1, 1),
        ("alarm_disarm", -1),
        ("alarm_disarm", 1, 1, 1),
        ("lease_time_to_live",),
        ("lease_time_to_live", 1, 2),
        ("lease_time_to_live", 1, True),
        ("lease_list", 1),
        ("alarm_list", 0),
    ],
)
def test_requests_about_leases_and_alarms_of_the_wrong_shape(request_):
    for checks in (requests.WRITE_CHECKS, requests.READ_CHECKS):
        error = requests.check_request(request_, checks)
        assert error.text.startswith("sampan: malformed request")


def test_a_grant_is_completed_before_it_goes_into_the_log():
    complete = requests.complete_lease_grant
    assert complete(("lease_grant", 0, 60), lambda: 99, 2) == ("lease_grant", 99, 60)
    assert complete(("lease_grant", 7, 0), lambda: 99, 2) == ("lease_grant", 7, 2)
