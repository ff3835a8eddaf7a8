"""Hostile frames, handshakes and halves at both doors: the node lives, serves and stays small.

HOSTILE_FRAMES=1000000 is the campaign: so many at each door, with and without keys. Then the p99 of
another client is compared, too, with what it was before and after beside processes that do nothing
and want as much of the processors as the attackers: those would be on other machines.
"""

import os
import time
from contextlib import nullcontext, suppress
from pathlib import Path

import pytest
from sampan.client import Client
from sampan.config import keys
from sampan.transport.curve import CurveClient, CurveServer, Pair
from sampan.transport.zmtp import UNBOUNDED, Engine

from .cluster import WAIT_S, Cluster
from .hostile import Siege
from .test_keys import KeyedCluster, run

FRAMES = int(os.environ.get("HOSTILE_FRAMES", "2000"))
IS_CAMPAIGN = "HOSTILE_FRAMES" in os.environ
GROWN_MIB_MAX = 64
"""What they may make a node grow by (docs/security.md)."""
SAMPLES = 1000 if IS_CAMPAIGN else 20


def resident_mib(pids):
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                if line.startswith("VmRSS"):
                    total += int(line.split()[1]) / 1024
    return total


def recorded(server, pair):
    """What a friend says to a door from the first byte on, as somebody on the way sees it."""
    friend = Engine(b"DEALER", UNBOUNDED, CurveClient(server.public, pair, bool))
    door = Engine(b"ROUTER", UNBOUNDED, CurveServer((server,), lambda _: ""))
    said = [friend.greeting]
    friend.receive(door.greeting)
    door.receive(friend.greeting)
    while not friend.ready:
        said += (answers := friend.taken_answers())
        for each in answers:
            door.receive(each)
        for each in door.taken_answers():
            friend.receive(each)
    friend.encode(said, [b"put", b"again"])
    return b"".join(said)


def known_of(cluster, door):
    """What the attackers know of a door with keys: they have the key of somebody it accepts, and a
    record of another one's words."""
    if door == "client":
        server = keys.read(cluster.folder / "server.key").own[0]
        friend = keys.read(cluster.client_keys).own[0]
    else:
        server = keys.read(cluster.folder / "n1.key").own[0]
        friend = keys.read(cluster.folder / "n2.key").own[0]
    server, friend = Pair(*server), Pair(*friend)
    return {
        "server": server.public, "secret": friend.secret, "recorded": recorded(server, friend),
    }  # fmt: skip


def puts_ms(client, count):
    """How long each of so many puts took, in ms."""
    taken = []
    for i in range(count):
        begin = time.perf_counter()
        client.put("good", str(i))
        taken.append(1000 * (time.perf_counter() - begin))
    return taken


def puts_in_peace(client):
    """Likewise of SAMPLES puts while nobody attacks."""
    with Siege(None, modest=True) if IS_CAMPAIGN else nullcontext():
        return puts_ms(client, SAMPLES)


def p99(taken):
    return sorted(taken)[int(0.99 * len(taken))]


@pytest.mark.parametrize("with_keys", [True, False], ids=["keys", "no keys"])
@pytest.mark.parametrize("placement", ["fused"], indirect=True)
def test_whatever_arrives_the_node_lives_and_serves(tmp_path, placement, with_keys):
    if with_keys:
        cluster = KeyedCluster(tmp_path / "keyed", placement, first=1, most=2)
        run("new", cluster.folder, "n2")
        cluster.copy("n1", "authorized")
    else:
        cluster = Cluster(tmp_path / "plain", placement, nodes=1, separate=True)
    try:
        cluster.start()
        before = cluster.pids("n1")
        with cluster.client(timeout_s=WAIT_S) as client:
            calm = puts_in_peace(client)
            small_mib, slow = resident_mib(before.values()), []
            for door, address in (("client", cluster.endpoints[0]), ("peer", cluster.peers[0])):
                known = known_of(cluster, door) if with_keys else {}
                with Siege(address, FRAMES, modest=IS_CAMPAIGN, **known) as siege:
                    taken, largest_mib = besieged(siege, client, before.values())
                print(f"{door}: {siege.sent} sent, p99 {p99(taken):.1f} ms (calm {p99(calm):.1f}), "
                      f"{largest_mib - small_mib:.1f} MiB more")  # fmt: skip
                assert siege.sent >= FRAMES
                assert largest_mib - small_mib < GROWN_MIB_MAX
                calm += puts_in_peace(client)
                if p99(taken) >= 2 * p99(calm):
                    slow.append(door)
            assert client.get("good").kvs
        assert cluster.pids("n1") == before, "a process died"
        assert not (IS_CAMPAIGN and slow), "others had to wait"
        with Client(cluster.endpoints, keys=cluster.client_keys, timeout_s=WAIT_S) as another:
            another.put("good", "end")
    finally:
        cluster.destroy()


def besieged(siege, client, pids):
    """(what another client's puts took meanwhile in ms, most MiB)."""
    taken, largest_mib = [], 0.0
    give_up = time.monotonic() + (24 * 3600 if IS_CAMPAIGN else WAIT_S)
    while not siege.done:
        assert time.monotonic() < give_up
        taken += puts_ms(client, 20)
        largest_mib = max(largest_mib, resident_mib(pids))
    return taken or [0.0], largest_mib
