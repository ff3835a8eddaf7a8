import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sampan.client import Client

BIN = Path(sys.executable).parent
ETCDCTL, SAMPANCTL = BIN / "etcdctl", BIN / "sampanctl"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The client endpoint of a real etcd of one member."""
    client, peer = (f"http://127.0.0.1:{free_port()}" for _ in range(2))
    process = subprocess.Popen(
        [
            BIN / "etcd",
            *("--name", "a", "--data-dir", tmp_path_factory.mktemp("etcd")),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"a={peer}", "--log-level", "error", "--unsafe-no-fsync"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={key: value for key, value in os.environ.items() if not key.startswith("ETCD_")},
    )
    try:
        endpoint = client.removeprefix("http://")
        health = [ETCDCTL, "--endpoints", endpoint, "--command-timeout=30s", "endpoint", "health"]
        subprocess.run(health, check=True, capture_output=True, timeout=60)
        yield endpoint
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def sampan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The client endpoint of a Sampan node that is its whole cluster."""
    directory = tmp_path_factory.mktemp("sampan")
    endpoint = f"127.0.0.1:{free_port()}"
    config = directory / "cluster.json"
    member = {"id": 1, "name": "a", "client": endpoint, "peer": f"127.0.0.1:{free_port()}"}
    cluster = {"cluster": "ctl", "data_dir": str(directory), "members": [member]}
    config.write_text(json.dumps(cluster | {"placement": "fused"}))
    process = subprocess.Popen(
        [BIN / "sampan", "node", "--config", config, "--name", "a"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client([endpoint], timeout_s=60) as client:
            client.get("a leader answers this")
        yield endpoint
    finally:
        process.terminate()
        process.wait()
