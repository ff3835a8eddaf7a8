"""Nothing grows without bound: neither the log, nor what waits for a client that does not read."""

import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq
from sampan.transport import codec, sockets

from .cluster import wait_for
from .load import Load

MIB = 1 << 20

HELLO = (b"\xff" + bytes(8) + b"\x7f\x03\x01NULL" + bytes(48)) + (
    b"\x04\x1c\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
)
"""What a connection says first: libzmq's sockets take a whole answer, read or not."""


def resident_mib(cluster, name, field="VmRSS"):
    """Resident memory of all of a member's processes; with `VmHWM` the most they ever had."""
    total = 0
    for actor, pid in cluster.pids(name).items():
        if actor != "supervisor":
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith(field))
    return total // 1024


@pytest.mark.parametrize(
    ("placement", "shape"), [("processes", "many messages"), ("fused", "one message")]
)
def test_client_that_never_reads(make_cluster, shape):
    """It asks for 1 GiB, and takes nothing."""
    cluster = make_cluster().start()
    name, endpoint = cluster.names[0], cluster.endpoints[0]
    with cluster.client(name) as client:
        for n in range(32):
            client.put(b"big/%02d" % n, bytes(MIB // 2))
    request = ("range", b"big/", b"big0")  # 16 MiB
    before = resident_mib(cluster, name)
    with sockets.context() as ctx, ctx.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.RCVHWM, 1)
        dealer.setsockopt(zmq.RCVBUF, 64 * 1024)
        dealer.connect(f"tcp://{endpoint}")
        with Load(cluster.endpoints, writers=2, readers=2) as load:
            if shape == "many messages":
                for n in range(64):
                    header = codec.pack((1, n, "serializable"))
                    dealer.send_multipart([header, codec.pack([request])])
            else:
                header = codec.pack((1, 1, "serializable"))
                dealer.send_multipart([header, codec.pack([request] * 64)])
            peak = 0
            done = load.acked + 100

            def others_served():
                nonlocal peak
                peak = max(peak, resident_mib(cluster, name))
                return load.acked >= done

            wait_for(others_served, "others to be served")
            wait_for(lambda: (s := cluster.status(name)) and s["pending_reads"] == 0, "the end")
            peak = max(peak, resident_mib(cluster, name))
    print(f"{before} MiB before, {peak} MiB at most")
    assert peak - before < 500
    load.verify()
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_many_clients_that_never_read(make_cluster):
    """Each asks for 40 MiB, all for 1,200; others are served, with large answers, too."""
    cluster = make_cluster().start()
    name, endpoint = cluster.names[0], cluster.endpoints[0]
    with cluster.client(name) as client:
        for n in range(40):
            client.put(b"big/%02d" % n, bytes(MIB))
        before = resident_mib(cluster, name, "VmHWM")
        before_them = wait_for(lambda: cluster.status(name), "a status")["requests"]
        body = codec.pack([("range", b"big/", b"big0")])
        header = codec.pack((1, 1, "serializable"))
        said = [HELLO, bytes((1, len(header))), header, bytes((0, len(body))), body]
        host, port = endpoint.split(":")
        with ExitStack() as stack:
            for _ in range(30):
                connection = stack.enter_context(socket.create_connection((host, int(port))))
                connection.sendall(b"".join(said))

            def all_over():
                client.put(b"other", b"")
                assert client.get(b"big/00", range_end=b"big/05", serializable=True).count == 5
                return (s := cluster.status(name)) and s["pending_reads"] == 0

            def all_asked():
                return (s := cluster.status(name)) and s["requests"] >= before_them + 30

            wait_for(all_asked, "all to have asked")
            wait_for(all_over, "the end")
            peak = resident_mib(cluster, name, "VmHWM")
    print(f"{before} MiB before, {peak} MiB at most")
    assert peak - before < 500  # 192, one more of 40 while it is made of its parts, and caches
    cluster.stop()


def test_client_that_floods(make_cluster):
    """Large messages as fast as loopback carries them, to a node that refuses most of them."""
    cluster = make_cluster().start()
    name, endpoint = cluster.names[0], cluster.endpoints[0]
    before = resident_mib(cluster, name)
    body = codec.pack([("put", b"flood", bytes(MIB))])
    with sockets.context() as ctx, ctx.socket(zmq.DEALER) as dealer:
        dealer.setsockopt(zmq.SNDHWM, 4)
        dealer.connect(f"tcp://{endpoint}")
        peak = sent = 0
        while sent < 1000:
            try:
                header = codec.pack((1, sent, "write"))
                dealer.send_multipart([header, body], zmq.DONTWAIT)
                sent += 1
            except zmq.Again:
                dealer.poll(20, zmq.POLLOUT)
                peak = max(peak, resident_mib(cluster, name))
        wait_for(lambda: (s := cluster.status(name)) and s["pending_bytes"] == 0, "the flood's end")
    print(f"{before} MiB before, {peak} MiB at most")
    # RocksDB's write buffers 2 x 192, writes under way 64, the log's tail 64, libzmq's queue 128.
    assert peak - before < 900
    cluster.wait_writable()
    cluster.stop()
