"""Applies archived entries to a state, up to the end or to a revision.

An entry holds the requests of many clients, each with a revision of its own. The one that the
wanted revision lies in is applied request by request, as far as that.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any

from ..raft import EntryType, confchange
from ..security.rules import Who
from ..transport.codec import unpack
from .errors import StorageError
from .log_store import LogEntry
from .sessions import Stamp
from .sliced import finish
from .state_store import StateStore

_NOBODY = 0
"""In an entry: what a member asked for itself (actors/entries.py)."""
_COMPACT_VERSIONS = 100_000


class Replay:
    """Applies entries until the state has a revision; None: all there are."""

    def __init__(self, state: StateStore, until: int | None) -> None:
        self._state = state
        self._until = until

    @property
    def done(self) -> bool:
        """Whether the revision is reached."""
        return self._state.revision == self._until

    def apply(self, entry: LogEntry) -> None:
        """Apply the next entry, or what of it comes before the revision. Raises StorageError."""
        term, index, kind, data = entry
        writes = _writes(kind, data)
        if writes is None:
            self._state.apply(index, term, ())
            return
        origin, bodies, stamps, whos = writes
        messages = [_unpacked(body, index) for body in bodies]
        nothing = [None] * len(messages)
        known = [None if each is None else Stamp(*each) for each in stamps or nothing]
        asking = [None if each is None else Who(*each) for each in whos or nothing]
        judged = self._state.auth.enabled and origin != _NOBODY
        room = None if self._until is None else self._until - self._state.revision
        if room is not None and sum(map(_revisions_max, messages)) > room:
            each = list(zip(messages, known, asking, strict=True))
            self._apply_part((index, term), each, judged=judged)
        elif judged:
            finish(self._state.apply_judged(index, term, messages, known, asking))
        elif stamps:
            finish(self._state.apply_once(index, term, messages, known))
        else:
            self._state.apply(index, term, list(chain.from_iterable(messages)))

    def _apply_part(
        self,
        at: tuple[int, int],
        messages: Sequence[tuple[Any, Stamp | None, Who | None]],
        *,
        judged: bool,
    ) -> None:
        state = self._state
        state.apply(*at, ())
        for message, stamp, who in messages:
            user = who.user if who is not None and judged else None
            if stamp is not None and not state.sessions.is_new(stamp, user):
                continue  # it was applied before
            for request in self._singly(message):
                if self.done:
                    return
                state.reopen_entry()
                if judged:
                    finish(state.apply_judged(*at, [[request]], [None], [who]))
                else:
                    state.apply(*at, [request])

    def _singly(self, message: Any) -> Iterator[tuple[Any, ...]]:
        """Its requests, as requests of at most one revision each; each is applied before the next
        is asked for."""
        leases = self._state.leases
        for request in message:
            if request[0] != "lease_expire":
                yield request
                continue
            _, due, room = request
            for lease, renewed in due:
                if room <= 0:
                    break
                keys = sum(1 for _ in leases.keys_of(lease))
                yield ("lease_expire", ((lease, renewed),), room)
                room -= keys if leases.get(lease) is None else 0

    def compact(self) -> None:
        """Forget the history that the entries have cut off."""
        while self._state.compacting and self._state.compact_step(_COMPACT_VERSIONS):
            pass


def _writes(kind: int, data: bytes) -> tuple[int, Any, Any, Any] | None:
    """(member, bodies, stamps, who asks) of an entry; None when it holds no writes."""
    if kind != EntryType.EntryNormal:
        data = confchange.decode(EntryType(kind), data).as_v2().context
    payload: Any = unpack(data) if data else None
    if payload is None or type(payload[0]) is str:
        return None
    origin, _, bodies, stamps, whos = (*payload, None, None)[:5]
    return origin, bodies, stamps, whos


def _unpacked(body: bytes, index: int) -> Any:
    message: Any = unpack(body)
    if type(message) is not tuple:
        raise StorageError(f"entry {index} holds no requests")
    return message


def _revisions_max(message: Any) -> int:
    return sum(len(r[1]) if r[0] == "lease_expire" else 1 for r in message)
