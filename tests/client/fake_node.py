"""A node of one: a ROUTER and a dict, in a thread, that can be told to misbehave.

Nodes with the same store are a cluster whose log is always up to date.

It speaks docs/protocol.md with pyzmq and msgpack alone, so that the client is tested against the
text and not against itself.
"""

import threading
from collections.abc import Callable
from typing import Any, Self

import msgpack
import zmq

from ..ports import free_port

NO_LEADER = [14, "etcdserver: no leader", "not applied"]
STOPPED = [14, "etcdserver: server stopped", "not applied"]
LEADER_CHANGED = [14, "etcdserver: leader changed", "unknown"]
LEADER_FAILED = [
    14,
    "etcdserver: request timed out, possibly due to previous leader failure",
    "unknown",
]
SESSION_EXPIRED = [
    9,
    "sampan: session expired; this message was not applied, an earlier one of its number may be",
    "unknown",
]
TOO_MANY_REQUESTS = [8, "etcdserver: too many requests", "not applied"]

Behave = Callable[[list[Any], list[Any]], Any]
"""(header, requests) to the reply's body; None for the node's own, SILENCE for no reply."""
SILENCE = object()


class FakeNode:
    """Bound and serving after `start`; `messages` are the headers and bodies it received."""

    def __init__(self, member_id: int = 1, port: int = 0, store: "FakeStore | None" = None) -> None:
        self.member_id = member_id
        self.store = store or FakeStore()
        self.execute = self.store.execute
        self.openings = 0
        self.opens_sessions = True
        """Openings are answered whatever `behave` says, and are not among `messages`."""
        self.leader_id = member_id
        self.cluster_id = 77
        self.behave: Behave = lambda header, requests: None
        self.push: Callable[[list[Any], list[Any]], list[Any]] = lambda header, requests: []
        """(header, requests) to the bodies of pushes that follow the reply."""
        self.raw_reply: Callable[[list[Any]], list[bytes]] | None = None
        self.messages: list[tuple[list[Any], list[Any]]] = []
        self.sent_bytes: list[int] = []
        self.seen = threading.Condition()
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        self._socket.linger = 0
        self._socket.bind(f"tcp://127.0.0.1:{port or free_port()}")
        self.port = int(self._socket.last_endpoint.rpartition(b":")[2])
        self._control = self._context.socket(zmq.PAIR)
        self._control.bind("inproc://control")
        self._commands = self._context.socket(zmq.PAIR)
        self._commands.connect("inproc://control")
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def kill(self) -> None:
        """End at once; connections break and nothing more is answered."""
        if self._thread.is_alive():
            self._commands.send(b"stop")
            self._thread.join()
        self._context.destroy(linger=0)

    def wait_for(self, condition: Callable[["FakeNode"], bool], timeout_s: float = 10) -> None:
        """Until what this node has received makes `condition` true."""
        with self.seen:
            assert self.seen.wait_for(lambda: condition(self), timeout_s), len(self.messages)

    def requests(self, kind: str) -> list[Any]:
        """All requests of one kind in the order of their arrival."""
        return [each for header, body in list(self.messages) if header[2] == kind for each in body]

    def sizes(self, kind: str) -> list[int]:
        """How many requests each message of one kind had."""
        return [len(body) for header, body in list(self.messages) if header[2] == kind]

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._control, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if self._control in ready:
                self._socket.close()
                self._control.close()
                return
            identity, head, body = self._socket.recv_multipart()
            header, requests = msgpack.unpackb(head), msgpack.unpackb(body)
            reply = self._answer(header, requests)
            if reply is not None:
                self.sent_bytes.append(len(reply[-1]))
                self._socket.send_multipart([identity, *reply])
            for pushed in self.push(header, requests):
                frames = [msgpack.packb(self._head(0)), msgpack.packb(pushed)]
                self._socket.send_multipart([identity, *frames])

    def _answer(self, header: list[Any], requests: list[Any]) -> list[bytes] | None:
        if self.opens_sessions and requests[0][0] == "session_open":
            self.openings += 1
            return self._reply(header, self.apply(header, requests))
        with self.seen:
            self.messages.append((header, requests))
            self.seen.notify_all()
        if self.raw_reply is not None and header[2] != "maintenance":
            return self.raw_reply(header)
        body = self.behave(header, requests)
        if body is SILENCE:
            return None
        return self._reply(header, self.apply(header, requests) if body is None else body)

    def apply(self, header: list[Any], requests: list[Any]) -> Any:
        """The body of a message's reply: the first one, if it came before."""
        with self.store.lock:
            if len(header) == 5:
                return [self.store.execute(request) for request in requests]
            return self.store.execute_once(header[5:], requests)

    def _reply(self, header: list[Any], body: Any) -> list[bytes]:
        return [msgpack.packb(self._head(header[1])), msgpack.packb(body)]

    def _head(self, message_id: int) -> list[int]:
        return [1, message_id, self.cluster_id, self.member_id, 5, self.leader_id]


