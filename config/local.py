"""A cluster on this machine's loopback, for `sampan up` without a file."""

from typing import Any

from .model import ConfigError


def cluster(nodes: int, base_port: int) -> dict[str, Any]:
    """`nodes` members on loopback, of three ports each: clients, etcd's clients, peers; and behind
    all of these one each for HTTP."""
    if not 1 <= nodes <= 9:
        raise ConfigError(f"--nodes must be 1 to 9, got {nodes}")
    if not 1024 <= base_port <= 65535 - 4 * nodes:
        raise ConfigError(f"--base-port must be 1024 to {65535 - 4 * nodes}, got {base_port}")
    members = [
        {
            "id": i + 1,
            "name": f"n{i + 1}",
            "client": f"127.0.0.1:{base_port + 3 * i}",
            "gateway": f"127.0.0.1:{base_port + 3 * i + 1}",
            "peer": f"127.0.0.1:{base_port + 3 * i + 2}",
            "http": f"127.0.0.1:{base_port + 3 * nodes + i}",
        }
        for i in range(nodes)
    ]
    return {"cluster": "dev", "members": members}
