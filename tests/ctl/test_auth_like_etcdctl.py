"""Users, roles and what they may do: sampanctl and a real etcd answer the same."""

import random
import re

import pytest

from ..client.real_node import real_node
from .conftest import run_etcd
from .test_like_etcdctl import etcdctl, normal, parse, sampanctl

SCRIPT = """
auth status
auth enable
auth enable x
auth disable x
auth disable
user add root:pw
user add
user add :p
user add alice:a
user add alice:a
user add bob --new-user-password b
user add bare --no-password
secret | user add typed --interactive=false
role add
role add r
role add r
role add ""
role add s -w json
role add t -w fields
role add u -w table
role list
role list -w json
user list
user list -w json
user list -w fields
role grant-permission r
role grant-permission r bad q
role grant-permission nope read a
role grant-permission r read a
role grant-permission r READWRITE b c
role grant-permission r write p --prefix
role grant-permission r read z --from-key
role grant-permission r read ab ac --prefix
role grant-permission r read "" --prefix
role grant-permission r read a --prefix --from-key
role get r
role get r -w json
role get r -w fields
role get r -w table
role get nope
role get
role revoke-permission r
role revoke-permission r zz
role revoke-permission r b c
role revoke-permission r z --from-key
role revoke-permission r a
role get r
user grant-role alice r
user grant-role alice r
user grant-role alice nope
user grant-role nope r
user grant-role alice
user grant-role bob s
user get alice
user get alice --detail
user get alice -w json
user get alice -w fields
user get nope
user revoke-role bob r
user revoke-role bob s
user revoke-role nope s
user delete nope
user delete typed
user passwd nope --interactive=false
new | user passwd bob --interactive=false
role delete u
role delete u
role get root
auth enable
auth enable
auth status
--user alice:a auth status
--user root:pw auth status
--user root:pw auth status -w json
--user root:pw auth enable
get a
put a b
--user alice:a get a
--user alice:bad get a
--user nobody:x get a
--user alice --password a get a
--user bob:b get a
--user bob:new get a
--user root:pw get a
--user root:pw user delete root
--user root:pw role delete root
--user root:pw user revoke-role root root
--user alice:a user get alice
--user alice:a user get root
--user alice:a role get r
--user alice:a role get s
--user alice:a user list
--user alice:a role list
--user alice:a role add x
--user alice:a auth disable
--user root:pw role delete r
--user alice:a get p
--user root:pw auth disable
--user root:pw get a
get a
user get alice
""".strip().splitlines()

RANGES = ["a", "b", "a c", "b d", "a --prefix", "b --from-key", "'' --prefix"]
REQUESTS = [
    *(f"get {each}" for each in RANGES),
    *(f"del {each}" for each in RANGES),
    *(f"del {each} --prev-kv" for each in RANGES[:4]),
    *(f"put {key} v{flag}" for key in "abcd" for flag in ("", " --prev-kv")),
    'value("a") = "v"⏎⏎get b⏎⏎get c⏎ | txn',
    'value("c") = "v"⏎⏎put a 1⏎⏎⏎ | txn',
    "⏎put a 1⏎⏎del c⏎ | txn",
    "⏎get a c⏎⏎⏎ | txn",
]
USERS = 12


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """(an etcd, a Sampan), empty."""
    directory = tmp_path_factory.mktemp("both")
    with (
        run_etcd(directory / "etcd", "--bcrypt-cost", "4") as etcd,
        real_node(directory, bcrypt_cost=4) as sampan,
    ):
        yield etcd, sampan


def differences(both, lines, monkeypatch):
    """What differs."""
    etcd, sampan = both
    found, exits = [], set()
    for text in lines:
        line = parse(text)
        theirs = shown(normal(etcdctl(etcd, line), line.args))
        ours = shown(normal(sampanctl(sampan, line, monkeypatch), line.args))
        exits.add(theirs.exit_code)
        if ours != theirs:
            found.append(f"{text}\n  etcdctl:   {theirs}\n  sampanctl: {ours}")
    assert {0, 1} <= exits, "some are permitted, and some are not"
    return found


def shown(ran):
    """Without what a put's revision makes different where something was refused by one alone."""
    return ran._replace(stdout=re.sub(rb'"revision":\d+', b'"revision":N', ran.stdout))


def test_the_script(both, monkeypatch):
    found = differences(both, SCRIPT, monkeypatch)
    assert not found, "\n".join(found)


def test_a_sample_of_what_users_may_do(both, monkeypatch):
    """A dozen users with permissions drawn at random, and each request of each."""
    chance = random.Random(18)
    lines = [
        f"role grant-permission m{n} {chance.choice(['read', 'write', 'readwrite'])} "
        f"{chance.choice(RANGES)}"
        for n in range(USERS)
        for _ in range(chance.randint(1, 3))
    ]
    grants = [f"role add m{n}" for n in range(USERS)] + lines
    grants += [f"user add m{n}:p" for n in range(USERS)]
    grants += [f"user grant-role m{n} m{n}" for n in range(USERS)]
    setup = ["user add root:pw", "user grant-role root root", "auth enable"]
    for line in grants + setup:
        for endpoint, run in zip(both, (etcdctl, None), strict=True):
            if run is None:
                sampanctl(endpoint, parse(line), monkeypatch)
            else:
                run(endpoint, parse(line))
    wanted = [
        line.replace(" | txn", f" | --user m{n}:p txn") if "txn" in line
        else f"--user m{n}:p {line}"
        for n in range(USERS)
        for line in REQUESTS
    ]  # fmt: skip
    found = differences(both, chance.sample(wanted, 200), monkeypatch)
    assert not found, "\n".join(found)
