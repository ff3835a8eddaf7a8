"""etcd's own tests/common, with `sampan etcd` as its etcd.

Needs Go and git, or a checkout of etcd's repository in TEST_ETCD_REPOSITORY. The tests, `etcdctl`
and an `etcd` to compare with are built from it. What passes before etcd has to pass before Sampan,
but what is in `OTHERWISE`. The tests have 10 s each, their servers' start included: not for a busy
machine. TEST_ETCD_TESTS chooses some.
"""

import os
import re
import shutil
import subprocess

import pytest

from .clusters import BIN

ETCD_AT = ("https://github.com/etcd-io/etcd", "v3.7.1", "TEST_ETCD_REPOSITORY")
SUITE_S = 3600
STREAM = "TestKVGetStream/NoTLS/all_KVs_ordered_by_value,_unspecified"
OTHERWISE = {
    STREAM + "_sort_order": "etcd sorts each chunk of a stream by itself, and so leaves out keys",
    STREAM + "_sort_order_--keys-only": "the same",
    "TestAuthMemberRemove": "a leader that is removed hands over first, which ends the call",
}
NO_TEST_OF_A_SERVER = "TestAuthority"
"""Reads what Go's HTTP/2 library writes into etcd's log."""
REFUSED = "/Peer"
"""In the name of a test whose members have certificates for each other."""
RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory, checkout, needs):
    """A folder with etcd's binaries, and the tests."""
    needs("go")
    repository = checkout(*ETCD_AT)
    place = tmp_path_factory.mktemp("etcd")
    build = ["go", "build", "-o"]
    for folder, command in {
        "tests": ["go", "test", "-c", "-tags", "e2e", "-o", place / "common.test", "./common/"],
        "etcdctl": [*build, place / "etcdctl", "."],
        "etcdutl": [*build, place / "etcdutl", "."],
        "server": [*build, place / "etcd", "."],
    }.items():
        subprocess.run(command, cwd=repository / folder, check=True)
    return place, repository / "tests" / "common"


def beside(place, name):
    """A folder like `place`, with Sampan in etcd's place."""
    folder = place / name
    folder.mkdir()
    for tool in ("etcdctl", "etcdutl"):
        shutil.copy(place / tool, folder / tool)
    etcd = folder / "etcd"
    etcd.write_text(f'#!/bin/sh\nexec {BIN / "sampan"} etcd "$@"\n')
    etcd.chmod(0o755)
    return folder


def passed(tests, place, folder, log_path):
    """The names of the tests that pass, and of those that do not."""
    command = [place / "common.test", "-bin-dir", folder, "-test.v"]
    command += ["-test.timeout", f"{SUITE_S}s", "-test.skip", NO_TEST_OF_A_SERVER]
    command += ["-test.run", os.environ.get("TEST_ETCD_TESTS", ".")]
    if os.geteuid() == 0 and shutil.which("unshare"):  # its ports are fixed
        command = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *command]
    with log_path.open("wb") as log:
        environment = os.environ | {"E2E_TEST_MINIMAL": "true"}
        subprocess.run(command, cwd=tests, stdout=log, stderr=log, env=environment)
    found = {name: result for result, name in RESULT.findall(log_path.read_text(errors="replace"))}
    leaves = {
        name: result
        for name, result in found.items()
        if REFUSED not in name and not any(other.startswith(f"{name}/") for other in found)
    }
    return [{n for n, r in leaves.items() if r == result} for result in ("PASS", "FAIL")]


@pytest.mark.timeout(3 * SUITE_S)
def test_common(built, tmp_path):
    place, tests = built
    here = beside(place, "sampan")
    at_etcd, _ = passed(tests, place, place, tmp_path / "etcd.log")
    at_sampan, failed = passed(tests, place, here, tmp_path / "sampan.log")
    print(f"\n{len(at_etcd)} pass before etcd, {len(at_sampan)} before Sampan")
    for name in sorted(failed):
        print(f"fails before Sampan: {name}")
    assert at_etcd
    assert at_etcd - at_sampan - OTHERWISE.keys() == set(), f"{tmp_path}/sampan.log tells more"
