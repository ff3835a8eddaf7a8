"""Go's clientv3 with its recipes (go/main.go) before three members, whose leader dies under it:
sessions, mutexes, elections, transactional memory, namespaces, mirrors, ordering, leasing."""

import shutil
import subprocess
from pathlib import Path

import pytest

from .members import members

WAIT_S = 300
RECIPES = {"mutex", "election", "stm", "namespace", "mirror", "ordering", "leasing"}


@pytest.fixture(scope="module")
def program(tmp_path_factory, needs):
    """The program, built."""
    needs("go")
    place = tmp_path_factory.mktemp("go")
    for file in (Path(__file__).parent / "go").iterdir():
        shutil.copy(file, place)
    for command in (["go", "mod", "tidy"], ["go", "build", "-o", "program", "."]):
        done = subprocess.run(command, cwd=place, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"not to be had: {done.stderr.strip().splitlines()[-1:]}")
    return place / "program"


@pytest.mark.parametrize("which", ["etcd", "sampan"])
def test_recipes_while_leaders_die(which, program, tmp_path):
    with members(which, tmp_path) as cluster:
        command = [program, cluster.endpoints]
        with (
            (tmp_path / "warnings").open("w+") as warnings,
            subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=warnings, text=True
            ) as running,
        ):
            assert running.stdout.readline() == "working\n"
            for _ in range(2):
                leader = cluster.wait_leader()
                cluster.kill(leader)
                cluster.wait_leader()
                cluster.start(leader)
                cluster.wait_serving(leader)
            told, _ = running.communicate(timeout=WAIT_S)
        assert running.returncode == 0, (tmp_path / "warnings").read_text()[-1000:]
        assert set(told.split()) == RECIPES
