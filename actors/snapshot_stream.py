"""Snapshots between peers: file by file, in chunks, a few under way, each acknowledged.

    sender                                receiver
    begin name manifest raft_message  →
                                      ←   have name [[file, digest] ...], where an earlier stream
                                          was cut
    chunk name seq file offset data   →   writes it
                                      ←   ack name seq
    end name                          →   checks sizes and checksums, makes it durable, renames
                                      ←   done name, or fail name why
                                          delivers raft_message (MsgSnap) to its core

The core is told only when the files are in place, so an interrupted stream leaves nothing to undo.
What came of it stays, over a restart as well, and the next stream leaves out what the receiver has.
Who was sent something else by somebody else is no worse off: files are compared by their digests.
"""

from collections.abc import Callable, Iterator
from typing import Any

from ..config import limits
from ..storage.errors import SnapshotError
from ..storage.snapshot_store import FILES_MAX, Digests, Receiving, SnapshotStore
from ..transport.codec import CodecError, pack, unpack
from .snapshot_pace import Pace

FROM_RECEIVER = ("have", "ack", "done", "fail")
ARITY = {"begin": 4, "chunk": 6, "end": 2, "have": 3, "ack": 3, "done": 2, "fail": 3}

Send = Callable[[int, bytes], bool]


def parse(frame: bytes) -> tuple[Any, ...]:
    """One decoded stream message; raises CodecError."""
    value = unpack(frame, array_max=FILES_MAX)
    if type(value) is not tuple or not value or type(value[0]) is not str:
        raise CodecError("a snapshot stream message is an array that begins with its name")
    if ARITY.get(value[0]) != len(value):
        raise CodecError("not a snapshot stream message")
    types = {"begin": (str, bytes, bytes), "chunk": (str, int, str, int, bytes), "end": (str,),
             "have": (str, tuple), "ack": (str, int), "done": (str,), "fail": (str, str),
            }[value[0]]  # fmt: skip
    if any(type(part) is not wanted for part, wanted in zip(value[1:], types, strict=True)):
        raise CodecError(f"snapshot stream: wrong types in {value[0]}")
    if value[0] == "have" and not all(map(_is_held, value[2])):
        raise CodecError("snapshot stream: have names files and digests")
    return value


def _is_held(file: Any) -> bool:
    return type(file) is tuple and list(map(type, file)) == [str, bytes]


class _Outgoing:
    """One stream to one peer."""

    def __init__(self, name: str, now: float) -> None:
        self.name = name
        self.chunks: Iterator[tuple[str, int, bytes]] = iter(())
        self.held: dict[str, bytes] = {}  # what the receiver has already
        self.sent = self.acked = 0
        self.ended = False
        self.moved_at = now


