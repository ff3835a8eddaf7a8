"""The node: etcd's EtcdServer as its clients see it.

Takes client messages, checks them, puts all writes that it finds waiting into one raft entry and
all linearizable reads behind one ReadIndex, and sends every answer to whoever asked. What cannot be
answered in time gets a typed error that tells whether it may have happened.
"""

import math
import struct
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ..config import limits
from ..transport import errors, requests
from ..transport.codec import CodecError, pack, unpack_header, unpack_requests
from ..transport.errors import WireError
from ..transport.watches import KIND_WATCH, PUSH_ID
from . import channels, questions
from .actor import Actor
from .asked import Asked, Batch, take_late, whole_stamp, with_refused
from .client_limits import client_limits
from .entries import PUBLISH
from .questions import Question, Questions
from .traffic import Traffic
from .watches.hub import WatchHub

READ_INDEX_RETRY_S = 0.5
"""How long a ReadIndex may take before it is asked again, with a fresh context (etcd E/read)."""

BODIES_MAX = limits.BODY_REQUESTS_MAX // 2
"""Messages whose writes share one entry."""

_TOO_MANY_REFUSED = f"more than {limits.REFUSED_MAX} requests of this message are not valid"

_context = struct.Struct("<QQ").pack


class NodeSettings(NamedTuple):
    """What the node needs to know of the configuration."""

    cluster_id: int
    member_id: int
    name: str
    client_advertise: tuple[str, ...]
    incarnation: int
    request_timeout_s: float
    version: str
    id_seed: int
    """Below 2^31, random: no earlier life of this node began its ids here; entries outlive it in
    the log."""
    lease_ttl_min_s: int = 2
    client_requests_per_s: int = 0
    client_keys_per_s: int = 0


