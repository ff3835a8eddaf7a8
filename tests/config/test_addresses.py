"""Addresses as people write them."""

from pathlib import Path

import pytest
from sampan.config import addresses
from sampan.config.addresses import EndpointError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:2379", ("127.0.0.1", 2379)),
        ("tcp://localhost:1", ("localhost", 1)),
        ("http://10.0.0.1:2379", ("10.0.0.1", 2379)),
        ("http://10.0.0.1:2379/", ("10.0.0.1", 2379)),
        ("[::1]:80", ("::1", 80)),
        ("[fe80::1%eth0]:80", ("fe80::1%eth0", 80)),
        ("node_1.a-b:80", ("node_1.a-b", 80)),
    ],
)
def test_parse(text, expected):
    assert addresses.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "host", ":1", "host:", "host:port", "host:99999", "host:-1", "ftp://h:1", "h:1/path",
     "h:1?q", "[::1:80", "http://", "a b:1", "*:1", "-h:1", "h\u00f6st:1", "[::x]:1", "h;g:1"],
)  # fmt: skip
def test_what_is_no_address(text):
    with pytest.raises(EndpointError, match="not HOST:PORT"):
        addresses.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:1", True),
        ("127.8.9.1:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("10.1.2.3:1", False),
    ],
)
def test_is_loopback(text, expected):
    assert addresses.is_loopback(text) is expected


def test_ipv6_in_zeromqs_form():
    assert addresses.tcp("[::1]:80") == "tcp://[::1]:80"


def test_socket_paths_have_a_limit():
    assert addresses.ipc(Path("/tmp/a"), "node") == "ipc:///tmp/a/node"
    with pytest.raises(EndpointError, match="107 bytes"):
        addresses.ipc(Path("/" + "x" * 120), "node")
