"""Whether this member's database has outgrown its quota: when to raise NOSPACE, when to disarm it.

Disarming needs less than 90 % of the quota, so that it does not come and go with every write.
RocksDB gives space back only when it compacts, so once history was compacted while the alarm is
raised, the whole database is compacted.
"""

from typing import Any

from ..storage.alarms import NOSPACE
from ..storage.state_store import StateStore

QUOTA_BYTES_DEFAULT = 2 << 30
"""As etcd's (server/storage/quota.go)."""
DISARM_SHARE = 0.9
CHECK_S = 1.0
"""Between looks at the size: at 30 MB/s it outgrows the quota by so much."""


class Quota:
    """Of one member's state database."""

    def __init__(self, member_id: int, quota_bytes: int, *, auto_disarm: bool) -> None:
        """`quota_bytes`: 0 for the default, below 0 for none, as in etcd."""
        self.bytes = quota_bytes or QUOTA_BYTES_DEFAULT
        self._member_id = member_id
        self._auto_disarm = auto_disarm
        self._look_at = 0.0
        self._reclaimed = 0  # the compact revision up to which space was reclaimed

    def look(self, state: StateStore, now: float) -> tuple[Any, ...] | None:
        """The request to propose now, if there is one; it comes again until it was applied."""
        if self.bytes < 0 or now < self._look_at:
            return None
        self._look_at = now + CHECK_S
        raised = state.alarms.raised(self._member_id, NOSPACE)
        size = state.space_bytes()
        if not raised and size > self.bytes:
            return ("alarm_raise", self._member_id, NOSPACE)
        if raised and self._auto_disarm and size < DISARM_SHARE * self.bytes:
            return ("alarm_disarm", self._member_id, NOSPACE)
        return None

    def should_reclaim(self, state: StateStore) -> bool:
        """Whether space can be given back: the alarm is raised, and what was cut off since the last
        time has been removed."""
        due = (
            not state.compacting
            and state.compact_revision > self._reclaimed
            and state.alarms.raised(self._member_id, NOSPACE)
        )
        if due:
            self._reclaimed = state.compact_revision
        return due
