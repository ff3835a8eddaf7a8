"""The applier: etcd's EtcdServer.run and applyAll.

Applies committed entries in order to the state database, one write batch for all that it finds
committed, and answers the requests that came through this node. An entry that changes much is
applied in slices, and everything else here waits for its end. Executes reads when the state has
reached their index. Flushes the state now and then, so that the log can be compacted behind it.
"""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

from ..config import limits
from ..security.rules import Who
from ..storage.packing import pack_each
from ..storage.sessions import Answer, Stamp, pack_answer
from ..storage.sliced import Sliced, finish
from ..storage.snapshot_store import SnapshotStore
from ..storage.state_store import StateStore
from ..transport import codec, errors
from . import channels, reconfiguration
from .actor import Actor, Impossible
from .answers import TOO_MUCH, answer
from .asked import NOBODY
from .backups import Backups
from .divergence import Divergence
from .entries import PUBLISH, own_entry
from .flight import Origin, Origins
from .forgetting import Forgetting
from .inspector import QUESTIONS, Inspector, inspect
from .lessor import Lessor
from .quota import Quota
from .reader import Reader
from .upkeep import Upkeep
from .watches.feed import WatchFeed

ENTRY_NORMAL = 0

STOP_AFTER_REMOVAL_S = 1.0
"""How long a member goes on after it has applied its own removal: the answer to whoever asked for
it, and the news of its commit to the other members, may be on their way (etcd: 1 s)."""


