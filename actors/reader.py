"""Reads of a member's state: when their index has been applied, and no more at once than leaves.

A read that is not over after a slice of work goes on beside everything else, a slice at a time.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from ..config import limits
from ..storage.sliced import FIRST_SLICE_BYTES, Sliced
from .inspector import Inspector

Read = tuple[int, float, bytes, Any]
"""(read id, deadline, body, who asks): one client message."""
Answer = tuple[int, bytes]
"""(read id, its packed answer)."""


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
        self._long = Inspector(in_turns=False)
        self.after = 0.0
        """When what was read has had time to leave."""

    def take(self, index: int, reads: Iterable[Read]) -> None:
        """Reads of what is there at `index` or later."""
        self._taken += 1
        heapq.heappush(self._waiting, (index, self._taken, deque(reads)))

    def busy(self, applied: int) -> bool:
        """Whether there is something to do at this applied index, now or at `after`."""
        return bool(self._long or (self._waiting and self._waiting[0][0] <= applied))

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
                answer = self._begin(read) if read[1] > now else b""
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
        """The answer; None when it takes longer. Only one such read keeps what it has found."""
        read_id, deadline, body, who = read
        begin = partial(self._answer, body, who)
        work = begin()
        try:
            next(work)
        except StopIteration as end:
            answer: bytes = end.value
            return answer
        self._long.take(read_id, deadline, begin, None if self._long else work)
        return None

    def advance(self, now: float) -> None:
        """Do a slice of the read that is under way."""
        if now < self.after:
            return
        answer = self._long.advance(now)
        if answer is not None:
            self._tell([answer])
            if len(answer[1]) > limits.READ_TURN_BYTES:
                self.after = now + limits.READ_PAUSE_S

    def drop_work(self) -> None:
        """The state is about to be closed: see Inspector.drop_work."""
        self._long.drop_work()
