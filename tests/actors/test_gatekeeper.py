"""Who asks: tokens, logins, passwords, and what a node lets through, as clients see it."""

import time

import pytest
from sampan.actors.node import Node
from sampan.config import limits
from sampan.config.jwt import JwtOptions
from sampan.security.auth import READ, READWRITE, Auth
from sampan.security.jwt_tokens import JwtTokens
from sampan.security.passwords import hash_password, is_password, token_digest
from sampan.transport import errors
from sampan.transport.codec import pack, unpack

from .helpers import tick, turn
from .test_node import SETTINGS, replies

COST = 4
USER_OF_KEY = b"\0\0\0\0\0\0\0\1u"
"""A client whose connection came with the key of the user `u`."""
PUT = ("put", b"a", b"v")
TTL_S = SETTINGS.auth_token_ttl_s


def made_auth(password="pw"):
    auth = Auth()
    for change in (
        ("user_add", "root", hash_password("rootpw", COST)), ("user_grant_role", "root", "root"),
        ("role_add", "r"), ("role_grant_permission", "r", READWRITE, b"a", b"c"),
        ("user_add", "u", hash_password(password, COST)), ("user_grant_role", "u", "r"),
        ("user_add", "bare", b""), ("auth_enable",),
    ):  # fmt: skip
        assert auth.change(change) is None
    return auth


@pytest.fixture
def auth():
    return made_auth()


@pytest.fixture
def node(log, auth):
    """A node that knows a leader, users, and of each the token that is its name."""
    node = Node(SETTINGS._replace(bcrypt_cost=COST), log)
    turn(
        node,
        tell(auth),
        *(("authc", ("login", token_digest(name), name)) for name in ("u", "root")),
        ("softstatec", (1, 2, "follower")),
        now=100.0,
    )
    return node


def tell(auth):
    return "authc", ("auth", auth.dump())


def ask(kind, requests, *, token="", message_id=1, client=b"c", stamp=(0, 0, 0)):
    header = (1, message_id, kind, 0, 0, *stamp, token)
    return "clientc", (client, pack(header), pack(requests))


def thread(node, out):
    """What the host's thread does of the jobs that were asked for, and what comes of it."""
    done = [("donec", (name, node.jobs[name]())) for name in out.on("jobc")]
    return turn(node, *done) if done else out


def entries(out):
    return [unpack(payload) for _, payload in out.on("propc")]


def refused(out):
    return [body[1] for _, _, body in replies(out)]


# -- tokens


def test_a_write_goes_into_the_log_with_its_user(node, auth):
    out = turn(
        node,
        ask("write", [PUT], token="u"),
        ask("write", [PUT], token="root", message_id=2, stamp=(9, 3, 1)),
    )
    ((_, _, bodies, stamps, whos),) = entries(out)
    assert len(bodies) == 2
    assert stamps == (None, (9, 3, 1))
    assert whos == (("u", auth.revision), ("root", auth.revision))


def test_a_read_goes_to_the_applier_with_its_user(node, auth):
    out = turn(node, ask("serializable", [("range", b"x")], token="u"))
    ((_, ((_, _, _, who, _),)),) = out.on("readc")
    assert who == ("u", auth.revision)
    out = turn(node, ask("inspect", [("hash_kv",)], token="u"))
    assert out.on("inspectc")[0][3] == ("u", auth.revision)


@pytest.mark.parametrize(
    ("kind", "request_"),
    [
        ("write", PUT), ("read", ("range", b"a")), ("serializable", ("range", b"a")),
        ("maintenance", ("member_list",)), ("maintenance", ("status",)),
        ("inspect", ("hash_kv",)), ("watch", ("create", b"a")), ("write", ("session_open", 1)),
    ],
)  # fmt: skip
def test_without_a_token_nothing_goes_further(node, kind, request_):
    for token, error in (("", errors.USER_EMPTY), ("guess", errors.INVALID_AUTH_TOKEN)):
        out = turn(node, ask(kind, [request_], token=token))
        assert refused(out) == [error.text]
        assert {channel for channel, _ in out} == {"replyc"}


