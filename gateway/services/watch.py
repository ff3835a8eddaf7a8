"""etcd's Watch service: the watches of a stream are watches of the client's engine.

The engine keeps each of them alive and whole; here they get their ids, and wait for the client
when it reads slowly: a watch with much unread leaves the node until that has been read
(`watch_engine.py`).
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from ...client import errors
from ...client._timeouts import TIMEOUT_S_MAX
from ...client.types import ResponseHeader
from ...client.watch import EventType, WatchEvent, WatchResponse, WatchSpec
from ...client.watch_engine import RESUME_BYTES, Engine, State, Watch
from ...config import limits
from ...security.rules import HEALTH_KEY
from ...transport import errors as wire
from ...transport import watches as protocol
from ...transport.requests import KIND_SERIALIZABLE
from .. import messages as pb
from ..backend import Backend, fill, status
from ..grpc import Call, Code, Method, Stream, Streaming
from .kv import add_kv
from .streams import Messages

NO_ID = -1
"""The watch id of an answer that is for no watch, or for all."""
_FILTERS = {0: protocol.NO_PUT, 1: protocol.NO_DELETE}
_FORBIDDEN = (errors.PermissionDeniedError, errors.UnknownUserError)
_ANY_KEY = ("range", HEALTH_KEY)
"""Answers the store's revision at hardly any cost, and to the node itself."""


class WatchService:
    """The service."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def methods(self) -> list[Method]:
        """What it serves."""
        return [Streaming("/etcdserverpb.Watch/Watch", self._open)]

    def _open(self, call: Call) -> Stream:
        return WatchStream(self._backend, call)


class WatchStream(Messages):
    """One call: any number of watches, created and canceled by its requests."""

    def __init__(self, backend: Backend, call: Call) -> None:
        super().__init__(call, pb.WatchRequest.FromString)
        self.needs_leader = call.metadata.get("hasleader") == "true"
        self.header = ResponseHeader(0, 0, 0, 0)
        """The last one that a watch of this stream got."""
        self._backend = backend
        self._token = backend.token_of(call)
        self._watches: dict[int, OneWatch] = {}
        self._next_id = 0
        self._asked: set[int] = set()  # watches that will tell how far they are
        self._unsent: deque[tuple[OneWatch | None, bytes, int]] = deque()

    @property
    def _engine(self) -> Engine:
        return self._backend.engine(self._token)

    # -- requests

    def take(self, request: Any) -> None:
        """Create, cancel or ask; anything else is passed over, as by etcd."""
        kind = request.WhichOneof("request_union")
        if kind == "create_request":
            self._create(request.create_request)
        elif kind == "cancel_request":
            self._cancel(request.cancel_request.watch_id)
        elif kind == "progress_request":
            self._progress()

    def _create(self, request: Any) -> None:
        key, end = request.key or b"\x00", request.range_end
        if request.start_revision < 0:
            self._refuse(wire.COMPACTED.text)
        elif end not in (b"", b"\x00") and key >= end:
            self._refuse(wire.WATCH_EMPTY_RANGE.text)
        elif request.watch_id and request.watch_id in self._watches:
            self._refuse(wire.WATCH_EXISTS.text)
        else:
            flags = protocol.FRAGMENT  # from the node: the engine joins the pieces
            flags += request.prev_kv * protocol.PREV_KV
            flags += request.progress_notify * protocol.PROGRESS_NOTIFY
            flags += self.needs_leader * protocol.REQUIRE_LEADER
            for each in {*request.filters} & {*_FILTERS}:
                flags += _FILTERS[each]
            spec = WatchSpec(key, end, request.start_revision, flags)
            one = OneWatch(self, request.watch_id or self._free_id(), spec, request.fragment)
            one.wanted_id = request.watch_id
            self._watches[one.id] = one
            self._engine.start(one.watch)

    def _free_id(self) -> int:
        while self._next_id in self._watches:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def _refuse(self, reason: str) -> None:
        """Created and canceled in one message."""
        response = pb.WatchResponse(
            watch_id=NO_ID, created=True, canceled=True, cancel_reason=reason
        )
        self._send_with_revision(response)

    def _forbid(self, one: "OneWatch", error: errors.SampanError) -> None:
        """As `_refuse`, under the id that was asked for, with the error as Go prints it."""
        name = "".join(word.capitalize() for word in Code(error.code).name.split("_"))
        reason = f"rpc error: code = {name} desc = {error.text}"
        response = pb.WatchResponse(
            watch_id=one.wanted_id, created=True, canceled=True, cancel_reason=reason
        )
        self._send_with_revision(response)

    def _cancel(self, watch_id: int) -> None:
        one = self._watches.pop(watch_id, None)
        if one is None:
            return  # etcd does not answer either
        self._engine.cancel(one.watch)
        self.send(pb.WatchResponse(watch_id=watch_id, canceled=True), self.header)
        self._settle(watch_id)

    def _progress(self) -> None:
        if self._watches:
            self._ask(self._watches.values())
        else:
            self._send_with_revision(pb.WatchResponse(watch_id=NO_ID))

    def _ask(self, watches: "Iterable[OneWatch]") -> None:
        for one in watches:
            self._asked.add(one.id)
            self._engine.request_progress(one.watch)

    def _send_with_revision(self, response: Any) -> None:
        """Send what no watch can give the revision of."""
        future = self._backend.future(KIND_SERIALIZABLE, _ANY_KEY, self._backend.own_token)

        def answered(future: Any) -> None:
            if self.gone or future.cancelled() or future.exception() is not None:
                return
            reply, result = future.result()
            fill(response.header, reply, result[1])
            self._send_encoded(None, response.SerializeToString(), 0)

        future.add_done_callback(answered)

    # -- what watches tell

    def progressed(self, one: "OneWatch", header: ResponseHeader) -> None:
        """A watch has told of everything up to the header's revision."""
        if one.id in self._asked and not one.watch.progress_wanted:
            self.header = header
            self._settle(one.id)
        else:
            self.send(pb.WatchResponse(watch_id=one.id), header, one)

    def _settle(self, watch_id: int) -> None:
        """A watch that was asked has told, or is no more. After the last one the stream is that
        far, but for watches that have fallen behind since, or are new: those are asked, too."""
        if watch_id not in self._asked:
            return
        self._asked.remove(watch_id)
        if self._asked:
            return
        behind = [one for one in self._watches.values() if one.watch.state is not State.ACTIVE]
        if behind:
            self._ask(behind)
        elif self.header.revision:
            self.send(pb.WatchResponse(watch_id=NO_ID), self.header)
        else:
            self._send_with_revision(pb.WatchResponse(watch_id=NO_ID))

    def ended(self, one: "OneWatch", error: errors.SampanError) -> None:
        """A watch is over, and with it the stream unless the watch is alone to blame."""
        self._watches.pop(one.id, None)
        response = pb.WatchResponse(watch_id=one.id, canceled=True)
        if isinstance(error, errors.WatchCompactedError):
            response.compact_revision = error.compact_revision
            self.send(response, error.header._replace(revision=0))
        elif isinstance(error, errors.WatchCanceledError) or (
            one.watch.was_created and isinstance(error, _FORBIDDEN)
        ):
            response.cancel_reason = error.text
            self.send(response, self.header)
        elif isinstance(error, _FORBIDDEN):
            self._forbid(one, error)
        elif isinstance(error, errors.NoLeaderError):
            self.finish(wire.UNAVAILABLE, wire.NO_LEADER.text)
        else:
            self.finish(*status(error, protocol.KIND_WATCH))
        self._settle(one.id)

    # -- to the client

    def send(self, response: Any, header: ResponseHeader, one: "OneWatch | None" = None) -> int:
        """Send, or keep what the client is not ready for; returns what the watch has unread."""
        head = response.header
        head.cluster_id, head.member_id, head.revision, head.raft_term = header
        encoded = response.SerializeToString()
        return self._send_encoded(one, encoded, len(encoded))

    def _send_encoded(self, one: "OneWatch | None", encoded: bytes, size: int) -> int:
        if self.gone:
            return 0
        if not self._unsent and self.call.writable:
            self.call.send(encoded)
            return 0
        self._unsent.append((one, encoded, size))
        if one is None:
            return 0
        one.unread_bytes += size
        return one.unread_bytes

    def on_writable(self) -> None:
        """The client has read on."""
        while self._unsent and self.call.writable and not self.gone:
            one, encoded, size = self._unsent.popleft()
            self.call.send(encoded)
            if one is not None:
                one.unread_bytes -= size
                if one.unread_bytes <= RESUME_BYTES < one.unread_bytes + size:
                    self._engine.drained(one.watch)

    # -- the end

    def end(self) -> None:
        """The client sends nothing more; its watches go on, as etcd's: so watches JSON's user."""

    def cancelled(self) -> None:
        """The client went away."""
        super().cancelled()
        for one in self._watches.values():
            self._engine.cancel(one.watch)
        self._watches.clear()
        self._unsent.clear()


