"""What a node has counted, in Prometheus' text format.

What etcd counts as well has etcd's name, so that its dashboard and alert rules work
(contrib/mixin); the rest begins with `sampan_`. Where a quantity is not quite etcd's, the help says
what it is here.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from .process import Taken

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_RPCS = {
    "put": ("etcdserverpb.KV", "Put"),
    "delete": ("etcdserverpb.KV", "DeleteRange"),
    "range": ("etcdserverpb.KV", "Range"),
    "txn": ("etcdserverpb.KV", "Txn"),
    "compact": ("etcdserverpb.KV", "Compact"),
    "lease_grant": ("etcdserverpb.Lease", "LeaseGrant"),
    "lease_revoke": ("etcdserverpb.Lease", "LeaseRevoke"),
    "lease_keep_alive": ("etcdserverpb.Lease", "LeaseKeepAlive"),
    "lease_time_to_live": ("etcdserverpb.Lease", "LeaseTimeToLive"),
    "lease_list": ("etcdserverpb.Lease", "LeaseLeases"),
    "alarm_list": ("etcdserverpb.Maintenance", "Alarm"),
    "alarm_disarm": ("etcdserverpb.Maintenance", "Alarm"),
    "hash_kv": ("etcdserverpb.Maintenance", "HashKV"),
}
"""etcd's name of a request."""

_KINDS = {
    "write": ("etcdserverpb.KV", "Put"),
    "read": ("etcdserverpb.KV", "Range"),
    "serializable": ("etcdserverpb.KV", "Range"),
}
"""Messages carry many requests; their times and failures stand for the kind's usual one."""

_CODES = (
    "OK", "Canceled", "Unknown", "InvalidArgument", "DeadlineExceeded", "NotFound", "AlreadyExists",
    "PermissionDenied", "ResourceExhausted", "FailedPrecondition", "Aborted", "OutOfRange",
    "Unimplemented", "Internal", "Unavailable", "DataLoss", "Unauthenticated",
)  # fmt: skip
"""google.golang.org/grpc/codes by number, as metrics spell them."""

_RPC_LABELS = ("grpc_type", "grpc_service", "grpc_method")

Told = tuple[float, float, Sequence[int]]
"""A histogram as it travels: first bound, sum, counts (`actors/measures.py`)."""

_NONE_YET: Told = (0.001, 0.0, (0,) * 15)
"""Of a job that has not been done yet."""