class SnapshotSender:
    """Streams snapshots, at most one to each peer, all together at one pace."""

    def __init__(
        self,
        store: SnapshotStore,
        send: Send,
        report: Callable[[int, bool], None],
        pace: Pace,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._send = send
        self._report = report
        self._pace = pace
        self._clock = clock
        self._streams: dict[int, _Outgoing] = {}  # who has waited for longest comes first
        self._digests: Digests = {}  # of what was sent since this node's state is what it is

    def begin(self, peer: int, name: str, raft_message: bytes, now: float) -> None:
        """Start a stream; one to the same peer that is under way has become pointless."""
        self._streams.pop(peer, None)
        stream = _Outgoing(name, now)
        size = limits.SNAPSHOT_CHUNK_BYTES
        try:
            manifest = self._store.manifest(name)
            stream.chunks = self._store.chunks(name, size, self._digests, stream.held)
        except SnapshotError:  # it was replaced by a newer one, which the core will send instead
            self._report(peer, False)
            return
        self._streams[peer] = stream
        if self._send(peer, pack(("begin", name, manifest, raft_message))):
            self.go_on(now)
        else:
            self._fail(peer)

    def take(self, peer: int, message: tuple[Any, ...], now: float) -> None:
        """An answer of the receiver."""
        stream = self._streams.get(peer)
        if stream is None or message[1] != stream.name:
            return  # about a stream that was given up
        stream.moved_at = now
        if message[0] == "have":
            stream.held.update(message[2])
        elif message[0] == "ack":
            stream.acked = max(stream.acked, min(message[2], stream.sent))
            self.go_on(now)
        else:
            del self._streams[peer]
            self._report(peer, message[0] == "done")

    def hurry(self, hurries: bool, now: float) -> None:
        """Whether the log has no room left for slow streams."""
        self._pace.hurries = hurries
        self.go_on(now)

    @property
    def due_at(self) -> float | None:
        """When to `go_on`, where no answer has to come first."""
        return self._pace.due_at if self._next() else None

    def go_on(self, now: float) -> None:
        """Send what may leave now, a chunk of each stream in turn."""
        while self._pace.due_at <= now and (peer := self._next()):
            self._streams[peer] = stream = self._streams.pop(peer)
            began = self._clock()
            self._pace.sent(self._send_chunk(peer, stream), began, self._clock())

    def _next(self) -> int:
        """The peer whose turn it is; 0 when all streams wait for answers."""
        for peer, stream in self._streams.items():
            if not stream.ended and stream.sent - stream.acked < limits.SNAPSHOT_WINDOW_CHUNKS:
                return peer
        return 0

    def _send_chunk(self, peer: int, stream: _Outgoing) -> int:
        """Send the next chunk, or that there is none; returns its size."""
        try:
            chunk = next(stream.chunks, None)
        except SnapshotError:  # removed meanwhile: a newer one was received and installed
            self._fail(peer)
            return 0
        if chunk is None:
            stream.ended = True
            frame = pack(("end", stream.name))
        else:
            stream.sent += 1
            frame = pack(("chunk", stream.name, stream.sent, *chunk))
        if not self._send(peer, frame):
            self._fail(peer)
        return len(chunk[2]) if chunk else 0

    def _fail(self, peer: int) -> None:
        if self._streams.pop(peer, None) is not None:
            self._report(peer, False)

    def lost(self, peer: int) -> None:
        """The peer has started again, and knows nothing of a stream to it."""
        self._fail(peer)

    def tick(self, now: float) -> None:
        """Give up streams that have not moved."""
        for peer, stream in list(self._streams.items()):
            if now - stream.moved_at > limits.SNAPSHOT_TIMEOUT_S:
                self._fail(peer)

    def forget_digests(self) -> None:
        """Another state comes in the place of this node's: its files have the same names."""
        self._digests.clear()

    def made(self, name: str) -> None:
        """A newer snapshot exists: remove those before it that are not being sent. One after it
        was received, and is about to be installed."""
        self._store.prune({stream.name for stream in self._streams.values()}, before=name)


class SnapshotReceiver:
    """Takes one snapshot at a time: the newest that the leader began."""

    def __init__(
        self, store: SnapshotStore, send: Send, deliver: Callable[[int, str, bytes], None]
    ) -> None:
        self._store = store
        self._send = send
        self._deliver = deliver
        self._peer = 0
        self._name = ""
        self._raft_message = b""
        self._files: Receiving | None = None
        self._refused = (0, "")  # the stream that was refused last
        self._moved_at: float | None = None

    def take(self, peer: int, message: tuple[Any, ...], now: float) -> None:
        """A message of the sender."""
        try:
            if message[0] == "begin":
                self._begin(peer, *message[1:])
            elif self._files is None or (peer, message[1]) != (self._peer, self._name):
                self._refuse(peer, message[1])
                return
            elif message[0] == "chunk":
                _, _, seq, file, offset, data = message
                self._files.write(file, offset, data)
                self._send(peer, pack(("ack", self._name, seq)))
            else:
                self._end(peer)
            self._moved_at = now
        except SnapshotError as error:
            self._pause()
            self._refused = (peer, message[1])
            self._send(peer, pack(("fail", message[1], str(error))))

    def _refuse(self, peer: int, name: str) -> None:
        """Of a stream that was given up, or that began before this node did. Once: a refusal for
        each of its chunks would also end its successor of the same name."""
        if self._refused != (peer, name):
            self._refused = (peer, name)
            self._send(peer, pack(("fail", name, "not being received here")))

    def _begin(self, peer: int, name: str, manifest: bytes, raft_message: bytes) -> None:
        self._pause()
        self._refused = (0, "")
        self._files = files = self._store.receive(name, manifest)
        self._peer, self._name, self._raft_message = peer, name, raft_message
        if files.held:
            self._send(peer, pack(("have", name, files.held)))

    def _end(self, peer: int) -> None:
        if self._files is not None:
            files, self._files = self._files, None
            files.finish()
            self._send(peer, pack(("done", self._name)))
            self._deliver(peer, self._name, self._raft_message)

    def _pause(self) -> None:
        if self._files is not None:
            files, self._files = self._files, None
            files.pause()

    def tick(self, now: float) -> None:
        """Give up a stream that has not moved, twice as patiently as its sender; and remove what
        came of it when there is no other for a while."""
        if self._moved_at is None:
            self._moved_at = now
        silent_s = now - self._moved_at
        if self._files is not None and silent_s > 2 * limits.SNAPSHOT_TIMEOUT_S:
            self._pause()
        if self._files is None and silent_s > limits.SNAPSHOT_KEPT_S:
            self._moved_at = now
            self._store.forget_received()
