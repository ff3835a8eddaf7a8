"""The text of `/metrics`, made of a node's answer."""

import os

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sampan.actors.measures import Histogram, Load
from sampan.web import metrics
from sampan.web.process import Taken, taken_by


def actor(**more):
    return {"load": Load().told(), "durations": {}} | more


@pytest.fixture
def measured():
    syncs, durations = Histogram(0.001, 14), {}
    for seconds in (0.0005, 0.0015, 0.0016, 100.0):
        syncs.observe(seconds)
    for kind in ("write", "read", "serializable"):
        durations[kind] = Histogram(0.0001, 16).told()
    node = actor(
        requests={"put": 5, "session_open": 1}, failures=[("write", 14, 2), ("", 12, 9)],
        leader_changes=3, slow_requests=1, received_bytes=10, sent_bytes=20, durations=durations,
    )  # fmt: skip
    link = {
        "peer": 10, "sent_bytes": 7, "received_bytes": 8, "failures": 9,
        "round_trips": Histogram(0.0001, 16).told(),
    }  # fmt: skip
    status = {
        "leader": 2, "role": "leader", "term": 4, "commit": 50, "applied": 49, "version": "9",
        "pending_writes": 6, "db_size": 1000, "quota_bytes": 2000, "revision": 30,
        "compact_revision": 12, "log_entries": 3, "log_bytes": 300,
    }  # fmt: skip
    actors = {
        "node": node, "raft_core": actor(), "applier": actor(), "transport": actor(peers=[link]),
        "wal_writer": actor(durations={"sync": syncs.told()}),
    }  # fmt: skip
    return {"status": status, "actors": actors}


def samples(measured, taken=None):
    text = metrics.exposition(measured, taken).decode()
    return {
        (s.name, *sorted(s.labels.values())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


def test_a_histogram_is_cumulative_and_ends_with_all(measured):
    found = samples(measured)
    name = "etcd_disk_wal_fsync_duration_seconds"
    assert found[f"{name}_bucket", "0.001"] == 1
    assert found[f"{name}_bucket", "0.002"] == 3
    assert found[f"{name}_bucket", "8.192"] == 3
    assert found[f"{name}_bucket", "+Inf"] == found[f"{name}_count",] == 4
    assert found[f"{name}_sum",] == pytest.approx(100.0036)


def test_requests_have_the_names_of_etcds_rpcs(measured):
    found = samples(measured)
    rpc = ("Put", "etcdserverpb.KV", "unary")
    assert found[("grpc_server_started_total", *rpc)] == 5
    assert found[("grpc_server_handled_total", *sorted((*rpc, "OK")))] == 5
    assert found[("grpc_server_handled_total", *sorted((*rpc, "Unavailable")))] == 2
    assert found["etcd_server_proposals_failed_total",] == 2


def test_a_peer_is_named_as_etcd_names_members(measured):
    found = samples(measured)
    assert found["etcd_network_peer_sent_bytes_total", "a"] == 7
    assert found["etcd_network_peer_received_bytes_total", "a"] == 8
    assert found["etcd_network_peer_sent_failures_total", "a"] == 9


def test_what_nobody_knows_is_left_out(measured):
    assert not any("process_" in name for name, *_ in samples(measured))
    found = samples(measured, Taken(1.5, 2, 3, 4))
    assert found["process_cpu_seconds_total",] == 1.5
    assert found["process_open_fds",] == 4


def test_processes_are_added_up_and_those_that_ended_are_nothing():
    alone, twice = taken_by([os.getpid()]), taken_by([os.getpid(), os.getpid(), 2**22 + 1])
    if alone is None:
        pytest.skip("this system has no /proc")
    assert alone.resident_bytes > 1 << 20
    assert twice.resident_bytes > 1.5 * alone.resident_bytes


def test_an_archive_that_fails_shows(measured):
    assert ("sampan_archive_failing",) not in samples(measured)
    measured["status"]["archive"] = {
        "index": 40, "base": 3, "behind": 10, "under_way_s": 0.0, "failing": "no room",
    }  # fmt: skip
    found = samples(measured)
    assert found["sampan_archive_index",] == 40
    assert found["sampan_archive_behind_entries",] == 10
    assert found["sampan_archive_failing",] == 1
