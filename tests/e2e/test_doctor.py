"""The doctor at a real member: while it runs, and after kill -9."""

import json
import subprocess

import pytest

from .cluster import COMMAND, WAIT_S


@pytest.fixture
def placement():
    """Overrides the suite's: what is on the disk is the same in both."""
    return "fused"


def doctor(cluster, name):
    words = [*COMMAND, "doctor", cluster.data(name), "--config", cluster.directory / "cluster.json"]
    words += ["--deep", "-w", "json"]
    return subprocess.run(words, capture_output=True, text=True, check=False, timeout=WAIT_S)


def test_a_killed_member_is_well(make_cluster):
    cluster = make_cluster(nodes=1, separate=True).start()
    with cluster.client("n1", timeout_s=60) as client:
        for n in range(50):
            client.put(f"k{n}", "v" * n)
    ran = doctor(cluster, "n1")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert f"a node runs in {cluster.data('n1')} (pid {cluster.command('n1').pid})" in ran.stderr
    cluster.kill_node("n1")
    ran = doctor(cluster, "n1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    findings = {each["about"]: each for each in json.loads(ran.stdout)["findings"]}
    assert findings["starts"]["facts"] == {"starts": 1, "killed": True}
    assert findings["log"]["facts"]["last"] > 50
    cluster.launch_node("n1")
    with cluster.client("n1", timeout_s=60) as client:
        assert client.get("k", prefix=True, count_only=True).count == 50
    cluster.stop()
