"""What a user may do: every kind of request against the model, and the ways around that others
have had to close."""

from itertools import combinations_with_replacement

import pytest
from sampan.security.auth import Auth, User
from sampan.security.ranges import KeySet
from sampan.security.rules import ITSELF, Who, may_put_all, may_watch, refusal
from sampan.transport import errors, requests, watches

from . import model

WORDS = {
    errors.USER_EMPTY: "empty",
    errors.AUTH_OLD_REVISION: "old",
    errors.PERMISSION_DENIED: "denied",
    None: None,
}
REQUEST_RANGES = [*model.RANGES, (b"c", b"b"), (b"bm", b""), (b"am", b"bm"), (b"am", b"\x00")]


def keys_of(lease):
    if lease:
        return model.LEASES.get(lease, ())
    return [key for keys in model.LEASES.values() for key in keys]


def put(key, lease=0, flags=0):
    return ("put", key, b"v", lease, flags)


PLAIN = [
    *(put(key) for key in model.KEYS),
    *(put(key, lease, flags) for key in (b"a", b"bm", b"d") for lease in range(6)
      for flags in (0, 1)),
    *(("delete", *each, flags) for each in REQUEST_RANGES for flags in (0, 1)),
    *(("range", *each) for each in REQUEST_RANGES),
    *(("create", *each) for each in REQUEST_RANGES),
]  # fmt: skip
FEW = [put(b"a"), put(b"c", 3), put(b"b", 0, 1), ("delete", b"a", b"c", 0),
       ("delete", b"ba", b"", 1), ("range", b"a", b"\x00"), ("range", b"bm", b"")]  # fmt: skip
COMPARES = [(0, 0, b"a", 1, b""), (3, 1, b"b", b"v", b"d"), (1, 0, b"c", 1, b"\x00")]
FLAT = [
    *(("txn", (compare,), (), ()) for compare in COMPARES),
    *(("txn", (), (each,), ()) for each in FEW),
    *(("txn", (), (), (each,)) for each in FEW),
    ("txn", (COMPARES[0], COMPARES[1]), (FEW[0], FEW[6]), (FEW[4],)),
    ("txn", (), (), ()),
]
NESTED = [
    *(("txn", (), (each,), ()) for each in FLAT),
    *(("txn", (), (), (FEW[0], each)) for each in FLAT),
    *(("txn", (), (("txn", (), (), (each,)),), ()) for each in FLAT),
]
OTHERS = [
    *((name, lease) for name in ("lease_revoke", "lease_keep_alive") for lease in range(1, 6)),
    *(("lease_time_to_live", lease, keys) for lease in range(1, 6) for keys in (0, 1)),
    ("lease_list",), ("lease_grant", 7, 60), ("session_open", 1), ("compact", 5),
    ("alarm_list",), ("alarm_disarm", 0, 0), ("compacted", 5), ("hash_kv", 0), ("status",),
    ("metrics",), ("move_leader", 2), ("member_change", ()),
    ("member_list",), ("cancel", 1), ("progress",), ("ack",), ("auth_status",), ("auth_enable",),
    ("auth_disable",), ("user_list",), ("role_list",), ("user_add", "x", b""),
    ("user_get", "other"), ("role_get", "other"), ("user_change_password", "u", b""),
    ("something_new", 1),
]  # fmt: skip
REQUESTS = [*PLAIN, *FLAT, *NESTED, *OTHERS]


def make(permissions=(), root=False):
    """Auth with a user u, whose permissions are spread over two roles."""
    auth = Auth()
    roles = {"r0": tuple(permissions[::2]), "r1": tuple(permissions[1::2])}
    auth.roles = {**roles, "other": ()}
    auth.users = {
        "root": User(b"", ("root",)),
        "u": User(b"", ("r0", "r1", *(("root",) if root else ()))),
        "other": User(b"", ("other",)),
    }
    assert auth.change(("auth_enable",)) is None
    return auth


def decide(auth, request, user="u", revision=None):
    who = Who(user, auth.revision if revision is None else revision)
    return WORDS[refusal(auth, who, request, keys_of)]


def test_the_requests_are_requests():
    """A table of what nobody can send would prove nothing."""
    checks = requests.READ_CHECKS | requests.INSPECT_CHECKS | watches.WATCH_CHECKS
    checks |= requests.WRITE_CHECKS
    for request in [*PLAIN, *FLAT, *NESTED]:
        empty = request[0] == "create" and request[1:] == (b"c", b"b")
        assert empty or checks[request[0]](request) in (None, errors.DUPLICATE_KEY), request


GRANTS = [(kind, *each) for kind in range(3) for each in model.RANGES]


@pytest.mark.parametrize("part", range(4))
def test_every_request_of_every_user(part):
    """All users with two permissions, a quarter a test; each in roles of its own."""
    pairs = list(combinations_with_replacement(GRANTS, 2))[part::4]
    wrong = []
    for permissions in pairs:
        auth, user = make(permissions), model.User(permissions)
        for request in REQUESTS:
            ours = decide(auth, request)
            if ours != user.decide(request, True, 0, 0):
                wrong.append((permissions, request, ours))
    assert not wrong[:3]
    assert len(pairs) > 300


@pytest.mark.parametrize(
    ("user", "modelled", "revision"),
    [
        (None, model.User(), 0),
        ("u", model.User(), 0),
        ("nobody", model.User(exists=False), 0),
        ("root", model.User(root=True), 0),
        ("u", model.User(), -1),
        ("root", model.User(root=True), -1),
        ("nobody", model.User(exists=False), -1),
    ],
)
def test_who_asks_and_when(user, modelled, revision):
    auth = make()
    for request in REQUESTS:
        who = None if user is None else Who(user, auth.revision + revision)
        ours = WORDS[refusal(auth, who, request, keys_of)]
        assert ours == modelled.decide(request, user is not None, revision, 0), request


