"""What Kubernetes' API server asks of its etcd: the tests of its storage, k8s.io/apiserver.

Needs Go; the module comes from Go's proxy. Their tests start an etcd inside themselves, with
kubernetes/test_server.go in its place a `sampan etcd` of their own each; or, to compare with, an
etcd of the version that they would have inside.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from .clusters import SAMPAN

MODULE = "k8s.io/apiserver@v0.37.2"
STORAGE = "pkg/storage/etcd3"
SERVER = "go.etcd.io/etcd/server/v3"
SUITE_S = 3600
RESULT = re.compile(r"^ *--- (PASS|FAIL|SKIP): (\S+)", re.MULTILINE)


@pytest.fixture(scope="module")
def built(tmp_path_factory, needs):
    """The folder of the tests, the tests, and their etcd."""
    needs("go")
    download = ["go", "mod", "download", "-json", MODULE]
    done = subprocess.run(download, cwd=tmp_path_factory.mktemp("go"), capture_output=True)
    if done.returncode:
        pytest.skip(f"not to be had: {done.stderr[-200:]}")
    place = tmp_path_factory.mktemp("kubernetes") / "apiserver"
    shutil.copytree(json.loads(done.stdout)["Dir"], place)
    subprocess.run(["chmod", "-R", "u+w", place], check=True)  # modules are kept read-only
    shutil.copy(Path(__file__).parent / "kubernetes/test_server.go", place / STORAGE / "testserver")
    tests, etcd = place / "storage.test", place / "etcd"
    for build in (
        ["go", "test", "-c", "-o", tests, f"./{STORAGE}/"],
        ["go", "build", "-o", etcd, SERVER],
    ):
        subprocess.run(build, cwd=place, check=True)
    return place / STORAGE, tests, etcd


def passed(folder, tests, program, log_path):
    """The names of the tests that pass, and of those that do not."""
    with log_path.open("wb") as log:
        environment = os.environ | {"ETCD_COMMAND": " ".join(map(str, program))}
        command = [tests, "-test.v", "-test.timeout", f"{SUITE_S}s"]
        subprocess.run(command, cwd=folder, stdout=log, stderr=log, env=environment)
    found = {name: result for result, name in RESULT.findall(log_path.read_text(errors="replace"))}
    return [{n for n, r in found.items() if r == result} for result in ("PASS", "FAIL")]


@pytest.mark.timeout(3 * SUITE_S)
def test_storage(built, tmp_path):
    folder, tests, etcd = built
    at_etcd, _ = passed(folder, tests, (etcd,), tmp_path / "etcd.log")
    at_sampan, failed = passed(folder, tests, SAMPAN, tmp_path / "sampan.log")
    print(f"\n{len(at_etcd)} pass before etcd, {len(at_sampan)} before Sampan")
    for name in sorted(failed):
        print(f"fails before Sampan: {name}")
    assert at_etcd
    assert at_etcd - at_sampan == set(), f"{tmp_path}/sampan.log tells more"
