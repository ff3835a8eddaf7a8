"""The two halves apart: a gateway whose services only answer, services that have no wire."""

import subprocess
import sys
from pathlib import Path

import pytest

from ..client.real_node import real_node
from .calls import Services


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


@pytest.fixture(scope="session")
def services(tmp_path_factory):
    with real_node(tmp_path_factory.mktemp("node")) as endpoint:
        found = Services(endpoint)
        yield found
        found.close()


@pytest.fixture
def kv(services, request):
    """KV calls by their name, and a prefix of the test's own."""
    return Kv(services, f"{request.node.name}/".encode())


class Kv:
    def __init__(self, services, prefix):
        self.services = services
        self.prefix = prefix

    def __call__(self, method, request, response):
        return self.services.ask(f"/etcdserverpb.KV/{method}", request, response)
