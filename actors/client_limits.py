"""How much each client may ask of a node: requests and written keys a second.

A client is a connection: there is nothing yet by which a node could know that two are one user's.
"""

from collections.abc import Callable
from typing import Any

from ..config import limits

BURST_S = 1.0
"""What a client has not used for so long it may use at once."""


class ClientLimits:
    """A bucket of requests and one of keys for each client, filled as time goes by.

    Whoever has anything left may send a message, however much it asks; what that exceeds is owed
    first. So large messages pass, and in the long run the rate holds.
    """

    def __init__(self, requests_per_s: int, keys_per_s: int) -> None:
        """0 is no limit."""
        self._rates = (requests_per_s, keys_per_s)
        self._buckets: dict[bytes, tuple[float, float, float]] = {}  # requests, keys, as of when

    def admits(self, client: bytes, requests: tuple[Any, ...], now: float) -> bool:
        """Whether a decoded message may pass; it is counted if so."""
        left = self._left(client, now)
        if any(rate and has <= 0 for rate, has in zip(self._rates, left, strict=True)):
            return False
        keys = sum(map(written_keys, requests)) if self._rates[1] else 0
        if client not in self._buckets and len(self._buckets) >= limits.CLIENTS_MAX:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[client] = (left[0] - len(requests), left[1] - keys, now)
        return True

    def _left(self, client: bytes, now: float) -> tuple[float, float]:
        full = (self._rates[0] * BURST_S, self._rates[1] * BURST_S)
        if client not in self._buckets:
            return full
        requests, keys, before = self._buckets[client]
        return (
            min(full[0], requests + self._rates[0] * (now - before)),
            min(full[1], keys + self._rates[1] * (now - before)),
        )


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


def client_limits(requests_per_s: int, keys_per_s: int) -> Callable[..., bool] | None:
    """`ClientLimits.admits`, None when nothing is limited."""
    if not requests_per_s and not keys_per_s:
        return None
    return ClientLimits(requests_per_s, keys_per_s).admits
