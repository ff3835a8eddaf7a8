"""Forgetting history: removes, a little at a time, what no read at or after the compact revision
can see.

`compact` only moves the limit below which reads are refused: that is the raft entry, the same on
every member. The work is done by `step`, whenever the host has time, at each member's own pace:
what it removes cannot be read any more, so members differ in bytes but never in answers.

Of the versions up to the compact revision, the target, only those are still needed that were the
newest of their keys then. While one is the newest still, the record in KV is all that is needed.
When it was replaced before the compaction began, a later event says so: these events are read
first, and mark the revisions that they replaced. Then the chunks before the target go, one after
the other, and what is marked in them moves to KEPT. A version that is replaced later the writer
puts there. So no key is ever looked for.

An event up to the target says likewise which version an earlier compaction need not have kept any
longer. A crash at any point loses nothing: the chunks that are left are gone through again.
"""

from collections.abc import Iterator, Sequence

from . import keys
from .mvcc import Versions
from .records import Event, decode_chunk, is_deletion, replaced_revision
from .rocks import Database, WriteBatch

_PAGE = 2
"""Chunks read, and written, at once. One by one each takes twice as long to read."""
_CHUNK_COST = 64
"""Reading a chunk takes as long as looking at so many versions in it."""
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

    @property
    def pending(self) -> bool:
        """Whether history is left that no read can see."""
        return self.done < self._versions.compact_revision

    def step(self, budget: int) -> bool:
        """Work about as long as it takes to look at `budget` versions, 1 µs each; True while there
        is more to do. A version is looked at once or twice before it goes.

        Call it between a commit and the next apply. Raises StorageError.
        """
        while self.pending and budget > 0:
            if self._target != self._versions.compact_revision:
                self._target = self._versions.compact_revision
                self._work = self._run()
            seen = next(self._work, None)
            if seen is None:
                batch = self._db.batch()
                batch.put(_DONE_KEY, keys.pack_u64(self._target))
                self._db.write(batch)
                self.done = self._target
            else:
                budget -= seen
        return self.pending

    def _run(self) -> Iterator[int]:
        """The whole work for one target; yields what each part cost, in versions."""
        marks = _Marks(self._versions.chunks_begin, self._target)
        yield from self._mark_replaced(marks)
        yield from self._drop_chunks(marks)

    def _pages(self, start: bytes, last_revision: int) -> Iterator[list[tuple[bytes, bytes]]]:
        """The chunks from the key `start` on that begin with events up to a revision."""
        end = keys.chunk_key(last_revision, keys.SUB_MAX)
        while page := self._db.pairs(start, end, _PAGE):
            yield page
            start = page[-1][0] + b"\x00"

    def _mark_replaced(self, marks: "_Marks") -> Iterator[int]:
        """Mark what was replaced after the target and before now."""
        holding = self._db.last(keys.chunk_key(0, 0), keys.chunk_key(self._target, keys.SUB_MAX))
        start = holding[0] if holding else keys.chunk_key(0, 0)
        for page in self._pages(start, self._versions.revision):
            cost = 0
            for _, chunk in page:
                events = decode_chunk(chunk)
                for event in events:
                    if event[0] > self._target:
                        marks.add(replaced_revision(event))
                cost += len(events) + _CHUNK_COST
            yield cost

    def _drop_chunks(self, marks: "_Marks") -> Iterator[int]:
        """Drop the chunks that end before the target; what holds it stays for watches from it."""
        newest = self._db.last(keys.kept_key(0, b""), keys.after_prefix(keys.KEPT))
        kept_max = keys.parse_kept_key(newest[0])[0] if newest else 0
        for page in self._pages(keys.chunk_key(0, 0), self._target):
            batch, cost, dropped = self._db.batch(), 0, 0
            for stored, chunk in page:
                events = decode_chunk(chunk)
                cost += len(events) + _CHUNK_COST
                if events[-1][0] < self._target:
                    _drop_events(batch, events, marks)
                    batch.delete(stored)
                    dropped = events[-1][0]
                _release(batch, events, self._target, marks, kept_max)
            self._db.write(batch)
            if dropped:
                self._versions.forget_chunks(dropped)
            yield cost


class _Marks:
    """A set of revisions from `first` to `last`, a bit each: what a transaction wrote beside a
    version that is needed is kept with it, until it is replaced in its turn."""

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._last = last
        self._bits = bytearray(max(last - first, 0) // 8 + 1)

    def add(self, revision: int) -> None:
        """Mark a revision, if it is one of them."""
        if self._first <= revision <= self._last:
            position = revision - self._first
            self._bits[position >> 3] |= 1 << (position & 7)

    def within(self, first: int, last: int) -> bool:
        """Whether any may be marked of the revisions from `first` to `last`, which it spans."""
        begin, end = (first - self._first) >> 3, (last - self._first) >> 3
        return any(self._bits[begin : end + 1])

    def __contains__(self, revision: int) -> bool:
        position = revision - self._first
        return position >= 0 and bool(self._bits[position >> 3] & (1 << (position & 7)))


def _drop_events(batch: WriteBatch, events: Sequence[Event], marks: _Marks) -> None:
    """Take care of what reads still need of a chunk, and no longer need beside it."""
    needed = marks.within(events[0][0], events[-1][0])
    for event in events:
        if is_deletion(event):
            batch.delete(keys.dead_key(event[1], event[0]))
        elif needed and event[0] in marks:
            batch.put(keys.kept_key(event[0], event[1]), event[2])


def _release(
    batch: WriteBatch, events: Sequence[Event], target: int, marks: _Marks, kept_max: int
) -> None:
    """What events up to the target replaced no read can see: it need not be kept, if it was."""
    for event in events:
        replaced = replaced_revision(event)
        if event[0] <= target and (0 < replaced <= kept_max or replaced in marks):
            batch.delete(keys.kept_key(replaced, event[1]))


def drop_history_after(db: Database, revision: int) -> None:
    """Drop the chunks of what was not committed before the last crash: it is applied again."""
    start, end = keys.chunk_key(revision + 1, 0), keys.after_prefix(keys.EVENTS)
    while ahead := db.pairs(start, end, 64):
        batch = db.batch()
        for stored, _ in ahead:
            batch.delete(stored)
        db.write(batch)
