import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from ..client.real_node import BIN, real_node
from ..ports import free_port

ETCDCTL, SAMPANCTL = BIN / "etcdctl", BIN / "sampanctl"


@contextmanager
def run_etcd(directory: Path, *flags: str, etcdctl: Sequence[str] = ()) -> Iterator[str]:
    """The client endpoint of a real etcd of one member, from when it is healthy on. With flags for
    `etcdctl` it takes TLS."""
    endpoint, peer = f"127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    client = f"{'https' if etcdctl else 'http'}://{endpoint}"
    log = directory / "log"
    directory.mkdir(exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                os.environ.get("TEST_ETCD", BIN / "etcd"),
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
        health = [ETCDCTL, "--endpoints", client, "--command-timeout=180s", *etcdctl]
        health += ["endpoint", "health"]
        asked = subprocess.run(health, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert asked.returncode == 0, f"{asked.stdout}etcd: {process.poll()=}\n{log.read_text()}"
        listed = [*health[:-2], "member", "list"]
        while b", started, " not in subprocess.run(listed, capture_output=True).stdout:
            assert process.poll() is None, log.read_text()  # it publishes its name after that
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
