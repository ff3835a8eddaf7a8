"""A cluster of an older version is upgraded member by member, under load.

Needs a commit of this repository to upgrade from: TEST_OLDER=44b60ec pytest with this file.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sampan.client.errors import MixedVersionsError, NotAppliedError

from .cluster import Cluster, Command, wait_for
from .load import Load

OLDER = os.environ.get("TEST_OLDER", "")
HERE = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not OLDER, reason="TEST_OLDER names no commit to upgrade from")


@pytest.fixture
def older(tmp_path):
    """A directory in which `python -m sampan` is the older version."""
    package = tmp_path / "older" / "sampan"
    package.mkdir(parents=True)
    archive = subprocess.run(
        ["git", "-C", str(HERE), "archive", OLDER], check=True, stdout=subprocess.PIPE
    )
    subprocess.run(["tar", "-x", "-C", str(package)], check=True, input=archive.stdout)
    return package.parent


class OldCluster(Cluster):
    """One whose members begin as the older version."""

    older = None

    def launch_older(self, name):
        environment = {"PYTHONPATH": str(self.older), "TMPDIR": str(self.temporary)}
        log = self.directory / f"{name}.log"
        command = Command.__new__(Command)
        with log.open("ab") as output:
            command.child = subprocess.Popen(
                [sys.executable, "-m", "sampan", "node", "--config", str(self._config_path),
                 "--name", name],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
                env=os.environ | environment, cwd=self.older,
            )  # fmt: skip
        command.pid = command.child.pid
        self._commands[name] = command


def test_member_by_member(tmp_path, placement, older):
    cluster = OldCluster(tmp_path / "c", placement, separate=True)
    cluster.older = older
    try:
        cluster.directory.mkdir()
        cluster.launch_node = cluster.launch_older
        cluster.start()
        del cluster.launch_node
        with Load(cluster.endpoints, timeout_s=10.0) as load:
            load.wait_more()
            for n, name in enumerate(cluster.names, 1):
                cluster.kill_node(name)
                load.wait_more()
                cluster.launch_node(name)
                cluster.wait_status(name, lambda s: s["leader"] != 0, "following")
                load.wait_more()
                if n < 3:
                    with (
                        cluster.client(name, timeout_s=3.0) as client,
                        pytest.raises(NotAppliedError) as refused,
                    ):
                        client.member_add(["127.0.0.1:1"], learner=True)
                    print(f"with {n} of 3 upgraded: {refused.value}")
        cluster.wait_leader()
        load.verify()
        cluster.wait_equal()

        def added():
            with cluster.client() as client:
                try:
                    return client.member_add(["127.0.0.1:1"], learner=True)
                except MixedVersionsError:
                    return None

        wait_for(added, "a change of the members")
    finally:
        cluster.destroy()