def test_a_client_may_be_known_by_its_key(node, auth):
    out = turn(
        node,
        ask("write", [PUT], client=USER_OF_KEY),
        ask("write", [PUT], client=USER_OF_KEY, token="root", message_id=2),
    )
    ((_, _, _, _, whos),) = entries(out)
    assert whos == (("u", auth.revision), ("root", auth.revision)), "who logs in is that user"
    out = turn(node, ask("write", [PUT], client=USER_OF_KEY, token="guess", message_id=3))
    assert refused(out) == [errors.INVALID_AUTH_TOKEN.text]
    nobody = USER_OF_KEY[:8]
    assert refused(turn(node, ask("write", [PUT], client=nobody))) == [errors.USER_EMPTY.text]
    unknown = nobody + b"v"
    out = turn(node, ask("maintenance", [("status",)], client=unknown))
    assert refused(out) == [errors.PERMISSION_DENIED.text]


def test_who_is_known_may_ask_for_the_members(node):
    out = turn(node, ask("maintenance", [("member_list",)], token="u"))
    assert replies(out)[0][2] == ((0, ()),)


def test_tokens_do_not_matter_while_nobody_is_asked(node, auth):
    auth.change(("auth_disable",))
    out = turn(node, tell(auth), ask("write", [PUT], token="u"), ask("write", [PUT]))
    assert all(len(entry) == 3 for entry in entries(out))
    auth.change(("auth_enable",))
    out = turn(node, tell(auth), ask("write", [PUT], token="u"))
    assert refused(out) == [errors.INVALID_AUTH_TOKEN.text]


def test_before_the_state_is_known_nobody_with_a_token_is_turned_away_for_good(log):
    node = Node(SETTINGS, log)
    out = turn(node, ask("write", [PUT], token="u"), ask("auth", [("authenticate", "u", "p")]))
    assert refused(out) == [errors.NO_LEADER.text] * 2


def test_the_supervisor_is_known_by_its_own_token(log, auth):
    node = Node(SETTINGS._replace(own_token="mine"), log)
    turn(node, tell(auth), now=100.0)
    out = turn(node, ask("maintenance", [("member_list",)], token="mine"), now=1e6)
    assert replies(out)[0][2] == ((0, ()),)
    out = turn(node, ask("maintenance", [("move_leader", 2)], token="mine"))
    assert refused(out) == [errors.PERMISSION_DENIED.text]
    out = turn(node, ask("maintenance", [("member_list",)], token=""))
    assert refused(out) == [errors.USER_EMPTY.text]


def test_a_token_is_good_as_long_as_it_is_shown(node):
    for now in (100.0 + TTL_S - 1, 100.0 + 2 * TTL_S - 3):
        out = turn(node, ask("maintenance", [("member_list",)], token="u"), now=now)
        assert replies(out)[0][2] == ((0, ()),)
    tick(node, now + TTL_S + 1)
    out = turn(node, ask("maintenance", [("member_list",)], token="u"))
    assert refused(out) == [errors.INVALID_AUTH_TOKEN.text]


@pytest.mark.parametrize(
    "change", [("user_delete", "u"), ("user_change_password", "u", b"other")], ids=str
)
def test_a_token_ends_with_the_password_that_it_was_given_for(node, auth, change):
    auth.change(change)
    out = turn(node, tell(auth), ask("write", [PUT], token="u"))
    assert refused(out) == [errors.INVALID_AUTH_TOKEN.text]
    assert entries(turn(node, ask("write", [PUT], token="root")))


def test_there_are_not_too_many_tokens(node, monkeypatch):
    monkeypatch.setattr(limits, "TOKENS_MAX", 3)
    turn(node, *(("authc", ("login", token_digest(f"t{i}"), "u")) for i in range(3)))
    out = turn(node, ask("write", [PUT], token="u"))
    assert refused(out) == [errors.INVALID_AUTH_TOKEN.text]


@pytest.mark.parametrize(
    "fields", [(1, 1, "write", 0, 0, 0, 0, 0, 5), (1, 1, "write", 0, 0, 0, 1, 0, "u"),
               (1, 1, "read", 0, 0, 5, 1, 1, "u"), (1, 1, "write", 0, 0, 1, 1, 1, "u", 0)],
)  # fmt: skip
def test_headers_that_are_none(node, fields):
    assert turn(node, ("clientc", (b"c", pack(fields), pack([PUT])))) == [("strangec", b"c")]
    assert node.dropped == 1


