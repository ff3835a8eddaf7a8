"""Users, roles and logging in, against a real node."""

import asyncio
import time

import pytest
from sampan.client import AsyncClient, Client, errors
from sampan.client.auth_calls import READ, READWRITE, Permission

from .real_node import real_node


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory):
    """A node with users root and u, who may read and write what begins with u/; enabled."""
    with real_node(tmp_path_factory.mktemp("auth"), bcrypt_cost=4) as endpoint:
        with Client([endpoint]) as client:
            client.put("other", "secret")
            client.user_add("root", "rootpw")
            client.user_grant_role("root", "root")
            client.role_add("r")
            client.role_grant_permission("r", "readwrite", "u/", prefix=True)
            client.user_add("u", "pw")
            client.user_grant_role("u", "r")
            client.auth_enable()
        yield endpoint


@pytest.fixture
def root(endpoint):
    with Client([endpoint], user="root", password="rootpw") as client:
        yield client


@pytest.fixture
def user(endpoint):
    with Client([endpoint], user="u", password="pw") as client:
        yield client


def test_each_does_what_it_may(user, root):
    user.put("u/a", "1")
    assert user.get("u/a").kvs[0].value == b"1"
    for call in (
        lambda: user.put("other", "1"),
        lambda: user.get("other"),
        lambda: user.get("other", serializable=True),
        lambda: user.delete("u", prefix=True),
        lambda: user.compact(1),
        user.user_list,
        lambda: user.hash_kv(),
        lambda: user.txn([], [("txn", [], [("range", b"other")], [])]),
    ):
        with pytest.raises(errors.PermissionDeniedError):
            call()
    assert root.get("other").kvs[0].value == b"secret"
    assert user.status().fields["role"] == "leader"
    assert user.user_get("u").names == ["r"]


def test_strangers_get_nothing(endpoint):
    with Client([endpoint]) as client:
        for call in (lambda: client.put("u/a", "1"), lambda: client.get("u/a"), client.status,
                     lambda: client.lease_grant(60), client.member_list):  # fmt: skip
            with pytest.raises(errors.UnknownUserError):
                call()
        with pytest.raises(errors.UnknownUserError), client.watch("u/a"):
            pass


def test_a_wrong_password_is_told_soon(endpoint):
    began = time.monotonic()
    with Client([endpoint], user="u", password="wrong", timeout_s=60.0) as client:
        for _ in range(2):
            with pytest.raises(errors.WrongPasswordError):
                client.get("u/a")
        with pytest.raises(errors.WrongPasswordError), client.watch("u/a"):
            pass
    assert time.monotonic() - began < 60


def test_roles_as_they_were_granted(root):
    root.role_add("s")
    root.role_grant_permission("s", "read", "b", from_key=True)
    root.role_grant_permission("s", "readwrite", "a")
    assert root.role_get("s").permissions == [
        Permission(READWRITE, b"a", b""), Permission(READ, b"b", b"\x00")
    ]  # fmt: skip
    root.role_revoke_permission("s", "a")
    assert root.role_list().names == ["r", "s"]
    root.role_delete("s")
    with pytest.raises(errors.AuthError, match="role name not found"):
        root.role_get("s")
    with pytest.raises(ValueError, match="permission is one of"):
        root.role_grant_permission("r", "own", "a")


def test_a_client_goes_on_when_its_token_is_forgotten(root):
    """A new password ends tokens; a client that has the new one logs in again by itself."""
    root.user_add("again", "one")
    root.user_grant_role("again", "r")
    with Client([root._dispatcher.endpoints[0]], user="again", password="one") as client:
        client.put("u/again", "1")
        root.user_change_password("again", "two")
        root.user_change_password("again", "one")
        client.put("u/again", "2")
        assert client.get("u/again").kvs[0].version == 2
        root.user_delete("again")
        with pytest.raises(errors.WrongPasswordError):
            client.put("u/again", "3")


def test_changes_meanwhile_cost_no_request(root, user):
    """What was admitted under an older auth revision is refused, and sent again by the client."""

    async def main():
        async with AsyncClient(
            [user._dispatcher.endpoints[0]], user="u", password="pw", timeout_s=60.0
        ) as client:
            await client.put("u/n", "0")
            puts = [asyncio.create_task(client.put("u/n", str(i))) for i in range(300)]
            for i in range(5):
                await asyncio.to_thread(root.role_add, f"busy{i}")
                puts.append(asyncio.create_task(client.put("u/n", "x")))
            await asyncio.gather(*puts)

    before = root.get("u/n").kvs
    asyncio.run(main())
    assert root.get("u/n").kvs[0].version - (before[0].version if before else 0) == 306


def test_a_watch_ends_with_the_right_to_it(root, endpoint):
    root.user_add("w", "pw")
    root.role_add("wr")
    root.role_grant_permission("wr", "read", "w/", prefix=True)
    root.user_grant_role("w", "wr")
    with (
        Client([endpoint], user="w", password="pw") as client,
        client.watch("w/", prefix=True) as watch,
    ):
        root.put("w/1", "seen")
        assert next(watch).events[0].kv.value == b"seen"
        root.user_revoke_role("w", "wr")
        root.put("w/2", "secret")
        with pytest.raises(errors.WatchCanceledError, match="permission denied"):
            next(watch)
        with pytest.raises(errors.PermissionDeniedError), client.watch("w/1"):
            pass
