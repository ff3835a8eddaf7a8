"""Finds members and endpoints by DNS SRV records, as etcd does (client/pkg/srv).

    _sampan-server._tcp.DOMAIN. SRV 0 0 2380 n1.DOMAIN.      one for each member: its peer address
    _sampan-client._tcp.DOMAIN. SRV 0 0 2378 n1.DOMAIN.      where clients reach it

etcd's own names, `_etcd-server` and `_etcd-client`, are for who starts or asks as etcd does.
"""

import socket
from collections.abc import Sequence

from .addresses import EndpointError, parse

TIMEOUT_S = 10.0
"""A resolver that is silent for so long has no answer."""


class DiscoveryError(ValueError):
    """Nothing was found, in one sentence that names the record."""


def servers(service: str, domain: str) -> list[str]:
    """HOST:PORT of the records of `_SERVICE._tcp.DOMAIN`, in the same order for all who ask.
    Raises DiscoveryError."""
    import dns.exception
    import dns.resolver

    name = f"_{service}._tcp.{domain}"
    try:
        answer = dns.resolver.resolve(name, "SRV", lifetime=TIMEOUT_S)
    except dns.exception.DNSException as error:
        raise DiscoveryError(f"no DNS SRV records of {name}: {error}") from error
    found = {(record.target.to_text(omit_final_dot=True), record.port) for record in answer}
    return [f"{host}:{port}" for host, port in sorted(found)]


def members(service: str, domain: str, own: Sequence[str]) -> tuple[list[str], str]:
    """The servers of a service, and which of them is reached at one of a member's `own` addresses:
    it is the same text, or a name that resolves to the same address. Raises DiscoveryError."""
    found = servers(service, domain)
    same = [each for each in found if each in own]
    if not same:
        reached = {each: _addresses(each) for each in (*found, *own)}
        same = [f for f in found if any(reached[f] & reached[o] for o in own)]
    if len(same) == 1:
        return found, same[0]
    which = f"{len(same)} of them are" if same else "none is"
    raise DiscoveryError(
        f"_{service}._tcp.{domain} lists {', '.join(found)}: {which} reached at "
        f"{', '.join(own)}, this member's own peer address"
    )


def _addresses(endpoint: str) -> set[tuple[str, int]]:
    try:
        host, port = parse(endpoint)
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (EndpointError, OSError, UnicodeError):
        return set()  # of a member whose name is not there yet
    return {(str(item[4][0]), int(item[4][1])) for item in found}