class Applier(Actor):
    """Owns the state database."""

    name = channels.APPLIER
    slow_jobs = ("reclaim",)

    def __init__(
        self,
        member_id: int,
        open_state: Callable[[], StateStore],
        snapshots: SnapshotStore,
        log_limits: limits.LogLimits,
        log: Any,
        *,
        lease_grace_s: float = 1.0,
        quota_bytes: int = 0,
        quota_auto_disarm: bool = True,
    ) -> None:
        super().__init__()
        self._member_id = member_id
        self._open_state = open_state
        snapshots.recover()
        self._state = open_state()
        self._snapshots = snapshots
        self._removed_at: float | None = None
        self._flush_entries = log_limits.flush_entries
        self._flush_bytes = log_limits.flush_bytes
        self._log = log
        self._todo: deque[Any] = deque()  # entries and snapshots not applied yet
        self._applying: Sliced[None] | None = None  # an entry that takes more than a slice
        self._deferred: list[tuple[str, Any]] = []  # messages that wait for its end
        self._waiting_conf = 0  # index of the change that the core is applying
        self._applied_unsaid = 0  # the last applied index that the core has not heard of
        self._bytes_unsaid = 0
        self._results: list[tuple[int, list[bytes]]] = []
        self._new_term = 0  # newest term applied, until the node knows
        self._reader = Reader(self._answers, self._tell_answers)
        self._inspector = Inspector()
        self._backups = Backups(snapshots.path, log)
        self._origins = Origins()
        self._origins.note(self._state.revision, None)
        self._questions = QUESTIONS | {
            "trace_of": self._trace_of,
            "defragment": self._defragment,
            "snapshot_open": self._backups.begin,
            "snapshot_read": self._backups.read,
            "snapshot_close": self._backups.end,
        }
        self._forgetting = Forgetting()
        self._flushed_at = self._state.applied_index
        self._bytes_since_flush = 0
        self._flushing = False
        self._reclaiming = False
        self._reclaims = 0  # done
        self._snapshot_wanted = False
        self._snapshot_due = False  # wanted, and the flush before it is done
        self._feed = WatchFeed(lambda message: self.emit("eventc", message))
        self._lessor = Lessor(lease_grace_s)
        self.upkeep = Upkeep(Divergence(member_id, 0, 0.0), None, log)
        """Whoever makes the applier sets one that does something."""
        self._quota = Quota(member_id, quota_bytes, auto_disarm=quota_auto_disarm)

    def start(self) -> None:
        """Tell the others what the state holds."""
        state = self._state
        self._lessor.load(state.leases.all(), self.now)
        self.emit(
            "statec",
            (
                state.applied_index,
                state.applied_term,
                state.members.conf_state,
                state.members.all,
                self._snapshots.installed(),
                state.members.removed,
            ),
        )
        self._tell_auth()
        self._wake_for_background()
        self._stop_if_diverged()

    # -- entries

    def on_applyc(self, message: Any) -> None:
        """("entries", [(term, index, type, data), …]) or ("install", name, index, term)."""
        if message[0] == "entries":
            self._todo.extend(message[1])
        else:
            self._todo.append(message)

    def on_confstatec(self, message: Any) -> None:
        """The core has applied the change this waited for: go on."""
        index, conf_state = message
        if index != self._waiting_conf:
            raise Impossible(f"ConfState of entry {index}, waiting for {self._waiting_conf}")
        self._waiting_conf = 0
        term, _, kind, data = self._todo.popleft()
        reconfiguration.apply(self._state, (index, term), (kind, data), conf_state, self._answered)
        self._tell_members()
        self._applied_unsaid = index

    def _answered(self, payload: Any, at: tuple[int, int]) -> None:
        """Apply the writes that a change of the configuration carries, all at once: the new
        configuration has to be committed with them."""
        finish(self._apply_batch(at, payload[0], payload[1:]))

    def _tell_members(self) -> None:
        members = self._state.members
        self.emit("membersc", (members.all, members.removed))
        if self._removed_at is None and self._member_id in dict(members.removed):
            self._removed_at = self.now

    def flush(self) -> None:
        """Apply what is committed, then read what was waiting for it."""
        self._apply_entries()
        for result in self._results:
            self.emit("resultc", ("write", *result))
        self._results.clear()
        if self._applying is not None:
            self._say_applied()
            self.wake_at = self.now  # for the next slice, after what has come meanwhile
            return
        if self._state.leases.changed:
            self._take_leases()
        if self._applied_unsaid:
            self._maybe_flush_state()
            if self._waiting_conf or self._bytes_unsaid > limits.APPLIED_UNSAID_BYTES_MAX:
                self._say_applied()
        if self._feed.busy:
            self._feed.tell(self._state)
        if self._new_term:
            self.emit("termc", self._new_term)  # after the results of what came before it
            self._new_term = 0
        self._reader.serve(self._state.applied_index, self.now)
        if self._snapshot_wanted:
            self._maybe_make_snapshot()
        if self._backups.wants_flush and not self._flushing:
            self._begin_flush()
        reading = self._reader.busy(self._state.applied_index)
        if self.wake_at is None or reading or self._feed.telling:
            self._wake_for_background()

    def on_wake(self) -> None:
        """Tell the core how far entries were applied, then work on what nobody must wait for."""
        if self._applying is not None:
            self._go_on()
            return
        self._say_applied()
        self._forgetting.work(self._state, self.now)
        self._reader.advance(self.now)
        finished = self._inspector.advance(self.now)
        if finished is not None:
            self._tell_answers([finished])

    def _wake_for_background(self) -> None:
        due = [] if self.wake_at is None else [self.wake_at]
        if self._reader.busy(self._state.applied_index):
            due.append(max(self.now, self._reader.after))
        if self._feed.telling:
            due.append(self.now)
        if self._inspector:
            due.append(self.now + limits.INSPECT_PAUSE_S)
        if self._applied_unsaid:
            due.append(self.now + limits.APPLIED_HOLD_S)
        forget_at = self._forgetting.due_at(self._state, self.now)
        if forget_at is not None:
            due.append(forget_at)
        self.wake_at = min(due, default=None)

    def _say_applied(self) -> None:
        if self._applied_unsaid:
            self.emit("advancec", ("applied", self._applied_unsaid))
            self._applied_unsaid = self._bytes_unsaid = 0
            self.wake_at = None

    def _apply_entries(self) -> None:
        while self._todo and not (self._waiting_conf or self._applying):
            item = self._todo[0]
            if item[0] == "install":
                if self._flushing or self._reclaiming:
                    return  # their threads are using the database that is to be replaced
                self._todo.popleft()
                self._install(*item[1:])
                continue
            term, index, kind, data = item
            if kind != ENTRY_NORMAL:
                # The next entry may depend on the new configuration: etcd's raftAdvancedC barrier.
                self._waiting_conf = index
                self.emit("confc", (index, *reconfiguration.plan(self._state, kind, data)))
                return
            self._todo.popleft()
            self._applying = self._apply_entry(term, index, data)
            self._go_on()

    def _go_on(self) -> None:
        """Do a slice of the entry that is being applied. Until it is over the state is in the
        middle of a step: nobody reads it."""
        assert self._applying is not None
        try:
            next(self._applying)
        except StopIteration:
            self._applying = None
        else:
            return
        deferred, self._deferred = self._deferred, []
        for channel, message in deferred:
            self.handle(channel, message)

    def _apply_entry(self, term: int, index: int, data: bytes) -> Sliced[None]:
        if not data:  # a new leader's first entry
            self._state.apply(index, term, ())
            self._new_term = term
        else:
            origin, *rest = codec.unpack(data)
            if type(origin) is str:
                self._apply_own(index, term, origin, rest)
            else:
                yield from self._apply_batch((index, term), origin, rest)
        if self._state.has_much:
            yield from self._state.commit_sliced()
        self._applied_unsaid = index
        self._bytes_since_flush += len(data)
        self._bytes_unsaid += len(data)

    def _apply_batch(self, at: tuple[int, int], origin: int, payload: Any) -> Sliced[None]:
        """Apply what clients of a member asked to write; answer it when that member is this."""
        yield from self._apply_bodies(at, origin, payload)
        self.flight.note("applied", at[0], at[0])
        self._origins.note(self._state.revision, Origin(*at, origin, payload[0]))

    def _apply_bodies(self, at: tuple[int, int], origin: int, payload: Any) -> Sliced[None]:
        batch_id, bodies, stamps, whos = (*payload, None, None)[:4]
        decoded = [codec.unpack(body) for body in bodies]
        judged = self._state.auth.enabled and origin != NOBODY
        if stamps or judged:
            if judged:
                answered = yield from self._apply_judged(*at, decoded, stamps, whos)
            else:
                answered = yield from self._apply_once(*at, decoded, stamps)
            self._tell_auth_if_changed()
            if origin == self._member_id:
                self._results.append((batch_id, [pack_answer(answer) for answer in answered]))
            return
        results: list[Any] = yield from self._state.apply_sliced(
            *at, list(chain.from_iterable(decoded))
        )
        self._tell_auth_if_changed()
        pack: Callable[[Any], bytes] = codec.pack
        if self._state.found_much:
            results, pack = (yield from pack_each(results)), codec.pack_array
        if origin == self._member_id:
            answers, position = [], 0
            for body in decoded:
                answers.append(pack(results[position : position + len(body)]))
                position += len(body)
            self._results.append((batch_id, answers))

    def _apply_once(self, index: int, term: int, decoded: Any, stamps: Any) -> Sliced[list[Answer]]:
        known = [None if stamp is None else Stamp(*stamp) for stamp in stamps]
        return self._state.apply_once(index, term, decoded, known)

    def _apply_judged(
        self, index: int, term: int, decoded: Any, stamps: Any, whos: Any
    ) -> Sliced[list[Answer]]:
        nothing = [None] * len(decoded)
        known = [None if stamp is None else Stamp(*stamp) for stamp in stamps or nothing]
        asking = [None if who is None else Who(*who) for who in whos or nothing]
        return self._state.apply_judged(index, term, decoded, known, asking)

    def _tell_auth_if_changed(self) -> None:
        """Before the node hears of any result, or event, of what is applied from here on."""
        store = self._state.auth_store
        if store.auth.stale:
            self._tell_auth()
        for login in store.logins:
            self.emit("authc", ("login", *login))
        store.logins.clear()

    def _tell_auth(self) -> None:
        auth = self._state.auth
        auth.stale = False
        self.emit("authc", ("auth", auth.dump()))

    def _apply_own(self, index: int, term: int, kind: str, rest: Any) -> None:
        """An entry that a member made, not a client."""
        if kind == PUBLISH:
            self._publish(index, term, rest)
        else:
            members = self._state.members
            configuration = (members.conf_state[0], members.all)
            self.upkeep.apply(self._state, (index, term), (kind, *rest), configuration)
            self._stop_if_diverged()

    def _stop_if_diverged(self) -> None:
        reason = self.upkeep.reason_to_stop(self._state)
        if reason:
            self.emit("fatalc", reason)

    def _publish(self, index: int, term: int, announced: Sequence[Any]) -> None:
        members = self._state.members
        members.announce(*announced)
        self._state.apply_conf_state(index, term, members.conf_state, members.all)
        self._tell_members()

    # -- reads

    def on_readc(self, message: Any) -> None:
        """(index, [(read_id, deadline, body, who, client), …]): execute at an applied index of at
        least `index`."""
        self._reader.take(*message)

    def on_leftc(self, read_ids: list[int]) -> None:
        """These large answers have left, or never will."""
        self._reader.left(read_ids)

    def on_watchc(self, message: Any) -> None:
        """What the node's watches want: see watches/feed.py."""
        if self._applying is not None:
            self._deferred.append(("watchc", message))
        else:
            self._feed.take(message, self._state)

    def _tell_answers(self, answers: list[tuple[int, bytes]]) -> None:
        small: list[tuple[int, bytes]] = []
        for each in answers:
            if len(each[1]) > limits.LARGE_ANSWER_BYTES:
                self.emit("resultc", ("large", *each))
            else:
                small.append(each)
        if small:
            self.emit("resultc", ("read", small))

    def _answers(self, body: bytes, asking: Any) -> Sliced[bytes]:
        return answer(self._state, self._lessor, body, asking, self.now)

    def on_inspectc(self, message: Any) -> None:
        """(read_id, deadline, body, who): questions that take a while."""
        read_id, deadline, body, asking = message
        who = None if asking is None else Who(*asking)
        if len(self._inspector) >= limits.INSPECTIONS_MAX:
            self._tell_answers([(read_id, TOO_MUCH)])
            return
        self._inspector.take(
            read_id, deadline, lambda: inspect(self._state, body, self._questions, who)
        )
        self._wake_for_background()

    # -- durability

    def _maybe_flush_state(self) -> None:
        entries = self._state.applied_index - self._flushed_at
        if self._flushing or (
            entries < self._flush_entries and self._bytes_since_flush < self._flush_bytes
        ):
            return
        self._begin_flush()

    def _begin_flush(self) -> None:
        self._flushing = True
        self._state.commit()  # here: the flush's thread may not
        self._flushed_at = self._state.applied_index
        self._bytes_since_flush = 0
        self.emit("jobc", "flush")

    def on_donec(self, message: Any) -> None:
        """("flush", durable applied index) or ("reclaim", None)."""
        if self._applying is not None:
            self._deferred.append(("donec", message))
            return
        job, durable = message
        if job == "reclaim":
            self._reclaiming = False
            self._reclaims += 1
            return
        self._flushing = False
        self._say_applied()  # before: the log must not be compacted past what the core knows of
        self.emit("durablec", durable)
        self._snapshot_due = self._snapshot_wanted
        if self._backups.wants_flush:
            self._backups.flushed(self._state)

    # -- snapshots

    def on_snapshotc(self, _message: Any) -> None:
        """A follower needs a snapshot."""
        self._snapshot_wanted = True

    def _maybe_make_snapshot(self) -> None:
        # A checkpoint flushes what is in memory and holds the GIL meanwhile: the flush goes first,
        # in its thread, so that little is left for the checkpoint.
        if self._snapshot_due:
            self._make_snapshot()
        elif self._snapshot_wanted and not self._flushing and self._state.applied_index:
            self._begin_flush()

    def _make_snapshot(self) -> None:
        self._snapshot_wanted = self._snapshot_due = False
        state = self._state
        name = self._snapshots.create(state)
        self._log.info("snapshot made", snapshot=name, index=state.applied_index)
        conf_state = state.members.conf_state
        made = (name, state.applied_index, state.applied_term, conf_state, state.revision)
        self.emit("snapreadyc", made)

    def _install(self, name: str, index: int, term: int) -> None:
        self._drop_work()
        self._state.close()
        self._snapshots.install(name)
        self._state = self._open_state()
        if (self._state.applied_index, self._state.applied_term) != (index, term):
            raise Impossible(
                f"snapshot {name} holds applied index {self._state.applied_index}, not {index}"
            )
        self._flushed_at = index
        self._bytes_since_flush = 0
        self._origins.note(self._state.revision, None)
        self._new_term = term
        self._lessor.load(self._state.leases.all(), self.now)
        self._log.info("snapshot installed", snapshot=name, index=index)
        self._tell_auth()  # before the events: who may not see them any more must not
        self._feed.on_install(self._state)
        self._tell_members()
        self.emit("advancec", ("installed", index))
        self.emit("durablec", index)

    # -- the rest

    def on_softstatec(self, message: Any) -> None:
        """(term, leader, role): the leader ends leases."""
        _, leader, role = message
        self.upkeep.leading = role == "leader"
        self._lessor.lead(leader, role == "leader", self.now)

    def on_timer(self) -> None:
        """End leases whose time is over; propose what else the member has to."""
        if self._applying is not None:
            return  # the next time
        self._expire_leases()
        self._backups.expire(self.now)
        self._reader.expire(self.now)
        if self._removed_at is not None and self.now - self._removed_at > STOP_AFTER_REMOVAL_S:
            self.emit("fatalc", reconfiguration.REMOVED)
        members = len(self._state.members.all)
        for payload in self.upkeep.proposals(self._state, self.now, members):
            self.emit("proposec", payload)
        request = self._quota.look(self._state, self.now)
        if request is not None:
            self._log.warning("quota", request=request[0], quota_bytes=self._quota.bytes)
            self.emit("proposec", own_entry(request))
        if not self._reclaiming and self._quota.should_reclaim(self._state):
            self._begin_reclaim()

    def _begin_reclaim(self) -> None:
        self._reclaiming = True
        self._state.commit()  # here: the thread may not
        self.emit("jobc", "reclaim")

    def _trace_of(self, state: StateStore, revision: int) -> Sliced[tuple[Any, ...]]:
        """Answer `trace_of`: (0, revision, index, term, member, batch) of the entry that made a
        revision."""
        while state.revision < revision:
            yield
        origin = self._origins.of(revision)
        return errors.NOT_REMEMBERED if origin is None else (0, state.revision, *origin)

    def _defragment(self, _state: StateStore) -> Sliced[tuple[Any, ...]]:
        """Answer `defragment` when a reclaim that began after it was asked is done. Everything else
        goes on meanwhile."""
        wanted = self._reclaims + (2 if self._reclaiming else 1)
        while self._reclaims < wanted:
            if not self._reclaiming:
                self._begin_reclaim()
            yield
        return (0, self._state.revision)

    def _take_leases(self) -> None:
        changed = self._state.leases.changed
        self._lessor.take(changed, self.now)
        changed.clear()
        self._expire_leases()  # the next ones, when an expiry was applied

    def _expire_leases(self) -> None:
        proposal = self._lessor.proposal(self.now)
        if proposal is not None:
            self.emit("proposec", proposal)

    def on_tracec(self, message: Any) -> None:
        """(question, numbers): what was done with an entry."""
        self.emit("tracerc", (message[0], self.name, {}, self.flight.about(message[1])))

    def on_statusc(self, request_id: int) -> None:
        """Answer a status question."""
        state = self._state
        status = {
            "applied": state.applied_index,
            "revision": state.revision,
            "compact_revision": state.compact_revision,
            "compacted_revision": state.compacted_revision,
            "db_size": state.size_bytes(),
            "quota_bytes": self._quota.bytes,
            "alarms": state.alarms.all(),
        }
        status |= self.upkeep.status(state, state.members.all)
        self.emit("statusrc", (request_id, self.name, status, self.measured()))

    @property
    def jobs(self) -> dict[str, Callable[..., Any]]:
        """The flush of the state database, and its compaction."""
        return {"flush": self._state.flush, "reclaim": self._state.reclaim}

    def cut_jobs_short(self) -> None:
        """A reclaim takes minutes."""
        if self._reclaiming:
            self._state.stop_background()

    def close(self) -> None:
        """Close the state database."""
        self._drop_work()
        self._state.close()

    def _drop_work(self) -> None:
        self._applying = None
        self._feed.drop_work()
        self._inspector.drop_work()
        self._reader.drop_work()
