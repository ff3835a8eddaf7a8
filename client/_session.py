"""A client's session: what makes its messages of writes safe to send again (docs/protocol.md)."""

from collections.abc import Callable
from typing import Any

from ..transport import errors as wire
from .errors import MalformedReplyError, SampanError

WINDOW = 128
"""Numbers under way, from the lowest that is not settled: as many answers as a node keeps."""

NOTHING = ("txn", (), (), ())
"""Stands for a request whose caller no longer waits, when its message is sent again."""


class Session:
    """Numbers a client's messages of writes.

    Attributes:
        id: 0 until it is open.
        opening: it was asked for.
        error: why it could not be opened so far.
    """

    def __init__(self) -> None:
        self.id = 0
        self.opening = False
        self.error: SampanError | None = None
        self._last = 0
        self._unsettled: dict[int, None] = {}  # ascending: numbers are given in order

    @property
    def full(self) -> bool:
        """Whether the next number must wait until an earlier one is settled."""
        return bool(self._unsettled) and self._last - self._lowest() >= WINDOW - 1

    def _lowest(self) -> int:
        return next(iter(self._unsettled))

    def number(self) -> int:
        """A number for another message; it belongs to it until it is settled."""
        self._last += 1
        self._unsettled[self._last] = None
        return self._last

    def stamp(self, sequence: int) -> tuple[int, int, int]:
        """The header fields of an unsettled message."""
        return self.id, sequence, self._lowest()

    def settle(self, sequence: int) -> None:
        """The message is not sent again."""
        self._unsettled.pop(sequence, None)


class Opening:
    """The future of the request that opens a session.

    `on_change` is told True when it is open, False when it has to be asked for again.
    """

    def __init__(self, session: Session, on_change: Callable[[bool], object]) -> None:
        self.session = session
        self._on_change = on_change
        self._done = False

    def done(self) -> bool:
        """Whether there was an answer."""
        return self._done

    def set_result(self, result: Any, /) -> None:
        """`(Reply, [0, revision, session])`."""
        _, answer = result
        if len(answer) != 3 or type(answer[2]) is not int:
            text = f"sampan: malformed result: {str(answer)[:80]}"
            self.set_exception(MalformedReplyError(wire.INTERNAL, text))
            return
        self._done, self.session.id, self.session.error = True, answer[2], None
        self._on_change(True)

    def set_exception(self, exception: BaseException, /) -> None:
        """Nobody will know whether it is open: the next attempt opens another."""
        self._done, self.session.opening = True, False
        if isinstance(exception, SampanError):
            self.session.error = exception
        self._on_change(False)
