"""Who knocks at a door with keys, by address: each may be so many at once, and come so often.

A handshake costs a door half a millisecond before it is known who comes. Whoever is beyond either
is closed unheard, which costs a tenth of that, so that nobody alone keeps a node from its work or
others from the door.
"""

import ipaddress

from ..config import limits


def network_of(host: str) -> str:
    """The address itself; of IPv6 the /64, of which a machine has every address. Those of one link
    are each its own."""
    if ":" not in host or "%" in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return address.exploded[:19]


class Visitors:
    """Counts the connections of each address whose handshake is under way: see `network_of`."""

    def __init__(self) -> None:
        self._shaking: dict[str, int] = {}
        self._buckets: dict[str, tuple[float, float]] = {}  # what it has left, as of when

    def admits(self, host: str, now: float) -> bool:
        """Whether another connection from there may say who it is; it is counted if so."""
        host = network_of(host)
        left = self._left(host, now)
        shaking = self._shaking.get(host, 0)
        if left < 1 or shaking >= limits.SHAKING_OF_ADDRESS_MAX:
            return False
        if host not in self._buckets and len(self._buckets) >= limits.ADDRESSES_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[host] = (left - 1, now)
        self._shaking[host] = shaking + 1
        return True

    def _left(self, host: str, now: float) -> float:
        has, before = self._buckets.get(host, (limits.HANDSHAKES_OF_ADDRESS_MAX, now))
        grown = has + (now - before) * limits.HANDSHAKES_OF_ADDRESS_PER_S
        return min(grown, limits.HANDSHAKES_OF_ADDRESS_MAX)

    def done(self, host: str) -> None:
        """A handshake has ended, in whichever way."""
        host = network_of(host)
        left = self._shaking[host] - 1
        if left:
            self._shaking[host] = left
        else:
            del self._shaking[host]
