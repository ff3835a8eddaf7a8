"""Writes on their way into the log, and back as answers.

What clients ask to write is held until there is a leader, goes into as few entries as possible, and
waits there for its results. Changes of the members go into entries of their own.
"""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..config import limits
from ..transport import errors
from ..transport.auth import KIND_AUTH
from ..transport.errors import WireError
from .asked import Asked, Batch, entry_of, take_late, with_refused
from .flight import Flight
from .gatekeeper import with_token

BODIES_MAX = limits.BODY_REQUESTS_MAX // 2
"""Messages whose writes share one entry."""

Steps = list[tuple[int, int]]
"""(type, member) of each step of a change of the members."""


class Doors(NamedTuple):
    """What the node does for the writes."""

    new_id: Callable[[], int]
    propose: Callable[[tuple[Any, ...]], None]
    reply: Callable[[Asked, bytes], None]
    fail: Callable[[Asked, WireError], None]
    flight: Flight


class Writes:
    """A node's writes."""

    def __init__(self, member_id: int, doors: Doors) -> None:
        self._member_id = member_id
        self._doors = doors
        self._held: deque[Asked] = deque()  # not proposed yet
        self._batches: dict[int, Batch] = {}  # proposed, by batch id
        self._proposed_at = 0.0
        self.term = 0
        """The newest that the node knows."""
        self.pending_bytes = 0
        """Of all writes that wait for an answer."""

    @property
    def pending(self) -> int:
        """Messages that are held, and batches that wait for their results."""
        return len(self._held) + len(self._batches)

    @property
    def idle(self) -> bool:
        """Whether nothing waits for results."""
        return not self._batches

    @property
    def held(self) -> bool:
        """Whether something waits to be proposed."""
        return bool(self._held)

    def hold(self, asked: Asked) -> None:
        """An admitted message of writes."""
        self._held.append(asked)

    def release(self, asked: Asked) -> None:
        """A message is no write that waits any more."""
        if asked.client:
            self.pending_bytes -= asked.size

    def hold_until(self, now: float) -> float:
        """Until when what is held waits for more, `now` or earlier when it does not: a little,
        while an entry is under way."""
        large = sum(asked.size for asked in self._held) >= limits.PROPOSAL_HOLD_BYTES
        return now if large or not self._batches else self._proposed_at + limits.PROPOSAL_HOLD_S

    def propose(self, now: float) -> None:
        """Propose all that is held."""
        self._proposed_at = now
        while self._held:
            self._propose()

    def _propose(self) -> None:
        asked: list[Asked] = []
        size = 0
        # Every member decodes the entry's array of messages: it must stay within codec.unpack's
        # bound, however many small messages piled up while there was no leader.
        while self._held and size < limits.ENTRY_BYTES_TARGET and len(asked) < BODIES_MAX:
            one = self._held.popleft()
            asked.append(one)
            size += one.size
        self._enter(asked, size)

    def _enter(self, asked: list[Asked], size: int, *steps: Steps) -> int:
        batch_id = self._doors.new_id()
        self._batches[batch_id] = Batch(asked, size, self.term, changes=bool(steps))
        self._doors.flight.note_at("clientc", batch_id, asked[0].began)
        self._doors.flight.note("propc", batch_id, batch_id)
        entry = entry_of(self._member_id, batch_id, asked)
        self._doors.propose((batch_id, entry, *filter(None, steps)))
        return batch_id

    def change_members(self, asked: Asked, steps: Steps) -> int:
        """Propose a message that changes the members; returns the number of its batch."""
        if not asked.client:
            self.pending_bytes += asked.size
        return self._enter([asked], asked.size, steps)

    def change_again(self, batch_id: int, steps: Steps) -> bool:
        """Propose it again; False when it was answered."""
        batch = self._batches.get(batch_id)
        if batch is not None:
            entry = entry_of(self._member_id, batch_id, batch.asked)
            self._doors.propose((batch_id, entry, *filter(None, (steps,))))
        return batch is not None

    def propose_again(self) -> None:
        """What was forwarded to the leader may have been lost on the way. Only what has a number in
        a session: of anything else nobody could tell that it had come already."""
        for batch_id, batch in list(self._batches.items()):
            if batch.repeatable:
                self._batches[batch_id] = batch._replace(again=True)
                entry = entry_of(self._member_id, batch_id, batch.asked)
                self._doors.propose((batch_id, entry))

    def on_drop(self, batch_id: int) -> bool:
        """Raft refused the batch, for want of a leader or of room: it was not applied, so it may be
        proposed again. False when it is none of these."""
        batch = self._batches.get(batch_id)
        if batch is not None and not batch.again:
            del self._batches[batch_id]
            self._held.extendleft(reversed(batch.asked))
        return batch is not None

    def on_results(self, batch_id: int, results: list[bytes]) -> None:
        """A batch was applied: the packed results of each of its messages."""
        batch = self._batches.pop(batch_id, None)
        if batch is None:
            return  # it was answered already, when its time was up
        self.pending_bytes -= batch.size
        self._doors.flight.note("resultc", batch_id, batch_id)
        for asked, body in zip(batch.asked, results, strict=False):
            mixed = asked.refused and asked.stamp is None  # a stamp has brought them along
            if asked.kind == KIND_AUTH:
                self._doors.reply(asked, with_token(asked, body))
            else:
                self._doors.reply(asked, with_refused(asked, body) if mixed else body)

    def on_term(self, term: int) -> None:
        """A leader's first entry of this term was applied, and so was all of earlier terms that
        will be. What was proposed before and is not answered was lost with the earlier leader, or
        is still on its way to be proposed by someone: that is not known."""
        for batch_id, batch in list(self._batches.items()):
            if batch.term < term:
                self.pending_bytes -= self._batches.pop(batch_id).size
                for asked in batch.asked:
                    self._doors.fail(asked, errors.LEADER_FAILED)

    def refuse_held(self, until: float, error: WireError) -> None:
        """Those whose deadline is by then were not proposed, and will not be."""
        for asked in take_late(self._held, until):
            self.pending_bytes -= asked.size
            self._doors.fail(asked, error)

    def expire(self, now: float) -> None:
        """Answer what has waited too long."""
        self.refuse_held(now, errors.NO_LEADER)
        for batch_id, batch in list(self._batches.items()):
            for asked in batch.take_late(now):
                self._doors.fail(asked, errors.TIMEOUT)
            if not any(asked.client for asked in batch.asked):
                self.pending_bytes -= self._batches.pop(batch_id).size
