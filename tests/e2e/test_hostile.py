"""Hostile frames, handshakes and halves at every door: the node lives, serves and stays small.

HOSTILE_FRAMES=1000000 is the campaign: so many at each door, with and without keys. Then the p99 of
another client is compared, too, with what it was before and after beside processes that do nothing
and want as much of the processors as the attackers: those would be on other machines.
"""

import base64
import json
import os
import ssl
import time
from contextlib import nullcontext, suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path

import pytest
from sampan.client import Client
from sampan.config import keys
from sampan.transport.curve import CurveClient, CurveServer, Pair
from sampan.transport.zmtp import UNBOUNDED, Engine

from ..ports import free_port
from .cluster import WAIT_S, Cluster
from .hostile import Attacker, Siege, WebAttacker
from .test_keys import KeyedCluster, run

FRAMES = int(os.environ.get("HOSTILE_FRAMES", "2000"))
IS_CAMPAIGN = "HOSTILE_FRAMES" in os.environ
WEB_DOORS = ("gateway", "http")
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


class WebFriend:
    """Puts by the JSON gateway, on one connection; at the other door it asks how the node is."""

    def __init__(self, door, address, *, tls):
        self._door = door
        host, port = address.split(":")
        if tls:
            anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
            self._connection = HTTPSConnection(host, int(port), timeout=WAIT_S, context=anybody)
        else:
            self._connection = HTTPConnection(host, int(port), timeout=WAIT_S)

    def put(self, key, value):
        if self._door == "gateway":
            texts = (base64.b64encode(each.encode()).decode() for each in (key, value))
            body = json.dumps(dict(zip(("key", "value"), texts, strict=True)))
            self._connection.request("POST", "/v3/kv/put", body)
        else:
            self._connection.request("GET", "/health")
        answer = self._connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._connection.close()


def p99(taken):
    return sorted(taken)[int(0.99 * len(taken))]


def make(directory, placement, with_keys):
    """A cluster of one; with keys it has a certificate, too."""
    if with_keys:
        cluster = KeyedCluster(directory / "keyed", placement, first=1, most=2, auto_tls=True)
        run("new", cluster.folder, "n2")
        cluster.copy("n1", "authorized")
    else:
        cluster = Cluster(directory / "plain", placement, nodes=1, separate=True)
    for door in WEB_DOORS:
        cluster.config["members"][0][door] = f"127.0.0.1:{free_port()}"
    return cluster


def doors_of(cluster, with_keys):
    """(door, its address, who besieges it, what they know)."""
    member = cluster.config["members"][0]
    for door in ("client", "peer"):
        yield door, member[door], Attacker, known_of(cluster, door) if with_keys else {}
    for door in WEB_DOORS:
        yield door, member[door], WebAttacker, {"server": b"TLS"} if with_keys else {}


def friend_of(cluster, door, with_keys):
    """Whose puts are compared."""
    if door in WEB_DOORS:
        return WebFriend(door, cluster.config["members"][0][door], tls=with_keys)
    return cluster.client(timeout_s=WAIT_S)


@pytest.mark.parametrize("with_keys", [True, False], ids=["keys", "no keys"])
@pytest.mark.parametrize("placement", ["fused"], indirect=True)
def test_whatever_arrives_the_node_lives_and_serves(tmp_path, placement, with_keys):
    cluster = make(tmp_path, placement, with_keys)
    try:
        cluster.start()
        before, slow = cluster.pids("n1"), []
        for door, address, kind, known in doors_of(cluster, with_keys):
            with friend_of(cluster, door, with_keys) as friend:
                calm = puts_in_peace(friend)
                small_mib = resident_mib(before.values())
                with Siege(address, FRAMES, modest=IS_CAMPAIGN, kind=kind, **known) as siege:
                    taken, largest_mib = besieged(siege, friend, before.values())
                calm += puts_in_peace(friend)
            print(f"{door}: {siege.sent} sent, p99 {p99(taken):.1f} ms (calm {p99(calm):.1f}), "
                  f"{largest_mib - small_mib:.1f} MiB more")  # fmt: skip
            assert siege.sent >= FRAMES
            assert largest_mib - small_mib < GROWN_MIB_MAX
            if p99(taken) >= 2 * p99(calm):
                slow.append(door)
        assert cluster.pids("n1") == before, "a process died"
        assert not (IS_CAMPAIGN and slow), f"others had to wait at {slow}"
        with Client(cluster.endpoints, keys=cluster.client_keys, timeout_s=WAIT_S) as another:
            assert another.get("good").kvs
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
