"""`sampan bench leases`, small: it must go on working, whatever the figures are here."""

import json

import pytest
from sampan.bench import leases
from sampan.bench import main as bench


def test_leases_end_under_puts_and_the_figures_are_told(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(leases, "BEFORE_S", 1.0)
    told = tmp_path / "told.json"
    arguments = ["leases", "--leases", "300", "--clients", "2", "--directory", str(tmp_path)]
    assert bench.main([*arguments, "--json", str(told)]) == 0
    assert "300 leases with a key each" in capsys.readouterr().out
    content = json.loads(told.read_text())
    assert content["puts_per_second"]["before"] > 0
    assert content["gone_s"] < leases.GIVE_UP_S
    assert [path.name for path in tmp_path.iterdir()] == ["told.json"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--leases", "0"], "--leases"),
        (["--clients", "0"], "--clients"),
        (["--value-size", "-1"], "--value-size"),
    ],
)
def test_what_cannot_be_carried_out_is_refused(arguments, named, capsys):
    assert bench.main(["leases", *arguments]) == 1
    assert named in capsys.readouterr().err
