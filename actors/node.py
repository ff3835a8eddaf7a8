"""The node: etcd's EtcdServer as its clients see it.

Takes client messages, checks them, puts all writes that it finds waiting into one raft entry and
all linearizable reads behind one ReadIndex, and sends every answer to whoever asked. What cannot be
answered in time gets a typed error that tells whether it may have happened.
"""

import math
from collections.abc import Callable
from typing import Any

from ..config import limits
from ..security.rules import ITSELF, Who
from ..transport import errors, requests
from ..transport.auth import KIND_AUTH
from ..transport.codec import CodecError, pack, unpack_requests
from ..transport.errors import WireError
from ..transport.watches import KIND_WATCH, PUSH_ID
from . import changes, channels, headers, questions, reads, writes
from .actor import Actor
from .admission import complete, sift
from .asked import Asked, asking, user_of, with_refused
from .audit import Auditor
from .changes import ChangeSettings, MemberChanges, facts, steps_of
from .client_limits import ClientLimits
from .gatekeeper import Gatekeeper
from .node_settings import NodeSettings
from .publishing import Publishing
from .questions import Desk
from .reads import Reads
from .traffic import Traffic
from .transfers import Transfers
from .watches.hub import WatchHub
from .windows import Windows
from .writes import Writes

FROM_PEER = b"peer"
"""In place of a client whose message another node has forwarded."""
NOT_FOR_LEARNERS = {requests.KIND_WRITE, requests.KIND_READ, requests.KIND_INSPECT, KIND_WATCH}
"""What only members that vote answer (etcd: isRPCSupportedForLearner)."""


