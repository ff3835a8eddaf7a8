"""An archived cluster killed, led by others, stopped, and restored to any revision."""

import json
import random
import time
from datetime import UTC, datetime

import pytest
from sampan.storage.state_store import StateStore

from .cluster import wait_for
from .test_backup import as_of, sampanctl

KEYS = 40


@pytest.fixture(params=["processes"])
def placement(request):
    return request.param


def write(cluster, written, count, among):
    with cluster.client(*among) as client:
        for _ in range(count):
            number = len(written)
            key = f"k{number % KEYS}"
            revision = client.put(key, str(number)).header.revision
            written.append((revision, key, str(number)))


def archived(cluster, name):
    """The index up to which a member's log is archived, once there is a base."""
    return cluster.wait_status(name, lambda s: s.get("archive", {}).get("base"), "a base")


def restore(cluster, archive, name, *options):
    config = cluster.directory / "cluster.json"
    cluster.directory.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps(cluster.config))
    done = sampanctl(
        *("snapshot", "restore", "--archive", archive, "--config", config, "--name", name),
        *("--bump-revision", 0, *options),
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rpartition(" ")[2])


def held(path):
    state = StateStore.open(path / "state")
    *_, kvs = state.range(("range", b"k", b"l"))
    state.close()
    return {kv[0].decode(): kv[-1].decode() for kv in kvs}


def test_a_history_with_kills_is_restored_to_any_revision(make_cluster, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    (archive / "n3").write_text("a file where the archive of n3 would be")
    cluster = make_cluster(separate=True, archive_dir=str(archive)).start()
    written = []
    write(cluster, written, 5, ["n1"])
    for name in ("n1", "n2"):
        archived(cluster, name)
    begin = max(r for r, *_ in written) + 1
    write(cluster, written, 150, cluster.names)
    away = cluster.wait_leader()
    cluster.kill_node(away)
    write(cluster, written, 150, [n for n in cluster.names if n != away])
    cluster.launch_node(away)
    refused = wait_for(
        lambda: (cluster.status("n3") or {}).get("archive", {}).get("failing"), "n3 to complain"
    )
    assert "n3" in refused
    assert '"archive fails"' in cluster.log("n3")
    moment, newest = time.time(), written[-1][0]
    write(cluster, written, 150, cluster.names)
    last = cluster.wait_status(cluster.wait_leader(), lambda s: "raft_index" in s)["raft_index"]
    cluster.wait_status(
        "n1", lambda s: s.get("archive", {}).get("index", 0) >= last, "all to be archived"
    )
    cluster.stop()

    new = make_cluster(cluster="new", separate=True)
    wanted = random.Random(1).randrange(begin, written[-1][0])
    target = make_cluster(cluster="new", separate=True, data_dir=str(tmp_path / "revision"))
    assert restore(target, archive, "n1", "--revision", wanted) == wanted
    assert held(target.data("n1")) == as_of(written, wanted)
    then = datetime.fromtimestamp(moment, UTC).isoformat()
    target = make_cluster(cluster="new", separate=True, data_dir=str(tmp_path / "then"))
    revision = restore(target, archive, "n1", "--time", then)
    assert revision <= newest
    assert held(target.data("n1")) == as_of(written, revision)

    for name in new.names:
        assert restore(new, archive, name) == written[-1][0]
    new.start()
    new.wait_equal()
    with new.client() as client:
        found = {kv.key.decode(): kv.value.decode() for kv in client.get("k", prefix=True).kvs}
    assert found == as_of(written, written[-1][0])