class Node(Actor):
    """Owns the client protocol."""

    name = channels.NODE
    timer_s = 0.05

    def __init__(self, settings: NodeSettings, log: Any) -> None:
        super().__init__()
        self._settings = settings
        self._client_admits = client_limits(
            settings.client_requests_per_s, settings.client_keys_per_s
        )
        self._log = log
        self._term = self._leader = 0
        self._role = "follower"
        self._members: tuple[Any, ...] = ()
        self._next_id = settings.id_seed << 32
        self._held: deque[Asked] = deque()  # writes not proposed yet
        self._pending_bytes = 0
        self._batches: dict[int, Batch] = {}  # proposed, by batch id
        self._reads: list[Asked] = []  # linearizable reads that wait for a context
        self._read_context = b""
        self._read_asked_at = 0.0
        self._confirming: list[Asked] = []  # reads behind the context that is under way
        self._executing: dict[int, Asked] = {}  # reads that wait for the applier
        self._pending_reads = 0
        self._pending_read_bytes = 0
        self._windows: dict[bytes, list[int]] = {}  # client -> [bytes sent, bytes received]
        self._questions = Questions()
        self._publish_at = 0.0
        self._proposed_at = 0.0
        self._propose_at = 0.0  # not before: raft has just refused a batch
        self._stopping = False
        self.requests = 0
        self.dropped = 0
        self._kinds: dict[Any, Callable[[Asked, Any], None]] = {
            requests.KIND_WRITE: self._write,
            requests.KIND_READ: self._read,
            requests.KIND_SERIALIZABLE: self._serializable,
            requests.KIND_MAINTENANCE: self._maintenance,
            requests.KIND_INSPECT: self._inspect,
            KIND_WATCH: self._watch,
        }
        self._traffic = Traffic(self._kinds, log)
        self.histograms = self._traffic.durations
        self._watches = WatchHub(
            lambda message: self.emit("watchc", message),
            lambda client, body: self._reply(
                Asked(client, PUSH_ID, KIND_WATCH, b"", {}, 0.0), body
            ),
            lambda asked, results: self._reply(asked, pack(results)),
        )

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    # -- what clients send

    def on_clientc(self, message: tuple[Any, ...]) -> None:
        """(client, header, body), or any other number of frames, which is dropped."""
        if len(message) != 3:
            self.dropped += 1
            return
        client, header, body = message
        try:
            version, message_id, *fields = self._opening(header)
            if version != requests.PROTOCOL_VERSION:
                self._fail(Asked(client, message_id, "", b"", {}, 0.0), errors.UNSUPPORTED_VERSION)
                return
            kind, timeout_ms, received, stamp = self._fields(*fields)
        except (CodecError, TypeError, ValueError):
            self.dropped += 1  # nothing in it can be trusted, not even whom to answer
            return
        timeout_s = timeout_ms / 1000 if timeout_ms else self._settings.request_timeout_s
        deadline = self.now + min(timeout_s, self._settings.request_timeout_s)
        asked = Asked(client, message_id, str(kind), body, {}, deadline, stamp, self.now)
        take = self._kinds.get(kind) if type(kind) is str else None
        if self._stopping:
            self._fail(asked, errors.STOPPED)
        elif take is None:
            self._fail(asked, errors.UNKNOWN_KIND)
        elif not self._window_open(client, received):
            self._fail(asked, errors.TOO_MANY_REQUESTS)
        elif len(body) > limits.BODY_BYTES_MAX:
            self._fail(asked, errors.REQUEST_TOO_LARGE)
        else:
            self._take(asked, take)

    @staticmethod
    def _opening(header: bytes) -> tuple[Any, ...]:
        """The header, of which every version has the first two fields."""
        fields = unpack_header(header)
        if type(fields) is not tuple or not all(map(requests.is_u64, fields[:2])):
            raise CodecError("not a request header")
        return fields

    @staticmethod
    def _fields(kind: Any, *rest: Any) -> tuple[Any, int, int, Any]:
        """What follows in this version."""
        if not all(map(requests.is_u64, rest)):
            raise CodecError("not a request header")
        if len(rest) <= 2:
            timeout_ms, received = (*rest, 0, 0)[:2]
            return kind, timeout_ms, received, None
        timeout_ms, received, session, sequence, acknowledged_below = rest
        if kind != requests.KIND_WRITE or not session or not acknowledged_below <= sequence:
            raise CodecError("not a stamp of a write")
        return kind, timeout_ms, received, rest[2:]

    def _take(self, asked: Asked, take: Callable[[Asked, Any], None]) -> None:
        try:
            decoded = unpack_requests(asked.body)
        except CodecError as error:
            self._fail(asked, errors.malformed(str(error)))
            return
        if type(decoded) is not tuple or not decoded:
            self._fail(asked, errors.malformed("the body is an array of requests"))
            return
        if asked.kind != requests.KIND_MAINTENANCE:  # `requests` is the clients' work
            self.requests += len(decoded)
            admits = self._client_admits
            if admits is not None and not admits(asked.client, decoded, self.now):
                self._fail(asked, errors.TOO_MANY_REQUESTS)
                return
        take(asked, decoded)

    def _window_open(self, client: bytes, received: int) -> bool:
        """Whether the client has taken enough of its replies; `received` counts from its first
        message here: ZeroMQ may have connected it anew without its knowledge."""
        window = self._windows.get(client)
        if window is None:
            if len(self._windows) >= limits.CLIENTS_MAX:
                del self._windows[next(iter(self._windows))]
            self._windows[client] = [received, received]
            return True
        window[1] = max(window[1], min(received, window[0]))
        return window[0] - window[1] < limits.REPLY_WINDOW_BYTES

    def _admit(self, asked: Asked, decoded: Any, checks: dict[str, requests.Check]) -> Asked | None:
        """The message without its bad requests; None when none is left (and it was answered).

        What is bad here is so in itself, at any time: a message that comes again after it was
        applied must not be told now that it was not.
        """
        if len(asked.body) <= limits.REQUEST_BYTES_MAX and requests.all_plain_puts(decoded, checks):
            self._traffic.requests["put"] += len(decoded)
            return asked
        good = []
        large = 0
        for position, request in enumerate(decoded):
            error = requests.check_request(request, checks)
            if error is None and requests.size(request) > limits.REQUEST_BYTES_MAX:
                error = errors.REQUEST_TOO_LARGE
            if error is None and checks is requests.WRITE_CHECKS:
                large += requests.answers_much(request)
                if large > limits.LARGE_ANSWERS_MAX:
                    error = errors.TOO_MANY_REQUESTS
            if error is None:
                good.append(request)
                self._traffic.requests[request[0]] += 1
            else:
                asked.refused[position] = error
                if len(asked.refused) > limits.REFUSED_MAX:
                    self._fail(asked, errors.malformed(_TOO_MANY_REFUSED))
                    return None
        if not good:
            self._reply(asked, pack([asked.refused[i] for i in range(len(decoded))]))
            return None
        completed = checks is requests.WRITE_CHECKS and self._complete_lease_grants(good)
        return asked._replace(body=pack(good)) if asked.refused or completed else asked

    def _complete_lease_grants(self, good: list[Any]) -> bool:
        """Whether there were any."""
        grants = [i for i, request in enumerate(good) if request[0] == "lease_grant"]
        for i in grants:
            ttl_min_s = self._settings.lease_ttl_min_s
            good[i] = requests.complete_lease_grant(good[i], self._new_id, ttl_min_s)
        return bool(grants)

    # -- writes

    def _write(self, asked: Asked, decoded: Any) -> None:
        if self._pending_bytes + asked.size > limits.PENDING_BYTES_MAX:
            self._fail(asked, errors.TOO_MANY_REQUESTS)
            return
        admitted = self._admit(asked, decoded, requests.WRITE_CHECKS)
        if admitted is not None:
            self._pending_bytes += admitted.size
            self._held.append(admitted)

    def flush(self) -> None:
        """Propose what is held, and ask for an index for the reads that wait."""
        if self._watches.busy:
            self._watches.work(self.now)
            self.wake_at = self._watches.wake_at
        if not self._leader:
            return  # etcd's nil propc: held until there is a leader or the deadline has come
        if self._held and self.now >= self._propose_at:
            if self._better_together():
                at = self._proposed_at + limits.PROPOSAL_HOLD_S
                self.wake_at = at if self.wake_at is None else min(at, self.wake_at)
            else:
                self._propose_held()
        if self._reads and not self._confirming:
            self._ask_read_index()

    def _better_together(self) -> bool:
        """Whether what is held waits for more: a little, while an entry is under way."""
        return (
            bool(self._batches)
            and self.now < self._proposed_at + limits.PROPOSAL_HOLD_S
            and sum(asked.size for asked in self._held) < limits.PROPOSAL_HOLD_BYTES
        )

    def _propose_held(self) -> None:
        self._proposed_at = self.now
        while self._held:
            self._propose()

    def _propose(self) -> None:
        asked: list[Asked] = []
        size, stamped = 0, False
        # Every member decodes the entry's array of messages: it must stay within codec.unpack's
        # bound, however many small messages piled up while there was no leader.
        while self._held and size < limits.ENTRY_BYTES_TARGET and len(asked) < BODIES_MAX:
            one = self._held.popleft()
            asked.append(one)
            size += one.size
            stamped = stamped or one.stamp is not None
        batch_id = self._new_id()
        self._batches[batch_id] = Batch(asked, size, self._term)
        payload: tuple[Any, ...] = (self._settings.member_id, batch_id, [a.body for a in asked])
        if stamped:
            payload = (*payload, [whole_stamp(a) for a in asked])
        self.emit("propc", (batch_id, pack(payload)))

    def on_dropc(self, batch_id: int) -> None:
        """Raft refused the batch, for want of a leader or of room: it was not applied, so it may
        be proposed again."""
        batch = self._batches.pop(batch_id, None)
        if batch is None:
            self._publish_at = 0.0
        else:
            self._held.extendleft(reversed(batch.asked))
            self._propose_at = self.now + self.timer_s

    # -- reads

    def _read(self, asked: Asked, decoded: Any) -> None:
        admitted = self._admit_read(asked, decoded)
        if admitted is not None:
            self._reads.append(admitted)

    def _serializable(self, asked: Asked, decoded: Any) -> None:
        admitted = self._admit_read(asked, decoded)
        if admitted is not None:
            self._execute([admitted], 0)

    def _admit_read(
        self, asked: Asked, decoded: Any, checks: dict[str, requests.Check] = requests.READ_CHECKS
    ) -> Asked | None:
        if (
            self._pending_reads >= limits.PENDING_READS_MAX
            or self._pending_read_bytes + asked.size > limits.PENDING_BYTES_MAX
        ):
            self._fail(asked, errors.TOO_MANY_REQUESTS)
            return None
        admitted = self._admit(asked, decoded, checks)
        if admitted is not None:
            self._pending_reads += 1
            self._pending_read_bytes += admitted.size
        return admitted

    def _ask_read_index(self) -> None:
        # Never the same context twice: a late acknowledgement of an earlier round could confirm it
        # on a leader that has been deposed since (etcd #20418).
        self._confirming, self._reads = self._confirming + self._reads, []
        self._read_context = _context(self._settings.incarnation, self._new_id())
        self._read_asked_at = self.now
        self.emit("readindexc", self._read_context)

    def on_readstatec(self, message: Any) -> None:
        """(context, index): the reads behind this context may be served at `index`."""
        context, index = message
        if context != self._read_context:
            return
        confirmed, self._confirming, self._read_context = self._confirming, [], b""
        if confirmed:
            self._execute(confirmed, index)

    def _execute(self, asked: list[Asked], index: int) -> None:
        self.emit("readc", (index, [self._read_of(each) for each in asked]))

    def _read_of(self, asked: Asked) -> tuple[int, float, bytes]:
        """What the applier is told of a read; its answer names the same id."""
        read_id = self._new_id()
        self._executing[read_id] = asked
        return (read_id, asked.deadline, asked.body)

    def _inspect(self, asked: Asked, decoded: Any) -> None:
        admitted = self._admit_read(asked, decoded, requests.INSPECT_CHECKS)
        if admitted is not None:
            self.emit("inspectc", self._read_of(admitted))

    def _read_ended(self, asked: Asked) -> None:
        self._pending_reads -= 1
        self._pending_read_bytes -= asked.size

    # -- watches

    def _watch(self, asked: Asked, decoded: Any) -> None:
        self._watches.take(asked, asked.client, decoded, self._windows[asked.client])

    def on_eventc(self, message: Any) -> None:
        """What the applier says to the watches: see watches/feed.py."""
        self._watches.on_event(message)

    def on_gonec(self, client: bytes) -> None:
        """A client's connection has ended, and so have its watches."""
        self._windows.pop(client, None)
        self._watches.drop(client, errors.WATCH_DROPPED)

    # -- results

    def on_resultc(self, message: Any) -> None:
        """("write", batch_id, [packed results of one message, …]), or
        ("read", [(read_id, packed results of one message), …])."""
        if message[0] == "read":
            for read_id, body in message[1]:
                self._on_answer(read_id, body)
            return
        _, batch_id, results = message
        batch = self._batches.pop(batch_id, None)
        if batch is None:
            return  # it was answered already, when its time was up
        self._pending_bytes -= batch.size
        for asked, body in zip(batch.asked, results, strict=False):
            mixed = asked.refused and asked.stamp is None  # a stamp has brought them along
            self._reply(asked, with_refused(asked, body) if mixed else body)

    def _on_answer(self, read_id: int, body: bytes) -> None:
        asked = self._executing.pop(read_id, None)
        if asked is None:
            return  # likewise
        self._read_ended(asked)
        if self._overflows(asked, body):
            self._fail(asked, errors.TOO_MANY_REQUESTS)
        else:
            self._reply(asked, with_refused(asked, body) if asked.refused else body)

    def on_termc(self, term: int) -> None:
        """A leader's first entry of this term was applied, and so was all of earlier terms that
        will be. What was proposed before and is not answered was lost with the earlier leader, or
        is still on its way to be proposed by someone: that is not known."""
        for batch_id, batch in list(self._batches.items()):
            if batch.term < term:
                self._pending_bytes -= self._batches.pop(batch_id).size
                for asked in batch.asked:
                    self._fail(asked, errors.LEADER_FAILED)

    def _overflows(self, asked: Asked, body: bytes) -> bool:
        """Whether a client that has left replies unread would get more than its window. (It was
        open when the read came; what the reads before this one would bring was not known.)"""
        sent, received = self._windows.get(asked.client, (0, 0))
        return sent > received and sent - received + len(body) > limits.REPLY_WINDOW_BYTES

    def _reply(self, asked: Asked, body: bytes) -> None:
        if not asked.client:
            return
        settings = self._settings
        header = (1, asked.message_id, settings.cluster_id, settings.member_id)
        window = self._windows.get(asked.client)
        if window is not None:
            window[0] += len(body)
        if asked.message_id != PUSH_ID:
            self._traffic.answered(asked, self.now)
        self._log.debug("client rpc", kind=asked.kind, message=asked.message_id, reply=len(body))
        self.emit("replyc", (asked.client, pack((*header, self._term, self._leader)), body))

    def _fail(self, asked: Asked, error: WireError) -> None:
        self._traffic.failed(asked, error)
        self._log.debug("client rpc failed", error=error.text, outcome=error.outcome)
        self._reply(asked, pack(error))

    # -- raft and the members

    def on_statec(self, message: Any) -> None:
        """What the state database holds at start."""
        self.on_membersc(message[3])

    def on_membersc(self, members: Any) -> None:
        """The members have changed."""
        self._members = members

    def on_softstatec(self, message: Any) -> None:
        """(term, leader, role)."""
        leader_before = self._leader
        self._term, self._leader, self._role = message
        self._propose_at = 0.0
        self._traffic.leader_changes += self._leader not in (0, leader_before)
        if self._leader != leader_before and self._confirming:
            # The old leader may never answer; the new one needs its own context.
            self._reads, self._confirming = self._confirming + self._reads, []
            self._read_context = b""

    def _publish_if_needed(self) -> None:
        """Announce this member's client endpoint and data dir, until the log holds it."""
        settings = self._settings
        me = next((m for m in self._members if m[0] == settings.member_id), None)
        wanted = (settings.name, settings.client_advertise, settings.incarnation)
        said = me is None or (me[1], me[3], me[5]) == wanted
        if said or not self._leader or self.now < self._publish_at:
            return
        self._publish_at = self.now + settings.request_timeout_s
        payload = (PUBLISH, settings.member_id, *wanted)
        self.emit("propc", (self._new_id(), pack(payload)))

    # -- the clock

    def on_timer(self) -> None:
        """Answer what has waited too long; ask again for a read index that does not come."""
        self._publish_if_needed()
        self._watches.on_timer(self.now, self._leader)
        self._expire_held()
        self._expire_batches()
        self._expire_reads()
        for asked in self._questions.take_late(self.now):
            self._fail(asked, errors.READ_TIMEOUT)

    def _expire_held(self) -> None:
        self._refuse_held(self.now, errors.NO_LEADER)

    def _refuse_held(self, until: float, error: WireError) -> None:
        """Those whose deadline is by then were not proposed, and will not be."""
        for asked in take_late(self._held, until):
            self._pending_bytes -= asked.size
            self._fail(asked, error)

    def _expire_batches(self) -> None:
        for batch_id, batch in list(self._batches.items()):
            for asked in batch.take_late(self.now):
                self._fail(asked, errors.TIMEOUT)
            if not any(asked.client for asked in batch.asked):
                self._pending_bytes -= self._batches.pop(batch_id).size

    def _expire_reads(self) -> None:
        for read_id in [i for i, a in self._executing.items() if a.deadline <= self.now]:
            asked = self._executing.pop(read_id)
            self._read_ended(asked)
            self._fail(asked, errors.READ_TIMEOUT)
        for waiting in (self._reads, self._confirming):
            for asked in take_late(waiting, self.now):
                self._read_ended(asked)
                self._fail(asked, errors.READ_TIMEOUT if self._leader else errors.NO_LEADER)
        late = self.now - self._read_asked_at > READ_INDEX_RETRY_S
        if self._confirming and late and self._leader:
            self._ask_read_index()

    def stop(self) -> None:
        """Refuse what comes from now on, and what was not proposed; what is under way may still be
        answered."""
        self._stopping = True
        self._refuse_held(math.inf, errors.STOPPED)

    @property
    def idle(self) -> bool:
        """Whether every client has its answer."""
        return not (self._batches or self._reads or self._confirming or self._executing)

    # -- maintenance

    def _maintenance(self, asked: Asked, decoded: Any) -> None:
        if questions.are_for_actors(decoded):
            number = self._new_id()
            self._questions.begin(number, asked, decoded)
            self.emit("statusc", number)
        else:
            self._answer(Question(asked, decoded, {}))

    def on_statusrc(self, message: Any) -> None:
        """(question, actor, {name: value}, what it has measured): reply when all have answered."""
        question = self._questions.take(message)
        if question is not None:
            self._answer(question)

    def _answer(self, question: Question) -> None:
        measured = self.measured() | self._traffic.told()
        body = questions.answer(question, self._status(), measured, self._members)
        self._reply(question.asked, body)

    def _status(self) -> dict[str, Any]:
        return {
            "name": self._settings.name,
            "version": self._settings.version,
            "leader": self._leader,
            "role": self._role,
            "term": self._term,
            "requests": self.requests,
            "client_frames_dropped": self.dropped,
            "pending_writes": len(self._held) + len(self._batches),
            "pending_bytes": self._pending_bytes,
            "pending_reads": self._pending_reads,
            "pending_read_bytes": self._pending_read_bytes,
        }
