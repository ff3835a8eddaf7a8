import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..client.real_node import BIN, real_node
from ..ports import free_port

ETCDCTL, SAMPANCTL = BIN / "etcdctl", BIN / "sampanctl"


@contextmanager
def run_etcd(directory: Path, *flags: str) -> Iterator[str]:
    """The client endpoint of a real etcd of one member, from when it is healthy on."""
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    log = directory / "log"
    directory.mkdir(exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                BIN / "etcd",
                *("--name", "a", "--data-dir", directory / "data"),
                *("--listen-client-urls", client, "--advertise-client-urls", client),
                *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                *("--initial-cluster", f"a={peer}", "--log-level", "error", "--unsafe-no-fsync"),
                *flags,
            ],
            stdout=output,
            stderr=output,
        )
    try:
        endpoint = client.removeprefix("http://")
        health = [ETCDCTL, "--endpoints", endpoint, "--command-timeout=180s", "endpoint", "health"]
        asked = subprocess.run(health, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert asked.returncode == 0, f"{asked.stdout}etcd: {process.poll()=}\n{log.read_text()}"
        yield endpoint
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The client endpoint of a real etcd of one member."""
    with run_etcd(tmp_path_factory.mktemp("etcd")) as endpoint:
        yield endpoint


@pytest.fixture(scope="module")
def sampan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The client endpoint of a Sampan node that is its whole cluster."""
    with real_node(tmp_path_factory.mktemp("sampan")) as endpoint:
        yield endpoint