class FakeStore:
    """What a cluster has agreed on."""

    def __init__(self) -> None:
        self.data: dict[bytes, list[Any]] = {}
        self.revision = 1
        self.watches = 0
        self.sessions: dict[int, dict[int, list[Any]]] = {}
        self.floors: dict[int, int] = {}
        self.lock = threading.RLock()

    def execute_once(self, stamp: list[int], requests: list[Any]) -> list[Any]:
        """The results of a numbered message, the first ones whenever it comes again."""
        session, sequence, below = stamp
        assert below <= sequence
        if session not in self.sessions:
            return SESSION_EXPIRED
        self.floors[session] = max(self.floors[session], below)
        if sequence < self.floors[session]:
            return SESSION_EXPIRED
        answers = self.sessions[session]
        if sequence not in answers:
            answers[sequence] = [self.execute(request) for request in requests]
        return answers[sequence]

    def execute(self, request: list[Any]) -> list[Any]:
        """One request's result."""
        name, *rest = request
        if name == "put":
            return self._put(*rest)
        if name == "delete":
            return self._delete(*rest)
        if name == "range":
            found = self._find(*rest[:2])
            return [0, self.revision, len(found), False, found]
        if name == "txn":
            branch = rest[1] if all(self._holds(each) for each in rest[0]) else rest[2]
            results = [self.execute(each) for each in branch]
            return [0, self.revision, branch is rest[1], results]
        if name == "session_open":
            session = rest[0] % 1000 * 1000 + len(self.sessions) + 1
            self.sessions[session], self.floors[session] = {}, 1
            return [0, self.revision, session]
        if name == "create":
            self.watches += 1
            return [0, self.revision, rest[4]]
        if name in ("cancel", "progress", "ack"):
            return [0, self.revision, self.watches]
        if name == "alarm_list":
            return [0, self.revision, []]
        if name == "member_list":
            return [0, [[2, "b", ["tcp://h:2"], [], False], [1, "a", [], ["tcp://h:1"], True]]]
        return [0, {"version": "0.1.0", "revision": self.revision}]

    def _find(self, key: bytes, end: bytes = b"") -> list[Any]:
        if not end:
            return [self.data[key]] if key in self.data else []
        keys = sorted(each for each in self.data if each >= key and (end == b"\0" or each < end))
        return [self.data[each] for each in keys]

    def _put(self, key: bytes, value: bytes, lease: int = 0, flags: int = 0) -> list[Any]:
        self.revision += 1
        old = self.data.get(key)
        created, version = (old[1], old[3] + 1) if old else (self.revision, 1)
        self.data[key] = [key, created, self.revision, version, lease, value]
        return [0, self.revision, old] if flags & 1 else [0, self.revision]

    def _delete(self, key: bytes, end: bytes = b"", flags: int = 0) -> list[Any]:
        found = self._find(key, end)
        self.revision += bool(found)
        for kv in found:
            del self.data[kv[0]]
        return [0, self.revision, len(found), *([found] if flags & 1 else [])]

    def _holds(self, compare: list[Any]) -> bool:
        target, result, key, value = compare[:4]
        kv = self.data.get(key, [key, 0, 0, 0, 0, b""])
        actual = kv[(3, 1, 2, 5, 4)[target]]
        return bool((actual == value, actual > value, actual < value, actual != value)[result])
