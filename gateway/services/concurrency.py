"""etcd's Lock and Election services, which do on the server what its clients do themselves.

Who waits has a key `name/LEASE` (the lease in hexadecimal); the oldest key has the lock, or leads.
Their errors have gRPC's code "unknown", as etcd's, where the same errors of other services do not.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, Self

from ...client import errors, ops
from ...client._link import Reply
from ...client.watch import EventType, WatchEvent, WatchResponse, WatchSpec
from ...client.watch_engine import Watch
from ...transport import watches as protocol
from ...transport.requests import KIND_READ, KIND_WRITE
from .. import messages as pb
from ..backend import Backend, Request, StatusError, fill, signed, unary, unsigned
from ..grpc import Call, Code, Method, Stream, Streaming
from .kv import add_kv
from .streams import Messages

LOCK, ELECTION = "/v3lockpb.Lock/", "/v3electionpb.Election/"
SESSION_TTL_S = 60
"""Of the lease that is granted to who brings none."""
NO_LEADER, NOT_LEADER = "election: no leader", "election: not leader"
EXPIRED = "mutex: session is expired"
_LEADER_MISSING = '"leader" field must be provided'

Kv = tuple[Any, ...]
"""A key as it travels: `[key, create_revision, mod_revision, version, lease, value]`."""


class Concurrency:
    """Both services."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    def methods(self) -> list[Method]:
        """What they serve."""
        return [
            self._method(LOCK + "Lock", pb.LockRequest, Caller.lock),
            self._method(LOCK + "Unlock", pb.UnlockRequest, Caller.unlock),
            self._method(ELECTION + "Campaign", pb.CampaignRequest, Caller.campaign),
            self._method(ELECTION + "Proclaim", pb.ProclaimRequest, Caller.proclaim),
            self._method(ELECTION + "Leader", pb.LeaderRequest, Caller.leader),
            self._method(ELECTION + "Resign", pb.ResignRequest, Caller.resign),
            Streaming(ELECTION + "Observe", self._observe),
        ]

    def _method(self, path: str, request: Any, answer: Any) -> Method:
        def serve(call: Call, parsed: Any) -> None:
            caller = Caller(self._backend, self._backend.token_of(call))
            self._backend.run(call, KIND_WRITE, _with_code_2(answer(caller, parsed)))

        return unary(path, request.FromString, serve)

    def _observe(self, call: Call) -> Stream:
        return Observation(call, Caller(self._backend, self._backend.token_of(call)))


class Caller:
    """Does what is asked, for whom it is asked."""

    def __init__(self, backend: Backend, token: str) -> None:
        self.backend = backend
        self._token = token

    # -- locks

    async def lock(self, request: Any) -> bytes:
        prefix = request.name + b"/"
        key, revision, _ = await self._queue_up(prefix, request.lease, b"")
        await self._first(prefix, key, revision)
        reply, result = await self._read(ops.get(key))
        if not result[4]:
            raise StatusError(Code.UNKNOWN, EXPIRED)
        return _encoded(pb.LockResponse(key=key), reply, result[1])

    async def unlock(self, request: Any) -> bytes:
        reply, result = await self._write(ops.delete(request.key))
        return _encoded(pb.UnlockResponse(), reply, result[1])

    # -- elections

    async def campaign(self, request: Any) -> bytes:
        prefix = request.name + b"/"
        key, revision, found = await self._queue_up(prefix, request.lease, request.value)
        lease = int(key.rpartition(b"/")[2], 16)
        if found is not None and found[5] != request.value:
            await self._replace(key, revision, lease, request.value)
        await self._first(prefix, key, revision)
        reply, result = await self._read(ops.get(key))
        if not result[4]:
            raise StatusError(Code.UNKNOWN, NOT_LEADER)
        response = pb.CampaignResponse()
        leader = response.leader
        leader.name, leader.key, leader.rev, leader.lease = (
            request.name, key, revision, signed(lease)
        )  # fmt: skip
        return _encoded(response, reply, result[1])

    async def proclaim(self, request: Any) -> bytes:
        leader = _leader_of(request)
        lease = unsigned(leader.lease)
        reply, result = await self._replace(leader.key, leader.rev, lease, request.value)
        return _encoded(pb.ProclaimResponse(), reply, result[1])

    async def _replace(
        self, key: bytes, revision: int, lease: int, value: bytes
    ) -> tuple[Reply, Any]:
        same = ops.create_revision(key) == revision
        reply, result = await self._write(ops.txn([same], [ops.put(key, value, lease=lease)]))
        if not result[2]:
            raise StatusError(Code.UNKNOWN, NOT_LEADER)
        return reply, result

    async def leader(self, request: Any) -> bytes:
        reply, revision, kv = await self.oldest(request.name + b"/")
        if kv is None:
            raise StatusError(Code.UNKNOWN, NO_LEADER)
        response = pb.LeaderResponse()
        add_kv(response.kv, kv)
        return _encoded(response, reply, revision)

    async def resign(self, request: Any) -> bytes:
        leader = _leader_of(request)
        same = ops.create_revision(leader.key) == leader.rev
        reply, result = await self._write(ops.txn([same], [ops.delete(leader.key)]))
        return _encoded(pb.ResignResponse(), reply, result[1])

    # -- what both are made of

    def changes(self, key: bytes, start: int, *, prefix: bool = False) -> "Changes":
        """What happens to a key or a prefix from a revision on."""
        return Changes(self.backend, self._token, key, start, prefix=prefix)

    async def _read(self, request: Request) -> tuple[Reply, Any]:
        return await self.backend.future(KIND_READ, request, self._token)

    async def _write(self, request: Request) -> tuple[Reply, Any]:
        return await self.backend.future(KIND_WRITE, request, self._token)

    async def _queue_up(
        self, prefix: bytes, lease: int, value: bytes
    ) -> tuple[bytes, int, Kv | None]:
        """(own key, its create revision, what it held if it was there before)."""
        lease = unsigned(lease)
        if not lease:
            _, granted = await self._write(("lease_grant", 0, SESSION_TTL_S))
            lease = granted[2]
        key = prefix + b"%x" % lease
        absent = ops.create_revision(key) == 0
        own = ops.put(key, value, lease=lease)
        _, result = await self._write(ops.txn([absent], [own], [ops.get(key)]))
        _, revision, was_absent, ((*_, found),) = result
        if was_absent:
            return key, revision, None
        return key, found[0][1], found[0]

    async def _first(self, prefix: bytes, key: bytes, revision: int) -> None:
        """Wait until no key of the prefix is older; whoever gives up leaves the queue."""
        before = ops.get(
            prefix,
            prefix=True,
            limit=1,
            sort_by="create",
            sort_order="descend",
            max_create_revision=revision - 1,
        )
        try:
            while True:
                _, result = await self._read(before)
                if not result[4]:
                    return
                with self.changes(result[4][0][0], result[1] + 1) as changes:
                    while (await changes.next()).type != EventType.DELETE:
                        pass
        except asyncio.CancelledError:
            same = ops.create_revision(key) == revision
            leave = ops.txn([same], [ops.delete(key)])
            self.backend.future(KIND_WRITE, leave, self._token)
            raise

    async def oldest(self, prefix: bytes) -> tuple[Reply, int, Kv | None]:
        """(who answers, as of which revision, the oldest key of a prefix)."""
        first = ops.get(prefix, prefix=True, limit=1, sort_by="create", sort_order="ascend")
        reply, result = await self._read(first)
        return reply, result[1], result[4][0] if result[4] else None


