"""The whole log: what storage holds, followed by what is not stable yet.

Source: etcd-io/raft, log.go.
"""

from collections.abc import Iterator

from .config import Logger
from .errors import ErrCompacted, ErrUnavailable, RaftPanic, StorageError, UnsafeMessage
from .log_unstable import Unstable
from .storage import Storage
from .types import NO_LIMIT, Entry, Snapshot, entries_size, limit_size, sizes

_NO_BATCH: tuple[list[Entry], int, int, int] = ([], 0, 0, 0)


class RaftLog:
    """Storage and unstable entries as one sequence, and how far it is committed and applied.

    Invariant: applied <= applying <= committed <= last index. `applying` is the last entry handed
    out to be applied. `max_applying_size` bounds the encoded bytes handed out and not yet applied.
    """

    __slots__ = (
        "_applying_paused", "_applying_size", "_batch", "_logger", "_pages", "_storage",
        "applied", "applying", "committed", "max_applying_size", "unstable",
    )  # fmt: skip

    def __init__(self, storage: Storage, logger: Logger, max_applying_size: int = NO_LIMIT) -> None:
        self._storage = storage
        self._logger = logger
        self.max_applying_size = max_applying_size
        self._applying_size = 0
        self._applying_paused = False
        self._pages: dict[
            int, tuple[int, int]
        ] = {}  # sizes of what is being applied, by last index
        # What was last appended or sent as a leader, its sizes, and the bound it was cut to.
        self._batch = _NO_BATCH
        self.unstable = Unstable(storage.last_index() + 1, logger)
        self.committed = self.applying = self.applied = storage.first_index() - 1

    def __str__(self) -> str:
        unstable = self.unstable
        return (
            f"committed={self.committed}, applied={self.applied}, applying={self.applying}, "
            f"unstable.offset={unstable.offset}, "
            f"unstable.offsetInProgress={unstable.offset_in_progress}, "
            f"len(unstable.Entries)={len(unstable.entries)}"
        )

    # --- reading

    def first_index(self) -> int:
        """The first index that may still be read."""
        first = self.unstable.maybe_first_index()
        return self._storage.first_index() if first is None else first

    def last_index(self) -> int:
        """The index of the last entry, or of the snapshot before any."""
        return self.unstable.last

    def term(self, index: int) -> int:
        """The term of entry `index`; ErrCompacted or ErrUnavailable outside the log.

        The term of the entry before the first one is known too.
        """
        unstable = self.unstable
        at = index - unstable.offset
        if at >= 0:
            if at < len(unstable.entries):
                return unstable.entries[at].term
            raise ErrUnavailable
        if unstable.snapshot is None:
            return self._storage.term(index)
        if index == unstable.snapshot.metadata.index:
            return unstable.snapshot.metadata.term
        raise ErrCompacted  # whatever storage holds, the snapshot is about to replace it

    def term_or_zero(self, index: int) -> int:
        """The term of entry `index`, 0 if it is not in the log."""
        try:
            return self.term(index)
        except (ErrCompacted, ErrUnavailable):
            return 0

    def match_term(self, index: int, term: int) -> bool:
        """True if the log has an entry (index, term)."""
        try:
            return self.term(index) == term
        except (ErrCompacted, ErrUnavailable):
            return False

    def last_term(self) -> int:
        """The term of the last entry."""
        try:
            return self.term(self.last_index())
        except StorageError as error:
            raise RaftPanic(f"unexpected error when getting the last term ({error})") from error

    def is_up_to_date(self, index: int, term: int) -> bool:
        """True if a log ending in (index, term) is no older than this one (paper, 5.4.1)."""
        own = self.last_term()
        return term > own or (term == own and index >= self.last_index())

    def entries(self, lo: int, max_size: int) -> list[Entry]:
        """Entries from `lo` on, within `max_size` bytes but at least one; [] after the end."""
        last = self.last_index()
        return [] if lo > last else self.slice(lo, last + 1, max_size)

    def batch(self, lo: int, max_size: int) -> tuple[list[Entry], int]:
        """`entries(lo, max_size)`, of which there are some, and the bytes of their data.

        For a leader, who has appended. The list is shared: peers mostly need the same.
        """
        entries, payload, encoded, kept_max = self._batch
        if entries[0].index != lo or (encoded > max_size != kept_max):
            entries = self.entries(lo, max_size)
            payload, encoded = sizes(entries)
            self._batch = (entries, payload, encoded, max_size)
        return entries, payload

    def slice(self, lo: int, hi: int, max_size: int) -> list[Entry]:
        """Entries [lo, hi) within `max_size` bytes but at least one; ErrCompacted."""
        offset = self.unstable.offset
        if offset <= lo < hi:
            return limit_size(self.unstable.slice(lo, hi), max_size)
        self._check_bounds(lo, hi)
        if lo == hi:
            return []
        cut = min(hi, offset)
        try:
            entries = self._storage.entries(lo, cut, max_size)
        except ErrUnavailable as error:
            raise RaftPanic(f"entries[{lo}:{cut}) is unavailable from storage") from error
        # A shorter list than asked for means that the next entry would not have fitted.
        if hi <= offset or len(entries) < cut - lo:
            return entries
        room = max_size - entries_size(entries)
        rest = limit_size(self.unstable.slice(offset, hi), room)
        if len(rest) == 1 and entries_size(rest) > room:
            return entries
        return entries + rest

    def scan(self, lo: int, hi: int, page_size: int) -> Iterator[list[Entry]]:
        """Entries [lo, hi) in pages of at most `page_size` bytes but at least one entry."""
        while lo < hi:
            page = self.slice(lo, hi, page_size)
            if not page:
                raise RaftPanic(f"got 0 entries in [{lo}, {hi})")
            yield page
            lo += len(page)

    def snapshot(self) -> Snapshot:
        """The unstable snapshot if there is one, else storage's newest."""
        return self.unstable.snapshot or self._storage.snapshot()

    def _check_bounds(self, lo: int, hi: int) -> None:
        if lo > hi:
            raise RaftPanic(f"invalid slice {lo} > {hi}")
        first = self.first_index()
        if lo < first:
            raise ErrCompacted
        last = self.last_index()
        if hi > last + 1:
            raise RaftPanic(f"slice[{lo},{hi}) out of bound [{first},{last}]")

    # --- appending

    def maybe_append(
        self, index: int, log_term: int, committed: int, entries: list[Entry]
    ) -> int | None:
        """A follower's append after (index, log_term): the last new index, None on a mismatch.

        Entries that are there already are kept, with whatever follows them: the message may be an
        old one (paper, figure 2). Raises UnsafeMessage if a committed entry would be replaced.
        """
        if not self.match_term(index, log_term):
            return None
        last_new = index + len(entries)
        if index == self.unstable.last:  # the usual case: nothing to compare with
            self.append(entries)
        elif conflict := self.find_conflict(entries):
            if conflict <= self.committed:
                raise UnsafeMessage(
                    f"entry {conflict} conflict with committed entry [committed({self.committed})]"
                )
            self.append(entries[conflict - index - 1 :])
        self.commit_to(min(committed, last_new))
        return last_new

    def append(self, entries: list[Entry]) -> int:
        """Append, replacing what is at or after the first of `entries`; gives the last index."""
        if entries:
            after = entries[0].index - 1
            if after < self.committed:
                raise RaftPanic(f"after({after}) is out of range [committed({self.committed})]")
            self.unstable.truncate_and_append(entries)
            self._batch = _NO_BATCH
        return self.unstable.last

    def append_batch(self, entries: list[Entry], payload: int, encoded: int) -> int:
        """A leader's append of what it is about to send, with its sizes."""
        last = self.append(entries)
        self._batch = (entries, payload, encoded, NO_LIMIT)
        return last

    def find_conflict(self, entries: list[Entry]) -> int:
        """The first index whose entry differs from or is missing in this log, 0 if none is."""
        for entry in entries:
            if not self.match_term(entry.index, entry.term):
                if entry.index <= self.last_index():
                    self._logger.info(
                        "found conflict at index %d [existing term: %d, conflicting term: %d]",
                        entry.index, self.term_or_zero(entry.index), entry.term,
                    )  # fmt: skip
                return entry.index
        return 0

    def find_conflict_by_term(self, index: int, term: int) -> tuple[int, int]:
        """The last (index, term) at or before `index` whose term is at most `term`.

        An index whose term is unknown may agree, so it is the answer, with term 0.
        """
        while index > 0:
            try:
                own = self.term(index)
            except (ErrCompacted, ErrUnavailable):
                return index, 0
            if own <= term:
                return index, own
            index -= 1
        return 0, 0

    def restore(self, snapshot: Snapshot) -> None:
        """Replace the whole log by a snapshot, which is committed by nature."""
        self._logger.info(
            "log [%s] starts to restore snapshot [index: %d, term: %d]",
            self, snapshot.metadata.index, snapshot.metadata.term,
        )  # fmt: skip
        self.committed = snapshot.metadata.index
        self.unstable.restore(snapshot)

    # --- committing and applying

    def commit_to(self, index: int) -> None:
        """Raise the commit index; it never falls. RaftPanic beyond the last entry."""
        if index <= self.committed:
            return
        last = self.last_index()
        if index > last:
            raise RaftPanic(
                f"tocommit({index}) is out of range [lastIndex({last})]. "
                "Was the raft log corrupted, truncated, or lost?"
            )
        self.committed = index

    def maybe_commit(self, index: int, term: int) -> bool:
        """Commit up to `index` if its entry has `term` (paper, 5.4.2); True if that is new."""
        if index <= self.committed or not term or self.term_or_zero(index) != term:
            return False
        self.commit_to(index)
        return True

    def has_next_or_in_progress_snapshot(self) -> bool:
        """True while a snapshot is not durable and applied."""
        return self.unstable.snapshot is not None

    def has_next_committed(self, allow_unstable: bool) -> bool:
        """True if there are entries to apply."""
        # Applying entries before the snapshot that precedes them would be out of order.
        return (
            self.applying < self.committed
            and (allow_unstable or self.applying < self.unstable.offset - 1)
            and not self._applying_paused
            and self.unstable.snapshot is None
        )

    def next_committed(self, allow_unstable: bool) -> list[Entry]:
        """The next entries to apply, within the bound on entries being applied.

        Entries that are committed but not stable here are included only if `allow_unstable`.
        """
        if not self.has_next_committed(allow_unstable):
            return []
        lo, hi = self.applying + 1, self.max_appliable_index(allow_unstable) + 1
        room = self.max_applying_size - self._applying_size
        if room <= 0:
            raise RaftPanic(
                f"applying entry size ({self.max_applying_size}-{self._applying_size})={room} "
                "not positive"
            )
        batch, _, encoded, _ = self._batch
        if len(batch) == hi - lo and batch[0].index == lo and encoded <= room:
            return batch[:]
        try:
            return self.slice(lo, hi, room)
        except StorageError as error:
            raise RaftPanic(f"unexpected error when getting unapplied entries ({error})") from error

    def max_appliable_index(self, allow_unstable: bool) -> int:
        """The last committed entry that may be applied now."""
        return self.committed if allow_unstable else min(self.committed, self.unstable.offset - 1)

    def accept_applying(self, index: int, size: int, allow_unstable: bool) -> None:
        """Entries up to `index`, `size` encoded bytes, were handed out to be applied."""
        if index > self.committed:
            raise RaftPanic(
                f"applying({index}) is out of range "
                f"[prevApplying({self.applying}), committed({self.committed})]"
            )
        self.applying = index
        self._applying_size += size
        # Fewer entries than there are: the next one did not fit, so wait for room for it too.
        self._applying_paused = (
            self._applying_size >= self.max_applying_size
            or index < self.max_appliable_index(allow_unstable)
        )

    def start_page(self, entries: list[Entry]) -> int:
        """The encoded bytes of entries that are handed out to be applied."""
        batch, payload, encoded, _ = self._batch
        if len(batch) != len(entries) or batch[0] is not entries[0]:
            payload, encoded = sizes(entries)
        self._pages[entries[-1].index] = (payload, encoded)
        return encoded

    def end_page(self, entries: list[Entry]) -> tuple[int, int]:
        """(bytes of data, encoded bytes) of entries that were applied."""
        return self._pages.pop(entries[-1].index, None) or sizes(entries)

    def applied_to(self, index: int, size: int) -> None:
        """Entries up to `index` are applied, `size` encoded bytes of them newly."""
        if not self.applied <= index <= self.committed:
            raise RaftPanic(
                f"applied({index}) is out of range "
                f"[prevApplied({self.applied}), committed({self.committed})]"
            )
        self.applied = index
        self.applying = max(self.applying, index)
        self._applying_size = max(self._applying_size - size, 0)
        self._applying_paused = self._applying_size >= self.max_applying_size
