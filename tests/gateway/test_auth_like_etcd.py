"""Users, roles and what they may do: etcd's own clients meet the same here and at a real etcd."""

import base64
import json
import os
import random
import subprocess
import threading
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest
from sampan.gateway import messages as pb

from ..ctl.conftest import ETCDCTL, run_etcd
from ..ctl.test_auth_like_etcdctl import SCRIPT, shown
from ..ctl.test_like_etcdctl import etcdctl, normal, parse
from .test_process import WAIT_S, Node

SETUP = """
user add root:pw
user grant-role root root
user add carol:c
role add shipping
role grant-permission shipping readwrite ships/ --prefix
user grant-role carol shipping
auth enable
""".strip().splitlines()
"""After SCRIPT, which leaves others."""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(an etcd, a Sampan's gateway), empty."""
    directory = tmp_path_factory.mktemp("both")
    with run_etcd(directory / "etcd", "--bcrypt-cost", "4") as etcd:
        node = Node(directory, bcrypt_cost=4)
        yield etcd, node
        node.stop()


def differences(etcd, node, lines):
    found = []
    for text in lines:
        line = parse(text)
        theirs, ours = (shown(normal(etcdctl(at, line), line.args)) for at in (etcd, node.gateway))
        if theirs != ours:
            found.append(f"{text}\n  etcd: {theirs}\n  here: {ours}")
    return "\n".join(found)


def ask(endpoint, path, values, **headers):
    """(HTTP status, body)."""
    url = f"http://{endpoint}/v3/{path}"
    request = urllib.request.Request(url, json.dumps(values).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def token(endpoint, name="carol", password="c"):
    who = {"name": name, "password": password}
    return ask(endpoint, "auth/authenticate", who)[1]["token"]


def test_as_at_an_etcd(both):
    etcd, node = both
    assert not differences(etcd, node, SCRIPT)


@pytest.fixture(scope="module")
def asked(both):
    """The same, with users that are asked who they are; the script has left others."""
    etcd, node = both
    for line in SETUP:
        for at in (etcd, node.gateway):
            etcdctl(at, parse(line))
    return etcd, node


def test_rights_on_keys(asked):
    lines = """
    --user carol:c put ships/1 sampan
    --user carol:c get ships/1
    --user carol:c put other x
    --user carol:c get other
    --user carol:c get ships/ --prefix
    --user carol:c get "" --prefix
    --user carol:c del ships/1 --prev-kv
    --user carol:c lock ships/lock echo inside
    --user carol:c lock other echo inside
    --user carol:c lease grant 0
    --user carol:c compaction 3 --physical
    --user carol:c member list -w table
    --user nobody:c get ships/1
    --user carol:wrong get ships/1
    put ships/1 x
    """
    lines = [line.strip() for line in lines.strip().splitlines()]
    etcd, node = asked
    # Some answers name ids or the cluster, and compaction needs root here as in a later etcd.
    same = [each for each in lines if not any(w in each for w in ("lease", "member", "compaction"))]
    assert not differences(etcd, node, same)
    for text in (each for each in lines if each not in same):
        ran = etcdctl(node.gateway, parse(text))
        assert (ran.exit_code != 0) == ("compaction" in text), ran


def test_every_call_under_its_token(asked):
    _, node = asked
    mine = {"Authorization": token(node.gateway)}
    key = {"key": "c2hpcHMvMQ==", "value": "MQ=="}
    assert ask(node.gateway, "kv/put", key, **mine)[0] == 200
    granted = ask(node.gateway, "lease/grant", {"TTL": 60}, **mine)[1]
    lease = {"ID": granted["ID"]}
    assert ask(node.gateway, "kv/put", key | {"lease": granted["ID"]}, **mine)[0] == 200
    kept = ask(node.gateway, "lease/keepalive", lease, **mine)
    assert kept[1]["result"]["TTL"] == "60"
    assert ask(node.gateway, "lease/keepalive", lease)[0] == 400
    assert ask(node.gateway, "lease/revoke", lease, **mine)[0] == 200


@pytest.mark.parametrize("path", ["kv/range", "kv/put", "lease/leases", "auth/user/list"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer none"},
        {"Authorization": "none.1"},
        {"Grpc-Metadata-Token": "none.1"},
        {"Authorization": "x" * 2000},
        {"Authorization": "\xe9"},
    ],
    ids=["nobody", "empty", "bearer", "unknown", "metadata", "long", "not ASCII"],
)
def test_who_is_not_known(asked, path, headers):
    """Both refuse with the same status and text."""
    etcd, node = asked
    answers = [ask(at, path, {"key": "YQ=="}, **headers) for at in (etcd, node.gateway)]
    if path == "lease/leases":  # etcd 3.5.1 tells everybody, later ones do not
        answers[0] = ask(etcd, "kv/range", {"key": "YQ=="}, **headers)
    assert answers[0] == answers[1]


def test_who_bears_a_token_may_say_so(asked):
    """As etcd 3.7 has it; 3.5.1 did not know the word."""
    _, node = asked
    shown_as = {"Authorization": f"Bearer {token(node.gateway)}"}
    assert ask(node.gateway, "kv/range", {"key": "c2hpcHMvMg=="}, **shown_as)[0] == 200


def watch(endpoint, user, key):
    """From the first revision on."""
    command = [ETCDCTL, "--endpoints", endpoint, "--user", user, "watch", key, "--rev=1"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_watch_is_denied(asked):
    ends = []
    for at in (asked[0], asked[1].gateway):
        with watch(at, "carol:c", "other") as process:
            out, err = process.communicate(timeout=WAIT_S)
            errors = [line for line in err.splitlines() if not line.startswith("{")]
            ends.append((process.returncode, out, errors))
    assert ends[0] == ends[1]
    assert "permission denied" in str(ends[1])


def watch_once(endpoint, key, **headers):
    """The first line of a watch's answers."""
    url = f"http://{endpoint}/v3/watch"
    body = json.dumps({"create_request": {"key": key}}).encode()
    request = urllib.request.Request(url, body, headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as response:
        line = json.loads(response.readline())["result"]
    line.pop("header")
    return line


@pytest.mark.parametrize("whose", ["carol", "nobody", "unknown"])
def test_how_a_watch_is_denied(asked, whose):
    found = []
    for at in (asked[0], asked[1].gateway):
        shown_as = {"carol": token(at), "nobody": "", "unknown": "x.1"}[whose]
        found.append(watch_once(at, "YQ==", Authorization=shown_as))
    assert found[0] == found[1] if whose == "carol" else found[1]["canceled"]


GRANT = "user grant-role carol shipping"
PERMIT = "role grant-permission shipping readwrite ships/ --prefix"
CHANGES = {
    "user revoke-role carol shipping": (7, [GRANT]),
    "role revoke-permission shipping ships/ ships0": (7, [PERMIT]),
    "role delete shipping": (7, ["role add shipping", PERMIT, GRANT]),
    "user delete carol": (16, ["user add carol:c", GRANT]),
    "new | user passwd carol --interactive=false": (
        16, ["c | user passwd carol --interactive=false"],
    ),
}  # fmt: skip
"""What takes carol's rights away, how her token is refused then, and what gives them back."""


@contextmanager
def taken_away(change, *endpoints):
    """Carol's rights are gone, inside."""

    def root(at, text):
        before, bar, after = text.rpartition("| ")
        return etcdctl(at, parse(f"{before}{bar}--user root:pw {after}"))

    for at in endpoints:
        assert root(at, change).exit_code == 0
    try:
        yield
    finally:
        for at in endpoints:
            for text in CHANGES[change][1]:
                assert root(at, text).exit_code == 0


@pytest.mark.parametrize("change", CHANGES)
def test_a_captured_token_is_refused(asked, change):
    at_both = (asked[0], asked[1].gateway)
    mine = {each: {"Authorization": token(each)} for each in at_both}
    key = {"key": "c2hpcHMvMQ==", "value": "MQ=="}
    for each in at_both:
        assert ask(each, "kv/put", key, **mine[each])[0] == 200
    with taken_away(change, *at_both):
        for path in ("kv/put", "kv/range", "kv/deleterange"):
            theirs, ours = (ask(each, path, key, **mine[each]) for each in at_both)
            assert theirs == ours
            assert ours[1]["code"] == CHANGES[change][0]


@pytest.mark.parametrize("change", CHANGES)
def test_an_open_watch_ends_with_its_right(asked, change):
    """Or with the password that its token was given for. At etcd it goes on."""
    at = asked[1].gateway
    body = json.dumps({"create_request": {"key": "c2hpcHMv", "range_end": "c2hpcHMw"}}).encode()
    headers = {"Authorization": token(at)}
    request = urllib.request.Request(f"http://{at}/v3/watch", body, headers)
    with urllib.request.urlopen(request, timeout=WAIT_S) as lines:
        assert json.loads(lines.readline())["result"]["created"]
        with taken_away(change, at):
            last = json.loads(lines.readline())["result"]
    assert last["canceled"]
    text = {7: "etcdserver: permission denied", 16: "etcdserver: invalid auth token"}
    assert last["cancel_reason"] == text[CHANGES[change][0]]


def test_who_waits_for_a_lock_waits_no_longer_than_the_right_to_it(asked):
    at = asked[1].gateway
    mine = {"Authorization": token(at)}
    lease = ask(at, "lease/grant", {"TTL": 300}, **mine)[1]["ID"]
    name = {"name": "c2hpcHMvaGVsZA==", "lease": lease}  # ships/held
    assert ask(at, "lock/lock", name, **mine)[0] == 200
    other = ask(at, "lease/grant", {"TTL": 300}, **mine)[1]["ID"]
    below = {"key": "c2hpcHMvaGVsZC8=", "range_end": "c2hpcHMvaGVsZDA=", "count_only": True}
    with ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(ask, at, "lock/lock", name | {"lease": other}, **mine)
        while ask(at, "kv/range", below, **mine)[1].get("count") != "2":
            assert not waiting.done()
        with taken_away("role delete shipping", at):
            status, told = waiting.result(WAIT_S)
            assert status != 200
            assert "permission denied" in told["message"]
    ask(at, "lease/revoke", {"ID": lease}, **mine)


def test_an_open_stream_of_renewals_ends_with_its_user(asked):
    node = asked[1]
    mine = token(node.gateway)
    lease = ask(node.gateway, "lease/grant", {"TTL": 300}, Authorization=mine)[1]["ID"]
    renewal = pb.LeaseKeepAliveRequest(ID=int(lease)).SerializeToString()
    more = threading.Event()

    def renewals():
        yield renewal
        more.wait(WAIT_S)
        yield renewal

    with node.channel() as channel:
        method = channel.stream_stream("/etcdserverpb.Lease/LeaseKeepAlive")
        call = method(renewals(), metadata=(("token", mine),), timeout=WAIT_S)
        assert pb.LeaseKeepAliveResponse.FromString(next(call)).TTL == 300
        with taken_away("user delete carol", node.gateway):
            more.set()
            with pytest.raises(grpc.RpcError, match="invalid auth token"):
                next(call)


def b64(text):
    return base64.b64encode(text.encode()).decode()


LATER = "TEST_ETCD" in os.environ
"""A later etcd than the suite's, 3.7.3 say, which also asks for rights in nested transactions, on
what a put in one shows, for leases that are revoked, and for watches without an end."""


def drawn_range(chance, ends=("", "", "c", "e", "f", "\0")):
    first, end = chance.choice("abcde"), chance.choice(ends)
    return {"key": b64(first)} | ({"range_end": b64(end)} if end == "\0" or end > first else {})


def drawn_operation(chance, depth):
    """A request of a transaction, which may be one."""
    kind = chance.choice(["range", "put", "delete_range", *["txn"] * bool(depth)])
    if kind == "txn":
        return {"request_txn": drawn_txn(chance, depth - 1)}
    if kind == "put":
        key = {"key": b64(chance.choice("abcde") + str(chance.random())), "value": b64("v")}
        return {"request_put": key | {"prev_kv": LATER and chance.random() < 0.3}}
    if kind == "range":
        return {"request_range": drawn_range(chance)}
    # etcd does not see that one without an end deletes what is put beside it.
    return {"request_delete_range": drawn_range(chance, "cef") | {"prev_kv": chance.random() < 0.3}}


def drawn_txn(chance, depth=2 * LATER):
    compare = {"key": b64(chance.choice("abcde")), "target": "VERSION", "version": "0"}
    parts = ("success", "failure")
    return {"compare": [compare][: chance.randint(0, 1)]} | {
        part: [drawn_operation(chance, depth) for _ in range(chance.randint(0, 2))]
        for part in parts
    }


ENDS_OF_WATCHES = ("", "c", "e", *["\0"] * LATER)


def drawn_request(chance):
    """(path, body)."""
    kinds = ["range", "put", "lease", "delete", "txn", "txn", "watch", *["revoke"] * LATER]
    lease = str(chance.randint(1, LEASES))
    key = {"key": b64(chance.choice("abcde")), "value": b64("v")}
    return {
        "range": lambda: ("kv/range", drawn_range(chance)),
        "put": lambda: ("kv/put", key | {"prev_kv": chance.random() < 0.5}),
        "lease": lambda: ("kv/put", key | {"lease": lease}),
        "delete": lambda: ("kv/deleterange", drawn_range(chance) | {"prev_kv": True}),
        "txn": lambda: ("kv/txn", drawn_txn(chance)),
        "watch": lambda: ("watch", {"create_request": drawn_range(chance, ENDS_OF_WATCHES)}),
        "revoke": lambda: ("lease/revoke", {"ID": lease}),
    }[chance.choice(kinds)]()


def answered(endpoint, path, body, shown_as):
    """What came, without what differs among etcd's versions; of a watch the first line."""
    if path == "watch":
        url = f"http://{endpoint}/v3/watch"
        headers = {"Authorization": shown_as}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=WAIT_S) as response:
            found = response.status, json.loads(response.readline())["result"]
    else:
        found = ask(endpoint, path, body, Authorization=shown_as)
    return found[0], without_numbers(found[1])


def without_numbers(answer):
    if isinstance(answer, list):
        return [without_numbers(each) for each in answer]
    if not isinstance(answer, dict):
        return answer
    return {
        name: without_numbers(each)
        for name, each in answer.items()
        if name not in ("header", "error", "watch_id") and "revision" not in name
    }


USERS, LEASES, REQUESTS = 6, 12, 400


def test_a_sample_of_all_that_users_may_do(asked):
    """Reads, writes, nested transactions, leases, watches and what was there before, for users with
    rights drawn at random, before and after half of them lose some."""
    chance = random.Random(28)
    at_both = (asked[0], asked[1].gateway)

    def root(path, body):
        for at in at_both:
            found = ask(at, path, body, Authorization=token(at, "root", "pw"))
            assert found[0] == 200, found

    for n in range(USERS):
        root("auth/user/add", {"name": f"m{n}", "password": "p"})
        root("auth/role/add", {"name": f"m{n}"})
        root("auth/user/grant", {"user": f"m{n}", "role": f"m{n}"})
        for _ in range(chance.randint(1, 3)):
            perm = {"permType": chance.choice(["READ", "WRITE", "READWRITE"])}
            root("auth/role/grant", {"name": f"m{n}", "perm": perm | drawn_range(chance)})
    for n in range(LEASES):
        root("lease/grant", {"ID": str(n + 1), "TTL": "3000"})
        root("kv/put", {"key": b64(chance.choice("abcde")), "lease": str(n + 1)})
    tokens = {(at, n): token(at, f"m{n}", "p") for at in at_both for n in range(USERS)}
    found, statuses = [], set()
    for number in range(REQUESTS):
        if number == REQUESTS // 2:
            root("auth/user/revoke", {"name": "m0", "role": "m0"})
            root("auth/role/delete", {"role": "m1"})
            root("auth/user/grant", {"user": "m2", "role": "m3"})
        path, body = drawn_request(chance)
        n = chance.randrange(USERS)
        theirs, ours = (answered(at, path, body, tokens[at, n]) for at in at_both)
        statuses.add(ours[0])
        if theirs != ours:
            found.append(f"m{n} {path} {body}\n  etcd: {theirs}\n  here: {ours}")
    assert not found, "\n".join(found[:20])
    assert {200, 403} <= statuses


def test_health_needs_no_user(asked):
    for at in (asked[0], asked[1].gateway):
        with urllib.request.urlopen(f"http://{at}/health", timeout=WAIT_S) as response:
            assert json.load(response)["health"] == "true"


def test_after_a_restart(asked):
    """A node whose users are asked who they are comes up for etcd's clients, too."""
    _, node = asked
    node.stop()
    node.start()
    with node.channel() as channel:
        grpc.channel_ready_future(channel).result(WAIT_S)
    line = parse("--user carol:c --command-timeout=180s get ships/2")
    assert etcdctl(node.gateway, line) == (b"", b"", 0)
    assert ask(node.gateway, "kv/range", {"key": "YQ=="})[1]["code"] == 3


def test_when_nobody_is_asked_any_more(asked):
    etcd, node = asked
    assert not differences(etcd, node, ["--user root:pw auth disable", "--user root:pw get a"])
    for at in (etcd, node.gateway):
        assert ask(at, "auth/authenticate", {"name": "carol", "password": "c"})[1]["code"] == 9
