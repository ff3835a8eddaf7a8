"""Where the clients come from: registries and repositories, into places made for a run."""

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest


def fetch(command):
    """Run what fetches something; skip where that is not to be had."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"not to be had: {done.stderr.strip().splitlines()[-1:]}")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Makes a place with packages of PyPI in it; returns its Python."""

    def make(*packages):
        place = tmp_path_factory.mktemp("venv")
        venv.create(place, with_pip=True)
        python = place / "bin" / "python"
        install = [python, "-m", "pip", "install", "--quiet", *packages]
        fetch(install)
        return python

    return make


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """Makes a checkout of a public repository; `VARIABLE` may name one that is there already."""

    def make(url, tag, variable):
        if os.environ.get(variable):
            return Path(os.environ[variable])
        if shutil.which("git") is None:
            pytest.skip("there is no git")
        place = tmp_path_factory.mktemp("checkout") / "repository"
        clone = ["git", "clone", "--quiet", "--depth", "1", "--branch", tag, url, place]
        fetch(clone)
        return place

    return make


@pytest.fixture(scope="session")
def needs():
    """Skips where a program is missing."""

    def check(*programs):
        for program in programs:
            if shutil.which(program) is None:
                pytest.skip(f"there is no {program}")

    return check