class OneWatch:
    """A watch of a stream, as the engine's sink."""

    def __init__(self, stream: WatchStream, watch_id: int, spec: WatchSpec, fragment: bool) -> None:
        self.id = self.wanted_id = watch_id
        self.unread_bytes = 0
        # Until some node takes it, however long that is: without a leader a watch is silent.
        self.watch = Watch(spec, self, TIMEOUT_S_MAX)
        self._stream = stream
        self._fragment = fragment

    def created(self, header: ResponseHeader) -> None:
        """The node has it."""
        if self._stream.needs_leader:
            self.watch.timeout_s = 0.0  # its end for want of a leader is one
        self._stream.header = header
        self._stream.send(pb.WatchResponse(watch_id=self.id, created=True), header, self)

    def put(self, response: WatchResponse, _size: int) -> int:
        """Events, or how far it is."""
        stream = self._stream
        if not response.events:
            stream.progressed(self, response.header)
            return self.unread_bytes
        stream.header = response.header
        parts = list(_fragments(response.events)) if self._fragment else [response.events]
        for part in parts:
            message = pb.WatchResponse(watch_id=self.id, fragment=part is not parts[-1])
            for event in part:
                _add_event(message.events.add(), event)
            stream.send(message, response.header, self)
        return self.unread_bytes

    def end(self, error: errors.SampanError) -> None:
        """Nothing more comes."""
        self._stream.ended(self, error)


def _add_event(message: Any, event: WatchEvent) -> None:
    if event.type == EventType.DELETE:
        message.type = 1
    add_kv(message.kv, event.kv)
    if event.prev_kv is not None:
        add_kv(message.prev_kv, event.prev_kv)


def _fragments(events: list[WatchEvent]) -> Iterator[list[WatchEvent]]:
    """Parts of about the size of the largest request."""
    part: list[WatchEvent] = []
    size = 0
    for event in events:
        kvs = [kv for kv in (event.kv, event.prev_kv) if kv is not None]
        added = sum(len(kv.key) + len(kv.value) + 32 for kv in kvs)
        if part and size + added > limits.REQUEST_BYTES_MAX:
            yield part
            part, size = [], 0
        part.append(event)
        size += added
    yield part
