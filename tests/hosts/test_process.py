"""What a node's process makes of a disk that contradicts itself."""

import pytest
from sampan.actors import channels
from sampan.config.local import cluster as local_cluster
from sampan.config.model import build
from sampan.hosts import process
from sampan.hosts.host import Fatal
from sampan.storage.members import NO_CONF_STATE


@pytest.fixture
def core(tmp_path, log):
    config = build(local_cluster(1, 2379) | {"data_dir": str(tmp_path)}, "here")
    told = process.Orders("", "n1", channels.ACTORS, "", 1, 1, 1, "", None, "")
    return process.Builder(config, told, log)._raft_core()


@pytest.mark.parametrize(
    ("hard_state", "start", "applied", "words"),
    [
        ((1, 1, 20), (10, 1), 5, "Was the state database replaced by an older copy?"),
        ((1, 1, 20), (0, 0), 0, "commit 20 is out of range"),
    ],
)
def test_a_start_that_is_impossible_now_is_impossible_again(
    core, hard_state, start, applied, words
):
    core.handle("statec", (applied, 1, NO_CONF_STATE, (), None))
    with pytest.raises(Fatal, match=words.replace("?", ".")) as caught:
        core.handle("logc", (hard_state, start, ()))
    assert "no restart mends" in str(caught.value)
