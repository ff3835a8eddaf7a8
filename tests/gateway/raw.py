"""HTTP/2 by hand, for what well-behaved clients do not send."""

import socket
import struct
from collections import deque
from typing import NamedTuple

import hpack
from sampan.gateway.wire.frames import (
    DATA,
    END_HEADERS,
    END_STREAM,
    FRAME,
    HEADERS,
    LONG,
    PREFACE,
    SETTING,
    SETTINGS,
    WINDOW_UPDATE,
    frame,
)

HELLO = PREFACE + frame(SETTINGS, 0, 0)


class Frame(NamedTuple):
    kind: int
    flags: int
    stream_id: int
    payload: bytes

    @property
    def code(self):
        """RST_STREAM's or GOAWAY's."""
        return LONG.unpack(self.payload[-4:] if len(self.payload) == 4 else self.payload[4:8])[0]


def split(data):
    """The whole frames in it, and the rest."""
    frames, at = [], 0
    while len(data) - at >= FRAME.size:
        high, low, kind, flags, stream_id = FRAME.unpack_from(data, at)
        end = at + FRAME.size + (high << 16 | low)
        if end > len(data):
            break
        frames.append(Frame(kind, flags, stream_id, data[at + FRAME.size : end]))
        at = end
    return frames, data[at:]


def fields(path="/test.Echo/Unary", method="POST", content_type="application/grpc", **more):
    return [
        (":method", method),
        (":scheme", "http"),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", content_type),
        ("te", "trailers"),
        *((name.replace("_", "-"), value) for name, value in more.items()),
    ]


def message(data, flag=0):
    return struct.pack(">BL", flag, len(data)) + data


def settings(**values):
    return frame(SETTINGS, 0, 0, b"".join(SETTING.pack(int(k[1:]), v) for k, v in values.items()))


class Wire:
    """A client's end of a connection: encodes requests, decodes answers."""

    def __init__(self):
        self.encoder = hpack.Encoder()
        self.decoder = hpack.Decoder()

    def head(self, stream_id, ended=False, **options):
        block = self.encoder.encode(fields(**options))
        flags = END_HEADERS | (END_STREAM if ended else 0)
        return frame(HEADERS, flags, stream_id, block)

    def request(self, stream_id, data=b"", **options):
        body = frame(DATA, END_STREAM, stream_id, message(data))
        return self.head(stream_id, **options) + body


class Client(Wire):
    """The same with a socket."""

    def __init__(self, port, hello=HELLO, tls=None):
        super().__init__()
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=180)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket)
        self.rest = b""
        self.got = deque()
        self.socket.sendall(hello)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def frames(self):
        """All frames from now on, until the connection ends."""
        while True:
            while self.got:
                yield self.got.popleft()
            data = self.socket.recv(1 << 20)
            if not data:
                return
            found, self.rest = split(self.rest + data)
            self.got += found

    def next(self, *kinds):
        """The next frame of these kinds."""
        for got in self.frames():
            if got.kind in kinds:
                return got
        raise AssertionError("the connection has ended")

    def answer(self, stream_id):
        """Header lists and body of one answer; the others are not looked at."""
        heads, body = [], b""
        while True:
            got = self.next(HEADERS, DATA)
            headers = self.decoder.decode(got.payload) if got.kind == HEADERS else None
            if got.stream_id == stream_id:
                if headers is None:
                    body += got.payload
                else:
                    heads.append(dict(headers))
                if got.flags & END_STREAM:
                    return heads, body

    def widen(self, more, stream_id=0):
        self.send(frame(WINDOW_UPDATE, 0, stream_id, LONG.pack(more)))
