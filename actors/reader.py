"""Reads of a member's state: when their index has been applied, and no more at once than leaves.

A read that is not over after a slice of work goes on beside everything else, a slice at a time, one
such read after the other. An answer is held until its client has taken it: who leaves much untaken
gets no other large one until then, and when all together do, nobody does. Small ones never wait.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ..config import limits
from ..storage.sliced import FIRST_SLICE_BYTES, Sliced
from .leaving import Leaving

Read = tuple[int, float, bytes, Any, bytes]
"""(read id, deadline, body, who asks, its client): one client message."""
Answer = tuple[int, bytes]
"""(read id, its packed answer)."""


@dataclass
class _Long:
    read: Read
    work: Sliced[bytes] | None


class Reader:
    """The reads that wait and those under way."""

    def __init__(
        self, answer: Callable[[bytes, Any], Sliced[bytes]], tell: Callable[[list[Answer]], None]
    ) -> None:
        """`answer` makes the answer to a body for who asks, on what has been applied; `tell` takes
        answers."""
        self._answer = answer
        self._tell = tell
        self._waiting: list[tuple[int, int, deque[Read]]] = []  # heap of (index, order, reads)
        self._taken = 0
        self._long: deque[_Long] = deque()
        self._held: dict[bytes, deque[_Long]] = {}  # until their client has taken enough
        self._leaving = Leaving()
        self.after = 0.0
        """When what was read has had time to leave."""

    def take(self, index: int, reads: Iterable[Read]) -> None:
        """Reads of what is there at `index` or later."""
        self._taken += 1
        heapq.heappush(self._waiting, (index, self._taken, deque(reads)))

    def busy(self, applied: int) -> bool:
        """Whether there is something to do at this applied index, now or at `after`."""
        return self._may_advance or bool(self._waiting and self._waiting[0][0] <= applied)

    def serve(self, applied: int, now: float) -> None:
        """Answer reads of what is there at `applied`, as many as there is room for."""
        if not self._waiting or now < self.after:
            return
        answers: list[Answer] = []
        room = limits.READ_TURN_BYTES
        while self._waiting and self._waiting[0][0] <= applied:
            reads = self._waiting[0][2]
            while reads and room > 0:
                read = reads.popleft()
                if read[1] <= now:
                    continue
                answer = self._begin(read)
                if answer:
                    answers.append((read[0], answer))
                room -= FIRST_SLICE_BYTES if answer is None else len(answer)
            if reads:
                self.after = now + limits.READ_PAUSE_S
                break
            heapq.heappop(self._waiting)
        if answers:
            self._tell(answers)

    def _begin(self, read: Read) -> bytes | None:
        """The answer; None when it takes longer, or is too large for now. Only one such read keeps
        what it has found."""
        read_id, _, body, who, client = read
        work = self._answer(body, who)
        keeps = not self._long and self._has_room and self._leaving.has_room(client)
        try:
            next(work)
        except StopIteration as end:
            answer: bytes = end.value
            room = self._leaving.bytes < limits.LARGE_ANSWERS_BYTES_MAX
            fits = room and self._leaving.has_room(client)
            if fits or len(answer) <= limits.LARGE_ANSWER_BYTES:
                self._leaving.begin(read_id, client, len(answer))
                return answer
            keeps = False
        self._long.append(_Long(read, work if keeps else None))
        return None

    @property
    def _has_room(self) -> bool:
        return self._leaving.bytes < limits.LONG_ANSWERS_BYTES_MAX

    @property
    def _may_advance(self) -> bool:
        """Whether there is a long read, under way or with room to begin."""
        return bool(self._long) and (self._has_room or self._long[0].work is not None)

    def advance(self, now: float) -> None:
        """Do a slice of the read that is under way."""
        if now < self.after or not self._may_advance:
            return
        first = self._long[0]
        read_id, deadline, body, who, client = first.read
        if deadline <= now:
            self._long.popleft()
            self._release(client)
            return
        if first.work is None:
            if not self._leaving.has_room(client):
                self._held.setdefault(client, deque()).append(self._long.popleft())
                return
            first.work = self._answer(body, who)
        try:
            next(first.work)
        except StopIteration as end:
            answer: bytes = end.value
            self._long.popleft()
            self._leaving.begin(read_id, client, len(answer))
            self._tell([(read_id, answer)])
            self._release(client)
            if len(answer) > limits.READ_TURN_BYTES:
                self.after = now + limits.READ_PAUSE_S

    def left(self, read_ids: Iterable[int]) -> None:
        """These answers are held no longer."""
        for read_id in read_ids:
            self._release(self._leaving.end(read_id))

    def _release(self, client: bytes) -> None:
        """Let a client have another large answer, if it has taken enough."""
        held = self._held.get(client)
        if held and self._leaving.has_room(client):
            self._long.append(held.popleft())
            if not held:
                del self._held[client]

    def expire(self, now: float) -> None:
        """Forget reads that have waited too long: the node has answered them."""
        self._long = deque(each for each in self._long if each.read[1] > now)
        for client, held in list(self._held.items()):
            self._held[client] = deque(each for each in held if each.read[1] > now)
            if not self._held[client]:
                del self._held[client]
            self._release(client)

    def drop_work(self) -> None:
        """The state is about to be closed: let go of its iterators. What was begun begins anew."""
        for each in self._long:
            each.work = None
