"""Three members, started with etcd's flags: of `sampan etcd`, or of a real etcd.

Each is a process of its own, so that one can be killed, paused and started again under a client.
"""

import http.client
import json
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager, suppress

from ..ports import free_port
from .clusters import ETCD, SAMPAN

PROGRAMS = {"etcd": ETCD, "sampan": SAMPAN}
START_S = 120.0
ASK_S = 5.0


def wait_for(condition, what, timeout_s=START_S):
    """Poll until `condition()` is true, and return what it returned."""
    give_up = time.monotonic() + timeout_s
    while not (found := condition()):
        assert time.monotonic() < give_up, f"waited {timeout_s:g} s for {what}"
        time.sleep(0.05)
    return found


class Members:
    """`count` members in `directory`, named m0, m1, …; `urls` are their client URLs."""

    def __init__(self, which, directory, count=3):
        self.which = which
        self._directory = directory
        self._running = {}
        self.urls = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
        self._peers = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
        self._cluster = ",".join(f"m{i}={url}" for i, url in enumerate(self._peers))

    @property
    def endpoints(self):
        """HOST:PORT of each, joined by commas."""
        return ",".join(url.removeprefix("http://") for url in self.urls)

    def start(self, i):
        command = [
            *PROGRAMS[self.which], "--name", f"m{i}", "--data-dir", self._directory / f"m{i}",
            "--listen-client-urls", self.urls[i], "--advertise-client-urls", self.urls[i],
            "--listen-peer-urls", self._peers[i], "--initial-advertise-peer-urls", self._peers[i],
            "--initial-cluster", self._cluster,
        ]  # fmt: skip
        with (self._directory / f"m{i}.log").open("ab") as log:
            self._running[i] = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self, i):
        self._running[i].kill()
        self._running.pop(i).wait()

    def ask(self, i, path, request=None):
        """What the JSON gateway of one answers; None if it does not."""
        body = None if request is None else json.dumps(request).encode()
        with (
            suppress(OSError, ValueError, http.client.HTTPException),
            urllib.request.urlopen(self.urls[i] + path, body, timeout=ASK_S) as answer,
        ):
            return json.load(answer)
        return None

    def leader(self):
        """The index of the leader, as a majority sees it; None without one."""
        told = {}
        for i in self._running:
            if status := self.ask(i, "/v3/maintenance/status", {}):
                told[status["header"]["member_id"]] = (i, status.get("leader"))
        seen = [leader for _, leader in told.values()]
        for member, (i, _) in told.items():
            if seen.count(member) > len(self.urls) // 2:
                return i
        return None

    def wait_serving(self, i):
        wait_for(lambda: self.ask(i, "/v3/maintenance/status", {}), "a member to answer")

    def wait_leader(self):
        return wait_for(lambda: (i := self.leader()) is not None and (i,), "a leader")[0]

    def stop(self):
        for process in self._running.values():
            process.send_signal(signal.SIGKILL)
        for process in self._running.values():
            process.wait()


@contextmanager
def members(which, directory, count=3):
    """A fresh cluster that has a leader."""
    cluster = Members(which, directory, count)
    try:
        for i in range(count):
            cluster.start(i)
        cluster.wait_leader()
        yield cluster
    finally:
        cluster.stop()