class Observation(Messages):
    """A call of Observe: tells every leader and what each proclaims."""

    def __init__(self, call: Call, caller: Caller) -> None:
        super().__init__(call, pb.LeaderRequest.FromString)
        self._caller = caller
        self._task: asyncio.Task[None] | None = None
        self._readable = asyncio.Event()
        self._readable.set()

    def take(self, request: Any) -> None:
        """The request."""
        if self._task is None:
            self._task = self._caller.backend.loop.create_task(self._run(request.name + b"/"))

    def cancelled(self) -> None:
        """The client went away."""
        super().cancelled()
        if self._task is not None:
            self._task.cancel()

    def on_writable(self) -> None:
        """The client has read on."""
        self._readable.set()

    async def _run(self, prefix: bytes) -> None:
        try:
            while True:
                await self._follow(prefix)
        except errors.SampanError as error:
            self.finish(Code.UNKNOWN, error.text)

    async def _follow(self, prefix: bytes) -> None:
        """One leader from its election to its end."""
        reply, revision, kv = await self._caller.oldest(prefix)
        if kv is None:
            with self._caller.changes(prefix, revision + 1, prefix=True) as changes:
                while (event := await changes.next()).type != EventType.PUT:
                    pass
            kv, revision = tuple(event.kv), event.kv.mod_revision
        await self._tell(reply, revision, kv)
        with self._caller.changes(kv[0], kv[2] + 1) as changes:
            while (event := await changes.next()).type == EventType.PUT:
                await self._tell(reply, event.kv.mod_revision, event.kv)

    async def _tell(self, reply: Reply, revision: int, kv: Kv) -> None:
        await self._readable.wait()
        response = pb.LeaderResponse()
        add_kv(response.kv, kv)
        self.call.send(_encoded(response, reply, revision))
        if not self.call.writable:
            self._readable.clear()


class Changes:
    """Events of a key or a prefix, one after the other, for a task."""

    def __init__(
        self, backend: Backend, token: str, key: bytes, start: int, *, prefix: bool = False
    ) -> None:
        end = protocol.prefix_end(key) if prefix else b""
        self._engine = backend.engine(token)
        self._watch = Watch(WatchSpec(key, end, start, 0), self, backend.timeout_s)
        self._events: asyncio.Queue[WatchEvent | errors.SampanError] = asyncio.Queue()

    def __enter__(self) -> Self:
        self._engine.start(self._watch)
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.cancel(self._watch)

    async def next(self) -> WatchEvent:
        """The next event.

        Raises:
            errors.SampanError: the watch has ended.
        """
        found = await self._events.get()
        if isinstance(found, errors.SampanError):
            raise found
        return found

    # -- for the engine

    def created(self, header: Any) -> None:
        """The node has the watch."""

    def put(self, response: WatchResponse, _size: int) -> int:
        """Events came."""
        for event in response.events:
            self._events.put_nowait(event)
        return 0

    def end(self, error: errors.SampanError) -> None:
        """Nothing more comes."""
        self._events.put_nowait(error)


async def _with_code_2(answer: Coroutine[Any, Any, bytes]) -> bytes:
    try:
        return await answer
    except errors.SampanError as error:
        raise StatusError(Code.UNKNOWN, error.text) from error


def _leader_of(request: Any) -> Any:
    if not request.HasField("leader"):
        raise StatusError(Code.INVALID_ARGUMENT, _LEADER_MISSING)
    return request.leader


def _encoded(response: Any, reply: Reply, revision: int) -> bytes:
    fill(response.header, reply, revision)
    encoded: bytes = response.SerializeToString()
    return encoded
