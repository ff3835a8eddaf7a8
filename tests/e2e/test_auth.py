"""Users of a real cluster: the same rights on every member, whatever happens to members, and no
password in anything that a node writes."""

import signal
from contextlib import ExitStack
from pathlib import Path

import grpc
import pytest
from sampan.client import Client, errors
from sampan.gateway import messages as pb

from ..ports import free_port
from .cluster import WAIT_S
from .growing import GrowingCluster, patiently

PASSWORD, ROOT_PASSWORD = "canary-of-the-user", "canary-of-root"


def as_user(endpoints):
    return Client(endpoints, user="u", password=PASSWORD, timeout_s=WAIT_S)


def check_rights(endpoints):
    with as_user(endpoints) as client:
        assert client.get("u/a").kvs[0].value  # from here on it has applied all of this
        assert client.get("u/a", serializable=True).kvs[0].value
        for call in (
            lambda: client.get("other", serializable=True),
            lambda: client.get("u", from_key=True),
            lambda: client.put("other", "mine"),
            client.user_list,
        ):
            with pytest.raises(errors.PermissionDeniedError):
                call()
    with Client(endpoints, timeout_s=WAIT_S) as stranger:
        for call in (lambda: stranger.get("u/a", serializable=True), stranger.status):
            with pytest.raises(errors.UnknownUserError):
                call()


@pytest.mark.parametrize("placement", ["fused"], indirect=True)
def test_rights_on_every_member_after_kills(make_cluster):
    cluster = make_cluster(bcrypt_cost=4).start()
    leader = cluster.wait_leader()
    endpoints = list(cluster.endpoints)
    with Client(endpoints, timeout_s=WAIT_S) as client:
        client.put("other", "secret")
        client.user_add("root", ROOT_PASSWORD)
        client.user_grant_role("root", "root")
        client.role_add("r")
        client.role_grant_permission("r", "readwrite", "u/", prefix=True)
        client.user_add("u", PASSWORD)
        client.user_grant_role("u", "r")
        client.auth_enable()
    with as_user(endpoints) as user:
        user.put("u/a", "1")
        cluster.signal_node(leader, signal.SIGKILL)
        for i in range(20):
            user.put("u/a", str(i))
        assert user.get("u/a").kvs[0].version == 21, "each once"
        for endpoint in endpoints:
            check_rights([endpoint])
    with Client(endpoints, user="root", password=ROOT_PASSWORD, timeout_s=WAIT_S) as root:
        root.user_revoke_role("u", "r")
        with as_user(endpoints) as user, pytest.raises(errors.PermissionDeniedError):
            user.put("u/a", "2")
        assert root.get("u/a").kvs[0].value == b"19"
    written = [path.read_bytes() for path in Path(cluster.directory).rglob("*") if path.is_file()]
    assert any(b"secret" in each for each in written), "or this would find nothing"
    assert not any(b"canary-of" in each for each in written)


def ask(channel, method, request, token=""):
    call = channel.unary_unary(f"/etcdserverpb.{method}")
    metadata = [("token", token)] if token else []
    return call(request.SerializeToString(), timeout=WAIT_S, metadata=metadata, wait_for_ready=True)


@pytest.mark.parametrize("placement", ["fused"], indirect=True)
def test_what_one_member_gave_all_members_take(make_cluster):
    """etcd's clients log in at one member and ask the next."""
    cluster = make_cluster(bcrypt_cost=4)
    gateways = [f"127.0.0.1:{free_port()}" for _ in cluster.names]
    for member, gateway in zip(cluster.config["members"], gateways, strict=True):
        member["gateway"] = gateway
    cluster.start()
    with Client(cluster.endpoints, timeout_s=WAIT_S) as client:
        client.user_add("root", ROOT_PASSWORD)
        client.user_grant_role("root", "root")
        client.auth_enable()
    with ExitStack() as stack:
        channels = [stack.enter_context(grpc.insecure_channel(each)) for each in gateways]
        for i in range(30):
            who = pb.AuthenticateRequest(name="root", password=ROOT_PASSWORD)
            told = ask(channels[i % 3], "Auth/Authenticate", who)
            token = pb.AuthenticateResponse.FromString(told).token
            for channel in channels:
                ask(channel, "KV/Range", pb.RangeRequest(key=b"a", serializable=True), token)


SMALL_LOG = {"log_entries_max": 200, "log_bytes_max": 1 << 20}


@pytest.fixture
def growing(tmp_path):
    """Its actors in processes of their own."""
    cluster = GrowingCluster(tmp_path / "c", "processes", most=4, bcrypt_cost=4, **SMALL_LOG)
    yield cluster.start()
    cluster.destroy()


def test_who_joins_by_a_snapshot_knows_the_users(growing):
    """And whoever loses a right loses it there, too."""
    cluster = growing
    with Client(cluster.endpoints, timeout_s=WAIT_S) as client:
        client.user_add("root", ROOT_PASSWORD)
        client.user_grant_role("root", "root")
        client.role_add("r")
        client.role_grant_permission("r", "readwrite", "u/", prefix=True)
        client.user_add("u", PASSWORD)
        client.user_grant_role("u", "r")
        client.auth_enable()
    joining = cluster.all["n4"]
    with Client(cluster.endpoints, user="root", password=ROOT_PASSWORD, timeout_s=WAIT_S) as root:
        for i in range(2 * SMALL_LOG["log_entries_max"]):
            root.put("u/a", str(i))
        with as_user(cluster.endpoints) as user, pytest.raises(errors.PermissionDeniedError):
            user.member_add([joining["peer"]])
        added = patiently(lambda: root.member_add([joining["peer"]]))
        cluster.added("n4", added.member.id)
        check_rights([joining["client"]])
        assert "snapshot installed" in cluster.log("n4")
        root.user_revoke_role("u", "r")
        with as_user([joining["client"]]) as user:
            for call in (lambda: user.put("u/a", "2"), lambda: user.get("u/a")):
                with pytest.raises(errors.PermissionDeniedError):
                    call()
        patiently(lambda: root.member_remove(added.member.id))
        assert root.get("u/a").kvs[0].value == b"399"
