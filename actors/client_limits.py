"""How much each client may ask of a node: requests, written keys, bytes and leases a second.

A client is a user, where users are asked who they are, and else a connection.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from ..config import limits

BURST_S = 1.0
"""What a client has not used for so long it may use at once."""


class Rates(NamedTuple):
    """What a client may have in a second; 0 is no limit."""

    requests: int = 0
    keys: int = 0
    size: int = 0
    """Bytes of its requests and their answers."""
    leases: int = 0
    """That it is granted. How many it has then follows from how long they live."""


class ClientLimits:
    """A bucket of each rate for each client, filled as time goes by.

    Whoever has anything left may send a message, however much it asks; what that exceeds is owed
    first. So large messages pass, and in the long run the rate holds.
    """

    def __init__(self, rates: Rates) -> None:
        self._rates = rates
        # What is left of each rate, and as of when.
        self._buckets: dict[Any, tuple[tuple[float, ...], float]] = {}

    def admits(self, client: Any, requests: tuple[Any, ...], size: int, now: float) -> bool:
        """Whether a decoded message of `size` bytes may pass; it is counted if so."""
        left = self._left(client, now)
        if any(rate and has <= 0 for rate, has in zip(self._rates, left, strict=True)):
            return False
        keys = sum(map(written_keys, requests)) if self._rates.keys else 0
        leases = sum(map(is_grant, requests)) if self._rates.leases else 0
        self._take(client, left, (len(requests), keys, size, leases), now)
        return True

    def charge(self, client: Any, size: int, now: float) -> None:
        """An answer of `size` bytes went to it."""
        if self._rates.size:
            self._take(client, self._left(client, now), (0, 0, size, 0), now)

    def _take(self, client: Any, left: Iterable[float], taken: Iterable[float], now: float) -> None:
        if client not in self._buckets and len(self._buckets) >= limits.CLIENTS_MAX:
            del self._buckets[next(iter(self._buckets))]
        rest = tuple(has - each for has, each in zip(left, taken, strict=True))
        self._buckets[client] = (rest, now)

    def _left(self, client: Any, now: float) -> tuple[float, ...]:
        full = tuple(rate * BURST_S for rate in self._rates)
        if client not in self._buckets:
            return full
        left, before = self._buckets[client]
        return tuple(
            min(most, has + rate * (now - before))
            for most, has, rate in zip(full, left, self._rates, strict=True)
        )


def is_grant(request: Any) -> bool:
    """Whether a decoded request that was not checked yet asks for a lease."""
    return type(request) is tuple and request[:1] == ("lease_grant",)


def written_keys(request: Any) -> int:
    """Puts and deletes in a decoded request that was not checked yet, at any depth. The deletion of
    a range counts as one key, and both branches of a transaction count."""
    if type(request) is not tuple or not request:
        return 0
    if request[0] in ("put", "delete"):
        return 1
    if request[0] != "txn":
        return 0
    parts = [part for part in request[2:4] if type(part) is tuple]
    return sum(written_keys(operation) for part in parts for operation in part)
