"""Executing requests that change the state: put, delete, transactions, leases.

The rules are etcd's: server/etcdserver/txn (put, deleteRange, Txn) and server/lease. A request or a
transaction makes at most one revision; what it refuses, it refuses before it has changed anything.

What may change much is done in slices (sliced.py). Between two of them nobody may read or write the
state: it is in the middle of a step.
"""

from collections.abc import Sequence

from ..transport import errors
from ..transport.requests import (
    DELETE_PREV_KV,
    PUT_IGNORE_LEASE,
    PUT_IGNORE_VALUE,
    PUT_PREV_KV,
)
from .alarms import Alarms
from .auth_store import WRITES as AUTH_WRITES
from .auth_store import AuthStore
from .errors import StorageError
from .leases import Leases
from .members import Members
from .mvcc import Result, Versions
from .records import HEADER_SIZE, key_value, read_header
from .sessions import Sessions
from .sliced import Sliced
from .transactions import REQUEST_COST, SLICE_COST, Check, Request, Transactions
from .writer import Writer

_LEASED = 512
"""Keys of a lease that end in a slice: each is looked for by itself, at worst on the disk."""


class Executor(Transactions):
    """Executes checked requests, one after the other."""

    def __init__(
        self,
        versions: Versions,
        writer: Writer,
        leases: Leases,
        sessions: Sessions,
        alarms: Alarms,
        *,
        members: Members,
        auth: AuthStore,
    ) -> None:
        super().__init__(versions)
        self._versions = versions
        self._writer = writer
        self._leases = leases
        self._sessions = sessions
        self._alarms = alarms
        self._members = members
        self._auth = auth
        self._revision = 0  # of the request under way
        self._begin = 0  # how many events there were before it

    def execute(self, request: Request, user: str = "") -> Sliced[Result]:
        """Execute a write request, for a user where users are asked who they are. Returns its
        result or a WireError, which changed nothing."""
        versions = self._versions
        self._revision = versions.revision + 1
        self._begin = len(versions.recent)
        name = request[0]
        if name == "txn":
            result = yield from self.transaction(request)
        elif name == "put":
            result = self._check_put(request) or self._put(*request[1:])
        elif name == "delete":
            result = yield from self._delete(*request[1:])
        elif name == "lease_grant":
            refusal = self._leases.grant(*request[1:])
            result = refusal or (0, versions.revision, *request[1:])
        elif name == "lease_revoke":
            result = yield from self._revoke(request[1])
        elif name == "lease_keep_alive":
            result = (0, versions.revision, request[1], self._leases.renew(request[1]))
        elif name == "lease_expire":
            result = yield from self._expire(*request[1:])
        elif name == "alarm_raise":
            result = (0, versions.revision, self._alarms.activate(*request[1:]))
        elif name == "alarm_disarm":
            result = (0, versions.revision, self._alarms.disarm(*(*request[1:], 0, 0)[:2]))
        elif name == "compact":
            result = self._compact(request[1])
        elif name == "refused":
            result = errors.WireError(*request[1:])
        elif name == "member_change":
            result = self._members.change(versions.revision, request[1])
        elif name == "session_open":
            result = (0, versions.revision, self._sessions.open(request[1], user))
        elif name in AUTH_WRITES:
            result = self._auth.execute(request, versions.revision)
        else:
            raise StorageError(f"the log holds a request of an unknown kind, {name!r}")
        return result

    def is_over(self, cost: int = REQUEST_COST) -> bool:
        """See Transactions."""
        over = super().is_over(cost)
        if over:
            self._versions.overlay.begin_slice()
        return over

    def _changed(self) -> bool:
        return len(self._versions.recent) > self._begin

    def _header_revision(self) -> int:
        """The revision that a result shows now; takes the new one when something changed."""
        if self._changed():
            self._versions.revision = self._revision
        return self._versions.revision

    # -- put and delete ------------------------------------------------------------------------

    def _check_put(self, request: Request) -> errors.WireError | None:
        return self._check_lease(request) or self._check_kept(request)

    def _check_lease(self, request: Request) -> errors.WireError | None:
        lease = request[3] if len(request) > 3 else 0
        return errors.LEASE_NOT_FOUND if lease and not self._leases.exists(lease) else None

    def _check_kept(self, request: Request) -> errors.WireError | None:
        """Whether there is a key whose value or lease is to be kept."""
        flags = request[4] if len(request) > 4 else 0
        if flags & (PUT_IGNORE_VALUE | PUT_IGNORE_LEASE):
            return errors.KEY_NOT_FOUND if self._versions.current(request[1]) is None else None
        return None

    def _put(self, key: bytes, value: bytes, lease: int = 0, flags: int = 0) -> Result:
        old = self._versions.current(key) if flags else None
        if old is not None and flags & PUT_IGNORE_VALUE:
            value = old[HEADER_SIZE:]
        if old is not None and flags & PUT_IGNORE_LEASE:
            lease = read_header(old).lease
        self._writer.put(self._revision, key, value, lease)
        if flags & PUT_PREV_KV:
            return (0, self._header_revision(), None if old is None else key_value(key, old))
        return (0, self._header_revision())

    def _delete(self, key: bytes, range_end: bytes = b"", flags: int = 0) -> Sliced[Result]:
        revision, delete = self._revision, self._writer.delete
        pairs = yield from self._versions.current_pairs(key, range_end)
        count, gone = len(pairs), []
        while pairs:  # and is freed as it goes: a million at once take a tenth of a second
            part, pairs[:SLICE_COST] = pairs[:SLICE_COST], []
            for stored, record in part:
                delete(revision, stored[1:], record)
            if flags & DELETE_PREV_KV:
                self.found += len(part)
                gone += [key_value(stored[1:], record) for stored, record in part]
            if self.is_over(len(part)):
                yield
        result = (0, self._header_revision(), count)
        return (*result, gone) if flags & DELETE_PREV_KV else result

    def _revoke(self, lease: int) -> Sliced[Result]:
        """Delete the keys of a lease, in their order and one revision, and the lease."""
        if not self._leases.exists(lease):
            return errors.LEASE_NOT_FOUND
        yield from self._end(lease)
        return (0, self._header_revision())

    def _end(self, lease: int) -> Sliced[None]:
        held = yield from self._leases.keys_sliced(lease)
        while held:
            part, held[:_LEASED] = held[:_LEASED], []
            for key in part:
                self._writer.delete_leased(self._revision, key)
            self._leases.forget(lease, part)
            if self.is_over(len(part) * SLICE_COST // _LEASED):
                yield
        self._leases.remove(lease)

    def _expire(self, due: Sequence[tuple[int, int]], keys_max: int) -> Sliced[Result]:
        """Revoke the leases that nothing renewed since the index named beside each, with a revision
        for each, until `keys_max` keys are gone; the others have to be proposed again.

        Returns (0, revision, how many ended).
        """
        versions, leases = self._versions, self._leases
        over = [
            lease
            for lease, renewed in dict(due).items()
            if (found := leases.get(lease)) is not None and found.renewed == renewed
        ]
        recent_max = len(versions.recent) + keys_max
        for ended, lease in enumerate(over):
            if len(versions.recent) >= recent_max:
                for waiting in over[ended:]:
                    leases.postpone(waiting)
                return (0, versions.revision, ended)
            self._revision = versions.revision + 1
            self._begin = len(versions.recent)
            yield from self._end(lease)
            self._header_revision()
        return (0, versions.revision, len(over))

    def _compact(self, revision: int) -> Result:
        """Refuse reads below `revision` from now on; the history goes in the background."""
        versions = self._versions
        if revision <= versions.compact_revision:
            return errors.COMPACTED
        if revision > versions.revision:
            return errors.FUTURE_REVISION
        versions.compact_revision = revision
        return (0, versions.revision)

    # -- transactions --------------------------------------------------------------------------

    def _checks(self) -> tuple[Check, ...]:
        return (self._check_put_of_txn, self._check_range)

    def _check_put_of_txn(self, operation: Request) -> errors.WireError | None:
        """As of a put alone, but the key is looked at before the lease, as etcd does."""
        if operation[0] != "put":
            return None
        return self._check_kept(operation) or self._check_lease(operation)

    def _write(self, operation: Request) -> Sliced[Result]:
        if operation[0] == "put":
            return self._put(*operation[1:])
        return (yield from self._delete(*operation[1:]))
