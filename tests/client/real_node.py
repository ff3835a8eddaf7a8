"""A real Sampan node that is its whole cluster, in processes of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sampan.client import Client

from ..ports import free_port

BIN = Path(sys.executable).parent
START_S = 180.0


@contextmanager
def real_node(directory: Path, **options: object) -> Iterator[str]:
    """Its client endpoint, once it answers and has announced itself; `options` are keys of its
    configuration."""
    endpoint = f"127.0.0.1:{free_port()}"
    member = {"id": 1, "name": "a", "client": endpoint, "peer": f"127.0.0.1:{free_port()}"}
    cluster = {"cluster": "one", "data_dir": str(directory), "members": [member]}
    config = directory / "cluster.json"
    config.write_text(json.dumps(cluster | {"placement": "fused"} | options))
    process = subprocess.Popen(
        [BIN / "sampan", "node", "--config", config, "--name", "a"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with Client([endpoint], timeout_s=START_S) as client:
            client.get("a leader answers this")
            give_up = time.monotonic() + START_S
            while not client.member_list().members[0].client_urls:  # it has announced itself
                assert time.monotonic() < give_up, "the node never told its client address"
                time.sleep(0.01)
        yield endpoint
    finally:
        process.terminate()
        process.wait()
