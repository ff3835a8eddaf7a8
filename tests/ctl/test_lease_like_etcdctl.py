"""sampanctl's lease commands print what etcdctl's print and exit as they do."""

import re
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sampan.client import Client, errors
from sampan.ctl import lease as module
from sampan.transport import errors as wire

from .conftest import ETCDCTL, SAMPANCTL
from .test_like_etcdctl import Ran, etcdctl, normal, parse, sampanctl

FORMATS = ("simple", "fields", "json", "protobuf", "table", "xml")

NO_LEASE_LINES = [
    "lease",
    "lease grant",
    "lease grant x",
    "lease grant 1 2",
    "lease grant 9000000001",
    "lease grant --flag",
    "lease revoke",
    "lease revoke zz",
    "lease revoke 0",
    "lease revoke 12",
    "lease revoke 12 34",
    "lease revoke -- -1",
    "lease revoke 8000000000000000",
    "lease timetolive",
    "lease timetolive xx",
    "lease timetolive 0",
    "lease timetolive 12 34",
    "lease keep-alive",
    "lease keep-alive zz",
    "lease keep-alive 12",
    "lease keep-alive 12 --once",
    *(f"lease timetolive 12 -w {form}" for form in FORMATS),
    *(f"lease timetolive 12 --keys -w {form}" for form in FORMATS),
    *(f"lease list -w {form}" for form in FORMATS),
    "lease list and more",
    "lease list --hex -w json",
    *(f"lease {each} --help" for each in ("grant", "keep-alive", "list", "revoke", "timetolive")),
]

LEASE_LINES = [
    "put lease/k v --lease=LEASE",
    "put lease/k w --ignore-lease",
    "get lease/k -w fields",
    "get lease/k -w json",
    "get lease/k -w fields --hex",
    *(f"lease timetolive LEASE -w {form}" for form in FORMATS),
    *(f"lease timetolive LEASE --keys -w {form}" for form in FORMATS),
    "lease timetolive LEASE --keys --hex",
    "lease timetolive LEASE --keys=false",
    *(f"lease keep-alive LEASE --once -w {form}" for form in FORMATS),
    *(f"lease list -w {form}" for form in FORMATS),
]


def with_lease(text, lease):
    return parse(text.replace("LEASE", f"{lease:x}"))


def shown(ran, lease, args):
    """What is the same for both: no ids of leases, and what remains with a second's tolerance."""
    ran = normal(ran, args)
    stdout = ran.stdout
    for form in (f"{lease:016x}", f"{lease:x}", str(lease)):
        stdout = stdout.replace(form.encode(), b"LEASE")
    stdout = re.sub(rb'(remaining\(|"ttl":|"TTL" : )(5\d\d|600)', rb"\g<1>REST", stdout)
    if "protobuf" in args:
        stdout = stdout[-4:-1]  # of the header only the revision is the same
    return Ran(stdout, ran.stderr, ran.exit_code)


def granted(run):
    assert run.exit_code == 0
    return int(run.stdout.split()[1], 16)


@pytest.fixture
def leases(etcd, sampan, monkeypatch):
    """A lease of 600 s in each, the only one there."""
    line = parse("lease grant 600")
    theirs, ours = etcdctl(etcd, line), sampanctl(sampan, line, monkeypatch)
    their_id, our_id = granted(theirs), granted(ours)
    assert shown(ours, our_id, line.args) == shown(theirs, their_id, line.args)
    yield their_id, our_id
    etcdctl(etcd, with_lease("lease revoke LEASE", their_id))
    sampanctl(sampan, with_lease("lease revoke LEASE", our_id), monkeypatch)


def test_without_a_lease(etcd, sampan, monkeypatch):
    differences = []
    for text in NO_LEASE_LINES:
        line = parse(text)
        theirs = shown(etcdctl(etcd, line), 18, line.args)
        ours = shown(sampanctl(sampan, line, monkeypatch), 18, line.args)
        if ours != theirs:
            differences.append(f"{text}\n  etcdctl:   {theirs}\n  sampanctl: {ours}")
    assert not differences, "\n".join(differences)


def test_with_a_lease(etcd, sampan, leases, monkeypatch):
    differences = []
    for text in LEASE_LINES:
        their_line, our_line = (with_lease(text, lease) for lease in leases)
        theirs = shown(etcdctl(etcd, their_line), leases[0], their_line.args)
        ours = shown(sampanctl(sampan, our_line, monkeypatch), leases[1], our_line.args)
        if ours != theirs:
            differences.append(f"{text}\n  etcdctl:   {theirs}\n  sampanctl: {ours}")
    assert not differences, "\n".join(differences)