def test_nobody_is_asked_while_it_is_not_enabled():
    auth = Auth()
    for request in REQUESTS:
        assert refusal(auth, None, request, keys_of) is None


def test_puts_in_bulk_are_judged_as_one_by_one():
    for permissions in GRANTS:
        auth = make([permissions])
        for keys in ([b"a"], [b"a", b"a"], [b"b", b"c"], list(model.KEYS)):
            puts = [("put", key, b"v") for key in keys]
            for who in (None, Who("u", auth.revision), Who("u", 0), Who("root", auth.revision)):
                each = [refusal(auth, who, put, keys_of) for put in puts]
                assert may_put_all(auth, who, puts) == (not any(each))


def test_a_user_sees_itself_and_its_roles():
    auth = make()
    assert decide(auth, ("user_get", "u")) is None
    assert decide(auth, ("user_get", "root")) == "denied"
    assert decide(auth, ("role_get", "r0")) is None
    assert decide(auth, ("role_get", "root")) == "denied"


# -- what others had to close (advisories of etcd), as rules of ours


def test_a_nested_transaction_hides_nothing():
    auth = make([(model.READWRITE, b"a", b"")])
    secret = ("range", b"b", b"")
    inner = ("txn", (), (secret,), ())
    for request in (inner, ("txn", (), (inner,), ()), ("txn", (), (), (inner,)),
                    ("txn", (), (("txn", ((0, 0, b"b", 1),), (), ()),), ())):  # fmt: skip
        assert decide(auth, request) == "denied"


@pytest.mark.parametrize("inside_txn", [False, True])
@pytest.mark.parametrize(
    "request_", [put(b"a", 0, 1), put(b"a", 3), ("delete", b"a", b"", 1)], ids=str
)
def test_prev_kv_and_leases_need_their_own_right(request_, inside_txn):
    auth = make([(model.WRITE, b"a", b"")])
    request = ("txn", (), (), (request_,)) if inside_txn else request_
    assert decide(auth, request) == "denied"


def test_one_key_is_no_range_that_begins_with_it():
    auth = make([(model.READ, b"a", b"")])
    assert decide(auth, ("create", b"a", b"")) is None
    assert decide(auth, ("create", b"a", b"\x00")) == "denied"
    assert decide(auth, ("range", b"a", b"\x00")) == "denied"
    assert decide(auth, ("create", b"", b"\x00")) == "denied"
    assert not may_watch(auth, "u", b"a", b"b")


@pytest.mark.parametrize(
    "request_",
    [("member_list",), ("alarm_list",), ("lease_grant", 1, 1), ("compact", 1), ("status",)],
    ids=str,
)
def test_nothing_is_answered_to_a_stranger(request_):
    assert refusal(make(), None, request_, keys_of) == errors.USER_EMPTY


def test_a_lease_does_not_tell_keys_that_may_not_be_read():
    auth = make([(model.WRITE, b"\x00", b"\x00")])
    assert decide(auth, ("lease_time_to_live", 2, 1)) == "denied"
    assert decide(auth, ("lease_time_to_live", 2)) is None
    assert decide(auth, ("lease_list",)) == "denied"


def test_the_end_of_a_lease_deletes_no_key_that_may_not_be_written():
    auth = make([(model.READWRITE, b"a", b"")])
    assert decide(auth, ("lease_revoke", 2)) is None
    assert decide(auth, ("lease_revoke", 3)) == "denied"


def test_what_is_new_needs_root():
    auth = make([(model.READWRITE, b"\x00", b"\x00")])
    assert decide(auth, ("something_new",)) == "denied"
    assert decide(auth, ("something_new",), "root") is None


# -- ranges


def test_halves_make_a_whole():
    both = KeySet([(b"a", b"c"), (b"c", b"e")])
    assert both.covers(b"a", b"e")
    assert both.covers(b"b", b"d")
    assert not both.covers(b"a", b"e\x00")
    assert not KeySet([(b"a", b"c"), (b"c\x00", b"e")]).covers(b"b", b"d")


def test_an_end_that_is_open_stays_so():
    tail = KeySet([(b"b", b"\x00"), (b"a", b"")])
    assert tail.covers(b"b", b"\x00")
    assert tail.covers(b"c", b"d")
    assert not tail.covers(b"a", b"\x00")
    assert KeySet([(b"b", b"\x00"), (b"a", b"b")]).covers(b"a", b"\x00")


def test_a_range_without_keys_gives_nothing():
    assert not KeySet([(b"c", b"b")]).has(b"b")
    assert not KeySet([(b"c", b"b")]).covers(b"c", b"b")
    assert not KeySet([]).covers(b"a", b"a")


def test_the_node_itself_may_ask_how_it_is():
    auth = make([(model.READWRITE, b"\x00", b"\x00")])
    for request in (("status",), ("metrics",), ("alarm_list",), ("range", b"health"),
                    ("range", b"health", b"", 1, 0, 1), ("trace", 5, 7),
                    ("trace_of", 5)):  # fmt: skip
        assert decide(auth, request, ITSELF) is None
    for request in (("range", b"health", b"i"), ("range", b"a"), put(b"health"), ("user_list",),
                    ("txn", (), (), ()), ("hash_kv", 0)):  # fmt: skip
        assert decide(auth, request, ITSELF) == "denied"
    assert auth.change(("user_add", ITSELF, b"")) is not None, "nobody can have its name"
