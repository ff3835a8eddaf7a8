"""Watches without sockets: feed, hub and state store, clients that read when told to, and a model
of what each of their watches has to be told."""

from collections import deque
from typing import Any, NamedTuple

from sampan.actors.watches.feed import WatchFeed
from sampan.actors.watches.hub import WatchHub
from sampan.storage.state_store import StateStore
from sampan.transport.codec import unpack_local
from sampan.transport.errors import COMPACTED
from sampan.transport.watches import (
    CANCELED,
    EVENT_DELETE,
    EVENT_PUT,
    EVENTS,
    EVERY_WATCH,
    NO_DELETE,
    NO_PUT,
    PREV_KV,
    PROGRESS,
)


class Change(NamedTuple):
    """One event as the model knows it; `prev` is the kv before."""

    revision: int
    type: int
    kv: tuple[Any, ...]
    prev: tuple[Any, ...] | None


class Model:
    """A store as a dict, and everything that ever happened to it."""

    def __init__(self):
        self.kvs = {}
        self.revision = 1
        self.compact_revision = 0
        self.log: list[Change] = []

    def apply(self, requests):
        """Requests that are each a revision: puts, deletions of a range, transactions of both."""
        for request in requests:
            before = len(self.log)
            for operation in request[2] if request[0] == "txn" else [request]:
                self._execute(operation)
            self.revision += len(self.log) > before

    def _execute(self, operation):
        name, key, *rest = operation
        revision = self.revision + 1
        if name == "compact":
            if self.compact_revision < key <= self.revision:
                self.compact_revision = key
        elif name == "put":
            prev = self.kvs.get(key)
            created, version = (prev[1], prev[3] + 1) if prev else (revision, 1)
            self.kvs[key] = (key, created, revision, version, 0, rest[0])
            self.log.append(Change(revision, EVENT_PUT, self.kvs[key], prev))
        else:
            for each in sorted(k for k in self.kvs if holds(key, rest[0], k)):
                gone = (each, 0, revision, 0, 0, b"")
                self.log.append(Change(revision, EVENT_DELETE, gone, self.kvs.pop(each)))


def holds(key, end, wanted):
    """Whether an etcd range has a key."""
    return wanted == key if not end else wanted >= key and (end == b"\0" or wanted < end)


class Stream:
    """What one watch was told, in order, and the rules for it."""

    def __init__(self, request):
        _, self.key, self.end, self.start, self.flags, _ = request
        self.first = 0
        self.told = []  # ("events", [...]) of joined fragments, ("progress", revision)
        self.parts = []
        self.canceled = None

    def take(self, kind, rest):
        assert self.canceled is None, "nothing comes after the end"
        if kind == PROGRESS:
            self.told.append((PROGRESS, rest[0]))
        elif kind == CANCELED:
            self.canceled = rest
        else:
            _, more, events = rest
            self.parts += events
            if not more:
                self.told.append((EVENTS, self.parts))
                self.parts = []

    def expected(self, model):
        unwanted = {EVENT_PUT} if self.flags & NO_PUT else set()
        unwanted |= {EVENT_DELETE} if self.flags & NO_DELETE else set()
        return [
            change for change in model.log
            if change.revision >= self.first and change.type not in unwanted
            and holds(self.key or b"\0", self.end, change.kv[0])
        ]  # fmt: skip

    def check(self, model, *, whole):
        """Rules 1 to 9, against everything that happened; `whole`: nothing is under way."""
        expected = self.expected(model)
        position, last_of_response, bookmark = 0, 0, self.first - 1
        for kind, content in self.told:
            if kind == PROGRESS:
                assert content >= bookmark, "a bookmark went back, or is below the start (7)"
                bookmark = content
                due = [c for c in expected if c.revision <= content]
                assert len(due) == position, "a bookmark before its events, or after later (7)"
                continue
            assert content, "a response without events"
            for event in content:
                assert position < len(expected), f"{event} was never to come (1, 3)"
                change = expected[position]
                assert event[:2] == (change.type, change.kv), "filter, order, once, no gap (1-6, 9)"
                self.check_prev(event, change, model)
                position += 1
            first = content[0][1][2]
            assert first > last_of_response, "a revision in two responses (4)"
            assert first > bookmark, "an event below a bookmark (7)"
            last_of_response = content[-1][1][2]
        if self.canceled is not None:
            assert not self.parts
            self.check_canceled(expected[position:], model)
        elif whole:
            assert not self.parts, "a fragment that nothing followed"
            assert position == len(expected), "events are missing (5)"

    def check_prev(self, event, change, model):
        if self.flags & PREV_KV:
            prev = event[2] if len(event) > 2 else None
            compacted = change.prev is not None and change.revision <= model.compact_revision
            assert prev == change.prev or (prev is None and compacted), "prev_kv (8)"
        else:
            assert len(event) == 2, "prev_kv was not asked for"

    def check_canceled(self, missing, model):
        _, compact_revision, reason = self.canceled
        assert reason == COMPACTED.text
        assert 0 < compact_revision <= model.compact_revision
        told = [content[-1][1][2] for kind, content in self.told if kind == EVENTS]
        assert max(told, default=self.first - 1) + 1 < compact_revision
        assert not missing or self.first < compact_revision, "canceled without a need (6)"


