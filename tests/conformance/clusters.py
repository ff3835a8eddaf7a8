"""Clusters of a real etcd and of Sampan, started by the same flags, and what passes before both."""

import os
import ssl
import subprocess
import sys
import time
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..ports import free_port

BIN = Path(sys.executable).parent
ETCD = (os.environ.get("ETCD", BIN / "etcd"),)
"""The etcd that all is compared with: any, by the variable ETCD; else that of the wheel."""
SAMPAN = (BIN / "sampan", "etcd")
START_S = 120.0


@contextmanager
def cluster(program, directory, size=1, flags=(), scheme="http"):
    """The client URLs of `size` members, once all of them are healthy."""
    names = [f"m{number}" for number in range(size)]
    clients = {name: f"{scheme}://127.0.0.1:{free_port()}" for name in names}
    peers = {name: f"http://127.0.0.1:{free_port()}" for name in names}
    together = ",".join(f"{name}={peer}" for name, peer in peers.items())
    with ExitStack() as running:
        for name in names:
            command = [
                *program, "--name", name, "--data-dir", directory / name,
                "--listen-client-urls", clients[name], "--advertise-client-urls", clients[name],
                "--listen-peer-urls", peers[name], "--initial-advertise-peer-urls", peers[name],
                "--initial-cluster", together, "--log-level", "error", *flags,
            ]  # fmt: skip
            log = running.enter_context((directory / f"{name}.log").open("wb"))
            process = subprocess.Popen(command, stdout=log, stderr=log)
            running.callback(stop, process)
        for url in clients.values():
            wait_until_healthy(url, process)
        yield list(clients.values())


def stop(process):
    process.terminate()
    process.wait()


def wait_until_healthy(url, process):
    anyone = ssl.create_default_context()
    anyone.check_hostname, anyone.verify_mode = False, ssl.CERT_NONE
    give_up = time.monotonic() + START_S
    while True:
        assert process.poll() is None, "it has ended"
        assert time.monotonic() < give_up, f"{url} is not healthy"
        with (
            suppress(OSError),
            urllib.request.urlopen(f"{url}/health", timeout=5, context=anyone),
        ):
            return
        time.sleep(0.1)


BEFORE_ETCD = {}
"""What passed before etcd, by suite: it is asked first."""


def compare(suite, server_id, found, *, excused=frozenset()):
    """Everything that passes before etcd passes before Sampan."""
    print(f"{suite}: {len(found)} pass before {server_id}")
    if server_id == "etcd":
        BEFORE_ETCD[suite] = found
        assert found
    else:
        assert BEFORE_ETCD.get(suite, set()) - excused - found == set()
