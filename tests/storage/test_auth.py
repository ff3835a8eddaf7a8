"""Users and roles in the state, and requests that are judged as they are applied."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sampan.security.auth import READ, READWRITE, WRITE
from sampan.security.rules import Who
from sampan.storage.sessions import Stamp, pack_answer
from sampan.storage.sliced import finish
from sampan.storage.state_store import StateStore
from sampan.transport import errors
from sampan.transport.codec import unpack_local

from ..security import model

DENIED, OLD = tuple(errors.PERMISSION_DENIED), tuple(errors.AUTH_OLD_REVISION)
EMPTY, EXPIRED = tuple(errors.USER_EMPTY), tuple(errors.SESSION_EXPIRED)
SETUP = (
    ("user_add", "root", b"h"), ("user_grant_role", "root", "root"),
    ("role_add", "r"), ("user_add", "u", b"h"), ("user_grant_role", "u", "r"),
    ("role_grant_permission", "r", READWRITE, b"a", b"c"),
)  # fmt: skip
NOW = object()
"""Stands for the auth revision of the moment."""


class Store:
    """A state store whose entries say who asks."""

    def __init__(self, path):
        self.path = path
        self.state = StateStore.open(path)
        self.snapshots = 0

    def entry(self, *messages):
        """Apply one entry of (user or None, auth revision, stamp or None, requests)."""
        revision = self.state.auth.revision
        whos = [u and Who(u, revision if r is NOW else r) for u, r, _, _ in messages]
        stamps = [s and Stamp(*s) for _, _, s, _ in messages]
        bodies = [requests for *_, requests in messages]
        index = self.state.applied_index + 1
        if self.state.auth.enabled:
            answers = finish(self.state.apply_judged(index, 1, bodies, stamps, whos))
        else:
            answers = finish(self.state.apply_once(index, 1, bodies, stamps))
        return [unpack_local(pack_answer(answer)) for answer in answers]

    def ask(self, user, *requests, stamp=None, revision=NOW):
        (answer,) = self.entry((user, revision, stamp, requests))
        return answer

    def one(self, user, request, **options):
        (result,) = self.ask(user, request, **options)
        return result

    def restart(self):
        self.state.commit()
        self.state.close()
        self.state = StateStore.open(self.path)

    def install(self):
        self.snapshots += 1
        path = self.path.with_name(f"{self.path.name}-{self.snapshots}")
        self.state.checkpoint(path)
        self.state.close()
        self.path, self.state = path, StateStore.open(path)


@pytest.fixture
def store(tmp_path):
    """Users root and u, who may read and write a to c; they are asked who they are."""
    made = Store(tmp_path / "state")
    assert all(result[0] == 0 for result in made.ask(None, *SETUP, ("auth_enable",)))
    yield made
    made.state.close()


def put(key):
    return ("put", key, b"v")


def test_each_request_of_a_message_is_judged_by_itself(store):
    results = store.ask("u", put(b"a"), put(b"x"), ("delete", b"b"), put(b"b"))
    assert [result[0] for result in results] == [0, 7, 0, 0]
    assert store.ask("root", put(b"x"), put(b"y")) == ((0, 4), (0, 5))
    assert store.ask("u", put(b"a"), put(b"b")) == ((0, 6), (0, 7))
    assert store.one("nobody", put(b"a")) == DENIED
    assert store.one(None, put(b"a")) == EMPTY


def test_what_was_admitted_before_a_change_is_refused_and_changes_nothing(store):
    before = store.state.auth.revision
    store.one("root", ("role_grant_permission", "r", WRITE, b"x", b""))
    revision = store.state.revision
    assert store.one("u", put(b"a"), revision=before) == OLD
    assert store.one("root", put(b"a"), revision=before) == OLD
    assert store.one("root", ("user_delete", "u"), revision=before)[0] == 0, "as in etcd"
    assert store.state.revision == revision


def test_a_change_counts_within_its_own_entry(store):
    now = store.state.auth.revision
    answers = store.entry(
        ("u", now, None, (put(b"a"),)),
        ("root", now, None, (("role_revoke_permission", "r", b"a", b"c"),)),
        ("u", now, None, (put(b"a"),)),
        ("u", now + 1, None, (put(b"a"),)),
    )
    assert [answer[0][0] for answer in answers] == [0, 0, 3, 7]
    assert store.ask("root", ("auth_disable",), put(b"x"))[1][0] == 0


def test_a_lease_is_judged_by_what_it_holds_at_that_moment(store):
    store.one("u", ("lease_grant", 5, 60))
    assert store.one("u", ("put", b"a", b"v", 5))[0] == 0
    assert store.one("u", ("lease_keep_alive", 5))[0] == 0
    results = store.ask("root", ("put", b"x", b"v", 5), ("lease_keep_alive", 5))
    assert [result[0] for result in results] == [0, 0]
    for request in (("lease_revoke", 5), ("lease_keep_alive", 5), ("put", b"a", b"v", 5)):
        assert store.one("u", request) == DENIED
    assert store.one("root", ("lease_revoke", 5))[0] == 0


def test_a_session_belongs_to_who_opened_it(store):
    ((_, _, session),) = store.ask("u", ("session_open", 7))
    first = store.ask("u", ("put", b"a", b"secret", 0, 0), stamp=(session, 1, 1))
    assert store.ask("u", ("put", b"a", b"secret", 0, 0), stamp=(session, 1, 1)) == first
    assert store.ask("root", put(b"a"), stamp=(session, 1, 1)) == EXPIRED
    assert store.ask(None, put(b"a"), stamp=(session, 1, 1)) == EMPTY
    store.restart()
    assert store.ask("root", put(b"a"), stamp=(session, 2, 1)) == EXPIRED
    assert store.ask("u", ("put", b"a", b"secret", 0, 0), stamp=(session, 1, 1)) == first
    assert store.state.revision == 2


def test_what_is_refused_is_remembered_as_refused(store):
    ((_, _, session),) = store.ask("u", ("session_open", 7))
    assert store.ask("u", put(b"x"), put(b"a"), stamp=(session, 1, 1)) == (DENIED, (0, 2))
    store.one("root", ("role_grant_permission", "r", WRITE, b"x", b""))
    assert store.ask("u", put(b"x"), put(b"a"), stamp=(session, 1, 1)) == (DENIED, (0, 2))


def test_a_session_from_before_is_nobodys(tmp_path):
    store = Store(tmp_path / "state")
    ((_, _, session),) = store.ask(None, ("session_open", 7))
    store.ask(None, put(b"a"), stamp=(session, 1, 1))
    store.ask(None, *SETUP, ("auth_enable",))
    assert store.ask("root", put(b"a"), stamp=(session, 1, 1)) == EXPIRED
    store.one("root", ("auth_disable",))
    assert store.ask(None, put(b"a"), stamp=(session, 1, 1)) == ((0, 2),)
    store.state.close()


def test_logging_in(store):
    auth = store.state.auth
    login = ("authenticate", "u", b"digest", auth.revision)
    assert store.one(None, login)[0] == 0
    assert store.state.auth_store.logins == [(b"digest", "u")]
    assert store.one(None, (*login[:3], auth.revision - 1)) == OLD
    failed = tuple(errors.AUTH_FAILED)
    assert store.one(None, ("authenticate", "x", b"d", auth.revision)) == failed
    store.one("root", ("user_add", "bare", b""))
    assert store.state.auth_store.logins == [], "by a password that may be another one now"
    assert store.one(None, ("authenticate", "bare", b"d", auth.revision)) == failed
    store.one("root", ("auth_disable",))
    assert store.one(None, login) == tuple(errors.AUTH_NOT_ENABLED)


def test_reads(store):
    read = store.state.auth_store.read
    assert read(("auth_status",), 1) == (0, 1, True, 7)
    assert read(("user_list",), 1) == (0, 1, ["root", "u"])
    assert read(("role_list",), 1) == (0, 1, ["r"])
    assert read(("user_get", "u"), 1) == (0, 1, ("r",))
    assert read(("role_get", "r"), 1) == (0, 1, ((READWRITE, b"a", b"c"),))
    assert read(("user_get", "x"), 1) == errors.USER_NOT_FOUND
    assert read(("role_get", "root"), 1) == errors.ROLE_NOT_FOUND


@pytest.mark.parametrize("again", ["restart", "install"])
def test_all_of_it_survives(store, again):
    store.one("root", ("role_delete", "r"))
    store.ask("root", ("role_add", "s"), ("role_grant_permission", "s", READ, b"a"))
    before = store.state.auth.dump()
    getattr(store, again)()
    assert store.state.auth.dump() == before
    assert store.state.auth.enabled
    assert not store.state.auth.stale


def test_an_alarm_and_a_missing_right_tell_of_the_right(store):
    store.one("root", ("alarm_raise", 1, 1))
    assert store.one("u", put(b"x")) == DENIED
    assert store.one("u", put(b"a")) == tuple(errors.NO_SPACE)


# -- random histories

NAMES = st.sampled_from(["u", "v"])
ROLES = st.sampled_from(["r", "s", "root"])
RANGES = st.sampled_from(model.RANGES)
KINDS = st.integers(0, 2)
CHANGES = st.one_of(
    st.tuples(st.sampled_from(["user_add", "user_change_password"]), NAMES, st.just(b"h")),
    st.tuples(st.sampled_from(["user_delete"]), NAMES),
    st.tuples(st.sampled_from(["user_grant_role", "user_revoke_role"]), NAMES, ROLES),
    st.tuples(st.sampled_from(["role_add", "role_delete"]), ROLES),
    st.tuples(st.just("role_grant_permission"), ROLES, KINDS, RANGES).map(
        lambda each: (*each[:3], *each[3])
    ),
    st.tuples(st.just("role_revoke_permission"), ROLES, RANGES).map(
        lambda each: (*each[:2], *each[2])
    ),
    st.sampled_from([("auth_enable",), ("auth_disable",)]),
)
DATA = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(model.KEYS), st.just(b"v")),
    st.tuples(st.just("put"), st.sampled_from(model.KEYS), st.just(b"v"), st.just(0),
              st.integers(0, 1)),
    st.tuples(st.just("delete"), RANGES, st.integers(0, 1)).map(
        lambda each: (each[0], *each[1], each[2])
    ),
)  # fmt: skip
MESSAGES = st.tuples(
    st.sampled_from(["root", "u", "v", None]), st.integers(0, 1),
    st.lists(st.one_of(CHANGES, DATA), min_size=1, max_size=4),
)  # fmt: skip
STEPS = st.lists(
    st.one_of(st.lists(MESSAGES, min_size=1, max_size=3), st.sampled_from(["restart", "install"])),
    min_size=1,
    max_size=15,
)


def modelled(auth, user):
    found = auth.users.get(user)
    if found is None:
        return model.User(exists=False)
    permissions = [each for role in found.roles for each in auth.roles.get(role, ())]
    return model.User(permissions, root="root" in found.roles)


def expected(auth, who, request):
    """The words of the model for what is to be refused."""
    if not auth.enabled:
        return None
    whole = (*request, 0, 0)[:5] if request[0] == "put" else request
    user = modelled(auth, who.user) if who else model.User(exists=False)
    return user.decide(whole, who is not None, who.auth_revision if who else 0, auth.revision)


WORDS = {"denied": DENIED, "old": OLD, "empty": EMPTY}


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(STEPS)
def test_every_member_decides_as_the_model_whatever_happens_to_it(fast_directories, steps):
    steady, troubled = (Store(next(fast_directories)) for _ in range(2))
    try:
        for store in (steady, troubled):
            store.ask(None, *SETUP, ("auth_enable",))
        for step in steps:
            if type(step) is str:
                getattr(troubled, step)()
                continue
            now = steady.state.auth.revision
            for user, age, requests in step:
                who = user and Who(user, now - age)
                for request in requests:  # one by one, since each may change what the next may
                    word = expected(steady.state.auth, who, request)
                    message = (user, now - age, None, (request,))
                    ((ours,),) = steady.entry(message)
                    assert ((ours,),) == tuple(troubled.entry(message))
                    assert ours == WORDS[word] if word else ours not in WORDS.values()
            assert steady.state.auth.dump() == troubled.state.auth.dump()
        assert steady.state.hash_kv() == troubled.state.hash_kv()
    finally:
        for store in (steady, troubled):
            store.state.close()
