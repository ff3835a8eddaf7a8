"""Questions to the state that take a while, answered a slice of work at a time.

`hash_kv` reads the whole state; `compacted` waits until history is gone. Between two slices entries
are applied, reads are served and history is compacted as if nothing were asked.
"""

from collections import deque
from collections.abc import Callable, Generator
from typing import Any

from ..config import limits
from ..storage.state_store import StateStore
from ..transport import errors
from ..transport.codec import pack, unpack

Work = Generator[None, None, tuple[Any, ...]]


def _compacted(state: StateStore, revision: int) -> Work:
    while state.compacted_revision < revision:
        yield
    return (0, state.revision)


_WORKS: dict[str, Callable[..., Work]] = {
    "compacted": _compacted,
    "hash_kv": StateStore.hash_kv_slices,
}


class _Inspection:
    """The questions of one message."""

    def __init__(self, read_id: int, deadline: float, body: bytes) -> None:
        self.read_id = read_id
        self.deadline = deadline
        self._questions: Any = unpack(body)
        self.results: list[tuple[Any, ...]] = []
        self._work: Work | None = None

    def advance(self, state: StateStore) -> bool:
        """Do one slice; whether that was the last."""
        if self._work is None:
            name, *arguments = self._questions[len(self.results)]
            self._work = _WORKS[name](state, *arguments)
        try:
            next(self._work)
        except StopIteration as end:
            self._work = None
            self.results.append(end.value)
        return len(self.results) == len(self._questions)

    def drop_work(self) -> None:
        """Begin the question under way anew, next time."""
        self._work = None


class Inspector:
    """The inspections under way; they take turns."""

    def __init__(self) -> None:
        self._inspections: deque[_Inspection] = deque()

    @property
    def pending(self) -> bool:
        """Whether `advance` has something to do."""
        return bool(self._inspections)

    def take(self, read_id: int, deadline: float, body: bytes) -> bytes | None:
        """Take the questions of one message, which passed the node's checks; the packed error
        when there are too many."""
        if len(self._inspections) >= limits.INSPECTIONS_MAX:
            return pack(errors.TOO_MANY_REQUESTS)
        self._inspections.append(_Inspection(read_id, deadline, body))
        return None

    def advance(self, state: StateStore, now: float) -> tuple[int, bytes] | None:
        """Do one slice of one inspection; (read id, packed results) when that finished it.

        One whose deadline has passed is dropped: the node has answered it.
        """
        if not self._inspections:
            return None
        inspection = self._inspections.popleft()
        if inspection.deadline <= now:
            return None
        if inspection.advance(state):
            return inspection.read_id, pack(inspection.results)
        self._inspections.append(inspection)
        return None

    def drop_work(self) -> None:
        """The state is about to be closed: let go of its iterators. What was begun begins anew."""
        for inspection in self._inspections:
            inspection.drop_work()
