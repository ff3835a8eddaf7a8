"""A three-node Sampan on loopback, started as anyone starts it: `sampan up`."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from ..client import Client, SampanError
from . import etcdctl
from .errors import BenchError
from .ports import free_ports
from .programs import environment, log_tail, resident_bytes, run_program, stop_process

_START_S = 60.0
_STOP_S = 10.0


class SampanCluster:
    """Nodes that run while the context lasts. Node i's client port is the base port + 3 i.
    They serve etcd's clients, by another process each, only with `gateway`; none has HTTP pages.

    Raises, on entering:
        BenchError: when the nodes end, or take no put; or gateways are not there.
    """

    def __init__(
        self, directory: Path, placement: str, nodes: int = 3, *, gateway: bool = False
    ) -> None:
        self._directory = directory
        self._placement = placement
        self._gateway = gateway
        self._nodes = nodes
        self._base_port = free_ports(4 * nodes)[0]
        self.endpoints = tuple(f"127.0.0.1:{self._base_port + 3 * i}" for i in range(nodes))
        self.gateways = tuple(
            f"http://127.0.0.1:{self._base_port + 3 * i + 1}"
            for i in range(nodes if gateway else 0)
        )
        self._log = directory / "up.log"
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        self._start()
        return self

    def restart(self) -> float:
        """Stop all nodes in order and start them again; seconds from the start until one takes a
        put. Raises BenchError as entering does."""
        self._stop()
        begun = time.monotonic()
        self._start()
        return time.monotonic() - begun

    def memory_bytes(self) -> int:
        """Resident memory of all processes together."""
        parents = run_program(["ps", "-A", "-o", "pid=,ppid=,rss="], _STOP_S).splitlines()
        rows = [tuple(map(int, line.split())) for line in parents]
        family = {self._child.pid} if self._child is not None else set()
        while new := {pid for pid, parent, _ in rows if parent in family} - family:
            family |= new
        return sum(rss for pid, _, rss in rows if pid in family) * 1024

    def node_memory_bytes(self, index: int) -> int:
        """Resident memory of a node's processes."""
        return resident_bytes(self._pids(index))

    def data_dir(self, index: int) -> Path:
        """Of a node."""
        return self._directory / "data" / f"n{index + 1}"

    def _pids(self, index: int) -> list[int]:
        """A node's processes, but not the supervisor of all."""
        noted = self.data_dir(index) / "pids.json"
        pids: dict[str, int] = json.loads(noted.read_text(encoding="utf-8"))
        return [pid for label, pid in pids.items() if label != "supervisor"]

    @contextmanager
    def leader_killed(self) -> Iterator[None]:
        """Kill -9 the leader's node for as long as the context lasts: its supervisor is held, which
        would start it again at once. Raises BenchError when not all nodes come to agree on a leader
        before."""
        assert self._child is not None, "entered"
        victims = self._pids(self._wait_for_leader() - 1)
        self._child.send_signal(signal.SIGSTOP)
        try:
            for pid in victims:
                os.kill(pid, signal.SIGKILL)
            yield
        finally:
            self._child.send_signal(signal.SIGCONT)

    def _wait_for_leader(self) -> int:
        """The id of the leader that every node names."""
        give_up = time.monotonic() + _START_S
        with Client(list(self.endpoints)) as client:
            while time.monotonic() < give_up:
                try:
                    known = {
                        client.status(endpoint=each, timeout_s=1.0).leader
                        for each in self.endpoints
                    }
                except SampanError:
                    known = set()
                if len(known) == 1 and 0 not in known:
                    return known.pop()
                time.sleep(0.05)
        raise BenchError(f"no leader that all name in {_START_S:g} s: {log_tail(self._log)}")

    def _start(self) -> None:
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sampan", "up", "--nodes", str(self._nodes)),
                    *("--data-dir", str(self._directory / "data")),
                    *("--placement", self._placement, "--base-port", str(self._base_port)),
                ],
                env=environment() | {"SAMPAN_GATEWAY": str(self._gateway).lower()},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the parent's, which stops it in order
            )
        try:
            self._wait_for_put(self._child)
            if self.gateways:
                self._wait_for_gateways()
        except BaseException:
            self._stop()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._child is not None:
            stop_process(self._child, _STOP_S)

    def _wait_for_put(self, child: subprocess.Popen[bytes]) -> None:
        give_up = time.monotonic() + _START_S
        with Client(list(self.endpoints)) as client:
            while time.monotonic() < give_up:
                if child.poll() is not None:
                    raise BenchError(f"sampan up ended: {log_tail(self._log)}")
                try:
                    client.put(b"ready", b"", timeout_s=1.0)
                except SampanError:
                    time.sleep(0.05)
                else:
                    return
        raise BenchError(f"sampan took no put within {_START_S:g} s: {log_tail(self._log)}")

    def _wait_for_gateways(self) -> None:
        give_up = time.monotonic() + _START_S
        while True:
            try:
                self.leader()
            except BenchError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)
            else:
                return

    def leader(self) -> tuple[str, int]:
        """See `etcdctl.leader`: by the gateways."""
        return etcdctl.leader(self.gateways)

    def revision(self) -> int:
        """The store's newest revision, by a linearizable read."""
        with Client(list(self.endpoints)) as client:
            return client.get(b"ready").header.revision
