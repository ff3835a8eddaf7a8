"""An HTTP/2 server's side of a connection (RFC 9113), without I/O: bytes in, events out.

Whoever owns the socket calls

    connection.receive(data, now)   what came, and the time, for limits that count by time
    connection.events()             what that means: requests, their data, resets
    connection.take()               what to send; not called while the socket is full

and answers with `respond`, or `send_head`, `send_data`, `send_trailers`, or `reset`. Answers never
wait and never fail: what the client's windows or a full socket do not let pass is queued in its
stream, and counted (`Stream.queued`, `Connection.unsent`).

Rules:
 1. `receive` raises nothing, whatever comes. A stream's fault resets the stream, a connection's
    ends it: its GOAWAY is the last of `take`, and `Closed` the last event.
 2. Everything has a bound: frames, header blocks, streams, windows, frames that carry nothing.
    What a client is told at once (acknowledgements, resets) is not bounded here: whoever cannot
    send has to stop receiving.
 3. A stream is in `streams` until both sides have ended it. What comes for one that we ended early
    is dropped without a word: it was under way.
 4. Our header blocks never touch the client's table (`hpack.literal`), so that they are constants.
"""

from typing import NamedTuple

from ...config import limits
from .frames import (
    ACK,
    CONTINUATION,
    DATA,
    ENABLE_PUSH,
    END_HEADERS,
    END_STREAM,
    FRAME,
    FRAME_BYTES_MAX,
    GOAWAY,
    GOAWAY_BODY,
    HEADER_TABLE_SIZE,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LONG,
    MAX_FRAME_SIZE,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    PRIORITY,
    PUSH_PROMISE,
    RST_STREAM,
    SETTING,
    SETTINGS,
    SETTINGS_ACK,
    WINDOW_BYTES,
    WINDOW_BYTES_MAX,
    WINDOW_UPDATE,
    ConnectionFaultError,
    Fault,
    Stream,
    frame,
)
from .heads import Head, HeadReader
from .hpack import TABLE_BYTES, HeadersTooLargeError, HpackError
from .sender import Sender

ENDED_EARLY_MAX = 1_024
"""Streams ended by us while the client was sending, whose frames are still dropped in silence."""


class Request(NamedTuple):
    """A request's head. `ended`: it has no body."""

    stream: Stream
    ended: bool


class Data(NamedTuple):
    """A piece of its body, maybe empty; `ended`: the last one."""

    stream: Stream
    data: bytes
    ended: bool


class Reset(NamedTuple):
    """The stream ended early, by the client or by its fault. Not given for streams we ended."""

    stream: Stream


class Writable(NamedTuple):
    """A stream that had too much queued has room again."""

    stream: Stream


class Closed(NamedTuple):
    """The connection is over: close the socket after `take`. All streams were reset."""

    code: int
    text: str


Event = Request | Data | Reset | Writable | Closed


class PingPolicy:
    """How often a client may ask whether we live (grpc-go, http2_server.go, handlePing)."""

    def __init__(self) -> None:
        self._strikes = 0
        self._last = float("-inf")

    def too_many(self, now: float, *, busy: bool, answered: bool) -> bool:
        """A ping came. Whether calls are under way, and whether anything was sent since the last
        one, after which it is welcome."""
        least = limits.HTTP_PING_MIN_S if busy else limits.HTTP_PING_IDLE_MIN_S
        early = now - self._last < least
        self._last = now
        if answered:
            self._strikes = 0
        elif early:
            self._strikes += 1
        return self._strikes > limits.HTTP_PING_STRIKES_MAX


