"""Messages whose answers take a while, worked on a slice at a time.

Between two slices entries are applied, other reads are served and history is compacted as if
nothing were asked. These are questions of maintenance, which may wait for something and take turns:
`hash_kv` reads the whole state, `compacted` waits until history is gone. (Large ranges are read
likewise, one after the other: see reader.py.)
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..security.rules import Who
from ..storage.sliced import Sliced
from ..storage.state_store import StateStore
from ..transport.codec import pack, unpack


def _compacted(state: StateStore, revision: int) -> Sliced[tuple[Any, ...]]:
    while state.compacted_revision < revision:
        yield
    return (0, state.revision)


Question = Callable[..., Sliced[tuple[Any, ...]]]
"""Takes the state and the request's arguments."""

QUESTIONS: dict[str, Question] = {
    "compacted": _compacted,
    "hash_kv": StateStore.hash_kv_sliced,
}


def inspect(
    state: StateStore, body: bytes, questions: dict[str, Question], who: Who | None
) -> Sliced[bytes]:
    """The packed answers to the questions of one message, which passed the node's checks."""
    answers: list[tuple[Any, ...]] = []
    for request in unpack(body):
        refused = state.refusal(who, request)
        if refused is None:
            answers.append((yield from questions[request[0]](state, *request[1:])))
        else:
            answers.append(refused)
    return pack(answers)


@dataclass
class _Job:
    read_id: int
    deadline: float
    begin: Callable[[], Sliced[bytes]]
    work: Sliced[bytes] | None = None


class Inspector:
    """The messages under way, as many as are let in, in turns."""

    def __init__(self) -> None:
        self._jobs: deque[_Job] = deque()

    def __len__(self) -> int:
        return len(self._jobs)

    def take(self, read_id: int, deadline: float, begin: Callable[[], Sliced[bytes]]) -> None:
        """Take one message: `begin` makes the work of answering it."""
        self._jobs.append(_Job(read_id, deadline, begin))

    def advance(self, now: float) -> tuple[int, bytes] | None:
        """Do one slice; (read id, packed answers) when that was a message's last.

        One whose deadline has passed is dropped: the node has answered it.
        """
        if not self._jobs:
            return None
        job = self._jobs.popleft()
        if job.deadline <= now:
            return None
        job.work = job.work or job.begin()
        try:
            next(job.work)
        except StopIteration as end:
            return (job.read_id, end.value)
        self._jobs.append(job)
        return None

    def drop_work(self) -> None:
        """The state is about to be closed: let go of its iterators. What was begun begins anew."""
        for job in self._jobs:
            job.work = None
