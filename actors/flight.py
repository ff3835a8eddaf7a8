"""The flight recorder: what an actor did lately with entries, and when, for the trace of one.

Always on, since an entry carries the writes of many clients: an actor notes a few steps for each
entry, not for each write. Who wants to see one write's way asks all nodes for what they noted of
its entry (`client/trace_calls.py` puts it together).

A step concerns entries by their indexes, but before there is an index, and in the node that
proposed it, the batch by its number. Both count up, so one field serves: a batch's number is above
all indexes.
"""

from collections import deque
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import NamedTuple

from ..raft import Message, MessageType

_APP, _APP_RESP = MessageType.MsgApp, MessageType.MsgAppResp

EVENTS = 4096
"""The last 500 to 1,000 entries: half a second of 1,000 clients, minutes of one. 0.5 MB."""

Step = tuple[str, float, int]
"""(what happened, when in monotonic seconds, the peer that it came from or 0)."""


class Flight:
    """The last steps of one actor."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        """Monotonic seconds; a host puts its own here."""
        self._events: deque[tuple[str, int, int, float, int]] = deque(maxlen=EVENTS)

    def note(self, step: str, first: int, last: int, peer: int = 0) -> None:
        """Something happened to the entries (or batches) from `first` to `last`."""
        self._events.append((step, first, last, self.clock(), peer))

    def note_at(self, step: str, number: int, at: float) -> None:
        """Something happened to one before it had a number."""
        self._events.append((step, number, number, at, 0))

    def note_received(self, m: Message, peer: int) -> None:
        """A raft message came: entries, or the word that those up to an index are durable."""
        if m.type is _APP and m.entries:
            self.note("recvc", m.entries[0].index, m.entries[-1].index, peer)
        elif m.type is _APP_RESP:
            self.note("acknowledged", 0, m.index, peer)

    def about(self, numbers: Sequence[int]) -> list[Step]:
        """What happened to entries or batches with these numbers: each step once for each peer,
        when it happened first (an acknowledgement is one of all entries before it, too)."""
        found: dict[tuple[str, int], Step] = {}
        for number in numbers:
            # A comprehension looks at 4,096 of them in 0.2 ms, a loop takes twice that.
            about = [event for event in self._events if event[1] <= number <= event[2]]
            for step, _, _, at, peer in about:
                found.setdefault((step, peer), (step, at, peer))
        return sorted(found.values(), key=itemgetter(1))


class Origin(NamedTuple):
    """Where the write of a revision came from."""

    entry: int
    term: int
    member: int
    batch: int


class Origins:
    """Which entries made the last revisions, in the applier."""

    def __init__(self) -> None:
        # (revision after it, it)
        self._known: deque[tuple[int, Origin | None]] = deque(maxlen=EVENTS)

    def note(self, revision: int, origin: Origin | None) -> None:
        """An entry was applied, or, None, the state has come to this revision otherwise."""
        self._known.append((revision, origin))

    def of(self, revision: int) -> Origin | None:
        """The entry that made a revision; None when that is forgotten, or not there yet."""
        if not self._known or revision <= self._known[0][0]:
            return None
        return next((origin for after, origin in self._known if after >= revision), None)
