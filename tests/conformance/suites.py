"""etcd's clients, with their own tests, before a real etcd and before three nodes of Sampan.

`make conformance` runs this; `make test` does not: it fetches clients from package registries and
takes some minutes. Whatever passes before etcd has to pass before Sampan, in the same run. Each
client is skipped, with the reason, where it cannot be had.
"""

import json
import os
import shutil
import subprocess
import tarfile
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from .clusters import BIN, ETCD, SAMPAN, cluster, compare

HERE = Path(__file__).parent
NPM_ETCD3 = os.environ.get("NPM_ETCD3", "https://github.com/microsoft/etcd3")
"""Where the repository is cloned from: what npm has of it comes without its tests."""
SUITE_S = 1200.0
CSLAB_OWN = {"tests.test_etcd3.TestEtcd3.test_snapshot"}
"""Reads what it has saved with etcd's own tools, which open etcd's own files only."""


@pytest.fixture(params=[(ETCD, 1), (SAMPAN, 3)], ids=["etcd", "sampan"])
def server(request, tmp_path_factory):
    """The URL of a fresh cluster: suites count the keys that they find."""
    program, size = request.param
    with cluster(program, tmp_path_factory.mktemp("server"), size) as urls:
        yield urls[0]


def passed(python, tests, environment, directory):
    """The names of the tests that pass."""
    report = directory / "report.xml"
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "60"]
    subprocess.run(
        [*command, f"--junitxml={report}", tests],
        env=os.environ | environment, cwd=directory, timeout=SUITE_S, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    cases = ET.parse(report).iter("testcase")
    return {f"{case.get('classname')}.{case.get('name')}" for case in cases if not len(case)}


@pytest.fixture
def server_id(request):
    return request.node.callspec.id


def test_etcd3gw(server, server_id, workshop, tmp_path):
    python = workshop(
        "etcd3gw==2.7.0", "oslotest", "fixtures", "testtools", "pytest", "pytest-timeout"
    )
    where = "import etcd3gw, os; print(os.path.dirname(etcd3gw.__file__))"
    folder = subprocess.run([python, "-c", where], capture_output=True, text=True, check=True)
    environment = {
        "TOOZ_TEST_ETCD_PORT": server.rpartition(":")[2],
        "TOOZ_TEST_HTTP_URL": server,
    }
    tests = tmp_path / "tests"  # where their names do not have the environment's place in them
    shutil.copytree(Path(folder.stdout.strip()) / "tests", tests)
    found = passed(python, tests, environment, tmp_path)
    compare("etcd3gw", server_id, found)


def test_cslab_etcd3(server, server_id, workshop, tmp_path):
    python = workshop(
        "cslab-etcd3==0.12.1", "pytest", "pytest-timeout", "hypothesis", "mock", "six", "tenacity"
    )
    fetch = [python, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:"]
    subprocess.run([*fetch, "cslab-etcd3==0.12.1"], cwd=tmp_path, check=True)
    with tarfile.open(next(tmp_path.glob("*.tar.gz"))) as archive:
        archive.extractall(tmp_path, filter="data")
    tests = tmp_path / "tests"
    shutil.move(next(tmp_path.glob("cslab*/tests")), tests)  # away from the package's own source
    file = tests / "test_etcd3.py"
    profile = "deadline=None, max_examples=3, suppress_health_check=list(HealthCheck)"
    text = file.read_text().replace("import given, settings", "import HealthCheck, given, settings")
    file.write_text(text.replace('"default", deadline=None', f'"default", {profile}'))
    environment = {"PYTHON_ETCD_HTTP_URL": server, "TEST_ETCD_VERSION": "v3.5.1"}
    environment["PATH"] = f"{BIN}:{os.environ['PATH']}"
    found = passed(python, tests, environment, tmp_path)
    compare("cslab-etcd3", server_id, found, excused=CSLAB_OWN)


def test_aetcd(server, workshop):
    python = workshop("aetcd==1.0.0")
    run_smoke([python, HERE / "smoke_aetcd.py"], server)


def test_npm_etcd3(server, tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("there is no npm")
    install = ["npm", "install", "--silent", "--prefix", tmp_path, "etcd3@1.1.2"]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not to be had: {done.stderr[-200:]}")
    run_smoke(["node", HERE / "smoke_npm.js"], server, NODE_PATH=str(tmp_path / "node_modules"))


@pytest.fixture(scope="module")
def npm_etcd3(tmp_path_factory):
    """Its repository with its tests, built."""
    for program in ("git", "npm"):
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    place = tmp_path_factory.mktemp("npm") / "etcd3"
    clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", "v1.1.2", NPM_ETCD3, place]
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    for command, where in ((clone, "."), (install, place), (["npx", "tsc"], place)):
        done = subprocess.run(command, cwd=where, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"not to be had: {(done.stderr + done.stdout)[-200:]}")
    return place


@pytest.mark.parametrize(("program", "size"), [(ETCD, 1), (SAMPAN, 3)], ids=["etcd", "sampan"])
def test_the_suite_of_npm_etcd3(npm_etcd3, server_id, program, size, tmp_path):
    """Over TLS, with users: its 155 tests."""
    certs = npm_etcd3 / "src/test/certs"
    key = certs / "private/etcd0.localhost.key"
    key.chmod(0o600)  # as whoever keeps a key should
    flags = ("--cert-file", certs / "certs/etcd0.localhost.crt", "--key-file", key)
    with cluster(program, tmp_path, size, flags, "https") as urls:
        environment = {"ETCD_ADDR": urls[0].removeprefix("https://"), "ETCD_VERSION": "3.5.1"}
        done = subprocess.run(
            ["npx", "mocha", "--reporter", "json"], cwd=npm_etcd3, env=os.environ | environment,
            capture_output=True, text=True, timeout=SUITE_S,
        )  # fmt: skip
    report = json.loads(done.stdout[done.stdout.index("{\n") :])  # after what tests print
    compare("npm etcd3", server_id, {each["fullTitle"] for each in report["passes"]})


def run_smoke(command, server, **environment):
    done = subprocess.run(
        [*command, server.removeprefix("http://")],
        env=os.environ | environment, capture_output=True, text=True, timeout=SUITE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
