"""Connections that speak ZMTP, in whatever loop they are watched by.

A `Stream` is a connected socket with its engine and what waits to be sent; an `Outgoing` is one
attempt to have one, from the endpoint's name to the connection's end. Neither ever blocks, both
tell their owner what happens. Whoever wants another connection after the end makes it.
"""

import errno
import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice
from typing import Protocol

from . import tcp
from .names import Names
from .zmtp import Bounds, Engine, Frame, Known, Mechanism, Message, Null, ProtocolError

READ, WRITE = int(select.POLLIN), int(select.POLLOUT)

RECEIVE_BYTES = 64 << 10
RECEIVE_LARGE_BYTES = 256 << 10
"""What one read takes, where a large frame is under way the second: no sender delays the others."""
RECEIVE_FEW_BYTES = 4 << 10
MESSAGES_A_READ = 256
"""Whose bytes are more messages than this is read in smaller pieces: of the smallest there could be
16,000 in 64 KiB, 60 ms of work in which nobody else has a turn."""
SEND_TURN_BYTES = 512 << 10
"""What leaves for one receiver in a turn of the loop: 0.1 ms, then others have theirs."""
JOIN_BYTES = 64 << 10
"""What is joined to be sent at once; larger frames are not copied."""
PARTS_A_CALL = 64
"""Parts of messages that one call sends."""
CONNECT_S = 2.0
"""For all addresses of a name, tried at once: the kernel asks twice in it, at 0 and 1 s. By itself
it would ask ever more rarely, and after a long cut stay away for as long again."""
CLOSED = "connection closed"
PINGS = 2
"""Without an answer, a third of the silence apart, before an end counts as gone."""
HANDSHAKE_S = 5.0
"""From the connection to the end of the handshake."""


class Loop(Protocol):
    """What a loop does for streams: transport/polling.py has one."""

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        """From now on call `handler` whenever one of these events is there, or an error."""

    def unwatch(self, descriptor: int) -> None:
        """Forget a descriptor, before it is closed."""


class StreamOwner(Protocol):
    """Whom a stream tells."""

    def on_ready(self, stream: "Stream") -> None:
        """The handshake is over: messages may be sent."""

    def on_messages(self, stream: "Stream", messages: list[Message]) -> None:
        """These have arrived."""

    def on_taken(self, stream: "Stream") -> None:
        """There were more than `reads_until` bytes to be sent, and are no longer."""

    def on_over(self, stream: "Stream", why: str) -> None:
        """The connection is closed, and what was not sent is lost."""


