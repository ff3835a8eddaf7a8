"""Clients in other languages: Java's jetcd, Rust's etcd-client with its own tests, python-etcd3 and
tooz, each before a real etcd and before three members."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .clusters import ETCD, SAMPAN, cluster

HERE = Path(__file__).parent
WAIT_S = 600
RUST_AT = ("https://github.com/etcdv3/etcd-client", "v0.19.0", "TEST_ETCD_CLIENT_REPOSITORY")
MOVES_LEADER = "test_move_leader"
"""Wants a header in the answer to MoveLeader where there are several members; etcd's has none."""
both = pytest.mark.parametrize(
    ("program", "size"), [(ETCD, 1), (SAMPAN, 3)], ids=["etcd", "sampan"]
)


def run(command, **more):
    done = subprocess.run(command, capture_output=True, text=True, timeout=WAIT_S, **more)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.split()


@pytest.fixture(scope="module")
def java(tmp_path_factory, needs):
    """The command of the program."""
    needs("javac", "mvn")
    place = tmp_path_factory.mktemp("java")
    for file in (HERE / "java").iterdir():
        shutil.copy(file, place)
    jars = ["mvn", "-q", "-B", "dependency:build-classpath", "-Dmdep.outputFile=jars"]
    done = subprocess.run(jars, cwd=place, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not to be had: {done.stdout[-200:]}")
    jars = (place / "jars").read_text()
    subprocess.run(["javac", "-cp", jars, "-d", place, place / "Smoke.java"], check=True)
    return ["java", "-cp", f"{place}{os.pathsep}{jars}", "Smoke"]


@both
def test_jetcd(java, program, size, tmp_path):
    with cluster(program, tmp_path, size) as urls:
        told = run([*java, *(url.removeprefix("http://") for url in urls)])
    assert told == ["kv", "lease", "watch", "lock", "election", "cluster"]


@both
def test_python_etcd3(workshop, program, size, tmp_path):
    python = workshop("etcd3==0.12.0", "protobuf<3.21", "setuptools<80")
    with cluster(program, tmp_path, size) as urls:
        told = run([python, HERE / "smoke_etcd3.py", urls[-1].removeprefix("http://")])
    assert told == ["kv", "lease", "watch", "lock", "cluster"]


@both
def test_tooz(workshop, program, size, tmp_path):
    python = workshop("tooz[etcd3gw]==9.1.0")
    with cluster(program, tmp_path, size) as urls:
        told = run([python, HERE / "smoke_tooz.py", urls[-1].removeprefix("http://")])
    assert told == ["groups", "locks", "watchers"]


@pytest.fixture(scope="module")
def rust(checkout, needs):
    """The tests' executables. They look for etcd at its default port."""
    needs("cargo", "protoc", "unshare")
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("needs root on Linux, for a network of its own")
    repository = checkout(*RUST_AT)
    build = ["cargo", "test", "--no-run"]
    done = subprocess.run(build, cwd=repository, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not to be had: {done.stderr[-200:]}")
    return [repository / each for each in re.findall(r"tests/\w+\.rs \((\S+)\)", done.stderr)]


def rust_passed(executables, start, directory):
    """The names of the tests that pass, in a network of its own."""
    script = directory / "run.sh"
    lines = [
        "ip link set lo up",
        f"{start} > {directory}/log 2>&1 &",
        "until curl -sf localhost:2379/health; do sleep 0.2; done",
        *(f"{each} --test-threads=1" for each in executables),
        "kill $!; wait $!",
    ]
    script.write_text("\n".join(lines))
    command = ["unshare", "-n", "sh", script]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=WAIT_S)
    return set(re.findall(r"^test (\S+) \.\.\. ok$", done.stdout, re.MULTILINE))


def test_rust(rust, tmp_path):
    up = f"{SAMPAN[0]} up --placement fused --data-dir {tmp_path}/sampan"
    at_etcd = rust_passed(rust, f"{ETCD[0]} --data-dir {tmp_path}/etcd", tmp_path)
    at_sampan = rust_passed(rust, up, tmp_path)
    print(f"etcd-client: {len(at_etcd)} pass before etcd, {len(at_sampan)} before Sampan")
    assert at_etcd
    assert at_etcd - at_sampan - {MOVES_LEADER} == set()
