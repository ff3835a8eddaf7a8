"""The comparison's page and numbers from canned measurements, and etcd's side against etcd."""

import json
import random
import re
import struct

import pytest
from sampan.bench import etcd, h2load, machine, plan, plot, programs
from sampan.bench.comparison import Comparison, Measurement
from sampan.bench.histogram import Histogram
from sampan.bench.spec import KINDS

ROWS = {row.name: row for row in plan.ROWS}
RATES = ROWS["puts, 1000 clients"]
LATENCIES = ROWS["put, 1 client, p50"]


def canned(rows=(RATES, LATENCIES)):
    comparison = Comparison(rows, ["etcd", "fused"], 3)
    for system, rate, p50 in (("etcd", 20_000, 0.8), ("fused", 90_000, 1.0)):
        for row in rows:
            for noise in (0.5, 1.0, 1.1):
                values = {"rate": rate * noise, "p50": p50 * noise, "p99": 3 * p50}
                comparison.add(system, row, Measurement(values))
    comparison.machine = {"cpu": "one with 2 cores", "etcd": "3.7.3"}
    comparison.notes = ["the same work"]
    return comparison


def test_ratios_are_the_medians_of_the_rounds():
    """A round in which the machine was slow was slow for both."""
    comparison = Comparison((RATES,), ["etcd", "fused"], 3)
    for etcd_rate, ratio in ((1000, 4), (10, 5), (500, 6)):
        comparison.add("etcd", RATES, Measurement({"rate": etcd_rate}))
        comparison.add("fused", RATES, Measurement({"rate": etcd_rate * ratio}))
    assert comparison.ratio("fused", RATES) == 5


def test_ratios_and_what_is_better():
    comparison = canned()
    assert comparison.ratio("fused", RATES) == pytest.approx(4.5)
    assert comparison.ratio("fused", LATENCIES) == pytest.approx(1.25)
    assert comparison.times_better() == {
        "fused": {RATES.name: pytest.approx(4.5), LATENCIES.name: pytest.approx(0.8)}
    }


def test_the_page():
    page = canned().text()
    assert "Sampan and etcd 3.7.3, three nodes each: medians of 3 round(s)" in page
    assert re.search(r"\n +etcd 3\.7\.3 +fused +fused ÷ etcd\n", page)
    assert re.search(r"cpu:\s+one with 2 cores", page)
    assert re.search(r"puts, 1000 clients\s+20,000/s\s+90,000/s\s+4\.50×\n", page)
    assert re.search(r"put, 1 client, p50\s+0\.800 ms\s+1\.000 ms\s+1\.25×  lower is better", page)
    assert re.search(r"puts, 1000 clients\s+10,000–22,000/s\s+45,000–99,000/s", page)
    assert re.search(r"puts, 1000 clients\s+0\.80 / 2\.40\s+1\.00 / 3\.00", page)
    assert page.endswith("- the same work")


def test_rows_that_compare_what_one_measurement_tells_are_one_work():
    rate, tail = ROWS["linearizable reads, 1 client"], ROWS["linearizable read, 1 client, p99.9"]
    for system in ("etcd", "fused"):
        assert rate.work(system) == tail.work(system)
    pipelined = plan.PIPELINED_ROW
    assert pipelined.work("etcd") == RATES.work("etcd")
    assert pipelined.work("fused") != RATES.work("fused")
    for row in plan.GRPC_ROWS:
        plain = [each for each in plan.ROWS if each.work("etcd") == row.work("etcd")]
        assert plain, "etcd is driven over gRPC anyhow, and measured once"
        assert all(row.work("fused") != each.work("fused") for each in plain)


def test_rows_without_latencies():
    """Their units are their own, and they are not in the table of latencies."""
    rows = tuple(row for row in plan.ROWS if row.kind in ("idle", "failover"))
    comparison = Comparison(rows, ["etcd", "fused"], 1)
    for system, times in (("etcd", 1.0), ("fused", 0.5)):
        values = {"connection": 28 * times, "node": 60 * times, "elections": 1.44 * times}
        for row in rows:
            comparison.add(system, row, Measurement(values))
    page = comparison.text()
    assert re.search(r"idle connection +28\.0 KiB +14\.0 KiB +0\.50×  lower is better", page)
    assert re.search(r"1000 of them +60\.0 MiB +30\.0 MiB +0\.50×  lower is better", page)
    assert re.search(r"election timeouts +1\.44 +0\.72 +0\.50×  lower is better", page)
    assert "latency" not in page
    assert comparison.times_better()["fused"] == dict.fromkeys([row.name for row in rows], 2.0)


