"""ZeroMQ's wire protocol, ZMTP 3.1 (rfc.zeromq.org/spec/37), without I/O: bytes in, messages out.

An `Engine` is one end of one connection. Whoever owns the connection

- sends `greeting` first, and `taken_answers()` whenever `receive` has made some;
- gives `receive` whatever arrives, cut anywhere, and gets the messages that it completed;
- ends the connection once `error` is set, having sent the answers; it may close at any time.

Messages are sent as `encode` makes them, once `ready`. Nothing here waits: how long a handshake may
take is the owner's to watch. What a peer can make an engine hold is bounded by `Bounds`, before the
handshake's end by one command. Errors are values, so that what came before one is not lost.

Who the two ends are is the business of a `Mechanism`: `Null` asks nobody, those of curve.py have
keys, and seal every frame.

libzmq 4.3 and others speak this version or 3.0, which differs in that it knows no PING. Peers of
ZMTP 1 and 2 (libzmq before 4.0) are refused.
"""

import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, TypeAlias

Frame: TypeAlias = bytes | bytearray
"""Bytes, or a bytearray when it came in pieces: it is not copied again."""
Message: TypeAlias = list[Frame]

COMMAND_BYTES_MAX = 4_096
"""libzmq's READY has 40 to 300 bytes, its PING 23 at most."""
PING_CONTEXT_BYTES_MAX = 16

_GREETING_BYTES = 64
_MORE, _LONG, _COMMAND = 1, 2, 4
SEALED_COMMAND = 2
_SHORT_MAX = 255

_long_head = struct.Struct(">BQ").pack
_long_size = struct.Struct(">Q").unpack_from
_LAST = tuple(bytes((0, size)) for size in range(_SHORT_MAX + 1))
_NOT_LAST = tuple(bytes((_MORE, size)) for size in range(_SHORT_MAX + 1))

KEY_REFUSED = b"400"
"""As libzmq tells an end that its key is not accepted (ZAP's status code)."""
_KEYS = {
    (b"NULL", b"CURVE"): ": it asks for keys",
    (b"CURVE", b"NULL"): ": it has no keys",
}
TAKES = {b"ROUTER": {b"DEALER", b"REQ", b"ROUTER"}, b"DEALER": {b"DEALER", b"REP", b"ROUTER"}}
"""Which sockets the two that are spoken for here may talk to."""


class ProtocolError(Exception):
    """The other end does not keep to the protocol; the text says how."""


class NotZmtpError(ProtocolError):
    """What listens or connects there speaks something else, or a ZMTP before version 3."""


class RefusedError(ProtocolError):
    """Both speak ZMTP, but not with each other: the mechanism, the socket, the key, or the peer
    said so. `reason` is what the peer is told, empty for nothing."""

    def __init__(self, text: str, reason: bytes = b"") -> None:
        super().__init__(text)
        self.reason = reason


class MalformedError(ProtocolError):
    """A frame or command that the protocol does not know."""


class TooMuchError(ProtocolError):
    """A frame, message, command or handshake beyond its limit."""


class Bounds(NamedTuple):
    """What one peer may send."""

    frame_bytes: int
    message_bytes: int
    message_frames: int


UNBOUNDED = Bounds(2**63 - 1, 2**63 - 1, 2**63 - 1)
"""For a peer that was asked for what it sends."""


def encode(parts: list[bytes], frames: Sequence[bytes]) -> None:
    """Append one message to `parts`, as it travels; long frames are not copied."""
    for frame in frames[:-1]:
        size = len(frame)
        parts.append(_NOT_LAST[size] if size <= _SHORT_MAX else _long_head(_MORE | _LONG, size))
        parts.append(frame)
    frame = frames[-1]
    size = len(frame)
    parts.append(_LAST[size] if size <= _SHORT_MAX else _long_head(_LONG, size))
    parts.append(frame)


def _content(name: bytes, body: bytes) -> bytes:
    return bytes((len(name),)) + name + body


def command(name: bytes, body: bytes) -> bytes:
    """A command as it travels."""
    return _command_frame(_content(name, body))


def _command_frame(content: bytes) -> bytes:
    if len(content) <= _SHORT_MAX:
        return bytes((_COMMAND, len(content))) + content
    return _long_head(_COMMAND | _LONG, len(content)) + content


