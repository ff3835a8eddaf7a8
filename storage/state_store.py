"""The state machine: applies raft entries to the state database (format: package docstring).

One owner. `flush` alone may be called from another thread. What `apply` did is visible at once; it
is in the database after the next `commit`, and durable after the next `flush`. Commits are rare: a
key that is written often meanwhile is written to the database once.

An entry that changes much is applied in slices, and committed in slices then. Between two of them
nothing may be asked of the store but its applied index and term, and `flush`. It may be closed: the
entry is applied again after the next start.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any
from zlib import crc32

from ..security import rules
from ..security.auth import Auth
from ..security.rules import Who
from ..transport import errors
from ..transport.codec import pack, pack_array, unpack_local
from ..transport.errors import WireError
from ..transport.requests import RANGE_COUNT_ONLY, WRITE_CHECKS, all_plain_puts
from . import applied, keys, redo
from .alarms import Alarms, makes_larger
from .applied import Applied
from .auth_store import AuthStore
from .compaction import Compaction, drop_history_after
from .errors import StorageError
from .executor import Executor
from .hashing import hash_sliced
from .hot_keys import HotKeys
from .leases import Leases
from .members import Members
from .mvcc import Result, Versions
from .overlay import Overlay
from .packing import pack_each
from .records import Event, chunk_body, encode_chunks, pack_key_value, range_head
from .rocks import open_state
from .sessions import SESSIONS_MAX, Answer, Sessions, Stamp, with_refused
from .sliced import Sliced, finish
from .transactions import Transactions, read_packed
from .writer import Writer

COMMIT_KEYS = 1024
"""Uncommitted keys that start a commit, and events that are written as history: it takes 1 or 2 ms,
in which nothing else happens. Four times as many did no more puts a second and made the 99th
percentile a third longer."""
COMMIT_BYTES = 1 << 18
"""Likewise bytes of records. More would not be faster: they leave the processor's cache before they
are written."""
WAITING_BYTES_MAX = 1 << 25
"""Bytes of records, those that were replaced included, after which few keys are committed, too."""

LARGE_COMMIT = 20_000
"""Writes beyond which a commit is made in slices: 30 to 50 ms otherwise."""
CHUNKS_A_SLICE = 16
"""Of history: about 2,000 events."""

_CHECK_KEY = keys.META + b"check"

SLICED_READS = frozenset(("range", "txn"))
"""What `read_sliced` reads."""


class StateStore:
    """The key-value state at an applied index."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._db = open_state(path, read_only=read_only)
        (redo.check if read_only else redo.recover)(self._db)
        at = applied.unpack_applied(self._db.get(applied.KEY))
        if not read_only:
            drop_history_after(self._db, at.revision)
        self._overlay = Overlay(self._db)
        self._versions = Versions(self._overlay)
        self.leases = Leases(self._overlay, lambda: self._index + 1)
        self._writer = Writer(self._versions, self.leases)
        self.sessions = Sessions(self._overlay)
        self.alarms = Alarms(self._overlay)
        self.members = Members(self._overlay)
        self.auth_store = AuthStore(self._overlay)
        self._executor = Executor(
            self._versions,
            self._writer,
            self.leases,
            self.sessions,
            self.alarms,
            members=self.members,
            auth=self.auth_store,
        )
        self._put = 0  # how many plain puts the entry that is being applied begins with
        self._hot_keys = HotKeys()
        # What waits for a commit: bytes of records ever since the last one, and keys lately.
        self._waiting_bytes = self._waiting_keys = 0
        self._index, self._term = at.applied_index, at.applied_term
        self._history_hash = at.history_hash
        self._committed_index = at.applied_index
        self._versions.revision = at.revision
        self._versions.compact_revision = at.compact_revision
        self._compaction = Compaction(self._versions)
        # What stands before the answer to a read of one key, at a revision.
        self._heads_revision = 0
        self._found_head = self._missing = b""

    @classmethod
    def open(cls, path: Path) -> "StateStore":
        """Open the state in the directory `path`, created when missing. Raises StorageError."""
        return cls(path)

    @classmethod
    def inspect(cls, path: Path) -> "StateStore":
        """Open a copy of a state (inspection.py), to be read only. Raises StorageError."""
        return cls(path, read_only=True)

    @property
    def applied_index(self) -> int:
        """Index of the last raft entry applied."""
        return self._index

    @property
    def applied_term(self) -> int:
        """Its term."""
        return self._term

    @property
    def revision(self) -> int:
        """The newest revision; 1 in an empty store."""
        return self._versions.revision

    @property
    def compact_revision(self) -> int:
        """Reads at revisions below it are refused."""
        return self._versions.compact_revision

    @property
    def history_hash(self) -> int:
        """CRC-32 of all events ever applied: equal on all members at the same applied index.
        Commits."""
        self.commit()
        return self._history_hash

    # -- applying ------------------------------------------------------------------------------

    def apply(self, index: int, term: int, requests: Sequence[tuple[Any, ...]]) -> list[Result]:
        """`apply_sliced`, all of it at once."""
        return finish(self.apply_sliced(index, term, requests))

    def apply_sliced(
        self, index: int, term: int, requests: Sequence[tuple[Any, ...]]
    ) -> Sliced[list[Result]]:
        """Apply the raft entry `index`: its requests in order, each by itself. They passed
        transport/requests.py's checks. Returns a result (or WireError) for each."""
        self._begin(index, term)
        done = self._plain_puts(requests) or (yield from self._execute(requests))
        self._index, self._term = index, term
        return _results_of_puts(done, len(requests)) if isinstance(done, int) else done

    def apply_once(
        self,
        index: int,
        term: int,
        messages: Sequence[Sequence[tuple[Any, ...]]],
        stamps: Sequence[Stamp | None],
    ) -> Sliced[list[Answer]]:
        """Apply the raft entry `index`, whose requests came in `messages` with a stamp each, None
        for none. Those whose stamps were applied before are not applied again. Returns each
        message's answer, for `sessions.pack_answer`."""
        self._begin(index, term)
        sessions = self.sessions
        known = [stamp and sessions.claim(stamp) for stamp in stamps]
        fresh = [message for message, answer in zip(messages, known, strict=True) if answer is None]
        requests = list(chain.from_iterable(fresh))
        done = self._plain_puts(requests) or (yield from self._execute(requests))
        answers: list[Answer] = []
        for message, stamp, answer in zip(messages, stamps, known, strict=True):
            if stamp is not None and answer is not None:
                answers.append(sessions.repeated(stamp, answer))
                continue
            count = len(message)
            if isinstance(done, int):
                answers.append(self._keep_puts(stamp, done, count))
                done += count
            else:
                answers.append((yield from self._keep(stamp, done, count)))
        self._index, self._term = index, term
        return answers

    def _keep_puts(self, stamp: Stamp | None, first: int, count: int) -> Answer:
        """The answer to a message of plain puts, kept if the message has a number."""
        if stamp is not None and not stamp.refused:
            return self.sessions.keep_puts(stamp, first, count)
        return finish(self._keep(stamp, _results_of_puts(first, count), count))

    def _keep(self, stamp: Stamp | None, done: list[Result], count: int) -> Sliced[Answer]:
        """Likewise of any message, from the first `count` of `done`, which are taken away."""
        results, done[:count] = done[:count], []
        if stamp is not None:
            results = with_refused(results, stamp.refused)
        elif not self.found_much:
            return results
        if self.found_much:
            packed = yield from pack_each(results)
        else:
            packed = list(map(pack, results))
        return pack_array(packed) if stamp is None else self.sessions.keep(stamp, packed)

    def apply_judged(
        self,
        index: int,
        term: int,
        messages: Sequence[Sequence[tuple[Any, ...]]],
        stamps: Sequence[Stamp | None],
        whos: Sequence[Who | None],
    ) -> Sliced[list[Answer]]:
        """`apply_once` while users are asked who they are: what each message was admitted for is
        executed if its user may do it now, as of everything that was applied before."""
        self._begin(index, term)
        answers: list[Answer] = []
        for each in zip(messages, stamps, whos, strict=True):
            answer = yield from self._apply_judged(*each)
            answers.append(answer)
        self._index, self._term = index, term
        return answers

    def _apply_judged(
        self, message: Sequence[tuple[Any, ...]], stamp: Stamp | None, who: Who | None
    ) -> Sliced[Answer]:
        if stamp is not None:
            if who is None and self.auth.enabled:
                return pack(errors.USER_EMPTY)  # and of no user's session
            user = who.user if who is not None and self.auth.enabled else None
            known = self.sessions.claim(stamp, user)
            if known is not None:
                return self.sessions.repeated(stamp, known)
        done = yield from self._execute_for(who, message)
        if isinstance(done, int):
            return self._keep_puts(stamp, done, len(message))
        return (yield from self._keep(stamp, done, len(message)))

    def _execute_for(
        self, who: Who | None, message: Sequence[tuple[Any, ...]]
    ) -> Sliced[list[Result] | int]:
        if all_plain_puts(message, WRITE_CHECKS) and rules.may_put_all(self.auth, who, message):
            return self._plain_puts(message) or (yield from self._execute(message))
        user = who.user if who is not None and self.auth.enabled else ""
        results: list[Result] = []
        for request in message:
            refused = self.refusal(who, request)
            results.append(refused or (yield from self._execute_capped(request, user)))
        return results

    def refusal(self, who: Who | None, request: tuple[Any, ...]) -> WireError | None:
        """Why a checked request is not executed for whom it was admitted; None when it is."""
        return rules.refusal(self.auth, who, request, self.leases.keys_of)

    def would_execute(self, who: Who | None, stamp: Stamp | None, request: tuple[Any, ...]) -> bool:
        """Whether a request of a message would be executed by `apply_judged` now."""
        user = who and who.user if self.auth.enabled else None
        if stamp is not None and not self.sessions.is_new(stamp, user):
            return False
        return self.refusal(who, request) is None

    @property
    def found_much(self) -> bool:
        """Whether the results of the entry that was applied last are to be packed in slices."""
        return self._executor.found_much

    @property
    def auth(self) -> Auth:
        """Users and roles as they are now."""
        return self.auth_store.auth

    def _begin(self, index: int, term: int) -> None:
        self._check_next(index, term)
        self._executor.found = 0
        # Before the entry: neither a commit nor a chunk of history holds a part of one.
        fresh = len(self._overlay.writes) - self._waiting_keys
        events = len(self._versions.recent)
        if max(fresh, events) > COMMIT_KEYS or self._writer.record_bytes > COMMIT_BYTES:
            self._hot_keys.note(self._overlay.writes, events)
            self._save_history()
            self._waiting_keys = len(self._overlay.writes)
            if not self._hot_keys.few or self._waiting_bytes > WAITING_BYTES_MAX:
                self.commit()
        elif self.sessions.changed > SESSIONS_MAX:
            self.commit()

    def _plain_puts(self, requests: Sequence[tuple[Any, ...]]) -> int:
        """Execute an entry of nothing but plain puts, whose revisions follow each other; returns
        the first. Those that another begins with are executed, too; then the rest is for `_execute`
        and 0 is returned."""
        first = self.revision + 1
        self._put = 0 if self.alarms.no_space else self._writer.plain_puts(requests, 0)
        return first if self._put == len(requests) != 0 else 0

    def _execute(self, requests: Sequence[tuple[Any, ...]]) -> Sliced[list[Result]]:
        """The results of all requests of an entry, after `_plain_puts`."""
        if self.alarms.no_space:
            capped: list[Result] = []
            for request in requests:
                result = yield from self._execute_capped(request)
                capped.append(result)
            return capped
        position = self._put
        results = _results_of_puts(self.revision + 1 - position, position)
        while position < len(requests):
            if self._executor.is_over():
                yield
            results.append((yield from self._executor.execute(requests[position])))
            first, begin = self.revision + 1, position + 1
            position = self._writer.plain_puts(requests, begin)
            results += _results_of_puts(first, position - begin)
        return results

    def _execute_capped(self, request: tuple[Any, ...], user: str = "") -> Sliced[Result]:
        """One request where there may be no space."""
        if self.alarms.no_space and makes_larger(request):
            return errors.NO_SPACE
        if self._executor.is_over():
            yield
        return (yield from self._executor.execute(request, user))

    def reopen_entry(self) -> None:
        """Let the next `apply` go on with the entry that was applied last, for who applies a part
        of one (replay.py)."""
        self._index -= 1

    def apply_conf_state(self, index: int, term: int, conf_state: Any, members: Any) -> None:
        """Apply the raft entry `index`, which led to this configuration and these members.

        Both are kept as they are, made of tuples, integers, str and bytes.
        """
        self._check_next(index, term)
        self._index, self._term = index, term
        self.members.conf_state, self.members.all = conf_state, members
        self.members.save()

    def keep_conf_state(self, conf_state: Any) -> None:
        """What the entry that was applied last has made of the raft configuration, and what it has
        made of the members, go with that entry to the disk."""
        self.members.conf_state = conf_state
        self.members.save()

    @property
    def check(self) -> Any:
        """What was last given to `apply_check`, None before."""
        raw = self._overlay.get(_CHECK_KEY)
        return None if raw is None else unpack_local(raw)

    def apply_check(self, index: int, term: int, check: Any) -> None:
        """Apply the raft entry `index`, a part of the comparison of members' hashes; `check` is
        kept as it is, made of tuples and integers."""
        self._check_next(index, term)
        self._index, self._term = index, term
        self._overlay.writes[_CHECK_KEY] = pack(check)

    def _check_next(self, index: int, term: int) -> None:
        if index != self._index + 1 or term < self._term:
            raise StorageError(
                f"entry {index} of term {term} applied after entry {self._index} of term "
                f"{self._term}: entries were lost or repeated on their way to the state"
            )

    def commit(self) -> None:
        """Write what was applied, with the applied index, in one batch, if there is anything.

        Happens by itself when much was applied and before what needs it. Call it before `flush`,
        whose thread may not, and when there is time. Raises StorageError, which is final.
        """
        if self._committed_index == self._index:
            return
        self._save_history()
        self._write_applied()
        self._versions.range_cache.committing()
        self._writer.committing()
        self._overlay.commit()
        self._committed()

    def _write_applied(self) -> None:
        versions = self._versions
        self.sessions.save()
        at = Applied(
            self._index,
            self._term,
            versions.revision,
            versions.compact_revision,
            self._history_hash,
        )
        self._overlay.writes[applied.KEY] = at.packed()

    def _committed(self) -> None:
        self._committed_index = self._index
        self._waiting_bytes = self._waiting_keys = 0

    @property
    def has_much(self) -> bool:
        """Whether `commit` would take long."""
        return len(self._overlay.writes) > LARGE_COMMIT

    def commit_sliced(self) -> Sliced[None]:
        """`commit` of very much, which is forgotten rather than kept in memory."""
        versions = self._versions
        for number, (stored, chunk) in enumerate(encode_chunks(versions.recent), 1):
            self._save_chunks([(stored, chunk)])
            if not number % CHUNKS_A_SLICE:
                yield
        yield from versions.saved_sliced()
        self._writer.record_bytes = 0
        self._write_applied()
        versions.range_cache.committing_much()
        self._writer.committing_much()
        yield
        yield from self._overlay.commit_sliced()
        self._committed()

    def _save_history(self) -> None:
        """Write the chunks of what was applied since the last time. Until the next commit they are
        ahead of the rest: a start drops them."""
        versions = self._versions
        if not versions.recent:
            return
        self._save_chunks(encode_chunks(versions.recent))
        versions.saved()
        self._waiting_bytes += self._writer.record_bytes
        self._writer.record_bytes = 0

    def _save_chunks(self, chunks: Iterable[tuple[bytes, bytes]]) -> None:
        batch = self._db.batch()
        for stored, chunk in chunks:
            batch[stored] = chunk
            # Without the array's head: chunks may end elsewhere on another member.
            self._history_hash = crc32(chunk_body(chunk), self._history_hash)
        self._db.write(batch)

    # -- reading -------------------------------------------------------------------------------

    def read(self, request: tuple[Any, ...]) -> bytes:
        """The packed result of a checked read request, a range or a transaction that only reads,
        on what was applied; a WireError when a revision was compacted or is not there yet."""
        return b"".join(finish(self.read_sliced(request)))

    def read_sliced(self, request: tuple[Any, ...]) -> Sliced[Sequence[bytes]]:
        """`read`, in few parts, of what is there at the first slice. Between two of them everything
        but `close` may be called."""
        self._commit_before_scan(request)
        if request[0] == "txn":
            return ((yield from read_packed(self._versions, request)),)
        return (yield from self._versions.packed_range(request))

    def read_newest(self, key: bytes) -> bytes:
        """The packed result of a range of one key now, without any option."""
        record = self._versions.current(key)
        revision = self._versions.revision
        if revision != self._heads_revision:
            self._heads_revision = revision
            self._found_head = range_head(revision, 1, False, 1)
            self._missing = range_head(revision, 0, False, 0)
        if record is None:
            return self._missing
        return self._found_head + pack_key_value(key, record)

    def range(self, request: tuple[Any, ...]) -> Result:
        """As `read`, before it is packed."""
        self._commit_before_scan(request)
        if request[0] == "txn":
            return finish(Transactions(self._versions).transaction(request))
        return finish(self._versions.range(request))

    def count_keys(self) -> int:
        """How many keys exist."""
        result: tuple[Any, ...] = self.range(("range", b"\0", b"\0", 0, 0, RANGE_COUNT_ONLY))
        return int(result[2])

    def _commit_before_scan(self, request: tuple[Any, ...]) -> None:
        # A transaction, more than a key, or in the past.
        scans = request[0] == "txn" or request[2:3] > (b"",) or request[4:5] > (0,)
        if scans and len(self._overlay.writes) > self._overlay.SCAN_MAX:
            self.commit()

    def hash_kv(self, revision: int = 0) -> Result:
        """(0, revision, hash, compact revision, revision hashed), 0 for the newest; etcd's HashKV.

        Reads the whole state: about 1 µs a key, ten times that in the past.
        """
        return finish(self.hash_kv_sliced(revision))

    def hash_kv_sliced(self, revision: int = 0) -> Sliced[Result]:
        """`hash_kv` in slices of about 2 ms, between which everything but `close` may be
        called."""
        self.commit()
        refusal = self._versions.check_revision(revision)
        if refusal is not None:
            return refusal
        hashed = revision or self.revision
        found = yield from hash_sliced(self._versions, hashed)
        if isinstance(found, WireError):
            return found
        return (0, self.revision, found, self.compact_revision, hashed)

    def read_all(self) -> int:
        """Read every pair there is, so that every checksum of RocksDB's is compared, and return
        how many there are. Takes as long as the disk does. Raises StorageError."""
        return sum(1 for _ in self._db.scan(b"\0", b"\xff"))

    def history(self, first_revision: int, chunks_max: int = 16) -> list[Event]:
        """`history_sliced`, all at once."""
        return finish(self._versions.history(first_revision, chunks_max))

    def history_sliced(self, first_revision: int, chunks_max: int = 16) -> Sliced[list[Event]]:
        """See Versions.history; of what is there at the first slice."""
        return self._versions.history(first_revision, chunks_max)

    def previous(self, event: Event) -> tuple[Any, ...] | None:
        """See Versions.previous."""
        return self._versions.previous(event)

    # -- forgetting ----------------------------------------------------------------------------

    @property
    def compacting(self) -> bool:
        """Whether `compact_step` has something to do."""
        return self._compaction.pending

    @property
    def compacted_revision(self) -> int:
        """The compact revision whose history is gone from this member."""
        return self._compaction.done

    def compact_step(self, budget: int) -> bool:
        """Remove some history that compact requests cut off; True while more is left.

        See Compaction.step. Commits.
        """
        self.commit()
        return self._compaction.step(budget)

    # -- durability ----------------------------------------------------------------------------

    def flush(self) -> int:
        """Make what was committed before this call durable; returns its applied index, up to
        which the raft log may go. May run beside everything else; lets other threads run."""
        index = self._committed_index
        self._db.flush()
        self._db.collect()
        return index

    def checkpoint(self, path: Path) -> None:
        """A copy of the database in the new directory `path`, at the applied index exactly.

        Commits. Call `flush` shortly before in another thread: this call flushes what is left and
        lets no other thread run meanwhile.
        """
        self.commit()
        self._db.checkpoint(path)

    def size_bytes(self) -> int:
        """Bytes on disk, without what only memory holds so far."""
        return self._db.size_bytes()

    def space_bytes(self) -> int:
        """Bytes that the database takes, on disk and in memory on its way there."""
        return self._db.size_bytes() + self._db.memory_bytes()

    def reclaim(self) -> None:
        """Give the space of what was removed back to the disk, which takes minutes if there is
        much. May run beside everything else; lets other threads run."""
        self._db.compact()

    def stop_background(self) -> None:
        """Cut `reclaim` and `flush` short; nothing but `close` may follow."""
        self._db.stop_background()

    def close(self) -> None:
        """Close the database. What was not flushed comes back from the raft log."""
        self._db.close()


def _results_of_puts(first_revision: int, count: int) -> list[Result]:
    return [(0, revision) for revision in range(first_revision, first_revision + count)]
