"""A three-node Sampan on loopback, started as anyone starts it: `sampan up`."""

import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from ..client import Client, SampanError
from .errors import BenchError
from .ports import free_ports
from .programs import environment, log_tail, run_program, stop_process

_START_S = 20.0
_STOP_S = 10.0


class SampanCluster:
    """Nodes that run while the context lasts. Node i's client port is the base port + 3 i.

    Raises, on entering:
        BenchError: when the nodes end, or take no put.
    """

    def __init__(self, directory: Path, placement: str, nodes: int = 3) -> None:
        self._directory = directory
        self._placement = placement
        self._nodes = nodes
        self._base_port = free_ports(3 * nodes)[0]
        self.endpoints = tuple(f"127.0.0.1:{self._base_port + 3 * i}" for i in range(nodes))
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

    def _start(self) -> None:
        with self._log.open("wb") as log:
            self._child = subprocess.Popen(
                [
                    *(sys.executable, "-m", "sampan", "up", "--nodes", str(self._nodes)),
                    *("--data-dir", str(self._directory / "data")),
                    *("--placement", self._placement, "--base-port", str(self._base_port)),
                ],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the parent's, which stops it in order
            )
        try:
            self._wait_for_put(self._child)
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

    def revision(self) -> int:
        """The store's newest revision, by a linearizable read."""
        with Client(list(self.endpoints)) as client:
            return client.get(b"ready").header.revision
