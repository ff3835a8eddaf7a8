"""Completion by a real shell, and the guides in the wheel."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import sampan
from sampan import __main__ as command

BIN = Path(sys.executable).parent
ROOT = Path(sampan.__file__).parent
ASK = """
source <("{bin}/{name}" completion bash)
COMP_WORDS=({words} "{begun}")
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_{name}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def completed(words, begun):
    script = ASK.format(bin=BIN, name=words.split()[0], words=words, begun=begun)
    ran = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert ran.stderr == ""
    return ran.stdout.split()


@needs_bash
@pytest.mark.parametrize(
    ("words", "begun", "found"),
    [
        ("sampan", "", list(command.COMMANDS)),
        ("sampan", "u", ["up"]),
        ("sampan up", "--pl", ["--placement"]),
        ("sampan up --nodes 3", "--base", ["--base-port"]),
        ("sampan node", "--nodes", []),
        ("sampan doctor", "--d", ["--deep"]),
        ("sampan bench", "comp", ["compare"]),
        ("sampan bench put", "--cl", ["--clients"]),
        ("sampan completion", "", ["bash", "zsh", "fish"]),
        ("sampan docs", "cl", ["client"]),
        ("sampanctl", "wa", ["watch"]),
        ("sampanctl member", "li", ["list"]),
        ("sampanctl get key", "--keys", ["--keys-only"]),
        ("sampanctl endpoint status", "--clu", ["--cluster"]),
        ("sampanctl --hex", "ge", ["get"]),
        ("sampanctl put", "--endp", ["--endpoints"]),
    ],
)
def test_what_bash_completes(words, begun, found):
    assert completed(words, begun) == found


@pytest.mark.parametrize("name", ["sampan", "sampanctl"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_read_it(name, shell):
    script = subprocess.run([BIN / name, "completion", shell], capture_output=True, check=True)
    assert script.stdout.count(name.encode()) > 1
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell} here to read it")
    ran = subprocess.run([shell, "-n"], input=script.stdout, capture_output=True)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize(("name", "code"), [("sampan", 2), ("sampanctl", 128)])
@pytest.mark.parametrize("words", [[], ["powershell"], ["bash", "zsh"]])
def test_a_shell_that_it_does_not_know(name, code, words):
    ran = subprocess.run([BIN / name, "completion", *words], capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (code, "")
    assert "bash, zsh, fish" in ran.stderr


def test_guides_are_printed(capsys):
    assert command.main(["docs", "client"]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "client.md").read_text()
    assert command.main(["docs"]) == 0
    assert str(ROOT / "docs" / "client.md") in capsys.readouterr().out
    assert command.main(["docs", "nothing"]) == 2
    assert "client" in capsys.readouterr().err


def test_the_wheel_has_what_the_program_names(tmp_path):
    copied = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "mutants")
    shutil.copytree(ROOT, copied, ignore=ignored)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", tmp_path, copied]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for page in (ROOT / "docs").glob("*.md"):
        assert f"sampan/docs/{page.name}" in names
    assert {"sampan/py.typed", "sampan/bench/README.md", "sampan/__main__.py"} <= names
    assert not [name for name in names if name.startswith(("sampan/tests", "tests", "findings"))]
