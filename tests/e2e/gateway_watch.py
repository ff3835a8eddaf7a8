"""A watch of etcd's API by grpcio, resumed as etcd's clients do it, checked event by event."""

import queue
import threading
import time

import grpc
from sampan.client.types import KeyValue, ResponseHeader
from sampan.client.watch import EventType, WatchEvent, WatchResponse
from sampan.gateway import messages as pb

from .cluster import WAIT_S
from .watch_child import END
from .watch_load import Seen

WATCH = "/etcdserverpb.Watch/Watch"
PROGRESS_AFTER = 500
"""Events after which it asks how far it is."""
AGAIN_S = 0.1
OPTIONS = [("grpc.max_receive_message_length", -1)]


class GatewayWatch:
    """One watch in a thread of its own, until it has seen the end."""

    def __init__(self, gateways, prefix, first=1, *, fragment=False, needs_leader=False):
        """`gateways`: it begins at the first one, and goes on at the next when that fails."""
        self.seen = Seen(prefix, first)
        self.streams = 0
        """How many it took: it was resumed so often, less one."""
        self._gateways = gateways
        self._create = {"key": prefix, "range_end": prefix[:-1] + bytes([prefix[-1] + 1])}
        self._create |= {"prev_kv": True, "fragment": fragment}
        self._metadata = [("hasleader", "true")] if needs_leader else []
        self._asked_at = 0
        self._failure = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def join(self, timeout_s):
        self._thread.join(timeout_s)
        assert self._failure is None, f"the watch failed: {self._failure!r}"
        assert not self._thread.is_alive(), f"the watch is at {self.seen.last} and does not end"

    def _run(self):
        try:
            while not self._stream():
                time.sleep(AGAIN_S)
        except BaseException as error:
            self._failure = error
            raise

    def _stream(self):
        """True at the end of all events, False when the stream broke."""
        gateway = self._gateways[self.streams % len(self._gateways)]
        self.streams += 1
        requests, parts = queue.SimpleQueue(), []
        resume = max(self.seen.last, self.seen.bookmark) + 1
        create = pb.WatchCreateRequest(start_revision=resume, **self._create)
        requests.put(pb.WatchRequest(create_request=create).SerializeToString())
        with grpc.insecure_channel(gateway, OPTIONS) as channel:
            call = channel.stream_stream(WATCH)(iter(requests.get, None), metadata=self._metadata)
            try:
                for data in call:
                    response = pb.WatchResponse.FromString(data)
                    assert not response.canceled, response
                    parts += response.events
                    if response.created or response.fragment:
                        continue
                    if self._take(response.header, parts):
                        return True
                    parts = []
                    self._ask(requests)
            except grpc.RpcError:
                return False
            finally:
                requests.put(None)
                call.cancel()
        return False

    def _take(self, header, events):
        """Whether the end is among the events."""
        told = [each for each in map(event, events) if not each.kv.key.endswith(END)]
        if told or not events:
            at = ResponseHeader(header.cluster_id, header.member_id, header.revision, 0)
            self.seen.take(WatchResponse(at, told))
        return len(told) < len(events)

    def _ask(self, requests):
        if self.seen.count - self._asked_at >= PROGRESS_AFTER:
            self._asked_at = self.seen.count
            asked = pb.WatchRequest(progress_request=pb.WatchProgressRequest())
            requests.put(asked.SerializeToString())


def event(message):
    """As our own client tells it."""
    kind = EventType.DELETE if message.type else EventType.PUT
    previous = key_value(message.prev_kv) if message.HasField("prev_kv") else None
    return WatchEvent(kind, key_value(message.kv), previous)


def key_value(kv):
    return KeyValue(kv.key, kv.create_revision, kv.mod_revision, kv.version, kv.lease, kv.value)


def end_of_a_compacted_watch(gateway, prefix):
    """The compact revision that a watch from the beginning is told. A linearizable read goes before
    it: a member that had not heard of the compaction yet would tell of all there was."""
    create = pb.WatchCreateRequest(key=prefix, start_revision=1)
    request = pb.WatchRequest(create_request=create).SerializeToString()
    requests = queue.SimpleQueue()
    requests.put(request)
    read = pb.RangeRequest(key=prefix).SerializeToString()
    with grpc.insecure_channel(gateway) as channel:
        channel.unary_unary("/etcdserverpb.KV/Range")(read, timeout=WAIT_S, wait_for_ready=True)
        call = channel.stream_stream(WATCH)(iter(requests.get, None), timeout=WAIT_S)
        for data in call:
            response = pb.WatchResponse.FromString(data)
            if response.canceled:
                requests.put(None)
                call.cancel()
                return response.compact_revision
            assert response.created
            assert not response.events
    raise AssertionError("the stream ended without a word")
