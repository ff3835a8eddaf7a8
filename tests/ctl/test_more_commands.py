"""`check`, `make-mirror` and others."""

import io
import os
import re
import subprocess
import time
from collections import Counter

import pytest
from sampan.client import Client
from sampan.ctl import check_datascale, check_perf
from sampan.ctl import main as ctl
from sampan.ctl.check_load import Measured
from sampan.ctl.check_perf import Load, judge

from ..client.real_node import real_node
from .conftest import ETCDCTL, SAMPANCTL
from .test_like_etcdctl import etcdctl, parse, sampanctl

WAIT_S = 180
FROM_ARCHIVE = ["restore", "--archive", "d", "--config", "F", "--name", "n1"]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """The client endpoint of another cluster."""
    with real_node(tmp_path_factory.mktemp("other")) as endpoint:
        yield endpoint


def run(*args):
    out, err = io.BytesIO(), io.BytesIO()
    exit_code = ctl.run(args, io.BytesIO(), out, err)
    return exit_code, out.getvalue().decode(), err.getvalue().decode()


class Running:
    """A command in a process of its own."""

    def __init__(self, program, endpoint, *args):
        self.process = subprocess.Popen(
            [program, "--endpoints", endpoint, *args],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def line(self):
        return self.process.stdout.readline().decode().rstrip("\n")

    def interrupt(self, number):
        self.process.send_signal(number)
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out.decode(), err.decode()


# -- check perf


def test_check_perf_prints_and_cleans_up(sampan, monkeypatch):
    monkeypatch.setitem(check_perf.LOADS, "s", Load(50, 5, 1))
    exit_code, out, err = run("--endpoints", sampan, "check", "perf", "--auto-compact")
    bar, *lines = out.split("\n")
    assert "\r 1 / 1 " in bar
    assert "100.00%" in bar
    said = re.sub(r"\d+(\.\d+)?", "N", "\n".join(lines))
    said = re.sub(r"FAIL|PASS", "X", said)  # a busy machine may be too slow for either
    said = said.replace("Slowest request took too long:", "X: Slowest request took")
    said = said.replace("Stddev too high:", "X: Stddev is")
    said = said.replace("Throughput too low:", "Throughput is")
    assert said == (
        "Compacting with revision N\nCompacted with revision N\nX: Throughput is N writes/s\n"
        "X: Slowest request took Ns\nX: Stddev is Ns\nX\n"
    )
    assert (exit_code, err) == (0 if lines[-2] == "PASS" else 1, "")
    with Client([sampan]) as client:
        assert client.get("/etcdctl-check-perf/", prefix=True).count == 0


@pytest.mark.parametrize(
    ("took", "failed", "lines"),
    [
        ([0.1] * 100, {}, ["PASS: Throughput is 101 writes/s", "PASS: Slowest request took "
         "0.100000s", "PASS: Stddev is 0.000000s", "PASS"]),
        ([0.1] * 90, {}, ["FAIL: Throughput too low: 91 writes/s", "PASS: Slowest request took "
         "0.100000s", "PASS: Stddev is 0.000000s", "FAIL"]),
        ([0.1] * 99 + [0.6], {}, ["PASS: Throughput is 101 writes/s", "Slowest request took too "
         "long: 0.600000s", "PASS: Stddev is 0.049749s", "FAIL"]),
        ([0.0, 0.4] * 50, {}, ["PASS: Throughput is 101 writes/s", "PASS: Slowest request took "
         "0.400000s", "Stddev too high: 0.200000s", "FAIL"]),
        ([0.1] * 100, {"oh": 2}, ["FAIL: too many errors", "FAIL: ERROR(oh) -> 2",
         "PASS: Throughput is 101 writes/s", "PASS: Slowest request took 0.100000s",
         "PASS: Stddev is 0.000000s", "FAIL"]),
    ],
)  # fmt: skip
def test_what_check_perf_says_of_a_run(took, failed, lines):
    measured = Measured(took, Counter(failed), 1.0)
    assert judge(measured, Load(100, 1, 1)) == (lines, lines[-1] == "PASS")


# -- check datascale


def test_check_datascale_prints_what_etcdctl_does(etcd, sampan, monkeypatch):
    flags = ("--auto-compact", "--auto-defrag")
    load = check_datascale.LOADS["s"]
    theirs = subprocess.run(
        [ETCDCTL, "--endpoints", etcd, "check", "datascale", *flags], capture_output=True
    )
    monkeypatch.setitem(check_datascale.LOADS, "s", load._replace(limit=200))
    exit_code, out, err = run("--endpoints", sampan, "check", "datascale", *flags)

    def shape(text, endpoint):
        without_bar = re.sub(r"\r[^\n\r]*", "", text)
        return re.sub(r"-?\d[\d.]*", "N", without_bar.replace(endpoint, "HERE"))

    assert shape(out, sampan) == shape(theirs.stdout.decode(), etcd)
    assert (exit_code, err) == (theirs.returncode, theirs.stderr.decode()) == (0, "")
    with Client([sampan]) as client:
        assert client.get("/etcdctl-check-datascale/", prefix=True).count == 0


@pytest.mark.parametrize("command", ["check perf", "check datascale"])
def test_checks_do_not_touch_keys_that_are_there(etcd, sampan, monkeypatch, command):
    for put in (
        etcdctl(etcd, parse("put /mine/1 v")),
        sampanctl(sampan, parse("put /mine/1 v"), monkeypatch),
    ):
        assert put.exit_code == 0
    line = parse(f"{command} --prefix /mine/")
    assert sampanctl(sampan, line, monkeypatch) == etcdctl(etcd, line)
    assert sampanctl(sampan, line, monkeypatch).exit_code == 3


def test_check_datascale_says_which_puts_failed_and_what_is_not_known(sampan, monkeypatch):
    failed = Measured([0.1], Counter({"oh": 2}), 1.0)
    lines = ["FAIL: too many errors", "FAIL: ERROR(oh) -> 2"]
    assert check_datascale.judge(failed, 1 << 20) == (lines, False)
    monkeypatch.setattr(check_datascale, "_memory", lambda _: 0)  # as of an older node
    exit_code, out, err = run("--endpoints", sampan, "check", "datascale")
    unread = "FAIL: Could not read process_resident_memory_bytes before the put operations.\n"
    assert (exit_code, out, err) == (1, unread, "")


# -- like etcdctl

LINES = [
    "check",
    "check perf --load=huge",
    "check datascale --load=huge",
    "check datascale --prefix=",
    "check datascale --nope",
    "check d --load=",
    "make-mirror",
    "make-mirror a b",
    "make-mirror --no-dest-prefix --dest-prefix=x/ 127.0.0.1:1",
]


@pytest.mark.parametrize("text", LINES)
def test_as_etcdctl(etcd, sampan, monkeypatch, text):
    line = parse(text)
    ours, theirs = sampanctl(sampan, line, monkeypatch), etcdctl(etcd, line)
    assert ours[1:] == theirs[1:]
    help_text = theirs.stdout.startswith(b"NAME:")
    assert ours.stdout.startswith(b"NAME:") if help_text else ours.stdout == theirs.stdout


# -- make-mirror


def wait_value(endpoint, key, value):
    deadline = time.monotonic() + WAIT_S
    with Client([endpoint], timeout_s=WAIT_S) as client:
        while [kv.value for kv in client.get(key).kvs] != value:
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_a_mirror_copies_what_is_there_and_what_comes(sampan, other):
    with Client([sampan], timeout_s=WAIT_S) as client:
        client.put("m/a", "1")
        client.put("elsewhere", "1")
        args = ("make-mirror", "--prefix=m/", "--dest-prefix=copy/", other)
        with Running(SAMPANCTL, sampan, *args):
            wait_value(other, "copy/a", [b"1"])
            client.put("m/b", "2")
            client.delete("m/a")
            client.put("elsewhere", "2")
            client.put("m/c", "3")
            wait_value(other, "copy/c", [b"3"])
    with Client([other], timeout_s=WAIT_S) as client:
        found = client.get("\0", from_key=True).kvs
    assert [(kv.key, kv.value) for kv in found] == [(b"copy/b", b"2"), (b"copy/c", b"3")]


def test_a_mirror_to_the_root_of_the_other(sampan, other):
    with Client([sampan], timeout_s=WAIT_S) as client:
        client.put("r/x", os.urandom(8).hex())
        value = client.get("r/x").kvs[0].value
    with Running(SAMPANCTL, sampan, "make-mirror", "--prefix=r/", "--no-dest-prefix", other):
        wait_value(other, "x", [value])


@pytest.mark.parametrize("arguments", [[], ["--cluster"]])
def test_defrag_tells_each_member(etcd, sampan, arguments):
    def told(program, endpoint):
        ran = subprocess.run(
            [program, "--endpoints", endpoint, "defrag", *arguments],
            capture_output=True, text=True, timeout=WAIT_S,
        )  # fmt: skip
        return ran.returncode, ran.stdout.replace("http://", "").replace(endpoint, "HERE")

    assert told(SAMPANCTL, sampan) == told(ETCDCTL, etcd)


def test_defrag_of_a_member_that_is_not_there():
    code, out, err = run("--endpoints", "127.0.0.1:1", "--command-timeout", "100ms", "defrag")
    assert (code, out) == (1, "")
    assert err.startswith("Failed to defragment etcd member[127.0.0.1:1] (")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["save"], "snapshot save expects one argument"),
        (["save", "a", "b"], "snapshot save expects one argument"),
        (["save", "f", "--endpoints", "127.0.0.1:1,127.0.0.1:2"], "to one selected node, not"),
        (["status"], "snapshot status requires exactly one argument"),
        (["restore"], "snapshot restore requires exactly one argument"),
        (["restore", "f", "--name", "a"], "needs --config"),
        (["restore", "f", "--archive", "d"], "requires exactly one argument, or --archive"),
        (["restore", "f", "--revision", "5"], "--revision and --time need --archive"),
        ([*FROM_ARCHIVE, "--time", "noon"], "noon is not a time"),
        ([*FROM_ARCHIVE, "--time", "2026-11-30T18:33:47"], "is of which zone?"),
        ([*FROM_ARCHIVE, "--time", "2026-11-30T18:33:47Z", "--revision", "4"], "two answers"),
        (["restore", "f", "--config", "c"], "needs --name"),
    ],
)
def test_what_snapshot_refuses(arguments, words):
    code, out, err = run("snapshot", *arguments)
    assert (code, out) == (128, "")
    assert words in err