def last_head(size: int) -> bytes:
    """What stands before the only or the last frame of a message."""
    return _LAST[size] if size <= _SHORT_MAX else _long_head(_LONG, size)


_PING_BODY = bytes(2)
"""The other end need not count on the next one."""


class Known(NamedTuple):
    """Who has proved to be at the other end."""

    key: bytes
    name: str
    """Whose key it is; empty when it is nobody's in particular."""


class Mechanism(Protocol):
    """How two ends find out who they are, and how frames travel from then on."""

    name: bytes
    """In the greeting."""
    as_server: bool
    """Likewise."""
    overhead: int
    """Bytes that sealing adds to each frame; 0 for a mechanism that seals nothing."""
    known: Known | None
    """Who the peer is; None while it has proved nothing."""

    def begin(self, metadata: bytes) -> bytes:
        """What is said after the greetings; `metadata` is what the peer is to know."""

    def take(self, name: bytes, body: bytes) -> tuple[bytes, dict[bytes, bytes] | None]:
        """What is answered to a command of the peer, and its metadata, by which the handshake ends
        on this side. Raises MalformedError and RefusedError."""

    def encode(self, parts: list[bytes], frames: Sequence[bytes]) -> None:
        """Append one message to `parts`, as it travels."""

    def command(self, content: bytes) -> bytes:
        """A command as it travels after the handshake; `content` is what is in its frame."""

    def open(self, frame: Frame) -> tuple[int, bytes]:
        """(flags, frame) of a frame that came sealed: MORE, or SEALED_COMMAND. Raises
        MalformedError."""


class Null:
    """The mechanism NULL: no keys, each side says READY and what it is."""

    name = b"NULL"
    as_server = False
    overhead = 0
    known: Known | None = None

    def begin(self, metadata: bytes) -> bytes:
        """See Mechanism."""
        return command(b"READY", metadata)

    def take(self, name: bytes, body: bytes) -> tuple[bytes, dict[bytes, bytes] | None]:
        """See Mechanism."""
        if name != b"READY":
            raise MalformedError(f"the command {name[:20]!r} in a handshake")
        return b"", properties(body)

    encode = staticmethod(encode)

    def command(self, content: bytes) -> bytes:
        """See Mechanism."""
        return _command_frame(content)

    def open(self, frame: Frame) -> tuple[int, bytes]:
        """Never: frames travel as they are."""
        raise NotImplementedError


def _property(name: bytes, value: bytes) -> bytes:
    return bytes((len(name),)) + name + len(value).to_bytes(4, "big") + value


