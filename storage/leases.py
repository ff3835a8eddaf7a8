"""Leases in the state: which exist, with what time to live, and which keys they hold.

When a lease ends is not decided here but by the leader (actors/lessor.py), which proposes to expire
it. So each record has the index of the entry that renewed it last: a proposal that names another
one was overtaken by a renewal and does nothing.
"""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple, cast

from ..transport import errors
from ..transport.codec import pack, unpack_local
from . import keys
from .overlay import Overlay
from .sliced import Sliced, finish, sort

LEASE_TTL_MAX_S = 9_000_000_000
"""etcd's MaxLeaseTTL."""


class Lease(NamedTuple):
    """What the state knows of a lease."""

    ttl_s: int
    """Time to live granted, in seconds."""
    renewed: int
    """Index of the entry that granted it or renewed it last."""


class Leases:
    """The families LEASE and LEASE_KEY of the overlay, in memory, too, as in etcd: whoever decides
    when leases end has to know them all, and looking for the keys of each in the database took
    longer than deleting them. 500 bytes a lease with a key: 50 MB for 100,000."""

    def __init__(self, overlay: Overlay, applying: Callable[[], int]) -> None:
        """`applying` tells the index of the entry that is being applied."""
        self._overlay = overlay
        self._applying = applying
        found = overlay.db.scan(keys.LEASE, keys.after_prefix(keys.LEASE))
        self._leases = {keys.U64.unpack_from(key, 1)[0]: _lease(raw) for key, raw in found}
        self._held: dict[int, set[bytes]] = {lease: set() for lease in self._leases}
        for stored in overlay.db.scan(keys.LEASE_KEY, keys.after_prefix(keys.LEASE_KEY)):
            lease, key = keys.parse_lease_member_key(stored[0])
            self._held[lease].add(key)
        self.changed: dict[int, Lease | None] = {}
        """Leases granted, renewed, or ended (None) since whoever keeps their time took and
        cleared this; also those that were to expire and have to wait for the next entry."""

    def exists(self, lease: int) -> bool:
        """Whether the lease was granted and not revoked."""
        return lease in self._leases

    def get(self, lease: int) -> Lease | None:
        """A lease, None when there is none of that id."""
        return self._leases.get(lease)

    def all(self) -> dict[int, Lease]:
        """All leases by id."""
        return dict(self._leases)

    def grant(self, lease: int, ttl_s: int) -> errors.WireError | None:
        """Record a lease; the error when it may not be."""
        if ttl_s > LEASE_TTL_MAX_S:
            return errors.LEASE_TTL_TOO_LARGE
        if lease in self._leases:
            return errors.LEASE_EXISTS
        self._held[lease] = set()
        self._set(lease, Lease(ttl_s, self._applying()))
        return None

    def renew(self, lease: int) -> int:
        """Begin the time to live anew; returns it in seconds, 0 for an unknown lease."""
        old = self._leases.get(lease)
        if old is None:
            return 0
        self._set(lease, Lease(old.ttl_s, self._applying()))
        return old.ttl_s

    def _set(self, lease: int, content: Lease) -> None:
        self._leases[lease] = self.changed[lease] = content
        self._overlay.writes[keys.lease_key(lease)] = pack(content)

    def forget(self, lease: int, keys: Iterable[bytes]) -> None:
        """The lease, which ends, does not hold these keys any more."""
        self._held[lease].difference_update(keys)

    def remove(self, lease: int) -> None:
        """Forget a lease and which keys it held."""
        del self._leases[lease], self._held[lease]
        self.changed[lease] = None
        self._overlay.writes[keys.lease_key(lease)] = None

    def postpone(self, lease: int) -> None:
        """Tell who keeps the time that a lease did not expire although it was proposed."""
        self.changed[lease] = self._leases[lease]

    # -- keys

    def move(self, key: bytes, old: int, new: int) -> None:
        """`key` belongs to lease `new` now, no longer to `old`; 0 is none."""
        if old:
            self._overlay.writes[keys.lease_member_key(old, key)] = None
            self._held[old].discard(key)
        if new:
            self._overlay.writes[keys.lease_member_key(new, key)] = b""
            self._held[new].add(key)

    def keys(self, lease: int) -> list[bytes]:
        """The keys that the lease holds, in order."""
        return finish(self.keys_sliced(lease))

    def keys_sliced(self, lease: int) -> Sliced[list[bytes]]:
        """`keys`, of which there may be many."""
        return sort(list(self._held[lease]), bytes)

    def keys_of(self, lease: int) -> Iterable[bytes]:
        """The same in any order, none for a lease that does not exist, those of all for 0: what
        who asks for the lease needs rights on."""
        return self._held.get(lease, ()) if lease else chain.from_iterable(self._held.values())


def _lease(raw: bytes) -> Lease:
    return Lease(*cast("tuple[Any, ...]", unpack_local(raw)))
