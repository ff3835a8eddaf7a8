"""make-mirror makes of a destination what etcdctl's does, says the same and ends the same."""

import re
import signal
import subprocess
import time
from contextlib import ExitStack

import pytest

from ..client.real_node import real_node
from .conftest import ETCDCTL, SAMPANCTL, run_etcd

WAIT_S = 180

# What the source holds before, what happens to it while it is mirrored, and the last key put,
# under every prefix that a case mirrors.
BEFORE = [("put", "{p}a", "1"), ("put", "{p}b", "2"), ("put", "{p}c/d", "3"), ("put", "z", "4")]
MEANWHILE = [
    ("put", "{p}a", "5"),
    ("del", "{p}b"),
    ("put", "{p}e", ""),
    ("put", "zz", "6"),
    ("del", "{p}c/", "--prefix"),
    ("put", "{p}f", "8 9"),
]
LAST = ("put", "{p}last", "7")

CASES = {
    "prefix": ("m/", "m/", ["--prefix=m/"]),
    "other prefix": ("m/", "copy/", ["--prefix=m/", "--dest-prefix=copy/"]),
    "no prefix there": ("m/", "", ["--prefix=m/", "--no-dest-prefix"]),
    "everything": ("", "", []),
    "everything, elsewhere": ("", "all/", ["--dest-prefix=all/"]),
}


def run(path, endpoint, *args):
    command = [path, "--endpoints", endpoint, *args]
    return subprocess.run(command, capture_output=True, timeout=WAIT_S, check=True).stdout


def wait_for(path, endpoint, key):
    deadline = time.monotonic() + WAIT_S
    while not run(path, endpoint, "get", key):
        assert time.monotonic() < deadline


def mirrored(path, source, destination, prefix, dest_prefix, flags):
    """(all of the destination, what was printed, the exit code)."""
    for endpoint in (source, destination):
        run(path, endpoint, "del", "", "--from-key")
    for step in BEFORE:
        run(path, source, *(part.format(p=prefix) for part in step))
    command = [path, "--endpoints", source, "make-mirror", *flags, destination]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            wait_for(path, destination, f"{dest_prefix}c/d")
            for step in (*MEANWHILE, LAST):
                run(path, source, *(part.format(p=prefix) for part in step))
            wait_for(path, destination, f"{dest_prefix}last")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    # Every 30 s it tells how many keys it has copied: none, on a machine that is not slower.
    out = re.sub(rb"^\d+\n", b"", out, flags=re.MULTILINE)
    return run(path, destination, "get", "", "--from-key"), out, err, process.returncode


@pytest.fixture(scope="module")
def etcds(tmp_path_factory):
    """Two etcds of one member."""
    with ExitStack() as stack:
        yield [stack.enter_context(run_etcd(tmp_path_factory.mktemp("etcd"))) for _ in range(2)]


@pytest.fixture(scope="module")
def sampans(tmp_path_factory):
    """Two nodes that are a cluster each."""
    with ExitStack() as stack:
        yield [stack.enter_context(real_node(tmp_path_factory.mktemp("node"))) for _ in range(2)]


@pytest.mark.parametrize("case", CASES)
def test_a_mirror_as_etcdctl_makes_it(etcds, sampans, case):
    theirs = mirrored(ETCDCTL, *etcds, *CASES[case])
    ours = mirrored(SAMPANCTL, *sampans, *CASES[case])
    assert b"last\n7\n" in theirs[0]
    assert ours == theirs
