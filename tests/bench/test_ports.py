"""Ports of clusters that are measured or tested."""

import socket
from pathlib import Path

import pytest
from sampan.bench import ports
from sampan.bench.errors import BenchError

from ..ports import free_port

CONNECTIONS = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_no_connection_is_given_one_by_chance():
    first = int(CONNECTIONS.read_text().split()[0]) if CONNECTIONS.exists() else 49_152
    assert ports.PORTS[-1] < first
    assert {*ports.free_ports(6), free_port()} < {*ports.PORTS}


def test_a_port_in_use_is_not_free():
    with socket.socket() as used:
        used.bind(("127.0.0.1", free_port()))
        assert not ports.is_free(used.getsockname()[1])


def test_ports_follow_one_another_and_pass_over_those_in_use(monkeypatch):
    monkeypatch.setattr(ports, "PORTS", range(10, 17))
    monkeypatch.setattr(ports, "is_free", lambda port: port != 13)
    assert [*ports.free_ports(3)] in ([10, 11, 12], [14, 15, 16])
    with pytest.raises(BenchError, match="no 4 consecutive free ports on loopback"):
        ports.free_ports(4)


def test_a_test_gets_no_port_twice():
    given = [free_port() for _ in range(1000)]
    assert len({*given}) == len(given)