@pytest.mark.parametrize("form", FORMATS[:-1])
def test_grants_and_revokes_in_every_format(etcd, sampan, monkeypatch, form):
    """A format that a response does not have does not keep it from happening."""
    for text in (f"lease grant 600 -w {form}", f"lease revoke LEASE -w {form}"):
        lines = [parse(text.replace("LEASE", newest(etcdctl(etcd, parse("lease list")))))]
        listed = sampanctl(sampan, parse("lease list"), monkeypatch)
        lines.append(parse(text.replace("LEASE", newest(listed))))
        theirs, ours = etcdctl(etcd, lines[0]), sampanctl(sampan, lines[1], monkeypatch)
        assert without_ids(ours, lines[1]) == without_ids(theirs, lines[0])


def newest(listed):
    """Of `lease list`: the lease that ends last."""
    return listed.stdout.split()[-1].decode()


def without_ids(ran, line):
    if "protobuf" in line.args:
        return re.sub(rb"(cluster_id|member_id|raft_term):\d+", rb"\1:N", ran.stderr), ran.exit_code
    ran = normal(ran, line.args)
    return Ran(re.sub(rb"[0-9a-f]{15,}", b"LEASE", ran.stdout), *ran[1:])


@pytest.mark.parametrize("ttl", ["0", "1", "-- -5"])
def test_the_shortest_times_to_live(etcd, sampan, monkeypatch, ttl):
    line = parse(f"lease grant {ttl}")
    theirs, ours = etcdctl(etcd, line), sampanctl(sampan, line, monkeypatch)
    assert without_ids(ours, line) == without_ids(theirs, line)
    etcdctl(etcd, with_lease("lease revoke LEASE", granted(theirs)))
    sampanctl(sampan, with_lease("lease revoke LEASE", granted(ours)), monkeypatch)


class Keeping:
    """The installed command, which writes each line as it comes."""

    def __init__(self, program, endpoint):
        self.base = [program, "--endpoints", endpoint, "lease"]
        ran = subprocess.run([*self.base, "grant", "15"], capture_output=True, check=True)
        self.lease = ran.stdout.split()[1].decode()
        command = [*self.base, "keep-alive", self.lease]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)

    def ended(self):
        """Its first and its last line after the lease was revoked."""
        first = self.process.stdout.readline()
        subprocess.run([*self.base, "revoke", self.lease], capture_output=True, check=True)
        rest = self.process.stdout.read().splitlines()
        self.process.stdout.close()
        assert self.process.wait(timeout=180) == 0
        return (first + rest[-1]).replace(self.lease.encode(), b"LEASE")


def test_keeping_one_alive_until_it_is_revoked(etcd, sampan):
    keeping = [Keeping(ETCDCTL, etcd), Keeping(SAMPANCTL, sampan)]
    with ThreadPoolExecutor(2) as beside:
        theirs, ours = beside.map(Keeping.ended, keeping)
    assert ours == theirs


UNREACHABLE_LINES = ["lease grant 5", "lease revoke 12", "lease keep-alive 12"]


@pytest.mark.parametrize("text", UNREACHABLE_LINES)
def test_an_endpoint_that_does_not_answer(monkeypatch, text):
    line = parse(f"--command-timeout=200ms {text}")
    ours, theirs = sampanctl("127.0.0.1:1", line, monkeypatch), etcdctl("127.0.0.1:1", line)
    assert ours == theirs


@pytest.mark.parametrize("text", ["timetolive 12", "list", "keep-alive 12 --once"])
def test_what_etcdctl_waits_for_ends_with_the_commands_time(monkeypatch, text):
    line = parse(f"--command-timeout=200ms lease {text}")
    ran = sampanctl("127.0.0.1:1", line, monkeypatch)
    assert ran == Ran(b"", b"Error: context deadline exceeded\n", 2)


def test_a_node_that_is_away_for_a_moment_does_not_end_the_renewals(sampan, monkeypatch):
    calls = []
    real = Client.lease_keep_alive_once

    def renew(self, lease_id, **options):
        calls.append(lease_id)
        if len(calls) == 1:
            raise errors.NoLeaderError(wire.UNAVAILABLE, "no leader")
        return real(self, lease_id, **options)

    monkeypatch.setattr(Client, "lease_keep_alive_once", renew)
    monkeypatch.setattr(module, "RENEWALS", 1000)
    with Client([sampan]) as client:
        lease = client.lease_grant(60).id
        threading.Timer(1.0, client.lease_revoke, [lease]).start()
        ran = sampanctl(sampan, parse(f"lease keep-alive {lease:x}"), monkeypatch)
    lines = ran.stdout.decode().splitlines()
    assert lines[0] == f"lease {lease:016x} keepalived with TTL(60)"
    assert lines[-1] == f"lease {lease:016x} expired or revoked."
    assert len(calls) > 2