class Client:
    """One connection: what arrived, and what of it was reported as received."""

    def __init__(self):
        self.window = [0, 0]
        self.unread: deque[bytes] = deque()
        self.streams: dict[int, Stream] = {}
        self.ended: list[Stream] = []
        self.results: deque[Any] = deque()
        self.creating: deque[Any] = deque()

    def read(self, bodies):
        for _ in range(min(bodies, len(self.unread))):
            self.read_one(self.unread.popleft())

    def read_one(self, message):
        if type(message) is list:
            for request, result in message:
                self.answered(request, result)
            return
        self.window[1] += len(message)
        for kind, watch_id, *rest in unpack_local(message):
            if watch_id == EVERY_WATCH:
                for stream in self.streams.values():
                    stream.take(kind, rest)
                continue
            self.streams[watch_id].take(kind, rest)
            if kind == CANCELED:
                self.ended.append(self.streams.pop(watch_id))

    def answered(self, request, result):
        if result[0] != 0:
            return
        if request[0] == "create":
            stream = Stream(request)
            stream.first = request[3] or result[1] + 1
            self.streams[result[2]] = stream
        elif request[0] == "cancel":
            stream = self.streams.pop(request[1])
            stream.canceled = None
            stream.parts = []
            self.ended.append(stream)


class WatchNode:
    """One node's watches and its state, and the log that the whole cluster agrees on."""

    def __init__(self, directory):
        self._directory = directory
        self.model = Model()
        self.now = 100.0
        self.snapshots = 0
        self._index = 0
        self._log = []  # entries that the state has not applied yet
        self.state = StateStore.open(directory / "0")
        self.to_applier: deque[Any] = deque()
        self.to_node: deque[Any] = deque()
        self.feed = WatchFeed(self.to_node.append)
        self.hub = WatchHub(self.to_applier.append, self._push, self._reply)
        self.clients = [Client() for _ in range(3)]
        self.hub.on_timer(self.now, 1)

    def close(self):
        self.feed.drop_work()
        self.state.close()

    def _push(self, client, body):
        target = self.clients[client[0]]
        target.window[0] += len(body)
        target.unread.append(body)

    def _reply(self, asked, results):
        number, requests = asked
        self.clients[number].unread.append(list(zip(requests, results, strict=True)))

    # -- what happens

    def write(self, *requests):
        """Something is committed."""
        self.model.apply(requests)
        self._log.append(requests)

    def ask(self, client, *requests):
        """A client's message."""
        window = self.clients[client].window
        self.hub.take((client, requests), bytes([client]), requests, window)

    def applier_turn(self, entries=1000):
        while self.to_applier:
            self.feed.take(self.to_applier.popleft(), self.state)
        for requests in self._log[:entries]:
            self._index += 1
            self.state.apply(self._index, 1, requests)
        del self._log[:entries]
        if self.feed.busy:
            self.feed.tell(self.state)

    def compact_some(self):
        self.state.compact_step(10)

    def install_snapshot(self):
        """The node fell behind: its state is replaced by one that has all that was committed."""
        self.snapshots += 1
        path = self._directory / str(self.snapshots)
        self.state.checkpoint(path)
        self.feed.drop_work()
        self.state.close()
        self.state = StateStore.open(path)
        for requests in self._log:
            self._index += 1
            self.state.apply(self._index, 1, requests)
        self._log.clear()
        self.state.commit()
        while self.state.compact_step(1000):
            pass
        self.feed.on_install(self.state)

    def node_turn(self, messages=1000):
        for _ in range(min(messages, len(self.to_node))):
            self.hub.on_event(self.to_node.popleft())
        if self.hub.busy:
            self.hub.work(self.now)

    def timer(self, seconds=0.05):
        self.now += seconds
        self.hub.on_timer(self.now, 1)

    @property
    def _moving(self):
        return bool(self._log or self.to_applier or self.to_node or self.feed.telling)

    def settle_node(self):
        """Everything that is under way in the node arrives; clients do not read."""
        while self._moving or self.hub.wake_at is not None:
            self.applier_turn()
            self.timer(0.01)
            self.node_turn()

    def settle(self):
        """Everybody reads and everything that is under way arrives."""
        quiet = 0
        while quiet < 3:
            moved = self._moving
            self.applier_turn()
            self.node_turn()
            for client in self.clients:
                moved = moved or bool(client.unread)
                client.read(1000)
            self.timer()
            quiet = 0 if moved or self.hub.wake_at is not None else quiet + 1

    def check(self, *, whole):
        for client in self.clients:
            for stream in client.streams.values():
                stream.check(self.model, whole=whole)
            for stream in client.ended:
                stream.check(self.model, whole=False)