def properties(body: bytes) -> dict[bytes, bytes]:
    """Metadata by lower-case name; raises MalformedError."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        name_end = at + 1 + body[at]
        value_at = name_end + 4
        value_end = value_at + int.from_bytes(body[name_end:value_at], "big")
        if name_end == at + 1 or value_end > len(body):
            raise MalformedError("metadata whose properties are cut off")
        found[body[at + 1 : name_end].lower()] = body[value_at:value_end]
        at = value_end
    return found


class Engine:
    """One end of a connection.

    Attributes:
        answers: what has to be sent now; the owner takes it by `taken_answers`.
        encode: appends one message to what is sent, as it travels on this connection.
        ready: both sides have said who they are; messages may be sent.
        peer: the peer's metadata, by lower-case name (`socket-type`, `identity`).
        error: why nothing more is taken from the peer.
        missing: bytes of the frame under way that have not come yet, 0 when that is not known.
    """

    __slots__ = (
        "_bounds", "_flags", "_frames", "_held", "_mechanism", "_plain", "_rest", "_size",
        "_socket_type", "_take", "answers", "encode", "error", "missing", "peer", "ready",
    )  # fmt: skip

    def __init__(
        self, socket_type: bytes, bounds: Bounds, mechanism: Mechanism | None = None
    ) -> None:
        """Without a mechanism it is NULL."""
        self._bounds = bounds
        self._socket_type = socket_type
        self._mechanism: Mechanism = mechanism or Null()
        self._plain = False  # frames are messages as they come
        self.encode = self._mechanism.encode
        self.answers: list[bytes] = []
        self._take: Callable[[bytes], list[Message]] = self._take_greeting
        self._rest = b""  # less than a frame's head
        self._held: bytearray | None = None  # the frame under way
        self._flags = 0  # its
        self._frames: Message = []  # of the message under way
        self._size = 0  # their bytes
        self.ready = False
        self.peer: dict[bytes, bytes] = {}
        self.error: ProtocolError | None = None
        self.missing = 0

    @property
    def greeting(self) -> bytes:
        """What is sent first."""
        mechanism = self._mechanism
        head = b"\xff" + bytes(8) + b"\x7f\x03\x01" + mechanism.name.ljust(20, b"\0")
        return (head + bytes((mechanism.as_server,))).ljust(_GREETING_BYTES, b"\0")

    @property
    def known(self) -> Known | None:
        """Who has proved to be at the other end; nobody where there are no keys."""
        return self._mechanism.known

    def taken_answers(self) -> list[bytes]:
        """What has to be sent now; it is not told again."""
        answers, self.answers = self.answers, []
        return answers

    def receive(self, data: bytes) -> list[Message]:
        """The messages that `data` completes. Nothing more comes after an error."""
        return self._take(data)

    # -- the handshake

    def _take_greeting(self, data: bytes) -> list[Message]:
        greeting = self._rest + data
        self._rest = greeting
        try:
            self._check_greeting(greeting)
        except ProtocolError as error:
            return self._fail(error)
        if len(greeting) < _GREETING_BYTES:
            return []
        mine = {b"Socket-Type": self._socket_type, b"Identity": b""}
        said = self._mechanism.begin(b"".join(_property(*item) for item in mine.items()))
        if said:
            self.answers.append(said)
        self._rest = b""
        self._take = self._take_frames
        return self._take_frames(greeting[_GREETING_BYTES:])

    def _check_greeting(self, said: bytes) -> None:
        """As much of it as has come, so that a peer that waits for an answer gets one."""
        if said[:1] != b"\xff"[: len(said)] or (len(said) > 9 and said[9] != 0x7F):
            raise NotZmtpError("it does not speak ZeroMQ")
        if len(said) > 10 and said[10] < 3:
            raise NotZmtpError(f"it speaks version {said[10]} of ZeroMQ's protocol, not 3")
        if len(said) >= 32:
            mechanism, mine = said[12:32].rstrip(b"\0"), self._mechanism.name
            if mechanism != mine:
                name = mechanism.decode("ascii", "backslashreplace")
                hint = _KEYS.get((mine, mechanism), "")
                raise RefusedError(f"it wants the mechanism {name}, not {mine.decode()}{hint}")

    def _shake_hands(self, name: bytes, body: bytes) -> None:
        if name == b"ERROR":
            reason = body[1 : 1 + body[0]] if body else b""
            shown = reason.decode("ascii", "backslashreplace")
            raise RefusedError(
                "refused: this end's key" if reason == KEY_REFUSED else f"refused: {shown}"
            )
        answer, peer = self._mechanism.take(name, body)
        if peer is not None:
            kind = peer.get(b"socket-type", b"")
            if kind not in TAKES[self._socket_type]:
                shown = kind[:20].decode("ascii", "backslashreplace")
                raise RefusedError(f"its socket is {shown!r}", b"unfit socket type")
            self.peer = peer
            self.ready = True
            self._plain = not self._mechanism.overhead
        if answer:
            self.answers.append(answer)

    # -- frames

    def _fail(self, error: ProtocolError) -> list[Message]:
        if isinstance(error, RefusedError) and error.reason:
            self.answers.append(command(b"ERROR", bytes((len(error.reason),)) + error.reason))
        self.error = error
        self.missing = 0
        self._held, self._frames, self._rest = None, [], b""
        self._take = self._ignore
        return []

    def _ignore(self, data: bytes) -> list[Message]:
        return []

    def _take_frames(self, data: bytes) -> list[Message]:
        messages: list[Message] = []
        try:
            at = 0
            if self._held is not None:
                at = self._take_held(self._held, data, messages)
            elif self._rest:
                data = self._rest + data
                self._rest = b""
            self._split(data, at, messages)
        except ProtocolError as error:
            self._fail(error)
        return messages

    def _take_held(self, held: bytearray, data: bytes, messages: list[Message]) -> int:
        """Add to the frame under way; returns how much of `data` it took."""
        missing = self.missing
        if len(data) < missing:
            held += data
            self.missing = missing - len(data)
            return len(data)
        held += data if len(data) == missing else memoryview(data)[:missing]
        self._held, self.missing = None, 0
        self._take_frame(self._flags, held, messages)
        return missing

    def _split(self, data: bytes, at: int, messages: list[Message]) -> None:
        """Take all frames that are there whole, and keep what is there of the next."""
        end = len(data)
        plain = self._plain
        while end - at >= 2:
            flags = data[at]
            if flags <= _MORE:
                begin, size = at + 2, data[at + 1]
            else:
                begin, size = self._head(data, at, flags)
                if not begin:
                    break
            at = begin + size
            if at > end:
                self._flags, self.missing = flags, at - end
                self._check_sealed(flags, size)
                self._held = bytearray(data[begin:])
                return
            if flags or not plain or self._frames:
                self._take_frame(flags, data[begin:at], messages)
                plain = self._plain
            else:
                messages.append([data[begin:at]])
        self._rest = data[at:]

    def _head(self, data: bytes, at: int, flags: int) -> tuple[int, int]:
        """Where a frame's body begins and its size; (0, 0) when that has not come yet."""
        if flags > (_COMMAND | _LONG) or (flags & _COMMAND and flags & _MORE):
            raise MalformedError(f"a frame with the flags {flags:#04x}")
        if not flags & _LONG:
            return at + 2, data[at + 1]
        if len(data) - at < 9:
            return 0, 0
        return at + 9, _long_size(data, at + 1)[0]

    def _check_sealed(self, flags: int, size: int) -> None:
        """The same of a frame of which it is not known what is in it, when it is sealed."""
        if self.ready and not self._plain:
            flags, size = flags & ~_COMMAND, size - self._mechanism.overhead
        self._check(flags, size)

    def _check(self, flags: int, size: int) -> None:
        """Whether a frame of this size may come; raises ProtocolError."""
        bounds = self._bounds
        if flags & _COMMAND:
            if size > COMMAND_BYTES_MAX:
                raise TooMuchError(f"a command of {size} bytes")
        elif not self.ready:
            raise MalformedError("a message before the handshake's end")
        elif size > bounds.frame_bytes:
            raise TooMuchError(f"a frame of {size} bytes, more than {bounds.frame_bytes}")
        elif self._size + size > bounds.message_bytes:
            raise TooMuchError(f"a message of over {bounds.message_bytes} bytes")
        elif len(self._frames) >= bounds.message_frames:
            raise TooMuchError(f"a message of over {bounds.message_frames} frames")

    def _take_frame(self, flags: int, frame: Frame, messages: list[Message]) -> None:
        if self.ready and not self._plain:
            sealed, frame = self._mechanism.open(frame)
            flags = _COMMAND if sealed & SEALED_COMMAND else sealed & _MORE
        self._check(flags, len(frame))
        if flags & _COMMAND:
            self._take_command(bytes(frame))
        elif flags & _MORE:
            self._frames.append(frame)
            self._size += len(frame)
        else:
            self._frames.append(frame)
            messages.append(self._frames)
            self._frames, self._size = [], 0

    def _take_command(self, frame: bytes) -> None:
        name, body = frame[1 : 1 + frame[0]] if frame else b"", frame[1:]
        if not name or len(name) != frame[0]:
            raise MalformedError("a command without its name")
        body = body[len(name) :]
        if not self.ready:
            self._shake_hands(name, body)
        elif name == b"PING":
            if not 2 <= len(body) <= 2 + PING_CONTEXT_BYTES_MAX:
                raise MalformedError(f"a PING of {len(body)} bytes")
            self.answers.append(self._say(b"PONG", body[2:]))
        elif name == b"ERROR":
            raise RefusedError("the peer ended the connection")

    def _say(self, name: bytes, body: bytes) -> bytes:
        """A command after the handshake, as it travels."""
        return self._mechanism.command(_content(name, body))

    def ping(self) -> bytes:
        """What asks for a PONG, once `ready`."""
        return self._say(b"PING", _PING_BODY)
