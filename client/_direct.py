"""Lone calls of the blocking client, without its background thread.

A call that goes to that thread and back costs two switches between threads, as much as all else
that a lone read costs. So a thread whose calls come alone sends them itself, on a connection of its
own beside the client's, and waits for the answer there.

Only the plain case is dealt with here: an answer that is a success. For everything else (an error,
a connection that breaks, somebody else who calls meanwhile) the call goes to the background thread,
which knows what to do: a read as if it had not been made yet, a write as what it is by then.

The caller may be interrupted between any two steps, by a Ctrl-C, by a signal's handler that calls
again, by a finalizer. Then its connection is given up, and nothing else is lost: it is all that the
steps have in common.
"""

import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

from ..config import limits
from ..transport import errors as wire
from ..transport import tcp
from ..transport.requests import KIND_READ, KIND_SERIALIZABLE, KIND_WRITE
from ..transport.streams import (
    CONNECT_S,
    HANDSHAKE_S,
    RECEIVE_BYTES,
    RECEIVE_LARGE_BYTES,
    Outgoing,
)
from ..transport.zmtp import Engine, Frame
from ._dispatch import ANSWER_SHARE, ATTEMPT_S_MIN, ATTEMPT_SHARE, Dispatcher
from ._large import unpack_results
from ._link import Call, Link, MalformedError, Message, Reply, read_header
from ._session import Session
from ._thread import PollLoop, Waiter
from .errors import ConnectionLostError, MalformedReplyError, SampanError

if TYPE_CHECKING:
    from .ops import Request

Answer = tuple[Reply, tuple[Any, ...]]

LONE_CALLS = 16
"""That came alone, one after the other, until a connection of their own is worth it."""
RETRY_S = 0.1
"""How soon to try again to connect, or to open a session."""
KINDS = (KIND_READ, KIND_SERIALIZABLE, KIND_WRITE)
"""Calls that may be made so."""
_UNFIT = (TypeError, ValueError, OverflowError)
_MALFORMED = (MalformedError, ValueError, TypeError, IndexError)
_BROKEN = (OSError, *_MALFORMED)


class Line:
    """A connection for one call at a time, beside a link's and no longer than it.

    Attributes:
        link: whose.
        session: what numbers its writes; opened when there are some.
    """

    def __init__(self, link: Link, connected: socket.socket, engine: Engine) -> None:
        self.link = link
        self.session = Session()
        self._socket, self._engine = connected, engine
        self._free = threading.Lock()
        self._under_way = self._ended = False
        self._refused = 0  # callers, one after the other
        self._last_id = 0
        self._received_bytes = 0
        self._wait_s = self._deadline = 0.0

    def take(self) -> bool:
        """Whether the caller may use it, and nobody else until `give_back`. It is never waited for:
        a signal's handler may have come in the middle of what has it."""
        if not self._free.acquire(blocking=False):
            self._refused += 1
            if self._refused >= LONE_CALLS and not self._under_way:
                self.end()  # most likely who has it was interrupted, and cannot give it back
            return False
        self._refused = 0
        if self._under_way:  # somebody was interrupted
            self.end()
            self.give_back()
            return False
        return True

    def give_back(self) -> None:
        """Others may use it."""
        self._free.release()
        self._close_if_ended()

    def tick(self) -> None:
        """End a wait whose time is over. The kernel does that, too, but it begins the time anew
        with each signal that is handled meanwhile."""
        if self._under_way and monotonic() > self._deadline:
            self.end()

    def end(self) -> None:
        """Let go of the connection. Whoever waits for an answer learns of it."""
        self._ended = True
        if self.link.line is self:
            self.link.line = None
        with suppress(OSError):  # it has broken
            self._socket.shutdown(socket.SHUT_RDWR)
        self._close_if_ended()

    def _close_if_ended(self) -> None:
        """Not while somebody uses the descriptor: another connection may get its number."""
        if self._ended and self._free.acquire(blocking=False):
            self._socket.close()

    def pack(self, message: Message, node_s: float) -> bytes:
        """A message for whose answer the node has `node_s` seconds.

        Raises:
            TypeError, ValueError, OverflowError: it cannot travel.
        """
        self._last_id += 1
        milliseconds = max(1, int(node_s * 1000))
        parts: list[bytes] = []
        frames = self.link.frames(message, self._last_id, milliseconds, self._received_bytes)
        self._engine.encode(parts, frames)
        return b"".join(parts)

    def ask(self, message: Message, packed: bytes, wait_s: float) -> tuple[Reply, Any]:
        """The reply to a message.

        Raises:
            TimeoutError: there is none after `wait_s`.
            OSError: the connection broke.
            MalformedError, ValueError, TypeError: the reply is not what the protocol allows.
        """
        self._deadline = deadline = monotonic() + wait_s
        self._under_way = True  # until the answer is here: whatever comes between ends the line
        self._wait_at_most(wait_s)
        try:
            self._socket.sendall(packed)
            frames = self._receive(deadline)
        except OSError:
            if monotonic() > deadline:  # see `tick`
                raise TimeoutError from None
            raise
        answered, reply = read_header(frames)
        if answered != self._last_id:
            raise MalformedError(f"an answer to message {answered}, expected {self._last_id}")
        self._under_way = False
        self._received_bytes += len(frames[1])
        return reply, unpack_results(frames[1], message.calls)

    def _receive(self, deadline: float) -> Sequence[Frame]:
        engine = self._engine
        while True:
            large = engine.missing > RECEIVE_BYTES
            try:
                data = self._socket.recv(RECEIVE_LARGE_BYTES if large else RECEIVE_BYTES)
            except BlockingIOError:
                raise TimeoutError from None
            messages = engine.receive(data)
            if engine.answers:
                self._socket.sendall(b"".join(engine.taken_answers()))
            if messages:
                return messages[0]
            if not data or engine.error is not None:
                raise ConnectionResetError(str(engine.error or "closed"))
            self._wait_at_most(deadline - monotonic())

    def _wait_at_most(self, wait_s: float) -> None:
        """The kernel watches the time: a timeout of Python's costs a poll before each step."""
        if wait_s != self._wait_s:
            self._wait_s = wait_s
            tcp.wait_at_most(self._socket, wait_s)


