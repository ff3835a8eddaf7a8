"""A backup taken under load, and a new cluster made of it."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from sampan.config import addresses, model

SAMPANCTL = Path(sys.executable).parent / "sampanctl"
KEYS = 200


def sampanctl(*arguments):
    return subprocess.run(
        [SAMPANCTL, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


def write_on(client, stop, written):
    """Put numbers into keys until told to stop: the put of a revision is known by its number."""
    number = 0
    while not stop.is_set():
        key = f"k{number % KEYS}"
        response = client.put(key, str(number))
        written.append((response.header.revision, key, str(number)))
        number += 1


def as_of(written, revision):
    return {key: value for at, key, value in written if at <= revision}


def test_what_a_cluster_held_is_what_the_new_one_holds(make_cluster, tmp_path):
    lost, file = make_cluster().start(), tmp_path / "backup"
    stop, written = threading.Event(), []
    with lost.client() as client:
        lease = client.lease_grant(600)
        client.put("leased", "v", lease=lease.id)
        writer = threading.Thread(target=write_on, args=(client, stop, written))
        writer.start()
        while len(written) < 2 * KEYS:
            stop.wait(0.01)
        saved = sampanctl("--endpoints", lost.endpoints[0], "snapshot", "save", file)
        stop.set()
        writer.join()
        assert (saved.returncode, saved.stdout) == (0, f"Snapshot saved at {file}\n"), saved.stderr
        assert file.stat().st_mode & 0o777 == 0o600

        told = json.loads(sampanctl("snapshot", "status", file, "-w", "json").stdout)
        assert told["totalKey"] == KEYS + 1
        assert told["totalSize"] == file.stat().st_size
        revision = told["revision"]
        assert written[2 * KEYS - 1][0] <= revision <= written[-1][0]
        lost.kill_everything()

    new = make_cluster(cluster="new", separate=True)
    for member in new.config["members"]:
        del member["id"]  # they are made of the addresses, by who restores and by who starts
    cluster_id = model.build(new.config, "new").cluster_id
    ids = {
        addresses.member_id([member["peer"]], cluster_id): member["name"]
        for member in new.config["members"]
    }
    new.name_of = ids.get
    new.directory.mkdir(parents=True)
    config = new.directory / "cluster.json"
    config.write_text(json.dumps(new.config))
    for name in new.names:
        done = sampanctl(
            *("snapshot", "restore", file, "--config", config, "--name", name),
            *("--bump-revision", 1000, "--mark-compacted"),
        )
        assert done.returncode == 0, done.stderr
        assert f"at revision {revision + 1000}" in done.stdout
    again = sampanctl("snapshot", "restore", file, "--config", config, "--name", "n1")
    assert (again.returncode, "holds data" in again.stderr) == (1, True)

    new.start()
    new.wait_equal()
    with new.client() as client:
        found = {kv.key.decode(): kv.value.decode() for kv in client.get("k", prefix=True).kvs}
        assert found == as_of(written, revision)
        assert client.lease_time_to_live(lease.id, keys=True).keys == [b"leased"]
        assert client.put("next", "v").header.revision > revision + 1000
        members = client.member_list().members
        assert sorted(m.name for m in members) == new.names


def test_a_backup_that_was_cut_is_refused_and_one_that_fails_leaves_no_file(make_cluster, tmp_path):
    cluster = make_cluster(nodes=1).start()
    file = tmp_path / "backup"
    with cluster.client() as client:
        client.put("k", "v" * 100_000)
        data = b"".join(client.snapshot())
    file.write_bytes(data[:-1])
    refused = sampanctl("snapshot", "status", file)
    assert (refused.returncode, "not whole" in refused.stderr) == (1, True)
    cluster.kill_everything()
    failed = sampanctl(
        *("--endpoints", cluster.endpoints[0], "--command-timeout", "1s"),
        *("snapshot", "save", tmp_path / "other"),
    )
    assert failed.returncode != 0
    assert list(tmp_path.glob("other*")) == []


@pytest.mark.parametrize("placement", ["fused"])
def test_a_member_that_was_restored_alone_is_refused_by_those_that_were_not(make_cluster, tmp_path):
    lost, file = make_cluster(nodes=1).start(), tmp_path / "backup"
    with lost.client() as client:
        for number in range(100):
            client.put("k", str(number))
    assert sampanctl("--endpoints", lost.endpoints[0], "snapshot", "save", file).returncode == 0
    lost.kill_everything()
    new = make_cluster(cluster="new", separate=True)
    new.directory.mkdir(parents=True)
    config = new.directory / "cluster.json"
    config.write_text(json.dumps(new.config))
    done = sampanctl("snapshot", "restore", file, "--config", config, "--name", "n1")
    assert done.returncode == 0, done.stderr
    for name in ("n2", "n3"):
        new.launch_node(name)
    new.wait_writable(["n2", "n3"])
    new.launch_node("n1")
    assert new.command("n1").wait() == 1
    assert "is of another history than its cluster's" in new.log("n1")
    assert "Restore all members from the same backup before any of them starts" in new.log("n1")
    new.wait_writable(["n2", "n3"])
