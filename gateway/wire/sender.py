"""What an HTTP/2 connection sends: frames, within the client's windows and the room there is.

Control frames and header blocks go out at once. Data that the stream's window, the connection's
window or the room (HTTP_OUT_BYTES until the next `take`) do not let pass waits in its stream;
streams that could go on take turns, a frame each.
"""

from collections import deque
from collections.abc import Callable

from ...config import limits
from .frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_BYTES_MAX,
    HEADERS,
    HELLO,
    WINDOW_BYTES,
    WINDOW_BYTES_MAX,
    Stream,
    frame,
)

EMPTY_TABLE = b"\x20"
"""A table size update to 0 (RFC 7541, 4.2). Our blocks use no table; a client that allows less than
the default one wants to hear so before the next block."""


class Sender:
    """One connection's."""

    def __init__(
        self, all_sent: Callable[[Stream], None], writable: Callable[[Stream], None]
    ) -> None:
        """What to call when the last frame of an answer is on its way, and when a full stream has
        room again."""
        self._all_sent = all_sent
        self._writable = writable
        self._out = [HELLO]
        self._out_bytes = len(HELLO)
        self._queued = 0
        self._window = WINDOW_BYTES
        self._waiting: dict[int, Stream] = {}  # have data and a window of their own
        self._prefix = b""
        self.answered = False
        """Set with each frame of an answer that leaves."""

    @property
    def unsent(self) -> int:
        """Bytes that wait, as frames or as data."""
        return self._out_bytes + self._queued

    def take(self) -> bytes:
        """What is to be sent now, at most HTTP_OUT_BYTES of data among it; empty: nothing."""
        if self._waiting:
            self._pump()
        out = b"".join(self._out)
        self._out.clear()
        self._out_bytes = 0
        return out

    def put(self, frames: bytes) -> None:
        """Frames that nothing holds up."""
        self._out.append(frames)
        self._out_bytes += len(frames)

    # -- answers

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """A whole answer: its head, data and trailers, the blocks as bytes."""
        size = len(data)
        if (
            size > FRAME_BYTES_MAX
            or size > stream.window
            or size > self._window
            or self._out_bytes > limits.HTTP_OUT_BYTES
            or self._prefix
        ):
            self.head(stream, head)
            self.data(stream, data)
            self.trailers(stream, trailers)
            return
        stream.we_ended = self.answered = True
        self._window -= size
        stream_id = stream.id
        answer = b"".join(
            (
                FRAME.pack(0, len(head), HEADERS, END_HEADERS, stream_id),
                head,
                FRAME.pack(0, size, DATA, 0, stream_id),
                data,
                FRAME.pack(0, len(trailers), HEADERS, END_HEADERS | END_STREAM, stream_id),
                trailers,
            )
        )
        self._out.append(answer)
        self._out_bytes += len(answer)
        self._all_sent(stream)

    def head(self, stream: Stream, block: bytes, *, ended: bool = False) -> None:
        """The first header block; `ended`: there is nothing else."""
        self.answered = True
        self.put(self._block(stream, block, ended=ended))
        if ended:
            stream.we_ended = True
            self._all_sent(stream)

    def data(self, stream: Stream, data: bytes, *, ended: bool = False) -> None:
        """A piece of the body."""
        stream.we_ended = ended
        size = len(data)
        if not stream.queue and (
            not size
            or (
                size <= FRAME_BYTES_MAX
                and size <= stream.window
                and size <= self._window
                and self._out_bytes <= limits.HTTP_OUT_BYTES
            )
        ):
            self._data_frame(stream, data, ended=ended)
            return
        if ended:
            stream.tail = b""
        if stream.queue is None:
            stream.queue = deque()
        stream.queue.append(data)
        stream.queued += size
        self._queued += size
        self.widened(stream)
        if stream.queued > limits.HTTP_QUEUE_BYTES_MAX:
            stream.full = True

    def trailers(self, stream: Stream, block: bytes) -> None:
        """The header block that ends the answer."""
        stream.we_ended = self.answered = True
        if stream.queue:
            stream.tail = block
        else:
            self.put(self._block(stream, block, ended=True))
            self._all_sent(stream)

    def forget(self, stream: Stream) -> None:
        """Drop what waits of an answer."""
        self._waiting.pop(stream.id, None)
        self._queued -= stream.queued
        stream.queued = 0
        stream.queue = None

    # -- windows

    def widen(self, more: int) -> bool:
        """The connection's window grew. False: beyond what the protocol has."""
        self._window += more
        self._pump()
        return self._window <= WINDOW_BYTES_MAX

    def widened(self, stream: Stream) -> None:
        """A stream's window, or what it has to send, grew."""
        if stream.queue and stream.window > 0:
            self._waiting[stream.id] = stream
            self._pump()

    def announce_empty_table(self) -> None:
        """The client allows a smaller table than the default."""
        self._prefix = EMPTY_TABLE

    def _pump(self) -> None:
        """A frame for each that waits in turn, while windows and room last."""
        waiting = self._waiting
        while waiting and self._window > 0 and self._out_bytes < limits.HTTP_OUT_BYTES:
            stream = waiting.pop(next(iter(waiting)))
            self._send_piece(stream)
            if stream.queue and stream.window > 0:
                waiting[stream.id] = stream

    def _send_piece(self, stream: Stream) -> None:
        queue = stream.queue
        assert queue
        piece = queue.popleft()
        room = min(FRAME_BYTES_MAX, stream.window, self._window)
        if len(piece) > room:
            view = memoryview(piece)
            queue.appendleft(view[room:])
            piece = view[:room]
        size = len(piece)
        stream.queued -= size
        self._queued -= size
        tail = stream.tail
        self._data_frame(stream, piece, ended=not queue and tail == b"")
        if not queue and tail:
            self.put(self._block(stream, tail, ended=True))
            self._all_sent(stream)
        elif stream.full and stream.queued <= limits.HTTP_QUEUE_BYTES_MAX // 2:
            stream.full = False
            self._writable(stream)

    def _data_frame(self, stream: Stream, data: bytes | memoryview, *, ended: bool) -> None:
        self.answered = True
        size = len(data)
        stream.window -= size
        self._window -= size
        flags = END_STREAM if ended else 0
        self.put(b"".join((FRAME.pack(0, size, DATA, flags, stream.id), data)))
        if ended:
            self._all_sent(stream)

    def _block(self, stream: Stream, block: bytes, *, ended: bool) -> bytes:
        """A header block of ours as frames: ours are short, but for a status with a long text."""
        if self._prefix:
            block, self._prefix = self._prefix + block, b""
        flags = END_STREAM if ended else 0
        if len(block) <= FRAME_BYTES_MAX:
            return frame(HEADERS, flags | END_HEADERS, stream.id, block)
        pieces = [block[i : i + FRAME_BYTES_MAX] for i in range(0, len(block), FRAME_BYTES_MAX)]
        last = len(pieces) - 1
        return b"".join(
            frame(
                CONTINUATION if i else HEADERS,
                (0 if i else flags) | (END_HEADERS if i == last else 0),
                stream.id,
                piece,
            )
            for i, piece in enumerate(pieces)
        )
