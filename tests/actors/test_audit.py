"""The audit log: every message of a client has a line, and no line has a secret."""

import json

import pytest
from sampan.actors.audit import Auditor, outcome_of
from sampan.actors.node import Node
from sampan.security.passwords import fingerprint
from sampan.transport import errors
from sampan.transport.codec import pack
from sampan.transport.requests import (
    INSPECT_CHECKS,
    READ_CHECKS,
    WRITE_CHECKS,
)

from .helpers import turn
from .test_gatekeeper import made_auth
from .test_node import SETTINGS, replies

SECRET = "s3cret"
BYTES = SECRET.encode()
HASHED = pack("login")
REQUESTS = [
    ("put", b"k", BYTES, 7, 1), ("range", b"k", b"z", 5, 3), ("delete", b"k", b"z", 1),
    ("txn", ((3, 0, b"c", BYTES, b"d"),), (("put", b"k", BYTES), ("range", b"r", b"s")),
     (("txn", (), (("put", b"n", BYTES),), ()),)),
    ("user_add", "carol", SECRET), ("user_change_password", "carol", SECRET),
    ("authenticate", "carol", SECRET), ("user_grant_role", "carol", "r"),
    ("role_grant_permission", "r", 2, b"k", b"z"), ("role_revoke_permission", "r", b"k"),
    ("lease_grant", 7, 60), ("lease_revoke", 7), ("compact", 5), ("nonsense", SECRET), (SECRET,),
    ("put", SECRET), ("txn", SECRET), SECRET, (), ("user_add",), ("no name!" + SECRET,),
]  # fmt: skip


class Audited:
    def __init__(self, log, level):
        self.lines = []
        auditor = Auditor(level, "own", lambda **line: self.lines.append(json.dumps(line)))
        self.node = Node(SETTINGS._replace(own_token="own"), log, auditor)
        turn(self.node, ("softstatec", (1, 1, "leader")), ("camec", (b"client", "192.0.2.7")))
        self.sent = 0

    def ask(self, kind, *asked, token=""):
        self.sent += 1
        header = (1, self.sent, kind, 0, 0, *((0, 0, 0, token) if token else ()))
        return turn(self.node, ("clientc", (b"client", pack(header), pack(asked))))

    @property
    def told(self):
        return [json.loads(line) for line in self.lines]


@pytest.fixture(params=["metadata", "request"])
def audited(log, request):
    return Audited(log, request.param)


@pytest.mark.parametrize("asked", REQUESTS, ids=lambda each: repr(each)[:40])
@pytest.mark.parametrize("kind", ["write", "read", "maintenance", "auth", "watch", "inspect"])
def test_no_line_has_a_secret(audited, asked, kind):
    audited.ask(kind, asked, token=SECRET * 3)
    turn(audited.node, ("gonec", b"client"))
    assert audited.lines, "it was told"
    name = asked[0] if asked and type(asked) is tuple else ""
    for line in audited.lines:
        assert SECRET not in line.replace(f'"request": "{name}"', "") or name == SECRET
        assert SECRET * 2 not in line
        assert fingerprint(SECRET * 3) in line


def test_what_is_told(log):
    audited = Audited(log, "metadata")
    audited.ask("write", ("put", b"a\xff", b"1"), ("delete", b"b", b"c"))
    batch = [message for channel, message in audited.node.out if channel == "propc"]
    assert audited.lines == [] and not batch  # noqa: PT018
    turn(audited.node, ("gonec", b"client"))
    (line,) = audited.told
    assert line == {
        "kind": "write",
        "from": "192.0.2.7",
        "requests": [
            {"request": "put", "key": "a\\xff"},
            {"request": "delete", "key": "b", "range_end": "c"},
        ],
        "outcome": "the client left before its answer",
    }


def test_who_is_refused_is_told_as_well(audited):
    turn(audited.node, ("authc", ("auth", made_auth().dump())))
    found = audited.ask("read", ("range", b"a"))
    assert replies(found), "it was answered"
    (line,) = audited.told
    assert line["outcome"] == f"{errors.USER_EMPTY.code} {errors.USER_EMPTY.text}"
    assert "requests" not in line, "nothing of it was looked at"


def test_the_node_itself_and_what_watches_say_all_the_time_are_not(audited):
    turn(audited.node, ("authc", ("auth", made_auth().dump())))
    audited.ask("maintenance", ("status",), token="own")
    audited.ask("read", ("range", b"health"), token="own")
    audited.ask("watch", ("ack",), token="own/u")
    turn(audited.node, ("gonec", b"client"))
    assert audited.lines == []


def test_a_user_by_a_certificate_has_no_token_to_tell(audited):
    turn(audited.node, ("authc", ("auth", made_auth().dump())))
    audited.ask("read", ("range", b"a"), token="own/u")
    turn(audited.node, ("gonec", b"client"))
    (line,) = audited.told
    assert line["user"] == "u"
    assert "token" not in line


def test_a_long_message_has_a_line_of_bounded_length(audited):
    key = b"\xff" * 500
    many = [("txn", ((0, 0, key, 0),), tuple(("put", b"%d" % i + key, b"") for i in range(60)), ())]
    audited.ask("write", *(many * 20), *(("put", key, b""),) * 500)
    turn(audited.node, ("gonec", b"client"))
    (line,) = audited.lines
    assert len(audited.told[0]["requests"]) == 2
    assert audited.told[0]["more"] == 518
    assert len(line) < 200 * 1024


def test_outcomes():
    fine, no = (0, 5), tuple(errors.PERMISSION_DENIED)
    assert outcome_of(pack([fine, fine])) == ("ok", [0, 0])
    assert outcome_of(pack([fine, no])) == ("1 of 2 refused", [0, errors.PERMISSION_DENIED.code])
    assert outcome_of(pack(no))[0].endswith("permission denied")
    assert outcome_of(pack([(0, 1, 2, tuple(range(100)), b"v" * 100_000)])) == ("ok", [0])
    assert outcome_of(pack([tuple(range(20))])) == ("ok", [0])
    assert outcome_of(b"\xc1") == ("unknown", [])
    every = {*READ_CHECKS, *WRITE_CHECKS, *INSPECT_CHECKS}
    assert all(name.isidentifier() and len(name) <= 32 for name in every)
