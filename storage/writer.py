"""Making versions: what a put and a delete write, in the order of revisions."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

from . import keys
from .errors import CorruptionError, StorageError
from .keys import pack_u64
from .leases import Leases
from .mvcc import Versions
from .records import (
    BIN32,
    HEADER,
    HEADER_SIZE,
    SKIP_1,
    SKIP_2,
    U64,
    make_record,
    pack_header,
    read_header,
    without_value,
)

HEADS_MAX = 131_072
"""Keys whose newest header is kept in memory: about 30 MB, and a read of 3.5 µs less a put."""
HEAD_KEY_BYTES_MAX = 256
"""Longer keys are not among them: they may have up to a request's size."""

_UNKNOWN: Any = object()


class Writer:
    """Puts and deletes into the overlay. Everything is written under the revision given, which
    the caller takes from `versions` and gives to all changes of one request."""

    def __init__(self, versions: Versions, leases: Leases) -> None:
        self._versions = versions
        self._leases = leases
        self._overlay = versions.overlay
        # KV key -> header, packed, of the newest record in the database, None for a key known to
        # be absent.
        self._heads: dict[bytes, bytes | None] = {}
        self.record_bytes = 0
        """Of puts since their history was saved, which resets it."""

    def plain_puts(self, requests: Sequence[tuple[Any, ...]], position: int) -> int:
        """Execute the puts of nothing but key and value that begin at `position`, each with the
        next revision; returns the position of the first request that is something else.

        `put` again, but without a call and with local names: a busy node spends its time here.
        """
        versions, writes = self._versions, self._overlay.writes
        newest, committed, record_event = writes.get, self._heads.get, versions.recent.append
        pack, unpack = pack_header, HEADER.unpack_from
        compacted, revision, written = versions.compact_revision, versions.revision, 0
        for position in range(position, len(requests)):  # noqa: B020, PLR1704 (goes on from it)
            request = requests[position]
            if len(request) != 3 or request[0] != "put":
                break
            _, key, value = request
            stored = b"k" + key  # keys.KV
            head = newest(stored, _UNKNOWN)
            if head is _UNKNOWN:
                head = committed(stored, _UNKNOWN)
                if head is _UNKNOWN:
                    head = self._overlay.db.get(stored)
            revision += 1
            if head is None:
                mod = skip_1 = skip_2 = version = 0
                create = revision
            else:
                _, skip_1, skip_2, create, mod, version, lease = unpack(head)
                if mod <= compacted:
                    self._keep(mod, key)
                if lease:
                    self._leases.move(key, lease, 0)
                if not version % SKIP_1:
                    skip_1 = mod
                    if not version % SKIP_2:
                        skip_2 = mod
            version += 1
            size = len(value)
            written += size + len(key)
            writes[stored] = record = (
                pack(mod, skip_1, skip_2, U64, create, U64, revision, U64, version, U64, 0,
                     BIN32, size) + value
            )  # fmt: skip
            record_event((revision, key, record))
        else:
            position = len(requests)
        self.record_bytes += written + HEADER_SIZE * (revision - versions.revision)
        versions.revision = revision
        return position

    def put(self, revision: int, key: bytes, value: bytes, lease: int = 0) -> None:
        """Make the next version of `key`."""
        stored = keys.KV + key
        newest = self._newest_head(stored)
        head: tuple[int, ...]
        if newest is None:
            head = (0, 0, 0, revision, revision, 1, lease)
            old_lease = 0
        else:
            _, skip_1, skip_2, create, mod, version, old_lease = HEADER.unpack_from(newest)
            if mod <= self._versions.compact_revision:
                self._keep(mod, key)
            if not version % SKIP_1:
                skip_1 = mod
                if not version % SKIP_2:
                    skip_2 = mod
            head = (mod, skip_1, skip_2, create, revision, version + 1, lease)
        if lease != old_lease:
            self._leases.move(key, old_lease, lease)
        record = make_record(head, value)
        self.record_bytes += len(record) + len(key)
        self._overlay.writes[stored] = record
        self._versions.recent.append((revision, key, record))

    def delete(self, revision: int, key: bytes, record: bytes) -> None:
        """Delete `key`, whose newest record is `record`."""
        stored = keys.KV + key
        head = read_header(record)
        mod = head.mod_revision
        if head.lease:
            self._leases.move(key, head.lease, 0)
        if mod <= self._versions.compact_revision:
            self._keep(mod, key)
        self._overlay.writes[keys.dead_key(key, revision)] = without_value(record[:HEADER_SIZE])
        self._overlay.writes[stored] = None
        self._versions.recent.append((revision, key, pack_u64(mod)))

    def delete_leased(self, revision: int, key: bytes) -> None:
        """As `delete`, for a key whose lease ends and forgets it. Needs the newest header alone,
        which is most often in memory."""
        stored = keys.KV + key
        newest = self._newest_head(stored)
        if newest is None:
            raise StorageError(f"a lease that ends holds {key!r}, which does not exist")
        head = read_header(newest)
        mod = head.mod_revision
        if mod <= self._versions.compact_revision:
            self._keep(mod, key)
        writes = self._overlay.writes
        writes[keys.lease_member_key(head.lease, key)] = None
        writes[keys.dead_key(key, revision)] = make_record(head)
        writes[stored] = None
        self._versions.recent.append((revision, key, pack_u64(mod)))

    def committing(self) -> None:
        """What was written leaves the overlay: remember its headers, but not all for ever."""
        heads, kv = self._heads, keys.KV[0]
        heads.update(
            (stored, record and record[:HEADER_SIZE])
            for stored, record in self._overlay.writes.items()
            if stored[0] == kv and len(stored) <= HEAD_KEY_BYTES_MAX
        )
        if len(heads) > HEADS_MAX:
            for stored in list(islice(heads, HEADS_MAX // 2)):
                del heads[stored]

    def committing_much(self) -> None:
        """Likewise, without looking at each."""
        self._heads.clear()

    def _newest_head(self, stored: bytes) -> bytes | None:
        """What begins with the header of the newest record of a key; None for an absent one."""
        for known in (self._overlay.writes, self._heads):
            if stored in known:
                return known[stored]
        return self._overlay.db.get(stored)

    def _keep(self, revision: int, key: bytes) -> None:
        """Save the newest record before it is replaced: reads between the compact revision and
        its successor need it, and its chunk goes."""
        record = self._overlay.get(keys.KV + key)
        if record is None:
            raise CorruptionError(f"the version of {key!r} at revision {revision} is missing")
        self._overlay.writes[keys.kept_key(revision, key)] = record
