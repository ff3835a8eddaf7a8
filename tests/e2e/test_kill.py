"""kill -9 of anything at any moment loses nothing that was acknowledged."""

import signal

from .cluster import ROUNDS
from .load import Load


def test_kill_each_actor_of_leader_and_follower(make_cluster):
    cluster = make_cluster().start()
    with Load(cluster.endpoints) as load:
        load.wait_more()
        for _ in range(ROUNDS):
            for actor in cluster.actors:
                cluster.kill_actor(cluster.wait_leader(), actor)
                load.wait_more()
                cluster.kill_actor(cluster.followers()[0], actor)
                load.wait_more()
    print(f"longest gap without an acknowledged write: {load.longest_gap_s:.2f} s")
    cluster.wait_leader()
    load.verify()
    cluster.wait_equal()
    cluster.stop()


def test_kill_whole_nodes(make_cluster):
    cluster = make_cluster(separate=True).start()
    with Load(cluster.endpoints) as load:
        load.wait_more()
        for _ in range(ROUNDS):
            for name in (cluster.wait_leader(), cluster.followers()[-1]):
                cluster.kill_node(name)
                load.wait_more()
                cluster.launch_node(name)
                cluster.wait_leader()
    print(f"longest gap without an acknowledged write: {load.longest_gap_s:.2f} s")
    load.verify()
    cluster.wait_equal()
    cluster.stop()


def test_kill_everything_at_once(make_cluster):
    cluster = make_cluster().start()
    with Load(cluster.endpoints) as load:
        for _ in range(ROUNDS):
            load.wait_more(100)
            cluster.kill_everything()
            cluster.start()
    load.verify()
    cluster.wait_equal()
    cluster.stop()


def test_supervisor_killed(make_cluster):
    """Its children end by themselves, and a new start works at once."""
    cluster = make_cluster().start()
    with Load(cluster.endpoints) as load:
        load.wait_more()
        command = cluster.command()
        command.signal(signal.SIGKILL)
        command.wait()
        cluster.wait_orphans_gone(command)
        cluster.start()
        load.wait_more()
    load.verify()
    cluster.stop()
    assert list(cluster.temporary.iterdir()) == [], "sockets of the killed ones are left"