class Stream:
    """One connection.

    Attributes:
        key: for the owner's use.
        open: it has not ended.
        ready: the handshake is over.
        unsent: bytes that wait for the other end to read; while there are more than `reads_until`,
            nothing is read from it.
        moved_at: when the connection began or the other end last took something.
        heard_at: when it began or something last came from there.
        few: what comes from there is read in small pieces.
        parts: about two for each frame that waits.
    """

    __slots__ = (
        "_engine",
        "_loop",
        "_new",
        "_owner",
        "_queue",
        "_read_bytes",
        "_socket",
        "_watched",
        "few",
        "heard_at",
        "key",
        "moved_at",
        "open",
        "reads_until",
        "ready",
        "unsent",
    )  # fmt: skip

    def __init__(
        self,
        loop: Loop,
        connected: socket.socket,
        engine: Engine,
        owner: StreamOwner,
        *,
        key: bytes = b"",
        reads_until: int = 2**63,
        few: bool = False,
    ) -> None:
        self._loop, self._socket, self._engine, self._owner = loop, connected, engine, owner
        self.key = key
        self.few = few
        self.reads_until = reads_until
        self.open = True
        self.ready = False
        self.unsent = 0
        self.moved_at = self.heard_at = time.monotonic()
        self._new = [engine.greeting]  # to be sent in this turn
        self._queue: deque[bytes | memoryview] = deque()  # what was not taken
        self._watched = 0
        self._read_bytes = RECEIVE_FEW_BYTES  # one read takes
        self.flush()

    @property
    def error(self) -> ProtocolError | None:
        """What the other end did that it must not."""
        return self._engine.error

    @property
    def known(self) -> Known | None:
        """Who has proved to be at the other end; nobody where there are no keys."""
        return self._engine.known

    @property
    def parts(self) -> int:
        """See above."""
        return len(self._queue)

    def put(self, frames: Sequence[bytes]) -> None:
        """Add a message to what `flush` sends."""
        self._engine.encode(self._new, frames)

    def ping(self) -> None:
        """Ask for a sign of life."""
        self._new.append(self._engine.ping())
        self.flush()

    def flush(self) -> None:
        """Send as much as the other end takes, up to SEND_TURN_BYTES; the rest as it takes it."""
        new = self._new
        if new:
            self._new = []
            size = sum(map(len, new))
            if size <= JOIN_BYTES:
                new = [b"".join(new)]
            self._queue.extend(filter(None, new))
            self.unsent += size
        room = SEND_TURN_BYTES
        try:
            while self._queue and room > 0:
                sent = self._send_some(room)
                room -= sent
        except BlockingIOError:
            pass  # the rest when it is writable
        except OSError as error:
            self.end(_reason(error))
            return
        self._attend()

    def _send_some(self, room: int) -> int:
        queue = self._queue
        first = queue[0]
        if len(queue) == 1:
            size = len(first)
            sent = self._socket.send(first if size <= room else memoryview(first)[:room])
        else:
            batch: list[bytes | memoryview] = []
            left = room
            for part in islice(queue, PARTS_A_CALL):
                batch.append(part if len(part) <= left else memoryview(part)[:left])
                left -= len(batch[-1])
                if not left:
                    break
            sent = self._socket.sendmsg(batch)
        self.unsent -= sent
        if self._watched & WRITE:  # else there is nothing that could stand still
            self.moved_at = time.monotonic()
        self._forget(sent)
        return sent

    def _forget(self, sent: int) -> None:
        queue = self._queue
        while sent:
            first = queue[0]
            if len(first) > sent:
                queue[0] = memoryview(first)[sent:]
                return
            sent -= len(first)
            queue.popleft()

    def _attend(self) -> None:
        """Be told of what is waited for now."""
        wanted = (READ if self.unsent <= self.reads_until else 0) | (WRITE if self._queue else 0)
        if wanted != self._watched:
            if wanted & WRITE and not self._watched & WRITE:
                self.moved_at = time.monotonic()
            taken = self._watched and wanted & READ and not self._watched & READ
            self._watched = wanted
            self._loop.watch(self._socket.fileno(), wanted, self._on_event)
            if taken:
                self._owner.on_taken(self)

    def _on_event(self, events: int) -> None:
        if events & ~WRITE:
            self._receive()
        if events & WRITE and self.open:
            self.flush()

    def _receive(self) -> None:
        engine = self._engine
        size = self._read_bytes if engine.missing <= RECEIVE_BYTES else RECEIVE_LARGE_BYTES
        try:
            data = self._socket.recv(size)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(_reason(error))
            return
        if data:
            self.heard_at = time.monotonic()
        messages = engine.receive(data)
        if self.few or len(messages) > MESSAGES_A_READ:
            self._read_bytes = RECEIVE_FEW_BYTES
        elif self._read_bytes < RECEIVE_BYTES:
            self._read_bytes *= 2
        if engine.answers:
            self._new += engine.taken_answers()
            self.flush()
        if not self.ready and engine.ready and self.open:
            self.ready = True
            self._owner.on_ready(self)
        if messages and self.open:
            self._owner.on_messages(self, messages)
        if engine.error is not None:
            self.end(str(engine.error))
        elif not data:
            self.end(CLOSED)

    def move(self, loop: Loop, *, few: bool) -> None:
        """Be watched in another loop from now on."""
        self.few = few
        if self.open and loop is not self._loop:
            self._loop.unwatch(self._socket.fileno())
            loop.watch(self._socket.fileno(), self._watched, self._on_event)
            self._loop = loop

    def end(self, why: str) -> None:
        """Close the connection and tell the owner."""
        if self.close():
            self._owner.on_over(self, why)

    def close(self) -> bool:
        """Close the connection; False when it was. What the kernel has taken still leaves."""
        if not self.open:
            return False
        self.open = False
        if self._watched:
            self._loop.unwatch(self._socket.fileno())
        self._socket.close()
        return True

    def detach(self) -> tuple[socket.socket, Engine]:
        """Give the connection away, once it is ready: whoever takes it reads and writes it."""
        self._loop.unwatch(self._socket.fileno())
        self.open = False
        return self._socket, self._engine


class OutgoingOwner(Protocol):
    """Whom an `Outgoing` tells."""

    def on_ready(self, link: "Outgoing") -> None:
        """It is connected: messages may be sent."""

    def on_messages(self, link: "Outgoing", messages: list[list[Frame]]) -> None:
        """These have arrived."""

    def on_lost(self, link: "Outgoing", why: str) -> None:
        """It could not be connected, or is not any more; `why` says what was tried."""


