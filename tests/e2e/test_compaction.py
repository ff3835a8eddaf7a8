"""Compaction on real clusters: through kill -9, and by itself."""

import pytest
from sampan.client import ops

from .cluster import wait_for

KEYS = [b"k%02d" % n for n in range(100)]


def compacting(status):
    return status["compacted_revision"] < status["compact_revision"]


def kill_while_compacting(cluster):
    """Kill all nodes while they forget some 20,000 versions, part of them on disk already, or more
    when that is over too soon; returns the compact revision and the keys' last value."""
    for rounds in (200, 400, 800, 1600):
        with cluster.client(timeout_s=60) as client:
            for n in range(rounds):
                client.txn([], [ops.put(key, b"%d" % n) for key in KEYS])
            at = client.put("last", "v").header.revision
            client.compact(at)
            for _ in range(40):  # more than the entries between two flushes
                client.put("k00", "new")
        caught = any(compacting(cluster.wait_status(name)) for name in cluster.names)
        cluster.kill_everything()
        if caught:
            return at, b"%d" % (rounds - 1)
        cluster.start()
    raise AssertionError("compaction was over each time")


def test_a_large_compaction_goes_on_after_kill_9(make_cluster):
    cluster = make_cluster(log_entries_max=64).start()
    at, last_value = kill_while_compacting(cluster)
    cluster.start()
    for name in cluster.names:
        cluster.wait_status(name, lambda s: s.get("compacted_revision") == at, "the end")
    with cluster.client(timeout_s=60) as client:
        found = client.get(b"\0", from_key=True, revision=at).kvs
        assert [kv.key for kv in found] == [*KEYS, b"last"]
        assert {(kv.mod_revision, kv.value) for kv in found[:-1]} == {(at - 1, last_value)}
        hashes = {client.hash_kv(each, revision=at).hash for each in cluster.endpoints}
        assert len(hashes) == 1
    cluster.wait_equal()
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_automatic_compaction_goes_on_under_the_next_leader(make_cluster):
    cluster = make_cluster(auto_compaction_retention="1s", separate=True).start()
    with cluster.client(timeout_s=60) as client:

        def compacted_past(revision):
            client.put("k", "v")
            return client.status().fields["compact_revision"] >= revision

        revision = client.put("k", "1").header.revision
        wait_for(lambda: compacted_past(revision), "a compaction")
        cluster.kill_node(cluster.wait_leader())
        revision = client.put("k", "2").header.revision
        wait_for(lambda: compacted_past(revision), "a compaction by the next leader")
