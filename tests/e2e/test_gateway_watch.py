"""Watches of etcd's API while leaders and gateways are killed: every event, once, in order.

The normal run has some thousand events; TEST_ROUNDS=20 makes 100,000 of them, and kills as often.
"""

import pytest

from ..ports import free_port
from .cluster import ROUNDS, WAIT_S
from .gateway_watch import GatewayWatch, end_of_a_compacted_watch
from .watch_load import PREFIX, WatchLoad

EVENTS = 5_000


@pytest.mark.parametrize("placement", ["fused"])
def test_every_event_once_and_in_order(make_cluster):
    cluster = make_cluster()
    for member in cluster.config["members"]:
        member["gateway"] = f"127.0.0.1:{free_port()}"
    gateways = [member["gateway"] for member in cluster.config["members"]]
    cluster.start()
    with WatchLoad(cluster.endpoints, lazy=False) as load:
        watches = [
            GatewayWatch(gateways, PREFIX),
            GatewayWatch(gateways[1:] + gateways[:1], PREFIX, fragment=True),
            GatewayWatch(gateways[2:] + gateways[:2], PREFIX, needs_leader=True),
            GatewayWatch(gateways, PREFIX + b"3/"),
        ]
        for number in range(ROUNDS):
            begin = number * EVENTS
            cluster.kill_actor(cluster.wait_leader(), "fused")
            early = load.wait_events(begin + EVENTS // 3)
            cluster.kill_actor(cluster.names[number % 3], "gateway")
            watches.append(GatewayWatch(gateways, PREFIX + b"7/", early, fragment=True))
            load.wait_events(begin + EVENTS)
        load.stop_writing()
        for watch in watches:
            watch.join(2 * WAIT_S)
    truth = load.verify()
    for watch in watches:
        watch.seen.check(truth)
    assert sum(map(len, truth.values())) >= EVENTS * ROUNDS
    assert sum(watch.streams - 1 for watch in watches) >= ROUNDS, "streams broke"
    assert all(watch.seen.bookmarks for watch in watches[:3])
    with cluster.client(timeout_s=WAIT_S) as client:
        client.compact(early)
    for gateway in gateways:
        assert end_of_a_compacted_watch(gateway, PREFIX) == early, "it is told what is missing (6)"
    cluster.stop()