# -- logging in


def log_in(node, name, password, **options):
    return turn(node, ask("auth", [("authenticate", name, password)], **options))


def test_a_password_is_exchanged_for_a_token(node, auth):
    out = log_in(node, "u", "pw")
    assert (out.on("propc"), out.on("jobc")) == ([], ["password"])
    out = thread(node, out)
    ((_, batch_id, (body,)),) = entries(out)
    ((name, user, digest, revision),) = unpack(body)
    assert (name, user, revision) == ("authenticate", "u", auth.revision)
    out = turn(
        node,
        ("authc", ("login", digest, "u")),
        ("resultc", ("write", batch_id, [pack([(0, 5)])])),
    )
    ((_, _, ((code, at, token),)),) = replies(out)
    assert (code, at, token_digest(token)) == (0, 5, digest)
    ((*_, whos),) = entries(turn(node, ask("write", [PUT], token=token)))
    assert whos == (("u", auth.revision),)


def test_no_password_and_no_token_is_in_what_leaves_the_node(node):
    asked = log_in(node, "u", "pw")
    out = thread(node, asked)
    ((_, batch_id, _),) = entries(out)
    out += turn(node, ("resultc", ("write", batch_id, [pack([(0, 5)])])))
    token = replies(out)[0][2][0][2]
    out += turn(node, ask("write", [("user_add", "x", "canary-1")], token="root"))
    out += thread(node, out)
    assert len(entries(out)) == 2
    told = [repr(message) for channel, message in asked + out if channel != "replyc"]
    assert not any(secret in each for each in told for secret in ("'pw'", "canary", token))


@pytest.mark.parametrize(
    ("name", "password"), [("u", "wrong"), ("nobody", "pw"), ("bare", ""), ("u", "")]
)
def test_a_wrong_password_and_an_unknown_name_are_the_same(node, name, password):
    out = thread(node, log_in(node, name, password))
    assert refused(out) == [errors.AUTH_FAILED.text]
    assert entries(out) == []


def test_what_the_log_refuses_gives_no_token(node):
    out = thread(node, log_in(node, "u", "pw"))
    ((_, batch_id, _),) = entries(out)
    error = errors.AUTH_OLD_REVISION
    out = turn(node, ("resultc", ("write", batch_id, [pack([error])])))
    assert replies(out)[0][2] == (tuple(error),)


@pytest.mark.parametrize(
    "requests",
    [
        [("authenticate", "u")], [("authenticate", "u", b"pw")], [("put", b"a", b"b")], [5],
        [("authenticate", "u", "pw")] * 2, [("authenticate", "u", "x" * 73)],
        [("authenticate", "u", b"digest", 1)], [("authenticate", "u" * 300, "pw")],
    ],
)  # fmt: skip
def test_what_is_no_login(node, requests):
    out = turn(node, ask("auth", requests))
    assert out.on("jobc") == []
    assert replies(out)[0][2][0] == errors.INVALID_ARGUMENT


def test_a_digest_cannot_be_sent_as_a_write(node):
    out = turn(node, ask("write", [("authenticate", "u", b"digest", 1)], token="u"))
    assert entries(out) == []


def test_logging_in_where_nobody_is_asked(node, auth):
    auth.change(("auth_disable",))
    turn(node, tell(auth))
    assert refused(log_in(node, "u", "pw")) == [errors.AUTH_NOT_ENABLED.text]


def test_one_client_cannot_fill_the_queue_nor_can_many(node):
    out = turn(
        node, *(ask("auth", [("authenticate", "u", "x")], message_id=i) for i in range(1, 21))
    )
    assert len(out.on("jobc")) == limits.PASSWORDS_OF_CLIENT_MAX
    assert set(refused(out)) == {errors.TOO_MANY_REQUESTS.text}
    out = turn(
        node, *(ask("auth", [("authenticate", "u", "x")], client=b"%d" % i) for i in range(80))
    )
    room = limits.PASSWORDS_WAITING_MAX - limits.PASSWORDS_OF_CLIENT_MAX
    assert len(out.on("jobc")) == room


