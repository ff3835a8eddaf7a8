"""The state machine: applies raft entries to the state database (format: package docstring).

One owner. `flush` alone may be called from another thread. What `apply` did is visible to the
requests after it at once, in the database after `commit`, durable after `flush`.
"""

from collections.abc import Sequence
from pathlib import Path
from struct import Struct
from typing import Any, cast

from ..transport import errors
from ..transport.codec import pack, unpack_local
from ..transport.requests import (
    DELETE_PREV_KV,
    PUT_IGNORE_LEASE,
    PUT_IGNORE_VALUE,
    PUT_PREV_KV,
)
from . import keys
from .errors import StorageError
from .mvcc import Result, Versions
from .overlay import Overlay
from .records import HEADER_SIZE, Event, encode_chunks, key_value, read_header
from .rocks import open_state
from .writer import Writer

_APPLIED_KEY = keys.META + b"applied"
_APPLIED = Struct(">QQQQ")  # index, term, revision, compact revision
_CONFIGURATION_KEY = keys.META + b"configuration"


class StateStore:
    """The key-value state at an applied index."""

    def __init__(self, path: Path) -> None:
        self._db = open_state(path)
        self._overlay = Overlay(self._db)
        self._versions = Versions(self._overlay)
        self._writer = Writer(self._versions)
        raw = self._db.get(_APPLIED_KEY)
        index, term, revision, compact_revision = _APPLIED.unpack(raw) if raw else (0, 0, 1, 0)
        self._index: int = index
        self._term: int = term
        self._committed_index: int = index
        self._versions.revision = revision
        self._versions.compact_revision = compact_revision

    @classmethod
    def open(cls, path: Path) -> "StateStore":
        """Open the state in the directory `path`, created when missing. Raises StorageError."""
        return cls(path)

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
    def configuration(self) -> tuple[Any, Any] | None:
        """(conf state, members) as last given to `apply_conf_state`, None before."""
        raw = self._overlay.get(_CONFIGURATION_KEY)
        return None if raw is None else cast("Any", unpack_local(raw))

    # -- applying ------------------------------------------------------------------------------

    def apply(self, index: int, term: int, requests: Sequence[tuple[Any, ...]]) -> list[Result]:
        """Apply the raft entry `index`: its requests in order, each by itself. They passed
        transport/requests.py's checks. Returns a result (or WireError) for each."""
        self._advance(index, term)
        versions = self._versions
        put = self._writer.put
        begin = len(versions.recent)
        results: list[Result] = []
        for request in requests:
            if request[0] == "put" and (len(request) == 3 or not (request[3] or request[-1])):
                versions.revision = revision = versions.revision + 1
                put(revision, request[1], request[2])
                results.append((0, revision))
            else:
                results.append(self._execute(request))
        events = versions.recent[begin:] if begin else versions.recent
        self._overlay.writes.update(encode_chunks(events))
        return results

    def apply_conf_state(self, index: int, term: int, conf_state: Any, members: Any) -> None:
        """Apply the raft entry `index`, a configuration change that led to `conf_state`.

        Both are kept as they are, made of tuples, integers, str and bytes.
        """
        self._advance(index, term)
        self._overlay.writes[_CONFIGURATION_KEY] = pack((conf_state, members))

    def _advance(self, index: int, term: int) -> None:
        if index != self._index + 1 or term < self._term:
            raise StorageError(
                f"entry {index} of term {term} applied after entry {self._index} of term "
                f"{self._term}: entries were lost or repeated on their way to the state"
            )
        self._index = index
        self._term = term

    def commit(self) -> list[Event]:
        """Write all that was applied, with the applied index, in one batch.

        Returns its events in order of revision. Raises StorageError, which is final.
        """
        versions = self._versions
        self._overlay.writes[_APPLIED_KEY] = _APPLIED.pack(
            self._index, self._term, versions.revision, versions.compact_revision
        )
        self._overlay.commit()
        self._committed_index = self._index
        events = versions.recent
        versions.recent = []
        self._writer.trim()
        return events

    # -- single requests -----------------------------------------------------------------------

    def _execute(self, request: tuple[Any, ...]) -> Result:
        """A request that makes a revision of its own, if it changes anything."""
        revision = self._versions.revision + 1
        begin = len(self._versions.recent)
        match request[0]:
            case "put":
                result = self._put(revision, *request[1:])
            case "delete":
                result = self._delete(revision, *request[1:])
            case name:
                raise StorageError(f"entry {self._index} holds an unknown request, {name!r}")
        if len(self._versions.recent) > begin:
            self._versions.revision = revision
        return result

    def _put(
        self, revision: int, key: bytes, value: bytes, lease: int = 0, flags: int = 0
    ) -> Result:
        if lease:
            return errors.LEASE_NOT_FOUND
        old = self._versions.current(key) if flags else None
        if flags & (PUT_IGNORE_VALUE | PUT_IGNORE_LEASE) and old is None:
            return errors.KEY_NOT_FOUND
        if old is not None and flags & PUT_IGNORE_VALUE:
            value = old[HEADER_SIZE:]
        if old is not None and flags & PUT_IGNORE_LEASE:
            lease = read_header(old).lease
        self._writer.put(revision, key, value, lease)
        if flags & PUT_PREV_KV:
            return (0, revision, None if old is None else key_value(key, old))
        return (0, revision)

    def _delete(self, revision: int, key: bytes, range_end: bytes = b"", flags: int = 0) -> Result:
        start, end = keys.range_bounds(key, range_end)
        pairs = self._overlay.pairs(start, end) if start < end else []
        for stored, record in pairs:
            self._writer.delete(revision, stored[1:], record)
        recent = self._versions.recent
        changed = bool(recent) and recent[-1][0] == revision
        result = (0, revision if changed else revision - 1, len(pairs))
        if flags & DELETE_PREV_KV:
            return (*result, [key_value(stored[1:], record) for stored, record in pairs])
        return result

    # -- reading -------------------------------------------------------------------------------

    def range(self, request: tuple[Any, ...]) -> Result:
        """The result of a checked range request on what was applied; a WireError when the
        revision was compacted or is not there yet."""
        return self._versions.range(request)

    def history(self, first_revision: int, chunks_max: int = 16) -> list[Event]:
        """See Versions.history."""
        return self._versions.history(first_revision, chunks_max)

    def previous(self, event: Event) -> tuple[Any, ...] | None:
        """See Versions.previous."""
        return self._versions.previous(event)

    # -- durability ----------------------------------------------------------------------------

    def flush(self) -> int:
        """Make what was committed before this call durable; returns its applied index, up to
        which the raft log may go. May run beside everything else; lets other threads run."""
        index = self._committed_index
        self._db.flush()
        return index

    def checkpoint(self, path: Path) -> None:
        """A copy of the database in the new directory `path`, at the applied index exactly.

        Call `commit` before, and `flush` shortly before in another thread: this call flushes what
        is left and lets no other thread run meanwhile.
        """
        if self._overlay.writes:
            raise StorageError("checkpoint between apply and commit")
        self._db.checkpoint(path)

    def size_bytes(self) -> int:
        """Bytes on disk, without what only memory holds so far."""
        return self._db.size_bytes()

    def close(self) -> None:
        """Close the database. What was not flushed comes back from the raft log."""
        self._db.close()
