"""etcdctl of three minor versions: before Sampan's gateway it prints what it prints before etcd.

`make conformance` runs this. The oldest and the newest one are built by Go from the module proxy,
and skipped, with the reason, where that cannot be.
"""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from ..ctl.test_like_etcdctl import CLUSTER_LINES, LINES, Ran, normal, parse, shape
from .clusters import BIN, ETCD, SAMPAN, cluster

OLDEST = "go.etcd.io/etcd@v0.5.0-alpha.5.0.20200824191128-ae9734ed278b"
"""3.4.13, as Go's modules call it: its tags are of a form that they do not know."""
OLDEST_MAIN = """
package main

import "go.etcd.io/etcd/etcdctl/ctlv3"

func main() { ctlv3.Start() }
"""
NEWEST = "go.etcd.io/etcd/etcdctl/v3"
STREAMED = [
    "put s/1 1",
    "put s/2 2",
    "get s/ --prefix --stream",
    "get s/ --prefix --stream --limit 1",
    "get s/ --prefix --stream --count-only -w json",
    "get s/ --prefix --stream --order DESCEND",
    "get none --stream -w json",
]
"""Of the newest one alone."""

LOGGED = rb'^(\{"level":|\d{4}-\d\d-\d\d ).*\n'
HEX_IDS = (rb'"(ClusterID|MemberID)" : [0-9a-f]+\n', rb'"\1" : N\n')
SINCE_36 = {
    line for line in LINES if line.startswith("endpoint hashkv --rev=24")
} | {
    "⏎get k1 --rev 999999⏎put k1 --ignore-value⏎⏎ | txn",
    "⏎put nokey --ignore-value --lease=123⏎⏎ | txn",
}  # fmt: skip
"""What an etcd of 3.6 or later answers otherwise than 3.5, whom Sampan follows: it remembers the
hash of a revision that was compacted, and of a transaction's two faults finds the other one
first."""


def built(place, module, package):
    """An etcdctl of Go's module proxy."""
    if shutil.which("go") is None:
        pytest.skip("there is no go")
    place.mkdir()
    steps = [["go", "mod", "init", "built"], ["go", "get", module]]
    if package == ".":
        (place / "main.go").write_text(OLDEST_MAIN)
        steps.append(["go", "mod", "tidy"])
    for step in (*steps, ["go", "build", "-o", "etcdctl", package]):
        done = subprocess.run(step, cwd=place, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"not to be had: {done.stderr.strip()[-200:]}")
    return place / "etcdctl"


@pytest.fixture(scope="module", params=["3.4", "3.5", "newest"])
def etcdctl(request, tmp_path_factory):
    """Runs a command line against an endpoint."""
    place = tmp_path_factory.mktemp("etcdctl") / "built"
    if request.param == "3.5":
        program = BIN / "etcdctl"
    elif request.param == "3.4":
        program = built(place, OLDEST, ".")
    else:
        program = built(place, f"{NEWEST}@latest", NEWEST)

    def run(endpoint, line):
        ran = subprocess.run(
            [program, "--endpoints", endpoint, *line.args], input=line.stdin, capture_output=True,
            env=os.environ | line.environ, timeout=180,
        )  # fmt: skip
        logged = re.sub(LOGGED, b"", ran.stderr, flags=re.MULTILINE)
        return Ran(re.sub(*HEX_IDS, ran.stdout), logged, ran.returncode)

    run.version = request.param
    return run


@pytest.fixture(scope="module")
def etcd(etcdctl, tmp_path_factory):
    with cluster(ETCD, tmp_path_factory.mktemp("etcd")) as (url,):
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def sampan(etcdctl, tmp_path_factory):
    with cluster(SAMPAN, tmp_path_factory.mktemp("sampan")) as (url,):
        yield url.removeprefix("http://")


@pytest.fixture(scope="module")
def is_35():
    version = subprocess.run([*ETCD, "--version"], capture_output=True, text=True, check=True)
    return "Version: 3.5." in version.stdout


def test_the_whole_script(etcdctl, etcd, sampan, is_35):
    streams = STREAMED if etcdctl.version == "newest" and not is_35 else []
    lines = [line for line in LINES if is_35 or line not in SINCE_36] + streams
    differences = []
    with ThreadPoolExecutor(1) as beside:
        for text in lines:
            line = parse(text)
            running = beside.submit(etcdctl, etcd, line)
            ours = normal(etcdctl(sampan, line), line.args)
            theirs = normal(running.result(), line.args)
            if ours != theirs:
                differences.append(f"{text}\n  etcd:   {theirs}\n  Sampan: {ours}")
    print(f"etcdctl {etcdctl.version}: {len(lines) - len(differences)} of {len(lines)} lines")
    assert not differences, "\n".join(differences)


def test_what_tells_of_the_cluster_has_the_same_shape(etcdctl, etcd, sampan, is_35):
    if etcdctl.version == "newest" and is_35:
        pytest.skip("an etcd of 3.5 tells it less")
    for text in CLUSTER_LINES:
        line = parse(text)
        theirs, ours = etcdctl(etcd, line), etcdctl(sampan, line)
        assert ours.exit_code == theirs.exit_code, text
        assert shape(ours.stdout) == shape(theirs.stdout), text
        assert shape(ours.stderr) == shape(theirs.stderr), text  # where 3.4 tells of health