# -- passwords in writes


def test_passwords_are_hashed_before_they_are_proposed(node):
    users = [
        ("user_add", "x", "secret"), PUT, ("user_change_password", "u", "other"),
        ("user_add", "y", "", 1),
    ]  # fmt: skip
    out = turn(node, ask("write", users, token="root", stamp=(9, 3, 1)))
    assert entries(out) == []
    ((_, _, (body,), stamps, _),) = entries(thread(node, out))
    added, put, changed, bare = unpack(body)
    assert stamps == ((9, 3, 1),)
    assert put == PUT
    assert is_password("secret", added[2], COST)
    assert is_password("other", changed[2], COST)
    assert bare == ("user_add", "y", b"")


def test_only_root_makes_the_node_work_on_passwords(node):
    out = turn(node, ask("write", [("user_add", "x", "secret")], token="u"))
    assert out.on("jobc") == []
    assert refused(out) == [errors.PERMISSION_DENIED.text]
    many = [("user_add", f"x{i}", "p") for i in range(limits.PASSWORDS_A_MESSAGE_MAX + 1)]
    out = turn(node, ask("write", many, token="root"))
    assert refused(out) == [errors.TOO_MANY_REQUESTS.text]


def test_a_password_that_is_too_long(node):
    out = turn(node, ask("write", [("user_add", "x", "y" * 73), PUT], token="root"))
    ((_, batch_id, (body,), *_),) = entries(out)
    assert unpack(body) == (PUT,)
    out = turn(node, ("resultc", ("write", batch_id, [pack([(0, 2)])])))
    assert replies(out)[0][2] == (tuple(errors.PASSWORD_TOO_LONG), (0, 2))


# -- watches


def watching(node, *requests, token="u", client=b"c"):
    out = turn(node, ask("watch", list(requests), token=token, message_id=4, client=client))
    ((_, number, _),) = out.on("watchc")
    return turn(node, ("eventc", ("taken", number, 5, 0)))


def test_a_watch_needs_the_right_to_read(node):
    out = watching(node, ("create", b"a", b"c"), ("create", b"a", b"d"), ("create", b"a", b"\x00"))
    ((_, _, results),) = replies(out)
    assert [result[0] for result in results] == [0, 7, 7]
    assert replies(watching(node, ("create", b"z"), token="root"))[0][2][0][0] == 0


def revoke(auth):
    auth.change(("role_revoke_permission", "r", b"a", b"c"))
    auth.change(("role_grant_permission", "r", READ, b"a", b""))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (revoke, errors.PERMISSION_DENIED),
        (lambda auth: auth.change(("user_delete", "u")), errors.INVALID_AUTH_TOKEN),
        (lambda auth: auth.change(("role_delete", "r")), errors.PERMISSION_DENIED),
        (lambda auth: auth.change(("user_change_password", "u", b"x")), errors.INVALID_AUTH_TOKEN),
    ],
)
def test_a_watch_ends_with_the_right_to_it(node, auth, change, reason):
    watching(node, ("create", b"a", b"c"))
    watching(node, ("create", b"a", b"c"), token="root")
    change(auth)
    event = pack((0, (b"b", 6, 6, 1, 0, b"secret")))
    out = turn(node, tell(auth), ("eventc", ("live", 6, [(6, b"b", 0, event, None)], 50)))
    pushed = [each for _, message_id, body in replies(out) if message_id == 0 for each in body]
    assert ("canceled", 0, 5, 0, reason.text) in pushed
    assert [each[:2] for each in pushed if each[0] == "events"] == [("events", 1)], "root's"


def test_a_watch_of_who_is_known_by_a_key_ends_with_the_user(node, auth):
    watching(node, ("create", b"a", b"c"), token="", client=USER_OF_KEY)
    assert not replies(turn(node, tell(auth), ("eventc", ("live", 6, [], 0))))
    auth.change(("user_delete", "u"))
    out = turn(node, tell(auth), ("eventc", ("live", 7, [], 0)))
    ((_, _, ((kind, *_, reason),)),) = replies(out)
    assert (kind, reason) == ("canceled", errors.PERMISSION_DENIED.text)


