"""Leases on three nodes: their time goes on when the leader dies, and thousands end at once."""

import time

import pytest
from sampan.client import lease as client_lease

from .cluster import WAIT_S, wait_for

TTL_S = 16


@pytest.mark.parametrize("placement", ["processes"])
def test_a_new_leader_goes_on_with_the_time_that_remained(make_cluster, monkeypatch):
    monkeypatch.setattr(client_lease, "RENEWALS", 60)  # of a minute: one a second
    cluster = make_cluster(separate=True).start()
    with cluster.client() as client, client.lease(60) as held:
        asked = time.monotonic()
        mortal = client.lease_grant(TTL_S).id
        client.put("mortal", "", lease=mortal)
        revision = client.put("kept", "", lease=held.id).header.revision
        for name in cluster.names:
            cluster.wait_status(name, lambda s: s.get("revision", 0) >= revision, "the leases")
        term = cluster.wait_status(cluster.wait_leader())["term"]
        known = time.monotonic()  # every member has begun to count by now
        time.sleep(4)
        counted_s = time.monotonic() - known
        leader = cluster.wait_leader()
        if cluster.wait_status(leader)["term"] != term:
            counted_s = 0.0  # a busy machine lost its leader, and without one no time passes
        cluster.kill_node(leader)
        left_s = client.lease_time_to_live(mortal).ttl_s
        assert TTL_S - (time.monotonic() - asked) - 1 <= left_s <= TTL_S - counted_s
        wait_for(lambda: not client.get("mortal").count, "the lease to end", pause_s=0.1)
        assert time.monotonic() - asked >= TTL_S
        held.check()
        assert client.get("kept").count == 1
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_thousands_of_leases_that_end_together_while_others_write(make_cluster):
    cluster = make_cluster(request_timeout_ms=60_000).start()
    leases, keys_each = 1_000, 3
    with cluster.client() as client:
        requests = [("lease_grant", 1 + i, 4) for i in range(leases)]
        requests += [
            ("put", b"gone/%d" % i, b"", 1 + i % leases) for i in range(leases * keys_each)
        ]
        name = cluster.wait_leader()
        results = cluster.ask(name, "write", requests, timeout_s=WAIT_S)
        assert all(result[0] == 0 for result in results)
        written = 0
        while client.get("gone/", prefix=True, count_only=True).count:
            client.put(f"stays/{written}", "")
            written += 1
        assert client.leases().leases == []
        assert client.get("stays/", prefix=True, count_only=True).count == written > 0
    cluster.wait_equal()
    cluster.stop()
