"""A three-member etcd on loopback with etcd's defaults, and its requests as raw gRPC bodies."""

import struct
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from . import etcdctl
from .errors import BenchError
from .ports import free_ports
from .programs import environment, find_program, log_tail, resident_bytes

_START_S = 60.0


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def _bytes_field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _grpc_frame(message: bytes) -> bytes:
    """gRPC's Length-Prefixed-Message (gRPC over HTTP2): not compressed, length, message."""
    return struct.pack(">BI", 0, len(message)) + message


def put_body(key: bytes, value: bytes) -> bytes:
    """The body of `/etcdserverpb.KV/Put`: PutRequest{key = 1, value = 2} in a gRPC frame."""
    return _grpc_frame(_bytes_field(1, key) + _bytes_field(2, value))


def range_body(key: bytes, *, serializable: bool, range_end: bytes = b"") -> bytes:
    """The body of `/etcdserverpb.KV/Range`, framed: RangeRequest{key = 1, range_end = 2,
    serializable = 7}."""
    end = _bytes_field(2, range_end) if range_end else b""
    flag = _varint(7 << 3) + b"\x01" if serializable else b""
    return _grpc_frame(_bytes_field(1, key) + end + flag)


def watch_create(key: bytes) -> bytes:
    """WatchRequest{create_request = 1: WatchCreateRequest{key = 1}}."""
    return _bytes_field(1, _bytes_field(1, key))


def message_fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(number, value) of a protobuf message's fields that are varints or length-delimited."""
    position = 0

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = message[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    while position < len(message):
        tag = varint()
        value = varint()
        if tag & 7 == 2:
            yield tag >> 3, message[position : position + value]
            position += value
        else:
            yield tag >> 3, value


class EtcdCluster:
    """Members that run while the context lasts; every one logs into its own file.

    Raises, on entering:
        BenchError: when etcd is missing, a member ends, or no leader appears.
    """

    def __init__(self, directory: Path, members: int = 3, etcd: Path | None = None) -> None:
        self._directory = directory
        self._etcd = str(etcd) if etcd else find_program("etcd")
        ports = free_ports(2 * members)
        self.endpoints = [f"http://127.0.0.1:{port}" for port in ports[:members]]
        self._peers = [f"http://127.0.0.1:{port}" for port in ports[members:]]
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True)
        try:
            for index in range(len(self.endpoints)):
                self._children.append(self._start(index))
            self._wait_for_leader()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def _start(self, index: int) -> subprocess.Popen[bytes]:
        client, peer = self.endpoints[index], self._peers[index]
        cluster = ",".join(f"m{i}={each}" for i, each in enumerate(self._peers))
        with self._log(index).open("ab") as log:
            return subprocess.Popen(
                [
                    self._etcd,
                    *("--name", f"m{index}"),
                    *("--data-dir", str(self.data_dir(index))),
                    *("--listen-client-urls", client),
                    *("--advertise-client-urls", client),
                    *("--listen-peer-urls", peer),
                    *("--initial-advertise-peer-urls", peer),
                    *("--initial-cluster", cluster),
                ],
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is the parent's, which stops it in order
            )

    @contextmanager
    def leader_killed(self) -> Iterator[list[str]]:
        """Kill -9 the leader for as long as the context lasts; it gives the others' endpoints.
        Raises BenchError when not all members come to agree on a leader before."""
        self._wait_for_leader()
        leader = self.leader()[0]
        index = self.endpoints.index(leader)
        self._children[index].kill()
        try:
            yield [each for each in self.endpoints if each != leader]
        finally:
            self._children[index].wait()
            self._children[index] = self._start(index)

    def node_memory_bytes(self, index: int) -> int:
        """Resident memory of a member."""
        return resident_bytes([self._children[index].pid])

    def data_dir(self, index: int) -> Path:
        """Of a member."""
        return self._directory / f"m{index}"

    def _stop(self) -> None:
        """At once: the data goes, too, and an orderly stop of all members takes 7 s, while the
        leader looks in vain for another one to hand over to."""
        for child in self._children:
            child.kill()
        for child in self._children:
            child.wait()

    def _log(self, index: int) -> Path:
        return self._directory / f"m{index}.log"

    def _wait_for_leader(self) -> None:
        give_up = time.monotonic() + _START_S
        while time.monotonic() < give_up:
            for index, child in enumerate(self._children):
                if child.poll() is not None:
                    raise BenchError(f"etcd member {index} ended: {log_tail(self._log(index))}")
            try:
                self.leader()
            except BenchError:
                time.sleep(0.1)
            else:
                return
        raise BenchError(f"etcd had no leader after {_START_S:g} s: {log_tail(self._log(0))}")

    def leader(self) -> tuple[str, int]:
        """See `etcdctl.leader`."""
        return etcdctl.leader(self.endpoints)

    def version(self) -> str:
        """Of the etcd that answers."""
        return etcdctl.version(self.endpoints)