def test_a_watch_goes_on_when_something_else_changes(node, auth):
    watching(node, ("create", b"a", b"b"))
    auth.change(("role_grant_permission", "r", READ, b"x", b""))
    event = pack((0, (b"a", 6, 6, 1, 0, b"v")))
    out = turn(node, tell(auth), ("eventc", ("live", 6, [(6, b"a", 0, event, None)], 50)))
    assert [body[0][0] for _, message_id, body in replies(out) if message_id == 0] == ["events"]


def test_watches_of_nobody_end_when_everybody_is_asked(node, auth):
    auth.change(("auth_disable",))
    turn(node, tell(auth))
    watching(node, ("create", b"a"), token="")
    auth.change(("auth_enable",))
    out = turn(node, tell(auth), ("eventc", ("live", 6, [], 0)))
    ((_, _, ((kind, *_, reason),)),) = replies(out)
    assert (kind, reason) == ("canceled", errors.USER_EMPTY.text)


# -- signed tokens


@pytest.fixture
def signing(log, auth):
    """The same with tokens that say by themselves whose they are."""
    options = JwtOptions("HS256", "", "", 300)
    jwt = JwtTokens(options, b"a secret of thirty-two bytes, or more", b"", time.time)
    node = Node(SETTINGS._replace(bcrypt_cost=COST, jwt=jwt, own_token="own"), log)
    turn(node, tell(auth), ("softstatec", (1, 2, "follower")), now=100.0)
    return node, jwt


def test_a_login_is_answered_with_a_signed_token(signing, auth):
    node, jwt = signing
    out = thread(node, turn(node, ask("auth", [("authenticate", "u", "pw")])))
    ((_, batch, ((body,),)),) = [(each[0], each[1], each[2:3]) for each in entries(out)]
    ((_, name, digest, revision),) = unpack(body)
    out = turn(node, ("resultc", ("write", batch, [pack([(0, 5)])])))
    ((_, _, answer),) = replies(out)
    token = answer[0][2]
    assert digest == token_digest(token)
    assert jwt.read(token)[:2] == (name, revision) == ("u", auth.revision)
    assert entries(turn(node, ask("write", [PUT], token=token, message_id=2)))


def test_who_only_verifies_logs_nobody_in(signing):
    node, jwt = signing
    jwt.signs = False
    assert refused(log_in(node, "u", "pw")) == [errors.VERIFY_ONLY.text]


def test_a_signed_token_is_known_at_every_member_and_none_of_before_a_change(signing, auth):
    node, jwt = signing
    token = jwt.sign("u", auth.revision)
    ((_, _, _, _, whos),) = entries(turn(node, ask("write", [PUT], token=token)))
    assert whos == (("u", auth.revision),)
    auth.change(("role_add", "another"))
    turn(node, tell(auth))
    for kind, request_ in (("write", PUT), ("read", ("range", b"a")), ("maintenance", ("status",))):
        out = turn(node, ask(kind, [request_], token=token))
        assert refused(out) == [errors.AUTH_OLD_REVISION.text]
    out = turn(node, ask("write", [PUT], token="u"))
    assert refused(out) == [errors.INVALID_AUTH_TOKEN.text]
    assert not refused(turn(node, ask("write", [PUT], token=jwt.sign("u", auth.revision))))
    assert not refused(turn(node, ask("maintenance", [("status",)], token="own")))


@pytest.mark.parametrize(
    ("change", "goes_on"),
    [
        (("role_add", "another"), True),
        (("user_change_password", "root", b"other"), True),
        (("user_change_password", "u", b"other"), False),
        (("user_delete", "u"), False),
        (("user_revoke_role", "u", "r"), False),
    ],
)
def test_an_open_watch_of_a_signed_token(signing, auth, change, goes_on):
    """It goes on as long as its user may, and has the password that it was given for."""
    node, jwt = signing
    token = jwt.sign("u", auth.revision)
    watching(node, ("create", b"a"), token=token)
    assert auth.change(change) is None
    out = turn(node, tell(auth), ("eventc", ("live", 6, [], 0)))
    assert (replies(out) == []) == goes_on
