"""When leases end: etcd's lessor, on every member.

Each member's applier keeps the time of every lease from when it applied the grant or the last
renewal, so a new leader knows the time that remains. Only the leader acts: it proposes to expire
what is due, many leases an entry, one entry after the other, so that writes get in between.

A lease never ends early: an entry is applied after it was asked for, and an expiry names the
renewal that it saw, so that one which was committed before it wins. While this member knows of no
leader, its lease clock stands still: nobody could renew anything.
"""

import heapq
from collections.abc import Mapping
from typing import Any

from ..storage.leases import Lease
from ..storage.state_store import StateStore
from .entries import own_entry

EXPIRE_LEASES_MAX = 512
EXPIRE_KEYS_MAX = 512
"""What one entry ends: about 5 ms of work, in which nothing else is applied. A lease goes whole,
however many keys it has; none follows it in its entry when it had more."""

RETRY_S = 1.0
"""A proposal that was not applied after this was lost, and is made again."""

READS = ("lease_time_to_live", "lease_list")

Due = tuple[int, int]
"""(lease, index of the renewal that it has outlived)."""


class _Timed:
    """One lease: not a tuple, because each of its numbers changes often."""

    __slots__ = ("deadline", "queued", "renewed", "ttl_s")

    def __init__(self, deadline: float, lease: Lease, queued: float) -> None:
        self.deadline = deadline  # in the lease clock's seconds
        self.ttl_s, self.renewed = lease
        self.queued = queued  # the deadline under which it stands in the heap; -1: it is proposed


class Lessor:
    """Knows every lease's deadline. `now` is monotonic seconds throughout."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: a new leader expires nothing for so long, so that clients find it first;
        etcd adds an election timeout, too."""
        self._grace_s = grace_s
        self._leases: dict[int, _Timed] = {}
        self._heap: list[tuple[float, int]] = []
        self._proposed: set[int] = set()
        self._retry_at = 0.0
        self._leader = 0
        self._leads = False
        self._expire_from = 0.0
        self._paused_s = 0.0  # how long the lease clock stood still before
        self._paused_at = 0.0  # when it stopped, while there is no leader

    def load(self, leases: Mapping[int, Lease], now: float) -> None:
        """These are all leases, as the state holds them after a start: with their full time."""
        if not self._leader:
            self._paused_at = now
        self._proposed.clear()
        clock = self._clock(now)
        self._leases = {
            lease: _Timed(clock + content.ttl_s, content, clock + content.ttl_s)
            for lease, content in leases.items()
        }
        self._rebuild_heap()

    def _clock(self, now: float) -> float:
        return (now if self._leader else self._paused_at) - self._paused_s

    # -- what happens

    def lead(self, leader: int, leads: bool, now: float) -> None:
        """Who leads, and whether it is this member."""
        if self._leader and not leader:
            self._paused_at = now
        elif leader and not self._leader:
            self._paused_s += now - self._paused_at
        if leads and not self._leads:
            self._expire_from = now + self._grace_s
        self._leader, self._leads = leader, leads
        self._take_back()  # what was proposed may be lost with a leader

    def take(self, changed: Mapping[int, Lease | None], now: float) -> None:
        """What entries changed: see `Leases.changed`."""
        clock = self._clock(now)
        for lease, content in changed.items():
            self._proposed.discard(lease)
            old = self._leases.get(lease)
            if content is None:
                self._leases.pop(lease, None)
            elif old is None:
                self._leases[lease] = new = _Timed(clock + content.ttl_s, content, -1.0)
                self._push(lease, new)
            else:
                if old.renewed != content.renewed:
                    old.deadline, old.renewed = clock + content.ttl_s, content.renewed
                    old.ttl_s = content.ttl_s
                # It was proposed and has not expired, or is another lease with the same id.
                if old.queued < 0 or old.deadline < old.queued:
                    self._push(lease, old)
                # Otherwise it stays where it is in the heap, and moves when it comes up there.
        if len(self._heap) > 2 * len(self._leases) + 64:
            self._rebuild_heap()

    def _push(self, lease: int, timed: _Timed) -> None:
        timed.queued = timed.deadline
        heapq.heappush(self._heap, (timed.deadline, lease))

    def _rebuild_heap(self) -> None:
        """Without the leases that ended."""
        queued = [(timed.queued, lease) for lease, timed in self._leases.items()]
        self._heap = [each for each in queued if each[0] >= 0]
        heapq.heapify(self._heap)

    def _take_back(self) -> None:
        for lease in self._proposed:
            self._push(lease, self._leases[lease])
        self._proposed.clear()

    # -- what is to be done

    def due(self, now: float) -> list[Due]:
        """What to propose now to expire; empty while the proposal before is under way."""
        if not self._leads or now < self._expire_from:
            return []
        if self._proposed:
            if now < self._retry_at:
                return []
            self._take_back()
        clock = self._clock(now)
        due: list[Due] = []
        while self._heap and self._heap[0][0] <= clock and len(due) < EXPIRE_LEASES_MAX:
            queued, lease = heapq.heappop(self._heap)
            timed = self._leases.get(lease)
            if timed is None or timed.queued != queued:
                continue  # an earlier lease of this id
            if timed.deadline > clock:
                self._push(lease, timed)
                continue
            due.append((lease, timed.renewed))
            timed.queued = -1.0
        self._proposed.update(lease for lease, _ in due)
        self._retry_at = now + RETRY_S
        return due

    def proposal(self, now: float) -> bytes | None:
        """`due` as an entry, None when nothing is."""
        due = self.due(now)
        if not due:
            return None
        return own_entry(("lease_expire", due, EXPIRE_KEYS_MAX))

    # -- questions

    def read(self, request: tuple[Any, ...], state: StateStore, now: float) -> tuple[Any, ...]:
        """The result of a checked lease_list or lease_time_to_live, on what was taken."""
        if request[0] == "lease_list":
            return (0, state.revision, self.by_deadline())
        _, lease, with_keys = (*request, 0)[:3]
        timed = self._leases.get(lease)
        if timed is None:
            return (0, state.revision, lease, 0, -1, ())
        remaining = int(self.remaining_s(lease, now))
        keys = state.leases.keys(lease) if with_keys else ()
        return (0, state.revision, lease, timed.ttl_s, remaining, keys)

    def remaining_s(self, lease: int, now: float) -> float:
        """Until the lease ends, 0 when it is about to; KeyError for an unknown one."""
        return max(0.0, self._leases[lease].deadline - self._clock(now))

    def by_deadline(self) -> list[int]:
        """All leases, those that end first first (as etcd lists them)."""
        return sorted(self._leases, key=lambda lease: (self._leases[lease].deadline, lease))