class Outgoing:
    """One connection to an endpoint, as a DEALER: all addresses of its name are tried at once, and
    the first that answers is taken.

    Attributes:
        ready: messages may be sent.
        was_ready: they could, at some time.
        refused: nobody listens at any of its addresses.
        error: what the other end did that it must not, None while there is nothing.
    """

    def __init__(
        self,
        loop: Loop,
        names: Names,
        endpoint: str,
        owner: OutgoingOwner,
        *,
        bounds: Bounds,
        silence_s: float,
        pings: bool = False,
        mechanism: Callable[[], Mechanism] = Null,
    ) -> None:
        """Begins at once; `tick` is to be called some times a second. With `pings` an end that is
        alive and does not go on (stopped, stuck) is noticed, too, and not only one that is gone.
        `mechanism` makes the one of a connection."""
        self.endpoint = endpoint
        self._loop, self._names, self._bounds, self._owner = loop, names, bounds, owner
        self._silence_s = silence_s
        self._pings = pings
        self._mechanism = mechanism
        self._pinged_at = 0.0
        self._pings_left = PINGS
        self.error: ProtocolError | None = None
        self._deadline = time.monotonic() + CONNECT_S
        self._trying: dict[tcp.Address, socket.socket] = {}
        self._failed: list[str] = []
        self._refusals = 0
        self.was_ready = False
        self._stream: Stream | None = None
        self._over = False
        self._dial()

    @property
    def ready(self) -> bool:
        """See above."""
        return not self._over and self._stream is not None and self._stream.ready

    @property
    def known(self) -> Known | None:
        """Who has proved to be at the other end."""
        return self._stream.known if self._stream is not None else None

    def end(self, why: str) -> None:
        """End the connection, and tell the owner."""
        if self._stream is not None:
            self._stream.end(why)

    @property
    def refused(self) -> bool:
        """See above."""
        return 0 < self._refusals == len(self._failed) + len(self._trying)

    def send(self, frames: Sequence[bytes], unsent_max: int = 2**63) -> bool:
        """Send one message; False when it cannot leave, or when too much waits already."""
        stream = self._stream
        if stream is None or not self.ready or stream.unsent > unsent_max:
            return False
        stream.put(frames)
        stream.flush()
        return not self._over

    def tick(self) -> None:
        """See to what takes too long, and whether the name is known meanwhile."""
        now = time.monotonic()
        stream = self._stream
        if self._over:
            return
        if stream is not None and stream.ready:
            if stream.unsent and now - stream.moved_at > self._silence_s:
                stream.end(f"{self.endpoint}: nothing was taken for {self._silence_s:g} s")
            elif self._pings:
                self._listen(stream, now)
        elif now >= self._deadline:
            self._give_up("no handshake" if stream is not None else "timed out")
        elif stream is None and not self._trying:
            if self._failed or self._names.failed(self.endpoint):
                self._give_up("")
            else:
                self._dial()

    def _listen(self, stream: Stream, now: float) -> None:
        """Ask when nothing was heard for a while; an answer to that, or anything else, must come.
        When this program itself stood still, the answer may have come and not been read yet."""
        third_s = self._silence_s / 3
        if now - stream.heard_at < third_s:
            self._pings_left = PINGS
        elif now - self._pinged_at >= third_s:
            if not self._pings_left:
                stream.end(f"nothing was heard for {now - stream.heard_at:.1f} s")
                return
            self._pings_left -= 1
            self._pinged_at = now
            stream.ping()

    def close(self) -> None:
        """End it without telling the owner."""
        self._over = True
        for connecting in self._trying.values():
            self._loop.unwatch(connecting.fileno())
            connecting.close()
        self._trying.clear()
        if self._stream is not None:
            self._stream.close()

    def detach(self) -> tuple[socket.socket, Engine]:
        """Give the connection away, once it is ready: whoever takes it reads and writes it."""
        assert self._stream is not None, "only what is ready is given away"
        self._over = True
        return self._stream.detach()

    def _dial(self) -> None:
        for address in self._names.addresses(self.endpoint):
            try:
                connecting = tcp.dial(address, self._silence_s)
            except OSError as error:
                self._refusals += error.errno == errno.ECONNREFUSED
                self._failed.append(f"{address}: {_reason(error)}")
                continue
            self._trying[address] = connecting
            self._loop.watch(connecting.fileno(), WRITE, partial(self._connected, address))

    def _connected(self, address: tcp.Address, _events: int) -> None:
        connecting = self._trying.pop(address)
        self._loop.unwatch(connecting.fileno())
        number = tcp.outcome(connecting)
        if number:
            connecting.close()
            self._refusals += number == errno.ECONNREFUSED
            self._failed.append(f"{address}: {os.strerror(number)}")
            if not self._trying:
                self._give_up("")
            return
        for other in self._trying.values():
            self._loop.unwatch(other.fileno())
            other.close()
        self._trying.clear()
        self._deadline = time.monotonic() + HANDSHAKE_S
        engine = Engine(b"DEALER", self._bounds, self._mechanism())
        self._stream = Stream(self._loop, connecting, engine, self)

    def _give_up(self, why: str) -> None:
        tried = [*self._failed, *(f"{address}: {why}" for address in self._trying)]
        if not tried:
            trouble = why if self._stream is not None else self._names.trouble(self.endpoint)
            tried = [f"{self.endpoint}: {trouble}"]
        self.close()
        self._owner.on_lost(self, "; ".join(tried))

    # -- what the stream tells

    def on_ready(self, _stream: Stream) -> None:
        """See StreamOwner."""
        self.was_ready = True
        self._owner.on_ready(self)

    def on_messages(self, _stream: Stream, messages: list[Message]) -> None:
        """See StreamOwner."""
        self._owner.on_messages(self, messages)

    def on_taken(self, _stream: Stream) -> None:
        """See StreamOwner."""

    def on_over(self, stream: Stream, why: str) -> None:
        """See StreamOwner."""
        self.error = stream.error
        if not self._over:
            self._over = True
            self._owner.on_lost(self, f"{self.endpoint}: {why}")


def _reason(error: OSError) -> str:
    return os.strerror(error.errno) if error.errno else str(error)
