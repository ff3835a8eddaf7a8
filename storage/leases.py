"""Leases in the state: which exist, with what time to live, and which keys they hold.

When a lease ends is not decided here: the leader sees to that and proposes a revoke, so that
applying stays deterministic.
"""

from typing import Any, cast

from ..transport import errors
from ..transport.codec import pack, unpack_local
from . import keys
from .overlay import Overlay

LEASE_TTL_MAX_S = 9_000_000_000
"""etcd's MaxLeaseTTL."""


class Leases:
    """The families LEASE and LEASE_KEY of the overlay."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay

    def exists(self, lease: int) -> bool:
        """Whether the lease was granted and not revoked."""
        return self._overlay.get(keys.lease_key(lease)) is not None

    def grant(self, lease: int, ttl_s: int) -> errors.WireError | None:
        """Record a lease; the error when it may not be."""
        if ttl_s > LEASE_TTL_MAX_S:
            return errors.LEASE_TTL_TOO_LARGE
        if self.exists(lease):
            return errors.LEASE_EXISTS
        self._overlay.writes[keys.lease_key(lease)] = pack((ttl_s,))
        return None

    def remove(self, lease: int) -> None:
        """Forget a lease whose keys are gone."""
        self._overlay.writes[keys.lease_key(lease)] = None

    def move(self, key: bytes, old: int, new: int) -> None:
        """`key` belongs to lease `new` now, no longer to `old`; 0 is none."""
        if old:
            self._overlay.writes[keys.lease_member_key(old, key)] = None
        if new:
            self._overlay.writes[keys.lease_member_key(new, key)] = b""

    def keys(self, lease: int) -> list[bytes]:
        """The keys that the lease holds, in order."""
        start = keys.lease_member_key(lease, b"")
        end = keys.after_lease(lease)
        return [stored[len(start) :] for stored, _ in self._overlay.pairs(start, end)]

    def ttl(self, lease: int) -> int | None:
        """The granted time to live in seconds, None for an unknown lease."""
        raw = self._overlay.get(keys.lease_key(lease))
        return None if raw is None else _ttl(raw)

    def all(self) -> list[tuple[int, int]]:
        """(lease, granted time to live in seconds) of all leases, by id."""
        pairs = self._overlay.pairs(keys.LEASE, keys.after_prefix(keys.LEASE))
        return [(keys.U64.unpack_from(stored, 1)[0], _ttl(raw)) for stored, raw in pairs]


def _ttl(raw: bytes) -> int:
    content: Any = unpack_local(raw)
    return cast("int", content[0])
