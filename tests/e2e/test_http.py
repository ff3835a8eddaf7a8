"""What a node tells over HTTP, asked as probes and scrapers do."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path

import pytest
import sampan
import yaml
from prometheus_client.parser import text_string_to_metric_families

from ..ports import free_port
from .cluster import wait_for

ETCDS_QUERIES = [
    "etcd_disk_backend_commit_duration_seconds_bucket",
    "etcd_disk_wal_fsync_duration_seconds_bucket",
    "etcd_mvcc_db_total_size_in_bytes",
    "etcd_mvcc_db_total_size_in_use_in_bytes",
    "etcd_network_client_grpc_received_bytes_total",
    "etcd_network_client_grpc_sent_bytes_total",
    "etcd_network_peer_received_bytes_total",
    "etcd_network_peer_round_trip_time_seconds_bucket",
    "etcd_network_peer_sent_bytes_total",
    "etcd_network_peer_sent_failures_total",
    "etcd_server_has_leader",
    "etcd_server_leader_changes_seen_total",
    "etcd_server_proposals_failed_total",
    "etcd_server_quota_backend_bytes",
    "grpc_server_handled_total",
    "grpc_server_handling_seconds_bucket",
    "grpc_server_started_total",
    "process_resident_memory_bytes",
]
"""What the dashboard and the alert rules in etcd's contrib/mixin ask for."""


def get(address, path, method="GET"):
    """(status, body) of a request."""
    request = urllib.request.Request(f"http://{address}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


DEPLOY = Path(sampan.__file__).parent / "deploy"
SELECTOR = re.compile(r"\b((?:etcd|grpc_server|process|sampan)_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)(!=|=~|=)"([^"]*)"')


def our_queries():
    """(where, expression) of our dashboard and our alert rules."""
    dashboard = json.loads((DEPLOY / "grafana" / "sampan.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"]
    rules = yaml.safe_load((DEPLOY / "prometheus" / "sampan.rules.yaml").read_text())
    for rule in rules["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]


def has_data(name, matchers, samples):
    """Whether a selector finds something; who scrapes it is Prometheus' to say."""
    wanted = [m for m in MATCHER.findall(matchers) if m[0] not in ("job", "instance")]
    return any(
        s.name == name
        and all((s.labels.get(key) == value) == (how != "!=") for key, how, value in wanted)
        for s in samples
    )


@pytest.fixture
def cluster(make_cluster, tmp_path):
    archive = tmp_path / "archive"
    archive.mkdir()
    made = make_cluster(separate=True, archive_dir=str(archive))
    for member in made.config["members"]:
        member["http"] = f"127.0.0.1:{free_port()}"
    return made.start()


def test_a_healthy_node_and_one_without_its_majority(cluster):
    at = {m["name"]: m["http"] for m in cluster.config["members"]}
    with cluster.client() as client:
        for i in range(50):
            client.put(f"k{i}", "v")
        client.get("k1")

    assert get(at["n1"], "/health") == (200, '{"health":"true","reason":""}')
    assert get(at["n1"], "/livez") == (200, "ok\n")
    status, body = get(at["n1"], "/readyz?verbose")
    assert status == 200
    assert body.splitlines() == [
        "[+]data_corruption ok", "[+]serializable_read ok", "[+]linearizable_read ok",
        "[+]non_learner ok", "ok",
    ]  # fmt: skip
    assert get(at["n1"], "/readyz/linearizable_read") == (200, "ok\n")
    assert get(at["n1"], "/readyz/nothing")[0] == 404
    assert get(at["n1"], "/nowhere")[0] == 404
    versions = json.loads(get(at["n1"], "/version")[1])
    assert re.fullmatch(r"3\.\d+\.\d+", versions["etcdserver"])
    assert versions["sampan"]
    for method in ("POST", "PUT", "DELETE"):
        assert get(at["n1"], "/health", method)[0] == 405
    assert get(at["n1"], "/health", "HEAD") == (200, "")

    for name in cluster.names:
        status, text = get(at[name], "/metrics")
        assert status == 200
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        assert set(ETCDS_QUERIES) <= {s.name for s in samples}
        values = {s.name: s.value for s in samples if not s.labels}
        assert values["etcd_server_has_leader"] == 1
        assert values["etcd_server_is_leader"] == (name == cluster.wait_leader())
        assert values["process_resident_memory_bytes"] > 1 << 20
        without = [
            (where, found[0])
            for where, expression in our_queries()
            if "or vector(0)" not in expression  # which finds what may not have happened yet
            for found in SELECTOR.findall(expression)
            if not has_data(*found, samples)
        ]
        assert without == []
        syncs = [s for s in samples if s.name == "etcd_disk_wal_fsync_duration_seconds_count"]
        assert syncs[0].value > 0

    with urllib.request.urlopen(f"http://{at['n2']}/live", timeout=30) as stream:
        telling = json.loads(stream.readline().removeprefix(b"data: "))
    assert {n["name"]: n["figures"]["name"] for n in telling["nodes"].values()} == {
        name: name for name in cluster.names
    }
    trace = json.loads(get(at["n3"], "/trace")[1])
    assert {"clientc", "fsync", "recvc", "applied"} <= {step["name"] for step in trace["steps"]}
    assert get(at["n3"], "/trace?revision=1")[0] == 404
    assert "<title>" in get(at["n1"], "/")[1]

    survivor, *others = cluster.names
    for name in others:
        cluster.kill_node(name)
    wait_for(lambda: not cluster.wait_status(survivor)["leader"], "the leader to be missed")
    status, body = get(at[survivor], "/health")
    assert (status, json.loads(body)["reason"]) == (503, "RAFT NO LEADER")
    assert get(at[survivor], "/health?serializable=true")[0] == 200
    assert get(at[survivor], "/livez") == (200, "ok\n")
    status, body = get(at[survivor], "/readyz")
    assert status == 503
    assert "[-]linearizable_read failed: " in body
    assert get(at[survivor], "/readyz?exclude=linearizable_read") == (200, "ok\n")


def test_a_node_that_is_down_is_said_to_be(cluster):
    at = cluster.config["members"][0]["http"]
    cluster.signal_node("n1", 19)  # SIGSTOP: nobody answers, and nobody starts it again
    try:
        status, body = get(at, "/livez")
        assert status == 503
        assert "[-]serializable_read failed" in body
        assert get(at, "/metrics")[0] == 503
    finally:
        cluster.signal_node("n1", 18)
