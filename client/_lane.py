"""Calls that wait to be sent, and how many of them share a message."""

from collections import deque
from collections.abc import Collection, Sequence

from ..transport import codec
from ..transport.auth import KIND_AUTH
from ..transport.errors import WireError
from ._link import Call, Link
from .errors import SampanError, worth_retrying

MESSAGE_REQUESTS_MAX = 1_000
MESSAGE_BYTES_MAX = 1 << 20
"""Both well inside the protocol's own (10,000 and 2 MiB), so that estimates may be rough."""


class Lane:
    """Calls of one kind that wait to be sent; `link` pins them to one endpoint."""

    def __init__(self, kind: str, link: Link | None = None) -> None:
        self.kind = kind
        self._requests_max = 1 if kind == KIND_AUTH else MESSAGE_REQUESTS_MAX
        self.link = link
        self.final: Collection[str] = ()
        """Texts of errors that are for the caller, though another try might do."""
        self.queue: deque[Call] = deque()
        self.size = 0

    def sends_again(self, error: WireError) -> bool:
        """Whether a call that failed so has another try."""
        final = self.kind == KIND_AUTH or error.text in self.final
        return not final and worth_retrying(self.kind, error)

    def take(self) -> tuple[list[Call], int]:
        """The next message's calls, without those whose callers no longer wait; and its bytes."""
        queue = self.queue
        if len(queue) <= self._requests_max and self.size <= MESSAGE_BYTES_MAX:
            calls, size = [call for call in queue if not call.future.done()], self.size
            queue.clear()
            self.size = 0
            return calls, size
        calls, size = [], 0
        while queue and len(calls) < self._requests_max:
            call = queue[0]
            if calls and size + call.size > MESSAGE_BYTES_MAX:
                break
            queue.popleft()
            self.size -= call.size
            if not call.future.done():
                calls.append(call)
                size += call.size
        return calls, size

    def prune(self, now: float) -> None:
        """Drop calls that have their answer or are past their deadline."""
        waiting = [c for c in self.queue if c.deadline > now and not c.future.done()]
        self.queue = deque(waiting)
        self.size = sum(call.size for call in waiting)

    def fail(self, error: SampanError) -> None:
        """End all that wait."""
        while self.queue:
            calls, _ = self.take()
            for call in calls:
                call.future.set_exception(error.copy())

    def put_back(self, calls: Sequence[Call]) -> None:
        """Calls that did not leave after all go first next time."""
        waiting = [call for call in calls if not call.future.done()]
        self.queue.extendleft(reversed(waiting))
        self.size += sum(call.size for call in waiting)


def packable(calls: Sequence[Call]) -> list[Call]:
    """Those of a message's calls that can travel; the others raise what packing them raised."""
    good = []
    for call in calls:
        try:
            codec.pack(call.request)
        except (TypeError, ValueError, OverflowError) as error:
            text = f"a request has bytes, str and integers of at most 64 bits: {error}"
            refused = TypeError(text)
            refused.__cause__ = error
            call.future.set_exception(refused)
        else:
            good.append(call)
    if len(good) == len(calls):
        raise AssertionError(f"a message of {len(calls)} calls does not pack, each of them does")
    return good
