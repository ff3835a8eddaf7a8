"""HTTP/2's frames (RFC 9113, sections 4 and 6), its error codes and the state of one stream."""

from collections import deque
from enum import IntEnum
from struct import Struct
from typing import Any

from ...config import limits
from .heads import Head

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

FRAME_BYTES_MAX = 16_384
"""A frame's payload: the protocol's default, which we do not raise, nor use more when we may."""

WINDOW_BYTES = 65_535
WINDOW_BYTES_MAX = 2**31 - 1

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = range(8)
WINDOW_UPDATE, CONTINUATION = 8, 9

END_STREAM, END_HEADERS, PADDED, PRIORITISED, ACK = 0x1, 0x4, 0x8, 0x20, 0x1

HEADER_TABLE_SIZE, ENABLE_PUSH, MAX_CONCURRENT_STREAMS = 1, 2, 3
INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 4, 5, 6

FRAME = Struct(">BHBBL")
"""A frame's head: 24 bits of length, kind, flags, stream."""
SETTING = Struct(">HL")
LONG = Struct(">L")
GOAWAY_BODY = Struct(">LL")


class Fault(IntEnum):
    """Error codes (section 7)."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    INTERNAL_ERROR = 2
    FLOW_CONTROL_ERROR = 3
    SETTINGS_TIMEOUT = 4
    STREAM_CLOSED = 5
    FRAME_SIZE_ERROR = 6
    REFUSED_STREAM = 7
    CANCEL = 8
    COMPRESSION_ERROR = 9
    CONNECT_ERROR = 10
    ENHANCE_YOUR_CALM = 11


class ConnectionFaultError(Exception):
    """What the client sent ends the connection."""

    def __init__(self, code: Fault, text: str) -> None:
        super().__init__(text)
        self.code, self.text = code, text


def frame(kind: int, flags: int, stream_id: int, payload: bytes = b"") -> bytes:
    """One frame."""
    size = len(payload)
    return FRAME.pack(size >> 16, size & 0xFFFF, kind, flags, stream_id) + payload


OUR_SETTINGS = b"".join(
    SETTING.pack(*setting)
    for setting in (
        (MAX_CONCURRENT_STREAMS, limits.HTTP_STREAMS_MAX),
        (INITIAL_WINDOW_SIZE, limits.HTTP_WINDOW_BYTES),
        (MAX_HEADER_LIST_SIZE, limits.HTTP_HEADER_BYTES_MAX),
    )
)

HELLO = frame(SETTINGS, 0, 0, OUR_SETTINGS) + frame(
    WINDOW_UPDATE, 0, 0, LONG.pack(limits.HTTP_CONNECTION_WINDOW_BYTES - WINDOW_BYTES)
)
SETTINGS_ACK = frame(SETTINGS, ACK, 0)


class Stream:
    """A request and its answer."""

    __slots__ = (
        "app",
        "ended",
        "expected",
        "full",
        "head",
        "held",
        "id",
        "queue",
        "queued",
        "received",
        "tail",
        "we_ended",
        "window",
    )

    def __init__(self, stream_id: int, head: Head, window: int) -> None:
        self.id = stream_id
        self.head = head
        self.app: Any = None
        """Whoever answers, for the layer above."""
        self.window = window
        """What the client lets us send."""
        self.received = 0
        """What it sent and may not send again yet: its window is HTTP_WINDOW_BYTES less that."""
        self.expected: int | None = None
        """What is missing of its content-length, if it named one."""
        self.ended = False
        """The client has ended its side."""
        self.we_ended = False
        """The layer above has ended ours, though a part may still be queued."""
        self.held = False
        """The layer above wants no more data for now."""
        self.full = False
        """More than HTTP_QUEUE_BYTES_MAX was queued, so that a `Writable` will come."""
        self.queue: deque[bytes | memoryview] | None = None
        """Data that waits for a window or for room."""
        self.queued = 0
        """Its bytes."""
        self.tail: bytes | None = None
        """What follows the queue: a header block, or b"" for END_STREAM on the last data."""
