"""Campaigns that take from half an hour to hours, for who asks for them by the environment:
TEST_KILLS=250 as many kills -9 in each placement; TEST_SOAK_S=1800 everything at once for so long.
"""

import itertools
import os
import random
import resource
import socket
import time
from contextlib import ExitStack

import pytest
from sampan.transport import codec

from .churn import Churn
from .cluster import wait_for
from .network import SHAPES
from .test_memory import HELLO, resident_mib

pytestmark = pytest.mark.timeout(0)
KILLS = int(os.environ.get("TEST_KILLS", "0"))
SOAK_S = int(os.environ.get("TEST_SOAK_S", "0"))
SEED = int(os.environ.get("TEST_SEED", "1"))
SETTLED_S = 600
"""After so long memory should not grow any more: caches are full."""
LOOK_EVERY = 8
SLOPE_MAX = 1.0
"""MiB a minute and process tree."""


@pytest.mark.skipif(not KILLS, reason="TEST_KILLS says how many")
def test_kill_cycles(make_cluster):
    """Of one actor, a node or everybody, at any moment, with values of 1 B to 1.4 MB."""
    cluster = make_cluster(separate=True).start()
    rng = random.Random(SEED)
    with Churn(cluster.endpoints, seed=SEED) as churn:
        churn.wait_more()
        for number in range(KILLS):
            time.sleep(rng.random() * 0.5)  # at any moment; nothing is waited for
            what = rng.choice(("actor", "node", "node", "two nodes", "all"))
            names = rng.sample(cluster.names, {"two nodes": 2, "all": 3}.get(what, 1))
            if what == "actor":
                cluster.wait_status(names[0])  # it may be starting, and have no processes yet
                cluster.kill_actor(names[0], rng.choice(cluster.actors))
            else:
                for name in names:
                    cluster.kill_node(name)
                for name in names:
                    cluster.launch_node(name)
            churn.wait_more()
            print(
                f"{number + 1} of {KILLS}: {what} {names}, {churn.acked} acknowledged", flush=True
            )
    cluster.wait_leader()
    with cluster.client(timeout_s=60) as client:
        client.put(b"probe", b"")
        churn.verify(client)
    cluster.wait_equal()
    for name in cluster.names:
        assert "refused" not in cluster.log(name).replace("Connection refused", "")
    cluster.stop()


class SlowReaders:
    """Connections that ask for much and read nothing."""

    def __init__(self, endpoint, count=5):
        self._stack = ExitStack()
        host, port = endpoint.split(":")
        body = codec.pack([("range", b"big/", b"big0")])
        header = codec.pack((1, 1, "serializable"))
        size = len(body).to_bytes(1, "big")
        for _ in range(count):
            connection = self._stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(HELLO)
            connection.sendall(b"\x01" + bytes([len(header)]) + header + b"\x00" + size + body)

    def close(self):
        self._stack.close()


def slope_mib_a_minute(samples):
    """Of (seconds, MiB), by least squares."""
    middle_t = sum(t for t, _ in samples) / len(samples)
    middle_m = sum(m for _, m in samples) / len(samples)
    over = sum((t - middle_t) ** 2 for t, _ in samples)
    return 60 * sum((t - middle_t) * (m - middle_m) for t, m in samples) / over


def disturb(cluster, act, readers, rng):
    """Kill a member but the first, cut ways between members, ask the first for what is not read,
    or let those readers go."""
    if act == "kill":
        name = rng.choice(cluster.names[1:])
        cluster.kill_node(name)
        time.sleep(rng.random() * 3)  # how long it is away; nothing is waited for
        cluster.launch_node(name)
        cluster.wait_status(name)
    elif act == "cut":
        a = cluster.wait_leader()
        b, c = (name for name in cluster.names if name != a)
        ways, _ = SHAPES[rng.choice(list(SHAPES))](a, b, c)
        cluster.cut(*ways)
        time.sleep(rng.random() * 6)
        cluster.network.heal()
    elif act == "readers":
        readers.append(SlowReaders(cluster.endpoints[0]))
        if len(readers) > 3:
            readers.pop(0).close()
    elif act == "look":
        while readers:
            readers.pop().close()
        first = cluster.names[0]
        wait_for(lambda: (s := cluster.status(first)) and s["pending_reads"] == 0, "no reader")


@pytest.mark.skipif(not SOAK_S, reason="TEST_SOAK_S says how long")
@pytest.mark.parametrize("placement", [os.environ.get("TEST_PLACEMENT", "fused")])
def test_soak(make_spread):
    """Kills, partitions and slow readers, all the time. The first member is never killed, so that
    its memory tells something: it is looked at when the readers have gone, for whose answers it
    takes and gives back 80 MiB and more."""
    compaction = {"auto_compaction_mode": "revision", "auto_compaction_retention": "1000"}
    cluster = make_spread(**compaction).start()
    rng, samples, began, watched = random.Random(SEED), [], time.monotonic(), cluster.names[0]
    acts = ("kill", "cut", "readers", "nothing", "nothing")
    with cluster.client() as client:
        for n in range(40):
            client.put(b"big/%02d" % n, bytes(1 << 20))
    readers: list[SlowReaders] = []
    with Churn(cluster.endpoints, seed=SEED, pause_s=0.05, size_max=100_000) as churn:
        for number in itertools.count(1):
            act = "look" if number % LOOK_EVERY == 0 else rng.choice(acts)
            disturb(cluster, act, readers, rng)
            time.sleep(2)
            churn.wait_more(5)
            now = time.monotonic() - began, resident_mib(cluster, watched)
            print(f"{now[0]:.0f} s: {act}, {now[1]} MiB, {churn.acked} written", flush=True)
            if act == "look":
                samples.append(now)
                if now[0] > SOAK_S:
                    break
    cluster.wait_leader()
    with cluster.client(timeout_s=60) as client:
        client.put(b"probe", b"")
        churn.verify(client)
    wait_for(lambda: all(cluster.status(name) for name in cluster.names), "all to answer")
    settled = [each for each in samples if each[0] > min(SETTLED_S, SOAK_S / 3)]
    slope = slope_mib_a_minute(settled)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{slope:.2f} MiB a minute, {settled[-1][1]} MiB at the end; this test: {own} MiB")
    assert slope <= SLOPE_MAX
    cluster.stop()
