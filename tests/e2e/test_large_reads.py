"""Ranges that take many slices to read are of one revision, whatever is written meanwhile."""

import os
import threading

from sampan.client import ops

KEYS = 8_000
VALUE = os.urandom(1500)
READS = 6
ENDS = ("key/0000", f"key/{KEYS - 1:04}")


def write_both_ends(client, stop):
    """The same value to the first key and to the last one, again and again."""
    number = 0
    while not stop.is_set():
        number += 1
        client.txn([], [ops.put(key, str(number)) for key in ENDS])


def test_what_is_read_is_of_one_revision(make_cluster):
    cluster = make_cluster().start()
    stop = threading.Event()
    with cluster.client() as client, cluster.client() as writer:
        for begin in range(0, KEYS, 100):
            puts = [ops.put(f"key/{n:04}", VALUE) for n in range(begin, begin + 100)]
            client.txn([], puts)
        writing = threading.Thread(target=write_both_ends, args=(writer, stop))
        writing.start()
        try:
            revisions = [client.txn([], [ops.put(key, "0") for key in ENDS]).header.revision]
            for _ in range(READS):
                found = client.get("key/", prefix=True)
                assert found.count == len(found.kvs) == KEYS
                assert found.kvs[0].mod_revision == found.kvs[-1].mod_revision
                assert found.kvs[0].value == found.kvs[-1].value
                assert found.header.revision >= max(revisions[-1], found.kvs[0].mod_revision)
                revisions.append(found.header.revision)
                old = client.get("key/", prefix=True, revision=revisions[0])
                assert [kv.value for kv in (old.kvs[0], old.kvs[-1])] == [b"0", b"0"]
                assert {old.kvs[0].mod_revision, old.kvs[-1].mod_revision} == {revisions[0]}
        finally:
            stop.set()
            writing.join()
    cluster.wait_equal()
    cluster.stop()
    assert revisions[-1] > revisions[0] + READS, "nothing was written meanwhile"
