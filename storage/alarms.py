"""Alarms in the state: which member raised which, and what they refuse (etcd's alarm store).

A member raises NOSPACE through the log when its own database has outgrown the quota, so that all
members refuse the same requests from the same entry on: those that make the state larger, as
etcd's applierV3Capped does. Reads, deletions and compaction go on.
"""

from typing import Any, cast

from ..transport.codec import pack, unpack_local
from . import keys
from .overlay import Overlay

NOSPACE = 1
CORRUPT = 2
KINDS = {NOSPACE: "NOSPACE", CORRUPT: "CORRUPT"}
"""etcd's AlarmType by number."""

Alarm = tuple[int, int]
"""(member id, kind)."""

_KEY = keys.META + b"alarms"


class Alarms:
    """The alarms that are raised, in the overlay under one key."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        raw = overlay.get(_KEY)
        self._raised: set[Alarm] = set(cast("Any", unpack_local(raw))) if raw else set()
        self.no_space = False
        """Whether requests that make the state larger are refused."""
        self._look()

    def all(self) -> list[Alarm]:
        """What is raised, in order."""
        return sorted(self._raised)

    def raised(self, member: int, kind: int) -> bool:
        """Whether a member has raised an alarm of this kind."""
        return (member, kind) in self._raised

    def activate(self, member: int, kind: int) -> list[Alarm]:
        """Raise one; returns it."""
        self._raised.add((member, kind))
        self._save()
        return [(member, kind)]

    def disarm(self, member: int, kind: int) -> list[Alarm]:
        """Disarm those of a member (0: of any) and a kind (0: any); returns what was raised."""
        gone = [a for a in self.all() if member in (0, a[0]) and kind in (0, a[1])]
        if gone:
            self._raised.difference_update(gone)
            self._save()
        return gone

    def _save(self) -> None:
        self._overlay.writes[_KEY] = pack(self.all()) if self._raised else None
        self._look()

    def _look(self) -> None:
        self.no_space = any(kind == NOSPACE for _, kind in self._raised)


def makes_larger(request: tuple[Any, ...]) -> bool:
    """Whether a checked write is refused while there is no space. A transaction is when it could
    put, whichever way its compares go; one that only deletes is not: it may be what helps."""
    if request[0] == "txn":
        return any(makes_larger(operation) for part in request[2:] for operation in part)
    return request[0] in ("put", "lease_grant")
