"""A member that lost its raft log stays away, so that a majority cannot forget with it."""

import shutil


def test_a_member_without_its_log_does_not_start(make_cluster):
    cluster = make_cluster(separate=True).start()
    away, forgetful = cluster.followers()
    leader = cluster.wait_leader()
    cluster.kill_node(away)
    with cluster.client(leader, forgetful, timeout_s=60) as client:
        for n in range(100):
            client.put(f"k{n}", "v")
    cluster.kill_everything()
    shutil.rmtree(cluster.data(forgetful) / "log")
    cluster.launch_node(forgetful)
    cluster.launch_node(away)
    assert cluster.command(forgetful).wait() != 0
    assert "the raft log in" in cluster.log(forgetful)
    assert "is gone" in cluster.log(forgetful)
    cluster.launch_node(leader)
    cluster.wait_leader([leader, away])
    with cluster.client(leader, away, timeout_s=60) as client:
        assert client.get("k", prefix=True, count_only=True).count == 100
    cluster.kill_everything()