class _Connecting:
    """What tells of the connection that is to become a link's line."""

    def __init__(self, loop: PollLoop, dispatcher: Dispatcher, link: Link) -> None:
        self._dispatcher = dispatcher
        self._link, self._connection = link, link.connection
        self._outgoing = link.another(self)
        dispatcher.on_close.add(self._give_up)
        loop.call_at(monotonic() + CONNECT_S + HANDSHAKE_S, self._give_up)

    def _give_up(self) -> None:
        """It took too long, or the client is closed."""
        self._dispatcher.on_close.discard(self._give_up)
        self._outgoing.close()

    def on_ready(self, outgoing: Outgoing) -> None:
        """See transport/streams.py."""
        link = self._link
        if link.connection is self._connection and link.line is None:
            self._dispatcher.on_close.discard(self._give_up)
            link.line = Line(link, *outgoing.detach())
        else:
            self._give_up()

    def on_messages(self, outgoing: Outgoing, messages: list[list[Frame]]) -> None:
        """See transport/streams.py. Nothing was asked."""

    def on_lost(self, outgoing: Outgoing, why: str) -> None:
        """See transport/streams.py. The next lone calls try again."""


class Direct:
    """What makes one client's lone calls."""

    def __init__(self, loop: PollLoop, dispatcher: Dispatcher, exactly_once: bool) -> None:
        self._loop, self._dispatcher = loop, dispatcher
        self._exactly_once = exactly_once
        self._lone: tuple[Link | None, int] = (None, 0)
        self._retry_at = 0.0

    def call(
        self, kind: str, request: "Request", size: int, timeout_s: float
    ) -> Answer | Waiter | None:
        """Make a call in the caller's thread.

        Returns:
            Its answer; or who has it when the background thread has taken it on; or None when that
            thread is to make it, for the first time or once more.

        Raises:
            SampanError: what became of it.
        """
        if kind not in KINDS or size > limits.REQUEST_BYTES_MAX:
            return None
        link = self._dispatcher.routes.pick(kind)
        if link is None or link.inflight:  # with others, it travels in one message
            return None
        line = link.line
        if line is None or (kind == KIND_WRITE and self._exactly_once and not line.session.id):
            self._prepare(kind, link)
            return None
        if not line.take():
            return None
        try:
            call = Call(Waiter(), request, size, monotonic() + timeout_s)
            return self._call(line, kind, call, timeout_s)
        finally:
            line.give_back()

    def _call(self, line: Line, kind: str, call: Call, timeout_s: float) -> Answer | Waiter | None:
        dispatcher = self._dispatcher
        lane, floor = dispatcher.lanes[kind], dispatcher.history.newest
        message = Message(lane, (call,), call.size, call.deadline, floor=floor)
        if kind == KIND_WRITE:
            return self._write(line, message, timeout_s)
        return self._read(line, message, timeout_s)

    def _read(self, line: Line, message: Message, timeout_s: float) -> Answer | None:
        try:
            packed = line.pack(message, ANSWER_SHARE * timeout_s)
        except _UNFIT:
            return None
        try:
            replied = line.ask(message, packed, timeout_s)
        except TimeoutError:
            line.end()
            raise self._dispatcher.timeout(message.lane, sent=True) from None
        except _BROKEN:
            line.end()
            return None
        return self._plain(line, message, replied)

    def _write(self, line: Line, message: Message, timeout_s: float) -> Answer | Waiter | None:
        node_s, wait_s = ANSWER_SHARE * timeout_s, timeout_s
        if self._exactly_once:
            session = line.session
            message = message._replace(session=session, sequence=session.number(), attempt=1)
            if timeout_s > ATTEMPT_S_MIN:  # then it is sent again, as the background thread does
                node_s, wait_s = ATTEMPT_SHARE * timeout_s, ANSWER_SHARE * timeout_s
        handed_over = False
        try:
            replied = self._ask(line, message, node_s, wait_s)
            if replied is None:
                return None
            if not isinstance(replied, SampanError):
                answer = self._plain(line, message, replied)
                if answer is not None:
                    return answer
            handed_over = True
        finally:
            if not handed_over:
                message.settle()
        line.end()  # its session is the background thread's now
        self._loop.call_threadsafe(self._adopt, line.link, message, replied)
        waiter = message.calls[0].future
        assert isinstance(waiter, Waiter)
        return waiter

    def _ask(
        self, line: Line, message: Message, node_s: float, wait_s: float
    ) -> tuple[Reply, Any] | SampanError | None:
        """The reply to a write, or why there is none; None when it cannot travel."""
        try:
            packed = line.pack(message, node_s)
        except _UNFIT:
            return None
        try:
            return line.ask(message, packed, wait_s)
        except TimeoutError:
            return self._dispatcher.timeout(message.lane, sent=True)
        except OSError as error:
            text = f"sampan: connection lost: {line.link.endpoint}: {error.strerror or error}"
            return ConnectionLostError(wire.UNAVAILABLE, text)
        except _MALFORMED as malformed:
            return _malformed(line.link, malformed)

    def _plain(self, line: Line, message: Message, replied: tuple[Reply, Any]) -> Answer | None:
        """The answer, if it is a success that tells nothing new of the cluster."""
        reply, results = replied
        result = results[0] if type(results) is tuple and len(results) == 1 else None
        if (
            line.link.has_said(reply)
            and type(result) is tuple
            and len(result) > 1
            and result[0] == 0
            and type(result[1]) is int
            and result[1] >= message.floor
        ):
            self._dispatcher.history.saw(result[1])
            return reply, result
        return None

    # -- in the background thread

    def _adopt(
        self, link: Link, message: Message, replied: tuple[Reply, Any] | SampanError
    ) -> None:
        """Go on with a write, as if it had been sent by the link."""
        dispatcher = self._dispatcher
        if isinstance(replied, SampanError):
            dispatcher.abandon(message, replied)
        else:
            try:
                dispatcher.on_reply(link, message, *replied)
            except _MALFORMED as malformed:
                dispatcher.abandon(message, _malformed(link, malformed))
        dispatcher.arm(message.expires)
        dispatcher.flush_soon()

    def _prepare(self, kind: str, link: Link) -> None:
        """Have what the call would have needed, if more of them come alone."""
        last_link, count = self._lone
        count = count + 1 if last_link is link else 1
        self._lone = (link, count)
        now = monotonic()
        if count >= LONE_CALLS and now >= self._retry_at:
            self._retry_at = now + RETRY_S
            self._loop.call_threadsafe(self._connect, kind, link)

    def _connect(self, kind: str, link: Link) -> None:
        line = link.line
        if line is None:
            if link.ready:
                _Connecting(self._loop, self._dispatcher, link)
        elif kind == KIND_WRITE and not (line.session.id or line.session.opening):
            self._dispatcher.open_session(line.session)


def _malformed(link: Link, why: Exception) -> MalformedReplyError:
    return MalformedReplyError(
        wire.UNAVAILABLE, f"sampan: malformed reply: {why} ({link.endpoint})"
    )
