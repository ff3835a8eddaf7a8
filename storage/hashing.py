"""The hash of the whole state at a revision, a slice at a time: etcd's HashKV.

etcd hashes what its history file holds, which depends on how far each member has compacted; here
it is the state that a read at the revision would see, so members agree whenever they should.
"""

import heapq
import zlib
from collections.abc import Iterator

from ..transport import errors
from . import keys
from .mvcc import Versions
from .records import Header, read_header
from .sliced import SLICE_BYTES, Sliced

_NEWEST_BYTES = 512
"""What a pair counts for besides its own bytes: reading 2,048 small pairs takes as long."""
_PAST_BYTES = 4096
"""Likewise in the past, where a version may have to be looked for."""


def hash_sliced(versions: Versions, revision: int) -> Sliced[int | errors.WireError]:
    """CRC-32 of a byte and all keys and records that existed at `revision`, in order: equal on all
    members, however far each has compacted.

    Requests may be applied and history be compacted between two slices; everything must be
    committed before the first one, and the database must stay open. Returns COMPACTED when
    `revision` has been compacted meanwhile.
    """
    past = revision < versions.revision
    pairs = (
        _pairs_at(versions, revision)
        if past
        else versions.overlay.db.scan(keys.KV, keys.after_prefix(keys.KV))
    )
    pair_bytes = _PAST_BYTES if past else _NEWEST_BYTES
    parts: list[bytes] = []
    size, digest = 0, zlib.crc32(keys.KV)  # as in etcd an empty store has a hash that is not 0
    for stored, record in pairs:
        if record:
            parts += (stored, record)
        size += len(record) + pair_bytes
        if size >= SLICE_BYTES:
            digest = zlib.crc32(b"".join(parts), digest)
            parts.clear()
            size = 0
            yield
            if past and revision < versions.compact_revision:
                return errors.COMPACTED
    return zlib.crc32(b"".join(parts), digest)


def _pairs_at(versions: Versions, revision: int) -> Iterator[tuple[bytes, bytes]]:
    """(KV key, record) of each key at `revision`; an empty record for what did not exist then.

    What is alive and what is dead is that of the first step: `merge` takes the first pair of both
    before it gives one, and RocksDB's iterators go on as they began.
    """
    db = versions.overlay.db
    alive = (
        (stored, (0, record)) for stored, record in db.scan(keys.KV, keys.after_prefix(keys.KV))
    )
    dead = (
        (keys.KV + name, (deleted, raw))
        for (name, deleted), raw in (
            (keys.parse_dead_key(stored), raw)
            for stored, raw in db.scan(keys.DEAD, keys.after_prefix(keys.DEAD))
        )
    )
    for stored, (deleted, raw) in heapq.merge(alive, dead):
        yield stored, _record_at(versions, revision, stored, deleted, raw)


def _record_at(
    versions: Versions, revision: int, stored: bytes, deleted: int, newest: bytes
) -> bytes:
    """The record at `revision` in the generation whose newest one, or only its header, is
    `newest`; `deleted` is the revision at which the generation ended, 0 when it lives."""
    head: Header = read_header(newest)
    if head.create_revision > revision or 0 < deleted <= revision:
        return b""
    if not deleted and head.mod_revision <= revision:
        return newest
    return versions.version_at(revision, stored[1:], head)
