"""Addresses: how users write them and what ZeroMQ takes."""

import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

IPC_PATH_BYTES_MAX = 107
"""sockaddr_un's limit on Linux; libzmq refuses more."""

_IPC = "ipc://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""What libzmq takes for a host name or an IPv4 address."""


class EndpointError(ValueError):
    """An address that cannot be used; the text says which and why."""


def parse(endpoint: str) -> tuple[str, int]:
    """(host, port) of `host:port`, `tcp://host:port` or, as etcd's users write, `http://host:port`."""
    text = endpoint if "//" in endpoint else f"//{endpoint}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise EndpointError(f"{endpoint!r} is not HOST:PORT: {error}") from error
    if parts.scheme not in ("", "tcp", "http") or parts.path not in ("", "/") or parts.query:
        raise EndpointError(
            f"{endpoint!r} is not HOST:PORT (tcp:// or http:// may stand before it)"
        )
    if not host or port is None or not _is_host(host):
        raise EndpointError(f"{endpoint!r} is not HOST:PORT")
    return host, port


def _is_host(text: str) -> bool:
    if ":" not in text:
        return _NAME.fullmatch(text) is not None
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def plain(endpoint: str) -> str:
    """`host:port` without a scheme. Raises EndpointError."""
    host, port = parse(endpoint)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_scheme(address: str) -> tuple[str, str]:
    """(scheme, the rest) of an address for HTTP: "https", "http", or "" where it does not say."""
    scheme, separator, rest = address.partition("://")
    if separator and scheme in ("http", "https"):
        return scheme, rest.removesuffix("/")
    return "", address


def ipc_path(endpoint: str) -> str:
    """The socket file that an endpoint names; empty for one of a host."""
    return endpoint.removeprefix(_IPC) if endpoint.startswith(_IPC) else ""


def dialled(endpoint: str) -> str:
    """The ZeroMQ form of an endpoint to connect to."""
    return endpoint if ipc_path(endpoint) else tcp(endpoint)


def tcp(endpoint: str) -> str:
    """The ZeroMQ form of a tcp endpoint."""
    host, port = parse(endpoint)
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def is_loopback(endpoint: str) -> bool:
    """Whether only this machine can reach it. A name counts when all its addresses do."""
    host, _ = parse(endpoint)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        pass  # a name, not an address
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise EndpointError(f"cannot resolve {host!r}: {error}") from error
    return all(ipaddress.ip_address(item[4][0]).is_loopback for item in found)


def ipc(directory: Path, name: str) -> str:
    """The ZeroMQ form of a socket file; raises EndpointError when the path is too long."""
    path = os.fspath(directory / name)
    if len(os.fsencode(path)) > IPC_PATH_BYTES_MAX:
        raise EndpointError(
            f"socket path over {IPC_PATH_BYTES_MAX} bytes: {path}; set TMPDIR shorter"
        )
    return _IPC + path


def member_id(peers: Sequence[str], cluster_id: int, salt: int = 0) -> int:
    """A member's id, 64 bits: of its peer addresses and its cluster, as etcd's computeMemberID, so
    that those of a new cluster come to the same ids without a word. Who is added later has a salt:
    its address may have been another member's."""
    text = "".join(sorted(peers)) + str(cluster_id) + (str(salt) if salt else "")
    digest = hashlib.sha1(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "big") or 1
