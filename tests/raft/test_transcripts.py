"""Transcripts: the project's own, and etcd's if RAFT_TRANSCRIPTS names their folder.

The folders under it are `interaction`, `confchange` and `quorum`, as here under testdata.
"""

import os
from pathlib import Path

import pytest
from sampan.tests.raft.transcript import CASES, Directive, _arguments, parse, run

OWN = Path(__file__).parent / "testdata"
UPSTREAM = os.environ.get("RAFT_TRANSCRIPTS")


def files(folder: Path) -> list:
    return [
        pytest.param(path, kind, id=f"{kind}/{path.stem}")
        for kind in CASES
        for path in sorted((folder / kind).glob("*.txt"))
    ]


@pytest.mark.parametrize(("path", "kind"), files(OWN))
def test_own_transcripts(path, kind, rewrite):
    text, results = run(path, kind)
    if rewrite:
        path.write_text(text, encoding="utf8")
        return
    for directive, output in results:
        assert output == directive.expected, "\n".join(directive.lines)
    assert text == path.read_text(encoding="utf8")


@pytest.mark.skipif(not UPSTREAM, reason="RAFT_TRANSCRIPTS is not set")
@pytest.mark.parametrize(("path", "kind"), files(Path(UPSTREAM)) if UPSTREAM else [])
def test_upstream_transcripts(path, kind):
    for directive, output in run(path, kind)[1]:
        assert output == directive.expected, "\n".join(directive.lines)


def test_there_are_transcripts():
    assert len(files(OWN)) >= 10


def test_arguments():
    assert _arguments("1 a=(1,2, 3) b=x c=() d=") == [
        ("1", []), ("a", ["1", "2", "3"]), ("b", ["x"]), ("c", [""]), ("d", [""]),
    ]  # fmt: skip


def test_parsing(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text(
        "# note\none 1 \\\n  a=2\nin\nput\n----\nout\n\ntwo\n----\n----\na\n\nb\n----\n----\n"
    )
    note, one, two = (part for part in parse(path))
    assert note == "# note"
    assert isinstance(one, Directive)
    assert (one.command, one.args, one.input, one.expected) == (
        "one", [("1", []), ("a", ["2"])], "in\nput", "out\n",
    )  # fmt: skip
    assert (two.command, two.expected) == ("two", "a\n\nb\n")
