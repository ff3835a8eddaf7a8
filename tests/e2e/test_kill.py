"""kill -9 of anything at any moment loses nothing that was acknowledged."""

import signal
import subprocess
import sys

from sampan.storage.torn_log import fragments

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


UNFINISHED_WRITE = """
import os, sys
from pathlib import Path
from sampan.storage.log_store import LogStore
store = LogStore.open(Path(sys.argv[1]))
term, _, commit = store.hard_state()
last = (term, store.last_index + 1, 0, os.urandom(100_000))
store.save([last], store.hard_state())
os._exit(0)
"""


def leave_unfinished(log):
    """As if kill -9 had come between two calls that write one record into a member's log."""
    subprocess.run([sys.executable, "-c", UNFINISHED_WRITE, str(log)], check=True)
    file = max(log.glob("[0-9]*.log"))
    content = file.read_bytes()
    *_, first, _, _, _ = fragments(content)
    assert content[first[0] + 6] == 2
    file.write_bytes(content[: first[1]] + bytes(len(content) - first[1]))


def test_all_killed_in_the_middle_of_a_large_write(make_cluster):
    """What was acknowledged before it is there, and nobody needs help."""
    cluster = make_cluster(separate=True).start()
    with cluster.client(timeout_s=60) as client:
        for n in range(20):
            client.put(f"k{n}", b"v" * 60_000)
    cluster.kill_everything()
    for name in cluster.names:
        leave_unfinished(cluster.data(name) / "log")
    cluster.start()
    for name in cluster.names:
        assert "where a write was under way" in cluster.log(name)
    with cluster.client(timeout_s=60) as client:
        assert client.get("k", prefix=True, count_only=True).count == 20
        client.put("k20", b"v" * 60_000)
    cluster.wait_equal()
    cluster.stop()
