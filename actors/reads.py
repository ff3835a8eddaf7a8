"""Reads on their way to the applier, and back as answers.

Linearizable reads wait together for one ReadIndex, and go to the applier with the index that it
brought; local ones go there at once.
"""

import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from ..config import limits
from ..security.rules import Who
from ..transport import errors
from ..transport.errors import WireError
from .asked import Asked, take_late, with_refused

READ_INDEX_RETRY_S = 0.5
"""How long a ReadIndex may take before it is asked again, with a fresh context (etcd E/read)."""

_context = struct.Struct("<QQ").pack


class Doors(NamedTuple):
    """What the node does for the reads."""

    new_id: Callable[[], int]
    ask: Callable[[bytes], None]
    read: Callable[[Any], None]
    inspect: Callable[[Any], None]
    reply: Callable[[Asked, bytes, int], None]
    """Sends an answer; with a read id, it is told to the applier when that has left."""
    left: Callable[[int], None]
    """Tells the applier that an answer was not sent."""
    fail: Callable[[Asked, WireError], None]
    overflows: Callable[[bytes, bytes], bool]
    """Whether a client has left too much unread for this answer."""


class Reads:
    """A node's reads."""

    def __init__(self, incarnation: int, doors: Doors) -> None:
        self._incarnation = incarnation
        self._doors = doors
        self._waiting: list[Asked] = []  # linearizable reads that wait for a context
        self._confirming: list[Asked] = []  # reads behind the context that is under way
        self._context = b""
        self._asked_at = 0.0
        self._executing: dict[int, Asked] = {}  # reads that wait for the applier
        self.pending = 0
        """Messages that wait for an answer, and their bytes."""
        self.pending_bytes = 0

    @property
    def idle(self) -> bool:
        """Whether nobody waits for an answer."""
        return not (self._waiting or self._confirming or self._executing)

    def has_room(self, asked: Asked) -> bool:
        """Whether a message may be admitted."""
        return (
            self.pending < limits.PENDING_READS_MAX
            and self.pending_bytes + asked.size <= limits.PENDING_BYTES_MAX
        )

    def begin(self, asked: Asked) -> None:
        """A message was admitted; `confirm`, `execute` or `inspect` follows."""
        self.pending += 1
        self.pending_bytes += asked.size

    def _end(self, asked: Asked) -> None:
        self.pending -= 1
        self.pending_bytes -= asked.size

    # -- linearizable ones

    def confirm(self, asked: Asked) -> None:
        """Read what is there now or later, of what the cluster has agreed on."""
        self._waiting.append(asked)

    def ask(self, now: float) -> None:
        """Ask for an index for the reads that wait, if none is under way."""
        if self._waiting and not self._confirming:
            self._ask(now)

    def _ask(self, now: float) -> None:
        # Never the same context twice: a late acknowledgement of an earlier round could confirm it
        # on a leader that has been deposed since (etcd #20418).
        self._confirming, self._waiting = self._confirming + self._waiting, []
        self._context = _context(self._incarnation, self._doors.new_id())
        self._asked_at = now
        self._doors.ask(self._context)

    def on_index(self, context: bytes, index: int) -> None:
        """The reads behind this context may be served at `index`."""
        if context != self._context:
            return
        confirmed, self._confirming, self._context = self._confirming, [], b""
        if confirmed:
            self.execute(confirmed, index)

    def on_new_leader(self) -> None:
        """The old leader may never answer; the new one needs its own context."""
        if self._confirming:
            self._waiting, self._confirming = self._confirming + self._waiting, []
            self._context = b""

    # -- at the applier

    def execute(self, asked: list[Asked], index: int) -> None:
        """Have them read at an applied index of at least `index`."""
        self._doors.read((index, [(*self._read_of(each), each.client) for each in asked]))

    def inspect(self, asked: Asked) -> None:
        """Have it answered, which takes a while."""
        self._doors.inspect(self._read_of(asked))

    def _read_of(self, asked: Asked) -> tuple[int, float, bytes, Who | None]:
        """What the applier is told of a read; its answer names the same id."""
        read_id = self._doors.new_id()
        self._executing[read_id] = asked
        return (read_id, asked.deadline, asked.body, asked.who)

    def on_answer(self, read_id: int, body: bytes) -> None:
        """The packed results of one message."""
        asked = self._executing.pop(read_id, None)
        large_id = read_id if len(body) > limits.LARGE_ANSWER_BYTES else 0
        if asked is not None:  # else it was answered already, when its time was up
            self._end(asked)
            if not self._doors.overflows(asked.client, body):
                body = with_refused(asked, body) if asked.refused else body
                self._doors.reply(asked, body, large_id)
                return
            self._doors.fail(asked, errors.TOO_MANY_REQUESTS)
        if large_id:
            self._doors.left(large_id)

    def expire(self, now: float, *, has_leader: bool) -> None:
        """Answer what has waited too long; ask again for an index that does not come."""
        for read_id in [i for i, a in self._executing.items() if a.deadline <= now]:
            asked = self._executing.pop(read_id)
            self._end(asked)
            self._doors.fail(asked, errors.READ_TIMEOUT)
        for waiting in (self._waiting, self._confirming):
            for asked in take_late(waiting, now):
                self._end(asked)
                self._doors.fail(asked, errors.READ_TIMEOUT if has_leader else errors.NO_LEADER)
        if self._confirming and has_leader and now - self._asked_at > READ_INDEX_RETRY_S:
            self._ask(now)