class Node(Actor):
    """Owns the client protocol."""

    name = channels.NODE
    timer_s = 0.05

    def __init__(self, settings: NodeSettings, log: Any, audit: Auditor | None = None) -> None:
        super().__init__()
        self._audit = audit
        self._settings = settings
        self._bounds = ClientLimits(settings.rates) if any(settings.rates) else None
        self._log = log
        self._term = self._leader = 0
        self._cut: set[int] = set()  # peers to which no link stands
        self._role = "follower"
        self._members: tuple[Any, ...] = ()
        self._learner = False
        self._next_id = settings.id_seed << 32
        doors = writes.Doors(
            self._new_id, lambda message: self.emit("propc", message), self._reply, self._fail,
            self.flight,
        )  # fmt: skip
        self._writes = Writes(settings.member_id, doors)
        self._keeper = Gatekeeper(
            settings.bcrypt_cost,
            settings.auth_token_ttl_s,
            settings.own_token,
            settings.jwt,
            hold=self._hold,
            reply=lambda asked, answer: self._reply(asked, pack(answer)),
            start=lambda: self.emit("jobc", "password"),
        )
        self._changes = self._make_changes()
        self._transfers = Transfers(self._transfer, self._reply, self._fail)
        self._hand_over_until = 0.0
        self._windows = Windows()
        read_doors = reads.Doors(
            self._new_id,
            lambda context: self.emit("readindexc", context),
            lambda message: self.emit("readc", message),
            lambda message: self.emit("inspectc", message),
            self._reply,
            lambda read_id: self.emit("leftc", [read_id]),
            self._fail,
            self._windows.overflows,
        )
        self._reads = Reads(settings.incarnation, read_doors)
        self._desk = self._make_desk()
        wanted = (settings.name, settings.client_advertise, settings.incarnation)
        self._publishing = Publishing(settings.member_id, wanted, settings.request_timeout_s)
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
            KIND_AUTH: self._keeper.take_login,
        }
        self._traffic = Traffic(self._kinds, log)
        self.histograms = self._traffic.durations
        self._watches = WatchHub(
            lambda message: self.emit("watchc", message),
            lambda client, body: self._reply(
                Asked(client, PUSH_ID, KIND_WATCH, b"", {}, 0.0), body
            ),
            lambda asked, results: self._reply(asked, pack(results)),
            self._keeper.may_create,
            of_client_max=settings.client_watches_max,
            progress_s=settings.watch_progress_s,
        )

    def _make_desk(self) -> Desk:
        doors = questions.Doors(
            self._new_id,
            lambda message: self.emit("statusc", message),
            lambda message: self.emit("tracec", message),
            self._own,
            self._reply,
            self.flight,
        )
        return Desk(doors)

    def _make_changes(self) -> MemberChanges:
        settings = self._settings
        change_settings = ChangeSettings(
            settings.member_id,
            limits.HEALTHY_ELECTIONS * settings.election_s,
            settings.election_s,
            settings.strict_reconfig_check,
        )
        doors = changes.Doors(
            ask=lambda: self._desk.ask(Asked(b"", 0, "", b"", {}, math.inf), questions.FACTS),
            forbids=self._keeper.refuses,
            propose=lambda asked, decoded: self._writes.change_members(asked, steps_of(decoded)),
            again=lambda batch, decoded: self._writes.change_again(batch, steps_of(decoded)),
            transfer=self._transfer,
            forward=lambda message: self.emit("forwardc", message),
            fail=self._fail_change,
            refuse=self._refuse_changes,
            finish=self._finish_forwarded,
            new_id=self._new_id,
        )
        return MemberChanges(change_settings, doors)

    def _transfer(self, target: int) -> None:
        self.emit("transferc", target)

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    # -- what clients send

    def on_clientc(self, message: tuple[Any, ...]) -> None:
        """(client, header, body), or any other number of frames, which is dropped."""
        if len(message) != 3:
            self._drop(message[0])
            return
        client, header, body = message
        try:
            version, message_id, *fields = headers.opening(header)
            if version != requests.PROTOCOL_VERSION:
                self._fail(Asked(client, message_id, "", b"", {}, 0.0), errors.UNSUPPORTED_VERSION)
                return
            kind, timeout_ms, received, stamp, token = headers.rest(*fields)
        except (CodecError, TypeError, ValueError):
            self._drop(client)
            return
        timeout_s = timeout_ms / 1000 if timeout_ms else self._settings.request_timeout_s
        deadline = self.now + min(timeout_s, self._settings.request_timeout_s)
        asked = Asked(
            client, message_id, str(kind), body, {}, deadline, stamp, self.now, token=token
        )
        take = self._kinds.get(kind) if type(kind) is str else None
        if self._stopping:
            self._fail(asked, errors.STOPPED)
        elif take is None:
            self._fail(asked, errors.UNKNOWN_KIND)
        elif self._learner and kind in NOT_FOR_LEARNERS:
            self._fail(asked, errors.NOT_FOR_LEARNER)
        elif not self._windows.admits(client, received):
            self._fail(asked, errors.TOO_MANY_REQUESTS)
        elif len(body) > limits.BODY_BYTES_MAX:
            self._fail(asked, errors.REQUEST_TOO_LARGE)
        else:
            self._ask_who(asked, take)

    def _drop(self, client: bytes) -> None:
        """Nothing in its message can be trusted, not even whom to answer."""
        self.dropped += 1
        self.emit("strangec", client)

    def _ask_who(self, asked: Asked, take: Callable[[Asked, Any], None]) -> None:
        """Nothing of a message is looked at before it is known who sends it."""
        if asked.kind != KIND_AUTH:
            who = self._keeper.identify(asked.token, self.now, user_of(asked.client))
            if isinstance(who, WireError):
                self._fail(asked, who)
                return
            if who is not None:
                asked = asked._replace(who=who)
        self._take(asked, take)

    def _take(self, asked: Asked, take: Callable[[Asked, Any], None]) -> None:
        try:
            decoded = unpack_requests(asked.body)
        except CodecError as error:
            self._fail(asked, errors.malformed(str(error)))
            return
        if type(decoded) is not tuple or not decoded:
            self._fail(asked, errors.malformed("the body is an array of requests"))
            return
        if self._audit is not None:
            self._audit.taken(asked, decoded)
        if asked.kind != requests.KIND_MAINTENANCE:  # `requests` is the clients' work
            self.requests += len(decoded)
            who = asking(asked)
            bounds = None if who == ITSELF else self._bounds
            if bounds is not None and not bounds.admits(who, decoded, asked.size, self.now):
                self._fail(asked, errors.TOO_MANY_REQUESTS)
                return
        take(asked, decoded)

    def _admit(self, asked: Asked, decoded: Any, checks: dict[str, requests.Check]) -> Asked | None:
        """The message without its bad requests; None when none is left (and it was answered)."""
        good = sift(asked, decoded, checks, self._traffic.requests)
        if isinstance(good, WireError):
            self._fail(asked, good)
            return None
        if good is decoded:
            return asked
        if not good:
            self._reply(asked, pack([asked.refused[i] for i in range(len(decoded))]))
            return None
        good = list(good)
        completed = checks is requests.WRITE_CHECKS and complete(
            good, self._settings.lease_ttl_min_s, self._new_id, self._settings.cluster_id
        )
        return asked._replace(body=pack(good)) if asked.refused or completed else asked

    # -- writes

    def _write(self, asked: Asked, decoded: Any) -> None:
        if self._writes.pending_bytes + asked.size > limits.PENDING_BYTES_MAX:
            self._fail(asked, errors.TOO_MANY_REQUESTS)
            return
        admitted = self._admit(asked, decoded, requests.WRITE_CHECKS)
        if admitted is None:
            return
        if self._keeper.take_passwords(admitted):
            return
        self._writes.pending_bytes += admitted.size
        if b"member_change" in admitted.body:
            decoded = unpack_requests(admitted.body)
            if requests.changes_members(decoded):
                self._changes.take(admitted, decoded, self.now)
                return
        self._writes.hold(admitted)

    def _hold(self, asked: Asked) -> None:
        """What it has in its body may go into the log now."""
        self._writes.pending_bytes += asked.size
        self._writes.hold(asked)

    def flush(self) -> None:
        """Propose what is held, and ask for an index for the reads that wait."""
        if self._watches.busy:
            self._watches.work(self.now)
            self.wake_at = self._watches.wake_at
        if not self._leader or self._leader in self._cut:
            return  # etcd's nil propc: held until there is a leader or the deadline has come
        if self._writes.held and self.now >= self._propose_at:
            at = self._writes.hold_until(self.now)
            if at > self.now:
                self.wake_at = at if self.wake_at is None else min(at, self.wake_at)
            else:
                self._writes.propose(self.now)
        self._reads.ask(self.now)

    def on_dropc(self, batch_id: int) -> None:
        """Raft refused a batch, for want of a leader or of room."""
        if self._changes.on_drop(batch_id):
            return
        if self._writes.on_drop(batch_id):
            self._propose_at = self.now + self.timer_s
        else:
            self._publishing.dropped()

    def _propose_own(self, payload: bytes) -> None:
        self.emit("propc", (self._new_id(), payload))

    def on_linkedc(self, message: tuple[int, bool]) -> None:
        """(peer, whether the link to it stands). While that to the leader does not, nothing is
        forwarded; what was on its way when it broke may never have come."""
        peer, stands = message
        (self._cut.discard if stands else self._cut.add)(peer)
        if stands and peer == self._leader:
            self._writes.propose_again()
            self._reads.on_new_leader()

    # -- changes of the members

    def _fail_change(self, asked: Asked, error: WireError) -> None:
        self._writes.release(asked)
        self._fail(asked, error)

    def _refuse_changes(
        self, asked: Asked, decoded: Any, refused: dict[int, WireError]
    ) -> tuple[Asked, Any] | None:
        """Positions are those in `decoded`, where what was refused before is missing. A message
        that may have been applied already must not be told now that it was not: its refusal goes
        through the log, too, where its first answer is remembered."""
        self._writes.release(asked)
        if asked.stamp is not None:
            judged = tuple(
                ("refused", *refused[i]) if i in refused else each for i, each in enumerate(decoded)
            )
            left = asked._replace(body=pack(judged))
            self._writes.pending_bytes += left.size
            return left, judged
        positions = [i for i in range(len(decoded) + len(asked.refused)) if i not in asked.refused]
        asked.refused.update({positions[i]: error for i, error in refused.items()})
        good = [request for i, request in enumerate(decoded) if i not in refused]
        if not good:
            self._reply(asked, pack([asked.refused[i] for i in sorted(asked.refused)]))
            return None
        left = asked._replace(body=pack(good))
        if left.client:
            self._writes.pending_bytes += left.size
        return left, tuple(good)

    def _finish_forwarded(self, asked: Asked, body: bytes) -> None:
        self._writes.release(asked)
        results = asked.refused and asked.stamp is None
        self._reply(asked, with_refused(asked, body) if results else body)

    def on_forwardedc(self, message: Any) -> None:
        """("asked", peer, question, kind, timeout_ms, stamp, who, body) from another node's client;
        ("answered", question, body) or ("refused", question, the leader is of an older version)."""
        if message[0] == "answered":
            self._changes.on_answer(*message[1:])
        elif message[0] == "refused":
            self._changes.on_refusal(*message[1:])
        else:
            self._take_forwarded(*message[1:])

    def _take_forwarded(self, peer: int, question: int, *about: Any) -> None:
        kind, timeout_ms, stamp, asking, body = about
        header = (kind, timeout_ms, 0, *(stamp or ()))
        try:
            kind, timeout_ms, _, stamp, _ = headers.rest(*header)
            who = None if asking is None else Who(*asking)
        except (CodecError, TypeError, ValueError):
            self.dropped += 1
            return
        deadline = self.now + min(timeout_ms / 1000, self._settings.request_timeout_s)
        asked = Asked(
            FROM_PEER, 0, kind, body, {}, deadline, stamp, self.now, (peer, question), who
        )
        if kind != requests.KIND_WRITE:
            self._fail(asked, errors.UNKNOWN_KIND)
        elif self._stopping:
            self._fail(asked, errors.STOPPED)
        else:
            self._take(asked, self._write)

    # -- reads

    def _read(self, asked: Asked, decoded: Any) -> None:
        admitted = self._admit_read(asked, decoded, requests.READ_CHECKS)
        if admitted is not None:
            self._reads.confirm(admitted)

    def _serializable(self, asked: Asked, decoded: Any) -> None:
        admitted = self._admit_read(asked, decoded, requests.READ_CHECKS)
        if admitted is not None:
            self._reads.execute([admitted], 0)

    def _inspect(self, asked: Asked, decoded: Any) -> None:
        admitted = self._admit_read(asked, decoded, requests.INSPECT_CHECKS)
        if admitted is not None:
            self._reads.inspect(admitted)

    def _admit_read(
        self, asked: Asked, decoded: Any, checks: dict[str, requests.Check]
    ) -> Asked | None:
        if not self._reads.has_room(asked):
            self._fail(asked, errors.TOO_MANY_REQUESTS)
            return None
        admitted = self._admit(asked, decoded, checks)
        if admitted is not None:
            self._reads.begin(admitted)
        return admitted

    def on_readstatec(self, message: Any) -> None:
        """(context, index): the reads behind this context may be served at `index`."""
        self._reads.on_index(*message)

    # -- watches

    def _watch(self, asked: Asked, decoded: Any) -> None:
        self._watches.take(
            asked._replace(body=b""), asked.client, decoded, self._windows[asked.client]
        )

    def on_eventc(self, message: Any) -> None:
        """What the applier says to the watches: see watches/feed.py."""
        self._watches.on_event(message)

    def on_authc(self, message: Any) -> None:
        """What the applier says of users, roles and logins: see gatekeeper.py. Events of what
        comes after a change follow it."""
        if self._keeper.on_authc(message, self.now):
            self._watches.recheck(self._keeper.may_go_on)

    def on_donec(self, message: Any) -> None:
        """("password", what came of it)."""
        self._keeper.job_done(message[1])

    @property
    def jobs(self) -> dict[str, Callable[..., Any]]:
        """Passwords are compared and hashed in a thread."""
        return {"password": self._keeper.run_job}

    def on_camec(self, message: tuple[bytes, str]) -> None:
        """(client, its host): a connection stands."""
        if self._audit is not None:
            self._audit.came(*message)

    def on_gonec(self, client: bytes) -> None:
        """A client's connection has ended, and so have its watches."""
        if self._audit is not None:
            self._audit.gone(client)
        self._windows.pop(client, None)
        self._watches.drop(client, errors.WATCH_DROPPED)

    # -- results

    def on_resultc(self, message: Any) -> None:
        """("write", batch_id, [packed results of one message, …]),
        ("read", [(read_id, packed results of one message), …]), or one of them, if it is large:
        ("large", read_id, packed results), which a pipe copies less often."""
        kind, *rest = message
        if kind == "read":
            for read_id, body in rest[0]:
                self._reads.on_answer(read_id, body)
        elif kind == "large":
            self._reads.on_answer(*rest)
        else:
            batch_id, results = rest
            self._writes.on_results(batch_id, results)
            self._changes.on_done(batch_id, self.now)

    def on_termc(self, term: int) -> None:
        """A leader's first entry of this term was applied."""
        self._writes.on_term(term)

    def _reply(self, asked: Asked, body: bytes, large_id: int = 0) -> None:
        if not asked.client:
            return
        if asked.peer is not None:
            self.emit("forwardc", ("answer", *asked.peer, body))
            return
        settings = self._settings
        header = (1, asked.message_id, settings.cluster_id, settings.member_id)
        self._windows.count(asked.client, len(body))
        if asked.message_id != PUSH_ID:
            self._traffic.answered(asked, body, self.now)
            if self._audit is not None:
                self._audit.answered(asked, body)
            if self._bounds is not None:
                self._bounds.charge(asking(asked), len(body), self.now)
        self._log.debug("client rpc", kind=asked.kind, message=asked.message_id, reply=len(body))
        reply = (asked.client, pack((*header, self._term, self._leader)), body)
        if large_id:
            self.emit("largec", (large_id, *reply))
        else:
            self.emit("replyc", reply)

    def _fail(self, asked: Asked, error: WireError) -> None:
        self._traffic.failed(asked, error)
        self._log.debug("client rpc failed", error=error.text, outcome=error.outcome)
        self._reply(asked, pack(error))

    # -- raft and the members

    def on_statec(self, message: Any) -> None:
        """What the state database holds at start."""
        self.on_membersc((message[3], message[5]))

    def on_membersc(self, message: Any) -> None:
        """(members, removed members): they have changed."""
        self._members, _ = message
        self._changes.members = self._members
        mine = self._settings.member_id
        self._learner = any(m[4] for m in self._members if m[0] == mine)

    def on_softstatec(self, message: Any) -> None:
        """(term, leader, role)."""
        leader_before = self._leader
        self._term, self._leader, self._role = message
        self._writes.term = self._term
        self._propose_at = 0.0
        self._changes.on_soft_state(self._leader, self._role, self.now)
        self._transfers.settle(self._leader, self.now)
        self._traffic.leader_changes += self._leader not in (0, leader_before)
        if self._leader != leader_before:
            self._reads.on_new_leader()

    # -- the clock

    def on_timer(self) -> None:
        """Answer what has waited too long; ask again for a read index that does not come."""
        if self._leader:
            self._publishing.work(
                self._members, self.now, lambda said: self._propose_own(pack(said))
            )
        self._keeper.on_timer(self.now)
        self._watches.on_timer(self.now, self._leader)
        self._writes.expire(self.now)
        self._reads.expire(self.now, has_leader=bool(self._leader))
        self._changes.on_timer(self.now)
        self._transfers.settle(self._leader, self.now)
        for asked in self._desk.take_late(self.now):
            self._fail(asked, errors.READ_TIMEOUT)

    def stop(self) -> None:
        """Refuse what comes from now on, and what was not proposed; what is under way may still be
        answered."""
        voters = [m[0] for m in self._members if not m[4]]
        if not self._stopping and self._role == "leader" and len(voters) > 1:
            self._transfer(0)  # nobody has to find out by waiting that this leader is gone
            self._hand_over_until = self.now + self._settings.election_s
        self._stopping = True
        self._writes.refuse_held(math.inf, errors.STOPPED)

    @property
    def idle(self) -> bool:
        """Whether every client has its answer, and another member leads."""
        leads = self._role == "leader" and self.now < self._hand_over_until
        idle = self._writes.idle and self._reads.idle
        return idle and not (leads or self._changes.busy)

    # -- maintenance

    def _maintenance(self, asked: Asked, decoded: Any) -> None:
        refused = self._keeper.refuses(asked, decoded)
        if refused is not None:
            self._fail(asked, refused)
        elif questions.is_move_leader(decoded[0]):
            self._transfers.take(asked, decoded[0], self._members, leads=self._role == "leader")
            self._transfers.settle(self._leader, self.now)
        else:
            self._desk.ask(asked, decoded)

    def on_statusrc(self, message: Any) -> None:
        """(question, actor, {name: value}, what it has measured)."""
        told = self._desk.on_status(message)
        if told is not None:
            self._changes.on_facts(facts(told.status), self.now)

    def on_tracerc(self, message: Any) -> None:
        """(question, actor, nothing, steps)."""
        self._desk.on_trace(message)

    def _own(self) -> tuple[dict[str, Any], dict[str, Any], Any]:
        return self._status(), self.measured() | self._traffic.told(), self._members

    def _status(self) -> dict[str, Any]:
        return {
            "name": self._settings.name,
            "version": self._settings.version,
            "leader": self._leader,
            "role": self._role,
            "term": self._term,
            "requests": self.requests,
            "client_frames_dropped": self.dropped,
            "pending_writes": self._writes.pending,
            "pending_bytes": self._writes.pending_bytes,
            "pending_reads": self._reads.pending,
            "pending_read_bytes": self._reads.pending_bytes,
            "auth_enabled": self._keeper.asks,
        }
