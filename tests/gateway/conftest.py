"""A gateway whose services only answer, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def port():
    """Where it listens, in plaintext."""
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("echo_server.py"), "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        yield int(server.stdout.readline())
        server.terminate()