def exposition(measured: Mapping[str, Any], taken: Taken | None) -> bytes:
    """The text of `/metrics`.

    Args:
        measured: a node's answer to the request `metrics`.
        taken: what its processes take; None where that is not known.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families([*_families(measured), *_of_processes(taken)]))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _families(measured: Mapping[str, Any]) -> Iterator[Metric]:
    status, actors = measured["status"], measured["actors"]
    yield from _of_raft(status, actors)
    yield from _of_storage(status, actors)
    yield from _of_rpcs(actors["node"])
    yield from _of_peers(actors["transport"])
    yield from _of_actors(actors)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=value)


def _of_raft(status: Mapping[str, Any], actors: Mapping[str, Any]) -> Iterator[Metric]:
    node = actors["node"]
    yield _gauge("etcd_server_has_leader", "Whether it knows of a leader.", bool(status["leader"]))
    yield _gauge("etcd_server_is_leader", "Whether it leads.", status["role"] == "leader")
    learner = bool(status.get("is_learner"))
    yield _gauge("etcd_server_is_learner", "Whether it is a learner.", learner)
    yield _counter(
        "etcd_server_leader_changes_seen_total", "Leaders it has seen.", node["leader_changes"]
    )
    yield _gauge(
        "etcd_server_proposals_committed_total", "Raft's commit index.", status.get("commit", 0)
    )
    yield _gauge(
        "etcd_server_proposals_applied_total", "Raft's applied index.", status.get("applied", 0)
    )
    yield _gauge(
        "etcd_server_proposals_pending", "Writes that wait or are proposed, as messages of "
        "clients and entries.", status["pending_writes"],
    )  # fmt: skip
    failed = sum(times for kind, _, times in node["failures"] if kind == "write")
    yield _counter(
        "etcd_server_proposals_failed_total", "Messages of writes that came to nothing.", failed
    )
    yield _counter(
        "sampan_slow_requests_total", "Messages answered after more than 300 ms.",
        node["slow_requests"],
    )  # fmt: skip
    yield _gauge("sampan_raft_term", "Raft's term.", status["term"])
    yield _gauge("sampan_raft_log_entries", "Entries of the log in memory.", status["log_entries"])
    yield _gauge("sampan_raft_log_bytes", "Their bytes.", status["log_bytes"])
    yield from _of_archive(status.get("archive"))
    version = GaugeMetricFamily("sampan_version", "Its version.", labels=["version"])
    version.add_metric([status["version"]], 1)
    yield version


def _of_archive(archive: Mapping[str, Any] | None) -> Iterator[Metric]:
    if archive is None:
        return
    yield _gauge("sampan_archive_index", "The last entry that is archived.", archive["index"])
    yield _gauge(
        "sampan_archive_behind_entries", "Committed entries that are not.", archive["behind"]
    )
    yield _gauge(
        "sampan_archive_failing", "Whether it failed when it was last tried, as the log says.",
        bool(archive["failing"]),
    )  # fmt: skip
    yield _gauge(
        "sampan_archive_under_way_seconds", "How long the file that is being archived takes so "
        "far.", archive["under_way_s"],
    )  # fmt: skip


def _of_storage(status: Mapping[str, Any], actors: Mapping[str, Any]) -> Iterator[Metric]:
    wal, applier = actors["wal_writer"]["durations"], actors["applier"]["durations"]
    yield _histogram(
        "etcd_disk_wal_fsync_duration_seconds", "The raft log's fsyncs.", wal.get("sync")
    )
    yield _histogram(
        "etcd_disk_backend_commit_duration_seconds",
        "The state's flushes to disk: it has no log of its own.",
        applier.get("flush"),
    )
    size = status["db_size"]
    yield _gauge("etcd_mvcc_db_total_size_in_bytes", "The state on disk.", size)
    yield _gauge(
        "etcd_mvcc_db_total_size_in_use_in_bytes", "Likewise: RocksDB gives back by itself what is "
        "free.", size,
    )  # fmt: skip
    yield _gauge("etcd_server_quota_backend_bytes", "Its quota.", status["quota_bytes"])
    yield _gauge("etcd_debugging_mvcc_current_revision", "The revision.", status["revision"])
    yield _gauge(
        "etcd_debugging_mvcc_compact_revision", "Older ones are refused.",
        status["compact_revision"],
    )  # fmt: skip


def _of_rpcs(node: Mapping[str, Any]) -> Iterator[Metric]:
    started = CounterMetricFamily("grpc_server_started_total", "Requests.", labels=_RPC_LABELS)
    handled = CounterMetricFamily(
        "grpc_server_handled_total", "Requests that were let in, and messages that failed as a "
        "whole, by code.", labels=(*_RPC_LABELS, "grpc_code"),
    )  # fmt: skip
    times: Counter[tuple[str, str]] = Counter(dict.fromkeys(_RPCS.values(), 0))
    for name in node["requests"].keys() & _RPCS.keys():
        times[_RPCS[name]] += node["requests"][name]
    for rpc, count in times.items():
        started.add_metric(("unary", *rpc), count)
        handled.add_metric(("unary", *rpc, "OK"), count)
    for kind, code, count in node["failures"]:
        if kind in _KINDS and code < len(_CODES):
            handled.add_metric(("unary", *_KINDS[kind], _CODES[code]), count)
    yield started
    yield handled
    durations = HistogramMetricFamily(
        "grpc_server_handling_seconds", "From a message of requests to its answer, by kind.",
        labels=(*_RPC_LABELS, "kind"),
    )  # fmt: skip
    for kind, rpc in _KINDS.items():
        _add(durations, ("unary", *rpc, kind), node["durations"][kind])
    yield durations
    text = "Bytes of clients' requests."
    yield _counter("etcd_network_client_grpc_received_bytes_total", text, node["received_bytes"])
    text = "Bytes of answers to clients."
    yield _counter("etcd_network_client_grpc_sent_bytes_total", text, node["sent_bytes"])


def _of_peers(transport: Mapping[str, Any]) -> Iterator[Metric]:
    sent = CounterMetricFamily(
        "etcd_network_peer_sent_bytes_total", "Bytes to a peer.", labels=["To"]
    )
    received = CounterMetricFamily(
        "etcd_network_peer_received_bytes_total", "Bytes from a peer.", labels=["From"]
    )
    failures = CounterMetricFamily(
        "etcd_network_peer_sent_failures_total", "Messages to a peer that did not leave.",
        labels=["To"],
    )  # fmt: skip
    trips = HistogramMetricFamily(
        "etcd_network_peer_round_trip_time_seconds",
        "From a message to the word that it came, with what the peer did meanwhile.",
        labels=["To"],
    )
    for link in transport["peers"]:
        peer = f"{link['peer']:x}"
        sent.add_metric([peer], link["sent_bytes"])
        received.add_metric([peer], link["received_bytes"])
        failures.add_metric([peer], link["failures"])
        _add(trips, (peer,), link["round_trips"])
    yield from (sent, received, failures, trips)


def _of_actors(actors: Mapping[str, Any]) -> Iterator[Metric]:
    turns = CounterMetricFamily("sampan_actor_turns_total", "Turns.", labels=["actor"])
    busy = CounterMetricFamily(
        "sampan_actor_busy_seconds_total", "Time spent in turns.", labels=["actor"]
    )
    longest = GaugeMetricFamily(
        "sampan_actor_longest_turn_seconds", "The longest since it was asked last.",
        labels=["actor"],
    )  # fmt: skip
    queue = GaugeMetricFamily(
        "sampan_actor_longest_queue_messages", "Messages that waited when a turn began, the most "
        "since it was asked last.", labels=["actor"],
    )  # fmt: skip
    messages = CounterMetricFamily(
        "sampan_channel_messages_total", "Messages taken from a channel.",
        labels=["channel", "actor"],
    )  # fmt: skip
    for actor, measured in sorted(actors.items()):
        load = measured["load"]
        turns.add_metric([actor], load["turns"])
        busy.add_metric([actor], load["busy_s"])
        longest.add_metric([actor], load["longest_s"])
        queue.add_metric([actor], load["queue_longest"])
        for channel, times in sorted(load["messages"].items()):
            messages.add_metric([channel, actor], times)
    yield from (turns, busy, longest, queue, messages)


def _of_processes(taken: Taken | None) -> Iterator[Metric]:
    if taken is None:
        return
    yield _counter("process_cpu_seconds_total", "Processor time of all its processes.", taken.cpu_s)
    yield _gauge("process_resident_memory_bytes", "Their memory.", taken.resident_bytes)
    yield _gauge("process_virtual_memory_bytes", "Their addresses.", taken.virtual_bytes)
    yield _gauge("process_open_fds", "Their open files and sockets.", taken.open_files)


def _histogram(name: str, text: str, told: Told | None) -> Metric:
    family = HistogramMetricFamily(name, text)
    _add(family, (), told or _NONE_YET)
    return family


def _add(family: HistogramMetricFamily, labels: Sequence[str], told: Told) -> None:
    first_s, sum_s, counts = told
    bounds = [*(repr(first_s * 2**i) for i in range(len(counts) - 1)), "+Inf"]
    family.add_metric(labels, list(zip(bounds, accumulate(counts), strict=True)), sum_s)
