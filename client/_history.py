"""Whether the cluster still has the history that this client has seen of it.

A cluster whose data directories were put back from an older copy has the same id, and counts the
same revisions again for other writes. Whatever the client remembers, or its program does, is then
about a history that never was: watches would wait for what they believe to be the future, and
compares hold that must not. So the client ends, with everything that it has under way.

What counts as evidence: a write, or a linearizable read, that was sent after some revision was seen
is answered with that revision or a later one. Answers of one node about itself, serializable reads
and those about watches, may well be behind; then a linearizable read is made, which tells.
"""

from collections.abc import Callable
from typing import Any

from ..transport.requests import KIND_MAINTENANCE, KIND_READ, KIND_WRITE

_UNVERIFIED_S = 1.0
"""How often answers that are behind are looked into: a node that is behind gives many."""


class History:
    """What is known of one cluster's revisions.

    Attributes:
        newest: the highest revision that any node has told of.
    """

    def __init__(self, verify: Callable[[], object], time: Callable[[], float]) -> None:
        """`verify`: make a linearizable read; `time`: monotonic seconds."""
        self._verify = verify
        self._time = time
        self._verify_at = 0.0
        self.newest = 0

    def went_back(self, kind: str, floor: int, results: tuple[Any, ...]) -> int:
        """Look at a message's answer.

        Args:
            kind: the message's.
            floor: `newest` when the message was sent for the first time.
            results: one each request. Within a message revisions only grow.

        Returns:
            The revision that proves that the cluster went back, 0 when nothing does.
        """
        last = results[-1]
        if kind == KIND_MAINTENANCE or len(last) < 2 or last[0] != 0 or type(last[1]) is not int:
            return 0
        revision = last[1]
        if revision >= floor:
            self.newest = max(self.newest, revision)
        elif kind in (KIND_WRITE, KIND_READ):
            return int(revision)
        else:
            self.doubt(revision)
        return 0

    def saw(self, revision: int) -> None:
        """A node has told of a revision."""
        self.newest = max(self.newest, revision)

    def doubt(self, revision: int) -> None:
        """A node is at `revision`, maybe because it is behind."""
        now = self._time()
        if revision < self.newest and now >= self._verify_at:
            self._verify_at = now + _UNVERIFIED_S
            self._verify()
