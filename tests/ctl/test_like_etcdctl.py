"""sampanctl prints what etcdctl prints and exits as it does, command line by command line."""

import io
import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest
from sampan.ctl import main as ctl

from .conftest import ETCDCTL

SCRIPT = Path(__file__).with_name("script.txt")
LINES = [line for line in SCRIPT.read_text().splitlines() if line and not line.startswith("#")]

IDENTITY = [
    (rb'"(cluster_id|member_id|raft_term)":\d+', rb'"\1":N'),
    (rb'"(ClusterID|MemberID|RaftTerm)" : \d+', rb'"\1" : N'),
]
"""What differs from one cluster to the next."""
UNREACHED = rb"(context deadline exceeded): (\S+:\d+(: cannot connect: [^\n\";)]*)?(; )?)+"
"""Why no endpoint could be reached stands in etcdctl's log, whose lines are taken out below."""


class Ran(NamedTuple):
    stdout: bytes
    stderr: bytes
    exit_code: int


class Line(NamedTuple):
    args: list[str]
    environ: dict[str, str]
    stdin: bytes


def parse(line: str) -> Line:
    before, bar, after = line.partition(" | ")
    stdin = before.replace("⏎", "\n") + "\n" if bar else ""
    words = shlex.split(after if bar else line)
    environ = {}
    while words and re.match(r"[A-Z_]+=", words[0]):
        name, _, value = words.pop(0).partition("=")
        environ[name] = value
    return Line(words, environ, stdin.encode())


def etcdctl(endpoint: str, line: Line) -> Ran:
    ran = subprocess.run(
        [ETCDCTL, "--endpoints", endpoint, *line.args],
        input=line.stdin,
        capture_output=True,
        env=os.environ | line.environ,
        timeout=180,
    )
    logged = re.sub(rb'^\{"level":.*\n', b"", ran.stderr, flags=re.MULTILINE)
    return Ran(ran.stdout, logged, ran.returncode)


def sampanctl(endpoint: str, line: Line, monkeypatch: pytest.MonkeyPatch) -> Ran:
    for name, value in line.environ.items():
        monkeypatch.setenv(name, value)
    out, err = io.BytesIO(), io.BytesIO()
    args = ["--endpoints", endpoint, *line.args]
    exit_code = ctl.run(args, io.BytesIO(line.stdin), out, err)
    said = (re.sub(UNREACHED, rb"\1", each.getvalue()) for each in (out, err))
    return Ran(*said, exit_code)


def normal(ran: Ran, args: list[str]) -> Ran:
    stdout = ran.stdout
    if stdout.startswith(b"NAME:\n"):
        stdout = b"a help text"  # its words are each program's own
    elif "protobuf" in args and stdout[:1] == b"\n":
        stdout = stdout[2 + stdout[1] :]  # without the header, whose ids differ
    for pattern, replacement in IDENTITY:
        stdout = re.sub(pattern, replacement, stdout)
    stderr = re.sub(rb"127\.0\.0\.1:\d+", b"HOST:PORT", ran.stderr)
    return Ran(stdout, stderr.replace(b"sampanctl", b"etcdctl"), ran.exit_code)


def test_the_whole_script(etcd, sampan):
    """One test, because each line stands on the ones before it."""
    differences = []
    with ThreadPoolExecutor(1) as beside:
        for text in LINES:
            line = parse(text)
            running = beside.submit(etcdctl, etcd, line)
            with pytest.MonkeyPatch.context() as monkeypatch:
                ours = normal(sampanctl(sampan, line, monkeypatch), line.args)
            theirs = normal(running.result(), line.args)
            if ours != theirs:
                differences.append(f"{text}\n  etcdctl:   {theirs}\n  sampanctl: {ours}")
    assert not differences, "\n".join(differences)


CLUSTER_LINES = [
    f"{command} -w {form}"
    for command in ("endpoint status", "endpoint health", "endpoint hashkv", "member list")
    for form in ("simple", "fields", "json", "table")
]
CLUSTER_LINES += [f"member list --hex -w {form}" for form in ("simple", "fields", "json", "table")]
CLUSTER_LINES += ["endpoint status --hex -w json", "endpoint status --hex -w fields"]
CLUSTER_LINES += [f"endpoint {what} --cluster" for what in ("status", "health", "hashkv")]
CLUSTER_LINES += ["endpoint hashkv --rev=-1", "endpoint hashkv anything", "endpoint hashkv --hex"]


def shape(output: bytes) -> str:
    """What remains when numbers, ids, sizes, addresses and column widths are not looked at."""
    text = output.decode().replace("http://", "")
    text = re.sub(r"\b[0-9a-f]{14,16}\b|\d[\d.:]*( [kM]?B|µs|ms|s)?\b", "N", text)
    return re.sub(r"[ ─-]+", " ", text)


@pytest.mark.parametrize("text", CLUSTER_LINES)
def test_what_tells_of_the_cluster_has_the_same_shape(etcd, sampan, monkeypatch, text):
    line = parse(text)
    ours, theirs = sampanctl(sampan, line, monkeypatch), etcdctl(etcd, line)
    assert ours[1:] == theirs[1:] == (b"", 0)
    assert shape(ours.stdout) == shape(theirs.stdout)