class Connection:
    """One connection."""

    def __init__(self) -> None:
        self.streams: dict[int, Stream] = {}
        """All that one side has not ended yet. Read only."""
        self.closed = False
        self._sender = Sender(self._all_sent, self._on_writable)
        self.take = self._sender.take
        self._preface = PREFACE
        self._greeted = False
        self._rest = b""
        self._events: list[Event] = []
        self._heads = HeadReader(limits.HTTP_HEADER_BYTES_MAX)
        self._block: tuple[int, int, bytearray] | None = None  # a header block that goes on
        self._last_id = 0
        self._gap_at = 0  # beyond this id the client left some out
        self._ended_early: dict[int, None] = {}
        self._received = 0
        self._initial_window = WINDOW_BYTES
        self._now = 0.0
        self._nuisances = float(limits.HTTP_NUISANCES_MAX)
        self._nuisances_at = 0.0
        self._pings = PingPolicy()
        self._handlers = {
            DATA: self._on_data,
            HEADERS: self._on_headers,
            PRIORITY: self._on_priority,
            RST_STREAM: self._on_rst_stream,
            SETTINGS: self._on_settings,
            PUSH_PROMISE: self._on_push_promise,
            PING: self._on_ping,
            GOAWAY: self._on_goaway,
            WINDOW_UPDATE: self._on_window_update,
            CONTINUATION: self._on_continuation,
        }

    # -- the owner of the socket

    def receive(self, data: bytes, now: float) -> None:
        """Take what came, at a time in seconds, by any clock that does not go back."""
        if self.closed:
            return
        self._now = now
        if self._rest:
            data = self._rest + data
        try:
            at = self._take_preface(data) if self._preface else 0
            if not self._preface:
                at = self._take_frames(data, at)
            self._rest = data[at:]
        except ConnectionFaultError as fault:
            self.close(fault.code, fault.text)
        except HpackError as fault:
            self.close(Fault.COMPRESSION_ERROR, str(fault))

    def events(self) -> list[Event]:
        """What has happened since the last time."""
        events, self._events = self._events, []
        return events

    @property
    def has_events(self) -> bool:
        """Whether there is anything in `events`."""
        return bool(self._events)

    @property
    def unsent(self) -> int:
        """Bytes of answers that `take` has not given out."""
        return self._sender.unsent

    def ping(self) -> None:
        """Ask whether the client lives: whatever it says then shows it."""
        self._sender.put(frame(PING, 0, 0, b"alive? \x00"))

    def close(self, code: Fault = Fault.NO_ERROR, text: str = "") -> None:
        """Say good-bye: nothing is taken or sent after it."""
        if self.closed:
            return
        self.closed = True
        self._rest = b""
        self._events += [Reset(s) for s in self.streams.values() if not s.we_ended]
        for stream in self.streams.values():
            self._sender.forget(stream)
        self.streams.clear()
        body = GOAWAY_BODY.pack(self._last_id, code) + text.encode()
        self._sender.put(frame(GOAWAY, 0, 0, body))
        self._events.append(Closed(code, text))

    # -- the layer above

    def respond(self, stream: Stream, head: bytes, data: bytes, trailers: bytes) -> None:
        """A whole answer: its head, data and trailers, the blocks as bytes."""
        if not stream.we_ended and not self.closed:
            self._sender.respond(stream, head, data, trailers)

    def send_head(self, stream: Stream, block: bytes, *, ended: bool = False) -> None:
        """The first header block of an answer; `ended`: there is nothing else."""
        if not stream.we_ended and not self.closed:
            self._sender.head(stream, block, ended=ended)

    def send_data(self, stream: Stream, data: bytes, *, ended: bool = False) -> None:
        """A piece of an answer's body."""
        if not stream.we_ended and not self.closed:
            self._sender.data(stream, data, ended=ended)

    def send_trailers(self, stream: Stream, block: bytes) -> None:
        """The header block that ends an answer."""
        if not stream.we_ended and not self.closed:
            self._sender.trailers(stream, block)

    def reset(self, stream: Stream, code: Fault) -> None:
        """End a stream at once, in both directions. No `Reset` comes for it."""
        if not self.closed and stream.id in self.streams:
            stream.we_ended = True
            self._drop(stream)
            self._sender.put(frame(RST_STREAM, 0, stream.id, LONG.pack(code)))

    def hold(self, stream: Stream) -> None:
        """Let the client send what its window has left, and no more for now."""
        stream.held = True

    def release(self, stream: Stream) -> None:
        """Go on after `hold`."""
        stream.held = False
        if not stream.ended and stream.id in self.streams:
            self._credit(stream)

    # -- streams end

    def _all_sent(self, stream: Stream) -> None:
        """Our side of a stream is done. A client that has not ended its own is told to stop."""
        if stream.ended:
            self.streams.pop(stream.id, None)
        else:
            self._drop(stream)
            self._sender.put(frame(RST_STREAM, 0, stream.id, LONG.pack(Fault.NO_ERROR)))

    def _drop(self, stream: Stream) -> None:
        self.streams.pop(stream.id, None)
        self._sender.forget(stream)
        if not stream.ended:
            self._remember_early(stream.id)

    def _remember_early(self, stream_id: int) -> None:
        if len(self._ended_early) >= ENDED_EARLY_MAX:
            del self._ended_early[next(iter(self._ended_early))]
        self._ended_early[stream_id] = None

    def _on_writable(self, stream: Stream) -> None:
        self._events.append(Writable(stream))

    def _nuisance(self) -> None:
        """A frame came that costs us something and carries nothing."""
        self._nuisances -= 1
        if self._nuisances < 0:
            gained = (self._now - self._nuisances_at) * limits.HTTP_NUISANCES_PER_S
            self._nuisances_at = self._now
            self._nuisances = min(gained, limits.HTTP_NUISANCES_MAX) - 1
            if self._nuisances < 0:
                raise ConnectionFaultError(Fault.ENHANCE_YOUR_CALM, "too many empty frames")

    # -- frames that come

    def _take_preface(self, data: bytes) -> int:
        if not self._preface.startswith(data[: len(self._preface)]):
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "no HTTP/2 preface")
        if len(data) < len(self._preface):
            return 0
        size, self._preface = len(self._preface), b""
        return size

    def _take_frames(self, data: bytes, at: int) -> int:
        end = len(data)
        handlers = self._handlers
        while end - at >= FRAME.size:
            high, low, kind, flags, stream_id = FRAME.unpack_from(data, at)
            if high or low > FRAME_BYTES_MAX:
                raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "a frame above 16 KiB")
            start = at + FRAME.size
            if end - start < low:
                break
            at = start + low
            if self._block is not None and kind != CONTINUATION:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "a header block is interrupted")
            if not self._greeted and (kind != SETTINGS or flags & ACK):
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "the first frame is no SETTINGS")
            handler = handlers.get(kind)
            if handler is None:  # 4.1: to be ignored
                self._nuisance()
            else:
                handler(flags, stream_id & 0x7FFFFFFF, data[start:at])
        return at

    def _on_headers(self, flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id & 1:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, f"HEADERS on stream {stream_id}")
        if flags & (PADDED | PRIORITISED):
            payload = unpadded(flags, payload)
            if flags & PRIORITISED:
                check_priority(stream_id, payload[:5])
                payload = payload[5:]
        if flags & END_HEADERS:
            self._on_block(flags, stream_id, payload)
        else:
            self._block = (stream_id, flags, bytearray(payload))

    def _on_continuation(self, flags: int, stream_id: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != stream_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "CONTINUATION of nothing")
        _, first_flags, block = self._block
        block += payload
        self._nuisance()
        if len(block) > limits.HTTP_HEADER_BYTES_MAX:
            raise ConnectionFaultError(Fault.ENHANCE_YOUR_CALM, "too many headers")
        if flags & END_HEADERS:
            self._block = None
            self._on_block(first_flags, stream_id, bytes(block))

    def _on_block(self, flags: int, stream_id: int, block: bytes) -> None:
        stream = self.streams.get(stream_id)
        try:
            head = self._heads.read(block)
        except HeadersTooLargeError:
            self._refuse(stream_id, stream, Fault.ENHANCE_YOUR_CALM)
            return
        if stream is not None:
            self._on_trailers(flags, stream, head)
            return
        if stream_id <= self._last_id:
            self._on_late_head(stream_id)
            return
        if head.fault or not head.pseudo:
            self._refuse(stream_id, None, Fault.PROTOCOL_ERROR)
        elif len(self.streams) >= limits.HTTP_STREAMS_MAX:
            self._refuse(stream_id, None, Fault.REFUSED_STREAM)
        else:
            self._open(stream_id, head, ended=bool(flags & END_STREAM))

    def _open(self, stream_id: int, head: Head, *, ended: bool) -> None:
        stream = Stream(stream_id, head, self._initial_window)
        length = head.headers.get("content-length")
        if length is not None:
            if not (length.isascii() and length.isdigit() and len(length) < 16) or (
                ended and int(length)
            ):
                self._refuse(stream_id, None, Fault.PROTOCOL_ERROR)
                return
            stream.expected = int(length)
        self._seen(stream_id)
        self.streams[stream_id] = stream
        stream.ended = ended
        self._events.append(Request(stream, ended))

    def _seen(self, stream_id: int) -> None:
        if stream_id != self._last_id + 2 and not self._gap_at and stream_id != 1:
            self._gap_at = self._last_id or -1
        self._last_id = stream_id

    def _refuse(self, stream_id: int, stream: Stream | None, code: Fault) -> None:
        """Reset a stream for what the client did."""
        self._nuisance()
        if stream is not None:
            self._end_by_fault(stream, code)
            return
        if stream_id > self._last_id:
            self._seen(stream_id)
        self._remember_early(stream_id)
        self._sender.put(frame(RST_STREAM, 0, stream_id, LONG.pack(code)))

    def _end_by_fault(self, stream: Stream, code: Fault) -> None:
        if not stream.we_ended:
            self._events.append(Reset(stream))
        self.reset(stream, code)

    def _on_trailers(self, flags: int, stream: Stream, head: Head) -> None:
        if stream.ended:
            self._refuse(stream.id, stream, Fault.STREAM_CLOSED)
        elif not flags & END_STREAM or head.fault or head.pseudo or stream.expected:
            self._refuse(stream.id, stream, Fault.PROTOCOL_ERROR)
        else:
            self._client_ended(stream)
            self._events.append(Data(stream, b"", True))

    def _client_ended(self, stream: Stream) -> None:
        stream.ended = True
        if stream.we_ended and not stream.queue:
            self.streams.pop(stream.id, None)

    def _on_late_head(self, stream_id: int) -> None:
        if stream_id in self._ended_early:
            return
        if self._gap_at and stream_id > self._gap_at:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "an older stream's first HEADERS")
        raise ConnectionFaultError(Fault.STREAM_CLOSED, "HEADERS on a closed stream")

    def _on_data(self, flags: int, stream_id: int, payload: bytes) -> None:
        size = len(payload)
        self._received += size
        if self._received >= limits.HTTP_CONNECTION_WINDOW_BYTES // 2:
            self._sender.put(frame(WINDOW_UPDATE, 0, 0, LONG.pack(self._received)))
            self._received = 0
        stream = self.streams.get(stream_id)
        if stream is None or stream.ended:
            self._on_stray_data(stream_id, stream)
            return
        if flags & PADDED:
            payload = unpadded(flags, payload)
        stream.received += size
        ended = bool(flags & END_STREAM)
        if not size and not ended:
            self._nuisance()
        if stream.expected is not None:
            stream.expected -= len(payload)
            if stream.expected < 0 or (ended and stream.expected):
                self._refuse(stream_id, stream, Fault.PROTOCOL_ERROR)
                return
        if ended:
            self._client_ended(stream)
        elif stream.received >= limits.HTTP_WINDOW_BYTES // 2:
            if stream.received > limits.HTTP_WINDOW_BYTES:
                self._refuse(stream_id, stream, Fault.FLOW_CONTROL_ERROR)
                return
            if not stream.held:
                self._credit(stream)
        self._events.append(Data(stream, payload, ended))

    def _credit(self, stream: Stream) -> None:
        if stream.received:
            self._sender.put(frame(WINDOW_UPDATE, 0, stream.id, LONG.pack(stream.received)))
            stream.received = 0

    def _on_stray_data(self, stream_id: int, stream: Stream | None) -> None:
        if not stream_id or stream_id > self._last_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, f"DATA on idle stream {stream_id}")
        self._nuisance()
        if stream_id not in self._ended_early:
            self._refuse(stream_id, stream, Fault.STREAM_CLOSED)

    def _on_priority(self, _flags: int, stream_id: int, payload: bytes) -> None:
        self._nuisance()
        if not stream_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "PRIORITY on stream 0")
        check_priority(stream_id, payload)

    def _on_rst_stream(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if not stream_id or stream_id > self._last_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "RST_STREAM on an idle stream")
        if len(payload) != 4:
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "RST_STREAM is not 4 bytes")
        self._nuisance()
        stream = self.streams.get(stream_id)
        if stream is not None:
            if not stream.we_ended:
                self._events.append(Reset(stream))
            stream.we_ended = stream.ended = True
            self._drop(stream)

    def _on_settings(self, flags: int, stream_id: int, payload: bytes) -> None:
        self._greeted = True
        if stream_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, f"SETTINGS on stream {stream_id}")
        if len(payload) % SETTING.size or (flags & ACK and payload):
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "SETTINGS of a wrong size")
        if flags & ACK:
            return
        self._nuisance()
        window = self._initial_window
        for name, value in SETTING.iter_unpack(payload):
            self._on_setting(name, value)
        self._sender.put(SETTINGS_ACK)  # before the data that a wider window lets pass
        if self._initial_window > window:
            for stream in list(self.streams.values()):
                self._sender.widened(stream)

    def _on_setting(self, name: int, value: int) -> None:
        if name == INITIAL_WINDOW_SIZE:
            if value > WINDOW_BYTES_MAX:
                raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            change, self._initial_window = value - self._initial_window, value
            for stream in self.streams.values():
                stream.window += change
                if stream.window > WINDOW_BYTES_MAX:
                    raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "a window above 2^31-1")
        elif name == ENABLE_PUSH:
            if value > 1:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "ENABLE_PUSH is neither 0 nor 1")
        elif name == MAX_FRAME_SIZE:
            if not FRAME_BYTES_MAX <= value < 1 << 24:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "MAX_FRAME_SIZE out of range")
        elif name == HEADER_TABLE_SIZE and value < TABLE_BYTES:
            self._sender.announce_empty_table()

    def _on_push_promise(self, _flags: int, _stream_id: int, _payload: bytes) -> None:
        raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "clients do not push")

    def _on_ping(self, flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, f"PING on stream {stream_id}")
        if len(payload) != 8:
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "PING is not 8 bytes")
        if flags & ACK:
            return
        self._sender.put(frame(PING, ACK, 0, payload))
        answered, self._sender.answered = self._sender.answered, False
        if self._pings.too_many(self._now, busy=bool(self.streams), answered=answered):
            raise ConnectionFaultError(Fault.ENHANCE_YOUR_CALM, "too_many_pings")

    def _on_goaway(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if stream_id:
            raise ConnectionFaultError(Fault.PROTOCOL_ERROR, f"GOAWAY on stream {stream_id}")
        if len(payload) < GOAWAY_BODY.size:
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "GOAWAY ends early")
        # The client opens no more streams; those that are open go on until it closes.

    def _on_window_update(self, _flags: int, stream_id: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "WINDOW_UPDATE is not 4 bytes")
        more = LONG.unpack(payload)[0] & 0x7FFFFFFF
        if not stream_id:
            if not more:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "a window update by 0")
            if not self._sender.widen(more):
                raise ConnectionFaultError(Fault.FLOW_CONTROL_ERROR, "a window above 2^31-1")
            return
        stream = self.streams.get(stream_id)
        if stream is None:
            if stream_id > self._last_id:
                raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "WINDOW_UPDATE on an idle stream")
        elif not more:
            self._refuse(stream_id, stream, Fault.PROTOCOL_ERROR)
        elif stream.window + more > WINDOW_BYTES_MAX:
            self._refuse(stream_id, stream, Fault.FLOW_CONTROL_ERROR)
        else:
            stream.window += more
            self._sender.widened(stream)


def unpadded(flags: int, payload: bytes) -> bytes:
    """A payload of HEADERS or DATA without its padding (6.1)."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]


def check_priority(stream_id: int, priority: bytes) -> None:
    """Priorities are no longer used (5.3), but they are to be valid."""
    if len(priority) != 5:
        raise ConnectionFaultError(Fault.FRAME_SIZE_ERROR, "a priority is not 5 bytes")
    if LONG.unpack_from(priority)[0] & 0x7FFFFFFF == stream_id:
        raise ConnectionFaultError(Fault.PROTOCOL_ERROR, "a stream depends on itself")
