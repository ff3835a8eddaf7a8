"""Forgetting history: removes, a little at a time, what no read at or after the compact revision
can see.

`compact` only moves the limit below which reads are refused: that is the raft entry, the same on
every member. The work is done by `step`, whenever the host has time, at each member's own pace:
what it removes cannot be read any more, so members differ in bytes but never in answers.

A version is still needed when it was the newest of its key at the compact revision and is not now
(then the record in KV is all that is needed). Versions that were replaced before the compaction
began are found here and moved from their chunk to KEPT; those that are replaced later are put there
by the writer. A crash at any point loses nothing: the chunks that are left are gone through again.
"""

from collections.abc import Iterator

from . import keys
from .mvcc import Versions
from .records import Event, decode_chunk, is_deletion, read_header
from .rocks import WriteBatch

_MEMO_MAX = 65_536
_PAGE = 64
"""Chunks, or kept versions, read at once."""
_DONE_KEY = keys.META + b"compacted"


class Compaction:
    """The background work behind `versions.compact_revision`."""

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self._db = versions.overlay.db
        raw = self._db.get(_DONE_KEY)
        self.done = keys.U64.unpack(raw)[0] if raw else 0
        """The compact revision whose history is gone."""
        self._target = 0
        self._work: Iterator[int] = iter(())
        self._live: dict[bytes, int] = {}  # key -> revision of its version at the target, 0 none

    @property
    def pending(self) -> bool:
        """Whether history is left that no read can see."""
        return self.done < self._versions.compact_revision

    def step(self, budget: int) -> bool:
        """Look at about `budget` versions; True while there is more to do.

        Call it between a commit and the next apply. About 10 µs a version, 30 where each is of
        another key that was written since. Raises StorageError.
        """
        while self.pending and budget > 0:
            if self._target != self._versions.compact_revision:
                self._target = self._versions.compact_revision
                self._live.clear()
                self._work = self._run()
            seen = next(self._work, None)
            if seen is None:
                batch = self._db.batch()
                batch.put(_DONE_KEY, keys.pack_u64(self._target))
                self._db.write(batch)
                self.done = self._target
                self._live.clear()
            else:
                budget -= seen
        return self.pending

    def _run(self) -> Iterator[int]:
        """The whole work for one target; yields the number of versions looked at, each write."""
        yield from self._drop_chunks()
        yield from self._drop_kept()

    def _drop_chunks(self) -> Iterator[int]:
        """Chunks that end before the target; the one that holds it stays for watches from it."""
        cursor = keys.chunk_key(0, 0)
        end = keys.chunk_key(self._target, 0)
        while page := self._db.pairs(cursor, end, _PAGE):
            for stored, chunk in page:
                events = decode_chunk(chunk)
                if events[-1][0] >= self._target:
                    return
                batch = self._db.batch()
                for event in events:
                    self._drop_event(batch, event)
                batch.delete(stored)
                self._db.write(batch)
                self._versions.forget_chunks(events[-1][0])
                yield len(events)
            cursor = page[-1][0] + b"\x00"

    def _drop_event(self, batch: WriteBatch, event: Event) -> None:
        revision, key, record = event
        if is_deletion(event):
            batch.delete(keys.dead_key(key, revision))
        elif self._live_revision(key) == revision:
            current = self._db.get(keys.KV + key)
            if current is None or read_header(current).mod_revision != revision:
                batch.put(keys.kept_key(revision, key), record)

    def _drop_kept(self) -> Iterator[int]:
        """Versions that an earlier compaction needed."""
        cursor = keys.kept_key(0, b"")
        end = keys.kept_key(self._target, b"")
        while page := self._db.pairs(cursor, end, _PAGE):
            batch = self._db.batch()
            for stored, _ in page:
                revision, key = keys.parse_kept_key(stored)
                if self._live_revision(key) != revision:
                    batch.delete(stored)
            self._db.write(batch)
            yield len(page)
            cursor = page[-1][0] + b"\x00"

    def _live_revision(self, key: bytes) -> int:
        """Mod revision of the version of `key` at the target, 0 when it did not exist."""
        live = self._live.get(key)
        if live is None:
            if len(self._live) >= _MEMO_MAX:
                self._live.clear()
            live = self._live[key] = self._versions.revision_at(self._target, key)
        return live
