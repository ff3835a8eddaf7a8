"""A comparison from end to end, as small as it can be: etcd and both placements of Sampan."""

import json
import re
from importlib.util import find_spec

import pytest
from sampan.bench import compare, plan, programs
from sampan.bench.comparison import Row
from sampan.bench.main import main


@pytest.mark.skipif(
    bool(programs.missing_programs(["etcd", "etcdctl", "h2load"])) or not find_spec("grpc"),
    reason="etcd, h2load or grpcio is not installed",
)
def test_a_whole_comparison(tmp_path, monkeypatch, capsys):
    rows = (
        Row("idle", "idle", 20, 20, metric="connection"),
        Row("puts", "put", 64, 64),
        Row("a read", "range", 1, 20, serializable=True, metric="p50"),
        Row("its tail", "range", 1, 20, serializable=True, metric="p99.9"),
        Row("all keys", "list", 4, 8),
        Row("put to watch", "watch", 5, 10, metric="p50"),
        Row("leader killed", "failover", 1, 2, metric="elections"),
    )
    over_grpc = (
        Row("puts over gRPC", "put", 64, 64, over_grpc=True),
        Row("a read over gRPC", "range", 1, 20, serializable=True, metric="p50", over_grpc=True),
    )
    monkeypatch.setattr(plan, "ROWS", rows)
    monkeypatch.setattr(plan, "GRPC_ROWS", over_grpc)
    monkeypatch.setattr(compare, "is_volatile", lambda directory: False)  # tmp_path may be
    file = tmp_path / "comparison.json"
    arguments = ["compare", "--rounds", "1", "--keys", "100", "--directory", str(tmp_path)]
    arguments.append("--gateway")
    assert main([*arguments, "--json", str(file)]) == 0
    captured = capsys.readouterr()
    for system in ("etcd", "processes", "fused"):
        assert re.search(rf"^{system} +puts .*/s", captured.err, re.MULTILINE)
        for row in over_grpc:
            assert re.search(rf"^{system} +{row.name} ", captured.err, re.MULTILINE)
    assert "processes ÷ etcd" in captured.out
    assert re.search(r"^- gRPC: .*fused puts over gRPC: -c ", captured.out, re.MULTILINE)
    written = json.loads(file.read_text())
    assert f"etcd {written['machine']['etcd']}, three nodes each" in captured.out
    assert set(written["ratios"]) == {"processes", "fused"}
    assert all(ratio > 0 for ratios in written["ratios"].values() for ratio in ratios.values())
    assert [each.name for each in tmp_path.iterdir()] == [file.name]  # no data left behind
