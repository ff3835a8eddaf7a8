"""The scenarios from end to end, as small as they can be."""

import json

from sampan.bench import keys, leases, watchers
from sampan.bench.main import main


def run(tmp_path, *arguments):
    file = tmp_path / "result.json"
    assert main([*arguments, "--directory", str(tmp_path), "--json", str(file)]) == 0
    assert [each.name for each in tmp_path.iterdir()] == [file.name]  # no data left behind
    return json.loads(file.read_text())


def test_many_keys(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(keys, "FEW_KEYS", 10)
    monkeypatch.setattr(keys, "RESTARTS", 1)
    monkeypatch.setattr(keys, "BEFORE_S", 0.5)
    result = run(tmp_path, "keys", "--keys", "3000", "--value-size", "400", "--clients", "2")
    assert result["scan_bytes"] == 3000 * (400 + len("keys/00000000000"))
    assert result["restart_s"] > 0
    assert result["put_latency_ms"]["while compacting"]["max"] > 0
    assert "compacting 3,000 revisions" in capsys.readouterr().out


def test_leases_that_end_together(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(leases, "BEFORE_S", 0.5)
    result = run(tmp_path, "leases", "--leases", "20", "--clients", "2")
    assert result["gone_s"] > 0
    assert set(result["put_latency_ms"]) == {"before", "meanwhile"}
    assert "20 leases with a key each" in capsys.readouterr().out


def test_many_watchers(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(watchers, "TO_ALL", 2)
    result = run(tmp_path, "watchers", "--watchers", "50", "--puts", "5")
    assert set(result["latency_ms"]) == {"1 watcher", "50 watchers", "to the last of all"}
    assert all(each["max"] > 0 for each in result["latency_ms"].values())
    assert "50 watchers on one node of three" in capsys.readouterr().out


def test_options_are_checked(tmp_path, capsys):
    assert main(["keys", "--keys", "10", "--directory", str(tmp_path)]) == 1
    assert main(["watchers", "--watchers", "0", "--directory", str(tmp_path)]) == 1
    assert "--keys must be above" in capsys.readouterr().err
