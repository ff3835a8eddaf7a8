"""Members that do not reach each other, in all shapes: each in a network namespace of its own,
behind a router that drops packets of chosen directions without a word. Clients reach everybody."""

import os
import time
from contextlib import suppress

import pytest
from sampan.client import SampanError

from .cluster import ROUNDS, wait_for
from .load import Load
from .network import SHAPES, both

ASKED_FOR = "TEST_ROUNDS" in os.environ
HELD_S = 4.0
"""How long a cut lasts once the service is back, or is known to be away: connections that stood
are given up after 3 s of silence, and new ones are tried."""
FLAPS = 6
FLAP_S = 0.5


def wait_served(cluster, names):
    """Seconds until a write through each of these members is acknowledged."""
    begin = time.monotonic()
    for name in names:
        cluster.wait_writable([name])
    return time.monotonic() - begin


def without_quorum(cluster):
    """Nobody leads, nothing is acknowledged, and nobody's term grows by itself."""
    for name in cluster.names:
        cluster.wait_status(name, lambda s: not s["leader"], "no leader without quorum")
    before = [cluster.wait_status(name)["term"] for name in cluster.names]
    with cluster.client(timeout_s=1) as client, suppress(SampanError):
        client.put(b"alone", b"")
        raise AssertionError("a write was acknowledged without a quorum")
    time.sleep(HELD_S)  # how long the cut lasts; nothing is waited for
    assert [cluster.wait_status(name)["term"] for name in cluster.names] == before


def cut_and_heal(cluster, load, shape):
    """One shape; returns (s until a write after the cut, s until one at each member after the heal,
    whether another led after it)."""
    a = cluster.wait_leader()
    b, c = (name for name in cluster.names if name != a)
    ways, serving = SHAPES[shape](a, b, c)
    cluster.cut(*ways)
    served_s = 0.0
    if serving:
        served_s = cluster.wait_writable(serving)
        load.wait_more()
        time.sleep(HELD_S)  # how long the cut lasts; nothing is waited for
        leading = cluster.leader(serving)
    else:
        without_quorum(cluster)
        leading = None
    cluster.network.heal()
    healed_s = wait_served(cluster, cluster.names)
    changed = leading not in (None, cluster.wait_leader())
    return served_s, healed_s, changed


@pytest.mark.parametrize("placement", ["fused", *["processes"] * ASKED_FOR])
def test_partitions(make_spread):
    """Whatever is cut: what was acknowledged stays, who has a majority serves, and all are the same
    soon after. Times are told, not judged: they depend on the machine. With TEST_ROUNDS so many
    times, and in processes, too."""
    cluster = make_spread().start()
    with Load(cluster.endpoints) as load:
        load.wait_more()
        for _ in range(ROUNDS):
            for shape in SHAPES:
                served_s, healed_s, changed = cut_and_heal(cluster, load, shape)
                served = f"a write {served_s:.2f} s after the cut" if served_s else "no write"
                print(f"{shape}: {served}, at each member {healed_s:.2f} s after its end", end="")
                print(", another leads" if changed else "")
                load.wait_more()
                cluster.wait_equal()
            flap(cluster)
            print(f"flapping: at each member {wait_served(cluster, cluster.names):.2f} s after it")
            load.wait_more()
    print(f"longest time without an acknowledged write: {load.longest_gap_s:.2f} s")
    load.verify()
    cluster.wait_equal()
    for name in cluster.names:
        assert '"level": "error"' not in cluster.log(name)
    cluster.stop()


def flap(cluster):
    """The leader's links come and go."""
    for _ in range(FLAPS):
        leader = wait_for(cluster.leader, "a leader")
        cluster.cut(*both(leader, [name for name in cluster.names if name != leader]))
        time.sleep(FLAP_S)
        cluster.network.heal()
        time.sleep(FLAP_S)
