"""Users and roles: the changes, their errors, and what they lead to."""

import pytest
from sampan.security import passwords
from sampan.security.auth import READ, READWRITE, ROOT_PERMISSION, WRITE, Auth, User
from sampan.transport import errors


def changed(*requests):
    auth = Auth()
    for request in requests:
        assert auth.change(request) is None, request
    return auth


ROOTED = (("user_add", "root", b"h"), ("user_grant_role", "root", "root"))


def test_enabling_needs_a_root_user_with_the_root_role():
    auth = Auth()
    assert auth.change(("auth_enable",)) == errors.ROOT_USER_NOT_EXIST
    assert auth.change(("user_add", "root", b"h")) is None
    assert auth.change(("auth_enable",)) == errors.ROOT_ROLE_NOT_EXIST
    assert auth.change(("user_grant_role", "root", "root")) is None
    assert not auth.enabled
    assert auth.change(("auth_enable",)) is None
    assert auth.enabled


def test_while_it_is_enabled_nobody_takes_root_away():
    auth = changed(*ROOTED, ("role_add", "root"), ("auth_enable",))
    for request in (("user_delete", "root"), ("role_delete", "root"),
                    ("user_revoke_role", "root", "root")):  # fmt: skip
        assert auth.change(request) == errors.INVALID_AUTH_MGMT
    assert auth.change(("auth_disable",)) is None
    assert auth.change(("user_delete", "root")) is None


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (("user_add", "", b""), errors.USER_EMPTY),
        (("user_add", "u", b""), errors.USER_EXISTS),
        (("user_delete", "x"), errors.USER_NOT_FOUND),
        (("user_change_password", "x", b""), errors.USER_NOT_FOUND),
        (("user_grant_role", "x", "r"), errors.USER_NOT_FOUND),
        (("user_grant_role", "u", "x"), errors.ROLE_NOT_FOUND),
        (("user_revoke_role", "x", "r"), errors.USER_NOT_FOUND),
        (("user_revoke_role", "u", "x"), errors.ROLE_NOT_GRANTED),
        (("role_add", ""), errors.ROLE_EMPTY),
        (("role_add", "r"), errors.ROLE_EXISTS),
        (("role_delete", "x"), errors.ROLE_NOT_FOUND),
        (("role_grant_permission", "x", READ, b"a", b""), errors.ROLE_NOT_FOUND),
        (("role_grant_permission", "r", READ, b"", b""), errors.INVALID_AUTH_MGMT),
        (("role_grant_permission", "r", READ, b"b", b"a"), errors.INVALID_AUTH_MGMT),
        (("role_revoke_permission", "x", b"a", b""), errors.ROLE_NOT_FOUND),
        (("role_revoke_permission", "r", b"a", b""), errors.PERMISSION_NOT_GRANTED),
    ],
)
def test_a_change_that_is_refused_changes_nothing(request_, error):
    auth = changed(("user_add", "u", b"h"), ("role_add", "r"))
    before = auth.dump()
    auth.stale = False
    auth.changed.clear()
    assert auth.change(request_) == error
    assert auth.dump() == before
    assert not auth.stale
    assert not auth.changed


def test_each_change_makes_a_revision():
    auth = Auth()
    assert auth.revision == 1
    auth = changed(*ROOTED, ("user_grant_role", "root", "root"), ("auth_enable",))
    assert auth.revision == 3, "a role that is there already, and enabling, change no right"
    assert auth.change(("auth_disable",)) is None
    assert auth.revision == 4
    assert auth.change(("auth_disable",)) is None
    assert auth.revision == 4


def test_permissions_stand_in_the_order_of_their_keys():
    grants = [(READ, b"b", b"d"), (WRITE, b"a", b""), (READ, b"b", b""), (READWRITE, b"c", b"\x00")]
    auth = changed(("role_add", "r"), *(("role_grant_permission", "r", *g) for g in grants))
    assert auth.permissions("r") == tuple(sorted(grants, key=lambda each: each[1]))
    assert auth.change(("role_grant_permission", "r", WRITE, b"b", b"d")) is None
    assert auth.permissions("r")[1:3] == ((WRITE, b"b", b"d"), (READ, b"b", b""))
    assert auth.change(("role_revoke_permission", "r", b"b", b"")) is None
    assert len(auth.permissions("r")) == 3


def test_a_role_that_goes_goes_from_all_users():
    auth = changed(
        ("role_add", "r"), ("role_add", "s"), ("user_add", "u", b"h"), ("user_add", "v", b"h"),
        ("user_grant_role", "u", "s"), ("user_grant_role", "u", "r"), ("role_delete", "r"),
    )  # fmt: skip
    assert auth.users["u"] == User(b"h", ("s",))
    assert {("roles", "r"), ("users", "u")} <= auth.changed
    assert auth.permissions("r") is None


def test_the_role_root_shows_everything():
    assert changed(("role_add", "root")).permissions("root") == (ROOT_PERMISSION,)


def test_rights_follow_changes():
    auth = changed(("role_add", "r"), ("user_add", "u", b"h"), ("user_grant_role", "u", "r"))
    assert not auth.rights("u").read.has(b"a")
    auth.change(("role_grant_permission", "r", READ, b"a", b""))
    assert auth.rights("u").read.has(b"a")
    auth.change(("user_delete", "u"))
    assert auth.rights("u") is None


def test_dump_and_load():
    auth = changed(
        *ROOTED, ("role_add", "r"), ("role_grant_permission", "r", READ, b"a", b"b"),
        ("user_grant_role", "root", "r"), ("auth_enable",),
    )  # fmt: skip
    again = Auth.load(auth.dump())
    assert again.dump() == auth.dump()
    assert again.rights("root").root


def test_who_has_no_password_gets_none():
    auth = changed(("user_add", "u", b""), ("user_change_password", "u", b"h"))
    assert auth.users["u"].password == b""


COST = 4


def test_passwords():
    hashed = passwords.hash_password("pw", COST)
    assert b"pw" not in hashed
    assert hashed != passwords.hash_password("pw", COST), "salted"
    assert passwords.is_password("pw", hashed, COST)
    assert not passwords.is_password("pW", hashed, COST)
    assert not passwords.is_password("pw", b"", COST)
    full = passwords.hash_password("x" * passwords.PASSWORD_BYTES_MAX, COST)
    assert passwords.is_password("x" * passwords.PASSWORD_BYTES_MAX, full, COST)
    assert not passwords.is_password("x" * (passwords.PASSWORD_BYTES_MAX + 1), full, COST)
    assert passwords.is_password("", passwords.hash_password("", COST), COST)


def test_tokens():
    token = passwords.new_token()
    assert token != passwords.new_token()
    assert passwords.token_digest(token) == passwords.token_digest(token)
    assert token.encode() not in passwords.token_digest(token)
