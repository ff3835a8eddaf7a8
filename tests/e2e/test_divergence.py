"""A member whose state was changed behind its back is found, and stops; the others go on."""

from sampan.storage import keys
from sampan.storage.records import HEADER, read_header
from sampan.storage.rocks import open_state

KEY = b"damaged"


def damage(state):
    """Make the key's record say that it was put once more than it was."""
    db = open_state(state)
    record = db.get(keys.KV + KEY)
    assert record is not None, "the state was never flushed"
    head = read_header(record)
    batch = db.batch()
    changed = head._replace(version=head.version + 1)
    batch.put(keys.KV + KEY, HEADER.pack(*changed) + record[HEADER.size :])
    db.write(batch)
    db.flush()
    db.close()


def test_a_member_that_has_diverged_stops_and_the_others_go_on(make_cluster):
    cluster = make_cluster(separate=True, log_entries_max=64, corrupt_check_ms=300).start()
    with cluster.client(timeout_s=60) as client:
        client.put(KEY, "v")
        for n in range(100):  # until it is on disk
            client.put(f"k{n}", "v")
        bad = cluster.wait_leader()
        good = [name for name in cluster.names if name != bad]
        cluster.command(bad).signal(15)
        cluster.command(bad).wait()
        damage(cluster.data(bad) / "state")
        cluster.launch_node(bad)
        cluster.wait_leader()
        client.put(KEY, "w")
        assert cluster.command(bad).wait() != 0
        assert "has diverged: at index" in cluster.log(bad)
        client.put(KEY, "x")
        number = int(bad[1:])
        for name in good:
            cluster.wait_status(name, lambda s: s["diverged"] == (number,), "the verdict")
    cluster.launch_node(bad)
    assert cluster.command(bad).wait() != 0, "it must not come back as it is"
    cluster.wait_writable(good)
