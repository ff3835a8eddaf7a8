"""A stand-in for a node: it answers puts and ranges from a dict, in the client protocol."""

import threading

import pytest
import zmq
from sampan.transport import codec, sockets

from ..ports import free_port

MEMBER = 7


class EchoNode:
    """A thread with a ROUTER. `refuse` makes it answer every write with that error."""

    def __init__(self, refuse=None):
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.store = {}
        self.revision = 1
        self.served = {"write": 0, "read": 0, "serializable": 0}
        self.written = threading.Event()
        self.refuse = refuse
        self.stale_reads = 0
        self._context = sockets.context()
        self._router = self._context.socket(zmq.ROUTER)
        self._router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._router.bind(f"tcp://{self.endpoint}")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self):
        self._stop.set()
        self._thread.join()
        self._router.close(linger=0)
        self._context.term()

    def _serve(self):
        while not self._stop.is_set():
            if self._router.poll(20, zmq.POLLIN):
                client, header, body = self._router.recv_multipart()
                _, message_id, kind, *_ = codec.unpack(header)
                results = [self._answer(kind, request) for request in codec.unpack(body)]
                reply = codec.pack((1, message_id, 1, MEMBER, 1, MEMBER))
                try:
                    self._router.send_multipart([client, reply, codec.pack(results)])
                except zmq.ZMQError as error:
                    if error.errno != zmq.EHOSTUNREACH:  # the client was killed meanwhile
                        raise

    def _answer(self, kind, request):
        if kind == "maintenance":
            return (0, {"leader": MEMBER})
        if request[0] == "session_open":
            return (0, self.revision, 1)
        if request[0] == "alarm_list":  # a client's question how far the cluster is
            return (0, self.revision, [])
        self.served[kind] += 1
        if request[0] == "put":
            if self.refuse:
                return self.refuse
            self.revision += 1
            self.written.set()
            self.store[request[1]] = request[2]
            return (0, self.revision)
        if kind == "serializable" and self.stale_reads:
            self.stale_reads -= 1
            return (0, 1, 0, False, [])
        value = self.store.get(request[1])
        kvs = [] if value is None else [(request[1], 1, 1, 1, 0, value)]
        return (0, self.revision, len(kvs), False, kvs)


@pytest.fixture
def node():
    echo = EchoNode()
    yield echo
    echo.close()


@pytest.fixture
def refusing_node():
    echo = EchoNode(refuse=(8, "etcdserver: mvcc: database space exceeded", "not applied"))
    yield echo
    echo.close()
