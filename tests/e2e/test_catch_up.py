"""Members that were away: they catch up from the log, or from a snapshot when the log is gone."""

import os
import signal
from contextlib import suppress

import pytest

from .churn import Churn
from .cluster import ROUNDS, wait_for
from .load import Load

SMALL_LOG = {"log_entries_max": 200, "log_bytes_max": 1 << 20}


def fill(cluster, name, megabytes):
    """Put a state of some size behind what the members share, so that a snapshot takes a while."""
    with cluster.client(name) as client:
        for n in range(megabytes * 4):
            client.put(b"bulk/%d" % n, os.urandom(256 * 1024))


def test_follower_that_was_away_catches_up_from_the_log(make_cluster):
    cluster = make_cluster(separate=True).start()
    away = cluster.followers()[0]
    with Load(cluster.endpoints) as load:
        load.wait_more()
        cluster.kill_node(away)
        load.wait_more(200)
        cluster.launch_node(away)
        cluster.wait_leader()
        load.wait_more()
    load.verify()
    cluster.wait_equal()
    assert "snapshot installed" not in cluster.log(away)
    cluster.stop()


def test_follower_that_was_away_too_long_gets_a_snapshot(make_cluster):
    """... while writes go on, and the log stays bounded."""
    cluster = make_cluster(separate=True, **SMALL_LOG).start()
    away = cluster.followers()[0]
    with Load(cluster.endpoints, writers=8, value_size=4000) as load:
        load.wait_more()
        cluster.kill_and_forget(away)
        cluster.launch_node(away)
        wait_for(lambda: "snapshot installed" in cluster.log(away), "a snapshot")
        cluster.wait_leader()
        load.wait_more(100)
    load.verify()
    cluster.wait_equal()
    for name in cluster.names:
        cluster.wait_status(
            name, lambda s: s["log_entries"] <= 3 * SMALL_LOG["log_entries_max"], "a bounded log"
        )
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
@pytest.mark.parametrize("through", ["the leader", "a follower"])
def test_a_snapshot_that_takes_longer_than_the_log_lasts(make_cluster, through):
    """Writes become slower until the member is in sync; those that a follower forwards, too."""
    cluster = make_cluster(separate=True, **SMALL_LOG).start()
    fill(cluster, cluster.wait_leader(), megabytes=48)
    away = cluster.followers()[0]
    with Churn(cluster.endpoints, size_max=20_000):
        leader = cluster.kill_and_forget(away)
    (other,) = set(cluster.names) - {away, leader}
    endpoint = cluster.endpoints[cluster.names.index(leader if through == "the leader" else other)]
    with Load([endpoint], writers=32, readers=0, value_size=20_000, timeout_s=30) as load:
        load.wait_more()
        before, began = installed(cluster, away), load.acked
        cluster.launch_node(away)
        wait_for(lambda: installed(cluster, away) > before, "a snapshot")
        last = cluster.wait_status(leader)["raft_index"]
        cluster.wait_status(away, lambda s: s["applied"] >= last, "what came after it")
        written = load.acked - began
        load.wait_more(100)
    print(f"{installed(cluster, away) - before} snapshots, {written} writes meanwhile, "
          f"{load.longest_gap_s:.2f} s without one at most")  # fmt: skip
    load.verify()
    cluster.wait_equal()
    cluster.stop()


@pytest.mark.parametrize("victim", ["receiver", "sender"])
def test_kill_either_side_of_a_snapshot(make_cluster, victim):
    """kill -9 of receiver or sender while a snapshot travels ends in sync too."""
    cluster = make_cluster(separate=True, **SMALL_LOG).start()
    fill(cluster, cluster.wait_leader(), megabytes=12)
    actor = "transport" if cluster.placement == "processes" else "fused"
    with Load(cluster.endpoints, writers=8, value_size=4000) as load:
        for _ in range(ROUNDS):
            away, leader = begin_snapshot(cluster)
            died = away if victim == "receiver" else leader
            before = cluster.pids(died)
            cluster.signal_actor(died, actor, signal.SIGKILL)
            cluster.wait_restarted(died, before)
            cluster.wait_leader()
            load.wait_more()
            cluster.wait_equal()
    load.verify()
    cluster.stop()


def begin_snapshot(cluster):
    """Make a member receive a snapshot; returns its name and the sender's, while it travels.

    A busy machine may let it travel unseen: then again.
    """
    while True:
        away = cluster.followers()[0]
        before = installed(cluster, away)
        leader = cluster.kill_and_forget(away)
        cluster.launch_node(away)
        wait_for(
            lambda n=away, i=before: receiving(cluster, n) or installed(cluster, n) > i,
            "a snapshot to travel",
            pause_s=0.001,
        )
        if receiving(cluster, away):
            return away, leader
        cluster.wait_leader()


def installed(cluster, name):
    """How many snapshots a member has installed."""
    return cluster.log(name).count("snapshot installed")


def receiving(cluster, name):
    """Whether a member holds a snapshot that is not complete."""
    with suppress(OSError):
        return any((cluster.data(name) / "snapshots").glob("*.receiving"))
    return False
