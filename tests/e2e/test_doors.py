"""Real nodes whose doors are crowded: too many connections, too many who read nothing."""

import socket

import pytest
from sampan.transport import codec
from sampan.transport.zmtp import UNBOUNDED, Engine, encode

from . import cluster as clusters
from .cluster import wait_for
from .test_memory import resident_mib

IDLE = 400
DESCRIPTORS = 250


def connect(address):
    host, port = address.split(":")
    return socket.create_connection((host, int(port)), timeout=clusters.WAIT_S)


@pytest.mark.parametrize("placement", ["fused"])
def test_more_connections_than_descriptors(make_cluster, monkeypatch):
    """Whoever is there stays and is served, new ones wait, and nothing dies."""
    limited = ("sh", "-c", f'ulimit -n {DESCRIPTORS} && exec "$@"', "sh", *clusters.COMMAND)
    monkeypatch.setattr(clusters, "COMMAND", limited)
    cluster = make_cluster(nodes=1).start()
    (name,), (endpoint,) = cluster.names, cluster.endpoints
    before = cluster.pids(name)
    with cluster.client() as client:
        client.put("key", "before")
        idle = [connect(endpoint) for _ in range(IDLE)]  # the kernel takes what the node does not
        wait_for(lambda: "out of descriptors" in cluster.log(), "the node to say so")
        for number in range(50):
            client.put("key", str(number))
        for connection in idle:
            connection.close()
    wait_for(lambda: cluster.status(name), "new connections")
    assert cluster.pids(name) == before
    assert cluster.log().count("out of descriptors") < 5
    cluster.stop()


SLOW = 30
LARGE_MIB = 40
PEAK_MIB = 800
"""Above what was there: 256 MiB that may be left unread, and what is read within a second."""


def ask(connection, frames):
    """Speak ZMTP by hand, and read nothing of what comes back."""
    engine = Engine(b"DEALER", UNBOUNDED)
    parts = [engine.greeting]
    engine.receive(engine.greeting)
    parts += engine.taken_answers()
    encode(parts, frames)
    connection.sendall(b"".join(parts))


@pytest.mark.parametrize("placement", ["fused"])
def test_many_who_ask_for_much_and_read_nothing(make_cluster):
    """Together they ask for 1.2 GB."""
    assert SLOW * LARGE_MIB > PEAK_MIB + 300
    cluster = make_cluster(nodes=1).start()
    (name,), (endpoint,) = cluster.names, cluster.endpoints
    with cluster.client() as client:
        for n in range(LARGE_MIB):
            client.put(f"big/{n:02}", bytes(1 << 20))
        before = peak = resident_mib(cluster, name)
        header = codec.pack((1, 1, "serializable"))
        slow = [connect(endpoint) for _ in range(SLOW)]
        for connection in slow:
            ask(connection, (header, codec.pack([("range", b"big/", b"big0")])))

        def all_answered():
            nonlocal peak
            client.put("key", "value")  # others are served
            peak = max(peak, resident_mib(cluster, name))
            status = cluster.status(name)
            is_idle = status is not None and status["pending_reads"] == 0
            return is_idle and "client cut" in cluster.log()

        # A slow machine cuts few of them: the others' requests time out first.
        wait_for(all_answered, "all of them to be answered, cut or out of time")
        for connection in slow:
            connection.close()
    print(f"{before} MiB before, {peak} MiB at most")
    assert peak - before < PEAK_MIB
    cluster.stop()