def test_everything_is_in_the_json():
    written = json.loads(json.dumps(canned().to_json()))
    assert written["ratios"]["fused"][RATES.name] == pytest.approx(4.5)
    assert len(written["measured"]["etcd"][RATES.name]) == 3
    assert written["machine"] == {"cpu": "one with 2 cores", "etcd": "3.7.3"}


def test_every_row_has_splits_that_fill_it():
    for row in (*plan.ROWS, *plan.GRPC_ROWS):
        if row.kind not in KINDS:
            continue  # not driven by h2load
        for split in plan.SPLITS[row.clients]:
            assert split.connections * split.streams == row.clients
        for spread in plan.SPREADS[row.clients]:
            assert 1 <= spread.processes <= spread.connections <= row.clients


def test_plots(tmp_path):
    pytest.importorskip("matplotlib")
    histogram = Histogram()
    histogram.add(1_000_000)
    plot.plot_latencies(tmp_path / "load.png", "puts", {"put": histogram})
    assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")
    plot.plot_ratios(tmp_path / "ratios.svg", "both", canned().times_better())
    assert b"<svg" in (tmp_path / "ratios.svg").read_bytes()


def test_the_machine_without_its_name(tmp_path):
    described = machine.describe_machine(tmp_path)
    assert {"cpu", "memory", "system", "file system", "python", "packages"} <= set(described)
    assert str(tmp_path) not in str(described)
    assert "sampan 0." in described["packages"]
    assert machine.package_version("no-such-package") == "not installed"


def test_grpc_frames_of_known_requests():
    assert etcd.put_body(b"k", b"vv") == b"\0\0\0\0\x07" + b"\x0a\x01k\x12\x02vv"
    assert etcd.range_body(b"k", serializable=False) == b"\0\0\0\0\x03" + b"\x0a\x01k"
    assert etcd.range_body(b"k", serializable=True) == b"\0\0\0\0\x05" + b"\x0a\x01k\x38\x01"
    long = etcd.put_body(b"k", bytes(300))
    assert struct.unpack(">BI", long[:5]) == (0, len(long) - 5)
    assert long[5:11] == b"\x0a\x01k\x12\xac\x02"  # 300 as a varint


needs_etcd = pytest.mark.skipif(
    bool(programs.missing_programs(["etcd", "etcdctl", "h2load"])),
    reason="etcd or h2load is not installed",
)


@needs_etcd
def test_etcd_executes_the_requests(tmp_path, monkeypatch):
    for name in ("ETCD_NAME", "ETCD_UNSAFE_NO_FSYNC", "ETCDCTL_ENDPOINTS"):
        monkeypatch.setenv(name, "someone's own")  # must not reach a measurement
    with etcd.EtcdCluster(tmp_path / "etcd") as cluster:
        leader, before = cluster.leader()
        assert leader in cluster.endpoints
        value = random.Random(1).randbytes(256)
        body = etcd.put_body(b"key", value)
        split = h2load.Split(2, 5)
        put = h2load.run_h2load(f"{leader}/etcdserverpb.KV/Put", body, 100, split)
        assert (put.failed, put.latencies.count) == (0, 100)
        assert cluster.leader()[1] == before + 100
        for serializable in (False, True):
            body = etcd.range_body(b"key", serializable=serializable)
            read = h2load.run_h2load(f"{leader}/etcdserverpb.KV/Range", body, 100, split)
            assert read.failed == 0
            assert read.data_bytes >= 100 * 256
        # A body that etcd refuses is still HTTP status 200: only the answer's size tells.
        bad = h2load.run_h2load(f"{leader}/etcdserverpb.KV/Range", b"\0\0\0\0\x00", 10, split)
        assert bad.data_bytes == 0
        assert cluster.leader()[1] == before + 100