UNREACHABLE_LINES = [
    "put a b",
    "get a",
    "del a",
    "member list",
    "endpoint health",
    "endpoint status",
    "endpoint status -w json",
    "endpoint status -w table",
    "endpoint status --cluster",
    "endpoint hashkv",
    "endpoint hashkv -w json",
    "compaction 5",
]


@pytest.mark.parametrize("text", UNREACHABLE_LINES)
def test_an_endpoint_that_does_not_answer(monkeypatch, text):
    line = parse(f"--command-timeout=200ms {text}")
    ours, theirs = sampanctl("127.0.0.1:1", line, monkeypatch), etcdctl("127.0.0.1:1", line)
    assert ours == theirs


def test_it_says_why_no_endpoint_could_be_reached():
    for command in (["get", "a"], ["put", "a", "b"], ["endpoint", "status"], ["lease", "list"]):
        args = ["--command-timeout=200ms", "--endpoints=127.0.0.1:1", *command]
        assert ctl.run(args, io.BytesIO(), out := io.BytesIO(), err := io.BytesIO())
        why = b"context deadline exceeded: tcp://127.0.0.1:1: cannot connect: 127.0.0.1:1: "
        assert why + b"Connection refused" in out.getvalue() + err.getvalue()


def test_one_endpoint_of_two_answers(etcd, sampan, monkeypatch):
    """All at the same time: etcdctl waits for the dead one as long as it may, and on a machine
    under load the living one needs seconds."""
    commands = ("endpoint status", "endpoint hashkv", "endpoint health", "get nothing")
    lines = [parse(f"--command-timeout=20s {command}") for command in commands]
    dead = ",127.0.0.1:1"
    with ThreadPoolExecutor() as beside:
        running = [beside.submit(etcdctl, etcd + dead, line) for line in lines]
        found = [sampanctl(sampan + dead, line, monkeypatch) for line in lines]
    for ours, theirs in zip(found, (each.result() for each in running), strict=True):
        assert ours[1:] == theirs[1:]
        assert shape(ours.stdout) == shape(theirs.stdout)


def test_without_an_endpoint(monkeypatch):
    line = parse("get a")
    ours, theirs = sampanctl("", line, monkeypatch), etcdctl("", line)
    assert ours == theirs


@pytest.mark.parametrize("text", ["gett", "lst", "memberr list", "Member", "compactt", "wach a"])
def test_guesses_what_was_meant(etcd, sampan, monkeypatch, text):
    line = parse(text)
    theirs = normal(etcdctl(etcd, line), line.args)
    ours = normal(sampanctl(sampan, line, monkeypatch), line.args)
    assert sorted(ours.stderr.splitlines()) == sorted(theirs.stderr.splitlines())  # in any order
    assert ours[::2] == theirs[::2] == (b"", 1)


BYTE = "\udcff"
"""A byte that is not UTF-8, as Python has it in its arguments."""


@pytest.mark.parametrize(
    "args",
    [
        ["get", "k", f"--limit={BYTE}"],
        ["get", "k", f"--order={BYTE}"],
        ["get", "k", f"--consistency={BYTE}"],
        ["get", "k", f"--{BYTE}"],
        ["get", "k", f"-{BYTE}"],
        ["get", f"{BYTE}k"],
        [BYTE],
        ["lease", "revoke", BYTE],
        ["lease", "grant", BYTE],
        ["compaction", BYTE],
        ["put", "k", "v", f"--lease={BYTE}"],
        ["put", "k", "v", f"--prev-kv={BYTE}"],
        ["get", "k", f"--command-timeout={BYTE}"],
        ["get", "k", f"--command-timeout=1{BYTE}"],
        ["watch", "k", f"--rev={BYTE}"],
    ],
)
def test_errors_tell_of_bytes_that_are_not_utf8(etcd, sampan, monkeypatch, args):
    line = Line(args, {}, b"")
    theirs = normal(etcdctl(etcd, line), args)
    assert normal(sampanctl(sampan, line, monkeypatch), args) == theirs


@pytest.mark.parametrize(
    "stdin",
    [
        b"\xff\n",
        b'mod("a") = "\xff"\n\n\n\n',
        b"\nbogus \xff\n\n\n",
        b"\nput \xff\n\n\n",
    ],
)
def test_a_transaction_of_bytes_that_are_not_utf8(etcd, sampan, monkeypatch, stdin):
    line = Line(["txn"], {}, stdin)
    theirs = normal(etcdctl(etcd, line), ["txn"])
    assert normal(sampanctl(sampan, line, monkeypatch), ["txn"]) == theirs


@pytest.mark.parametrize("value", ["json", ""])
def test_an_environment_variable_and_its_flag_exclude_each_other(etcd, sampan, monkeypatch, value):
    line = parse(f"ETCDCTL_WRITE_OUT={value} get e -w simple")
    ours, theirs = sampanctl(sampan, line, monkeypatch), etcdctl(etcd, line)
    assert ours[::2] == theirs[::2] == (b"", 1)
    assert b"conflicts with --write-out" in ours.stderr  # etcdctl says so in a log line
