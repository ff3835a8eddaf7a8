"""A data directory that is put back from an older copy, or found under another name, is refused."""

import shutil

import pytest

from .cluster import ROUNDS, wait_for


def put(cluster, names, values, prefix="k"):
    with cluster.client(*names, timeout_s=60) as client:
        for n in range(values):
            client.put(f"{prefix}{n}", "v")


def refused(cluster, name):
    assert cluster.command(name).wait() != 0
    return "is an older copy of itself" in cluster.log(name)


def test_a_member_put_back_from_an_older_copy_is_refused(make_cluster, tmp_path):
    """It acknowledged more since."""
    cluster = make_cluster(separate=True).start()
    rolled, away = cluster.followers()
    leader = cluster.wait_leader()
    put(cluster, [], 50)
    cluster.kill_node(rolled)
    shutil.copytree(cluster.data(rolled), tmp_path / "copy")
    cluster.launch_node(rolled)
    cluster.wait_status(rolled)
    cluster.kill_node(away)
    put(cluster, [leader], 100, "acknowledged")
    cluster.kill_node(rolled)
    shutil.move(cluster.data(rolled), tmp_path / "newest")
    shutil.copytree(tmp_path / "copy", cluster.data(rolled))
    cluster.launch_node(rolled)
    assert refused(cluster, rolled)
    # The newest copy is as good as ever, and nothing is lost.
    shutil.rmtree(cluster.data(rolled))
    shutil.move(tmp_path / "newest", cluster.data(rolled))
    cluster.kill_node(leader)
    cluster.launch_node(rolled)
    cluster.launch_node(away)
    cluster.wait_leader([rolled, away])
    with cluster.client(rolled, away, timeout_s=60) as client:
        assert client.get("acknowledged", prefix=True, count_only=True).count == 100
    # The others know it of each other, too: this one was here since, the leader was not.
    cluster.kill_node(rolled)
    shutil.rmtree(cluster.data(rolled))
    shutil.copytree(tmp_path / "copy", cluster.data(rolled))
    cluster.launch_node(rolled)
    assert refused(cluster, rolled)


def test_members_that_are_killed_again_and_again_are_heard(make_cluster):
    cluster = make_cluster(separate=True, corrupt_check_ms=200).start()
    for n in range(ROUNDS):
        for name in cluster.names:
            cluster.kill_node(name)
            put(cluster, [other for other in cluster.names if other != name], 5, f"{n}{name}")
            cluster.launch_node(name)
    cluster.kill_everything()
    cluster.start()
    cluster.wait_equal()
    assert not any("older copy" in cluster.log(name) for name in cluster.names)
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_a_renamed_member_is_told_where_its_data_is(make_cluster):
    cluster = make_cluster(separate=True).start()
    put(cluster, [], 20)
    cluster.stop()
    old = cluster.data("n2")
    cluster.config["members"][1]["name"] = cluster.names[1] = "renamed"
    cluster.launch()
    assert cluster.command("renamed").wait() != 0
    log = cluster.log("renamed")
    assert f"member 2 has its data in {old}, and none in {cluster.data('renamed')}" in log
    assert not cluster.data("renamed").exists()
    shutil.move(old, cluster.data("renamed"))
    cluster.launch_node("renamed")
    cluster.wait_status("renamed")
    wait_for(lambda: cluster.everything("renamed", 0), "its data")
    cluster.kill_everything()
