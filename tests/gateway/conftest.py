"""The two halves apart: a gateway whose services only answer, services that have no wire."""

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..client.real_node import real_node
from .authority import Authority
from .calls import Services


@contextmanager
def echo_server(loop="asyncio", *certificate):
    server = subprocess.Popen(
        [sys.executable, Path(__file__).with_name("echo_server.py"), loop, *certificate],
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        server.port = int(server.stdout.readline())
        yield server
        server.terminate()


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def loop(request):
    """Which loop it runs on: the gateway takes uvloop's where that is installed."""
    return request.param


@pytest.fixture(scope="session")
def port(loop):
    """Where it listens, in plaintext."""
    with echo_server(loop) as server:
        yield server.port


@pytest.fixture(scope="session")
def tls_port(loop, tmp_path_factory):
    """Where one listens with TLS, and a certificate of its own."""
    authority = Authority(tmp_path_factory.mktemp("tls"))
    with echo_server(loop, *authority.issue("server")) as server:
        yield server.port


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
