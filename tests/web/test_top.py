"""What `sampan top` draws, and how it refuses."""

import subprocess
import sys

import pytest
from sampan.web import figures, top

from .fakes import measured

rich_console = pytest.importorskip("rich.console", reason="rich is not installed")


def drawn(telling):
    console = rich_console.Console(record=True, width=120, file=open("/dev/null", "w"))  # noqa: SIM115
    with console.file:
        console.print(top.picture(telling))
    return console.export_text()


def node(name, **status):
    status = {
        "is_learner": False, "role": "follower", "term": 7, "commit": 30, "applied": 29,
        "log_entries": 5, "db_size": 3 << 20, "progress": (), "elections": (), **status,
    }  # fmt: skip
    answers = [figures.Answer(at, measured(turns=at, **status)) for at in (1.0, 2.0)]
    return {"name": name, "away": "", "figures": figures.figures(answers[1], answers[0])}


def test_all_of_it_is_drawn():
    leader = node(
        "n1", role="leader", progress=[(1, 30, 31, "replicate", True), (2, 9, 10, "probe", False)],
        elections=[(12.3, 7, 1, "leader", "a majority voted for it")],
    )  # fmt: skip
    away = {"name": "n3", "away": "does not answer", "figures": None}
    parts = [("log and fsync", 0.0025)]
    text = drawn({"nodes": {"1": leader, "2": node("n2"), "3": away}, "traces": {"parts": parts}})
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert "● leader" in lines["n1"]
    assert all(word in lines["n2"] for word in ("○ follower", "probe, silent", "3.0 MiB"))
    assert "does not answer" in text
    assert "raft_core" in lines
    assert "2.50 ms" in text
    assert "12 s ago  n1 is leader in term 7: a majority voted for it" in text


def test_a_cluster_of_which_nothing_is_known_is_drawn():
    assert "member" in drawn({"nodes": {}, "traces": {"parts": []}})


@pytest.mark.parametrize("arguments", [["--endpoints", "127.0.0.1:1"], ["--endpoints", "nowhere"]])
def test_one_sentence_says_what_is_wrong(arguments):
    command = [sys.executable, "-m", "sampan", "top", "--once", *arguments]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert told.returncode == 1
    assert told.stderr.startswith("sampan: ")
    assert told.stderr.count("\n") == 1


def test_without_rich_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich", None)
    assert top.main(["--once"]) == 1
    assert "pip install 'sampan[top]'" in capsys.readouterr().err
