"""When a member's log is archived, and how far: a follower that only remembers.

It takes what is committed from the log's tail, as any follower, and where the tail no longer has
what comes next, it begins anew with a snapshot. It is slower than the others, or away for hours, as
it likes: the tail waits for it up to a bound, and nothing else does.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

from ..storage.archive import TIMES_MAX, Archive, Base, Position, Segment, Times
from ..storage.errors import SnapshotError
from .actor import Actor
from .log_tail import LogTail

LOOK_S = 1.0
"""Between two looks at what there is to archive, and two moments to which one can go back."""
HELD_S = 10.0
"""How long entries wait for others to fill a file: what is lost with all machines at once."""
RETRY_S = 5.0
"""After a failure."""
COMPLAIN_S = 60.0
"""Between two complaints of the same kind."""
SEGMENT_BYTES_MAX = 4 << 20
SEGMENT_ENTRIES_MAX = 4_000
"""In one file: a thread packs so much in 10 ms, while the core takes its turns."""
BASE_AGAIN_BYTES = 256 << 20
"""A new base comes after so many bytes of entries, or as many as the last base has: so restoring
costs twice what it must, and the archive is twice as large, at most."""


class Archiver:
    """Decides what is archived next. `job` does it, in a thread, for as long as it takes."""

    def __init__(self, archive: Archive, wall_ms: Callable[[], int], log: Any) -> None:
        self._archive = archive
        self._wall_ms = wall_ms
        self._log = log
        self._position = archive.position()
        self._times: Times = archive.times()  # of entries that are not archived yet
        self._made: Base | None = None
        self._order: Base | Segment | None = None
        self._began_at = 0.0
        self._look_at = 0.0
        self._archived_at = 0.0
        self._failing = ""
        self._complain_at = 0.0
        self._commit = 0
        self._noted = self._times[-1:]  # the newest that the next start would find
        self.stopping = False

    # -- what the core asks

    def start(self, tail: LogTail, now: float) -> None:
        """The log is open. What was archived must be of this log."""
        self._archived_at = now
        position = self._position
        if position is None:
            self._log.info("archive begins", reason="there is none that goes on")
        elif position.last > tail.last_index() or (
            position.last >= tail.start_index and tail.term(position.last) != position.term
        ):
            self._begin_anew("it is not of this log")
            self._times = []

    def _begin_anew(self, reason: str) -> None:
        self._log.warning("archive begins anew", reason=reason)
        self._position = None

    def needed_after(self) -> int:
        """The index after which the tail is needed."""
        if self._position is not None:
            return self._position.last
        base = self._order.at if isinstance(self._order, Base) else None
        made = self._made.at if self._made else None
        return min((i for i in (base, made) if i is not None), default=2**63)

    @property
    def idle(self) -> bool:
        """Whether all that is committed is archived, or cannot be now."""
        position = self._position
        if position is None or self._failing:
            return True
        return self._order is None and position.last >= self._commit

    def take_snapshot(self, made: Base) -> None:
        """A snapshot was made."""
        self._made = made

    def look(self, tail: LogTail, commit: int, now: float) -> str:
        """Called every heartbeat. Returns a job that is to begin now, or nothing."""
        self._commit = commit = min(commit, tail.last_index())
        if now < self._look_at and not self.stopping:
            return ""
        self._look_at = now + LOOK_S
        self._note_time(commit)
        if self._order is not None:
            self._complain_if_slow(now)
        else:
            self._order = self._next(tail, commit, now)
            if self._order is not None:
                self._began_at = now
                return "archive"
        if self._times[-1:] == self._noted:
            return ""
        return "times"

    def _note_time(self, commit: int) -> None:
        times = self._times
        newest = times[-1] if times else (0, 0)
        archived = self._position.last if self._position else 0
        if commit > max(newest[0], archived):
            times.append((commit, max(self._wall_ms(), newest[1])))
        if len(times) > TIMES_MAX:
            del times[-2::-2]  # half of them, and never the newest

    def _next(self, tail: LogTail, commit: int, now: float) -> Base | Segment | None:
        position = self._position
        if position is not None and position.last < tail.start_index:
            self._log.error(
                "archive has a gap", after=position.last, until=tail.start_index,
                hint="it was away, or slower than the log is long; a new base makes up for it",
            )  # fmt: skip
            position = self._position = None
        if self._wants_base(position):
            made = self._made
            if made is not None and made.at >= tail.start_index:
                return made
            tail.snapshot_wanted = True
        if position is None or position.last >= commit:
            self._archived_at = now
            return None
        return self._segment(position, tail, commit, now)

    def _wants_base(self, position: Position | None) -> bool:
        if position is None:
            return True
        again = max(BASE_AGAIN_BYTES, position.base_bytes)
        made = self._made
        if position.entry_bytes < again:
            return False
        if made is not None and made.at <= position.base:
            self._made = None
        return True

    def _segment(
        self, position: Position, tail: LogTail, commit: int, now: float
    ) -> Segment | None:
        first = position.last + 1
        end = min(commit + 1, first + SEGMENT_ENTRIES_MAX)
        entries = tail.entries(first, end, SEGMENT_BYTES_MAX)
        last = entries[-1].index
        is_full = last < commit
        if not (is_full or self.stopping or now - self._archived_at >= HELD_S):
            return None
        known = self._times[: bisect_left(self._times, (last,)) + 1]
        times = [(min(index, last), at) for index, at in known]
        plain = [(e.term, e.index, int(e.type), e.data) for e in entries]
        return Segment((position.last, position.term), plain, times)

    # -- the jobs

    def job(self) -> Position | str | None:
        """Archive what was decided; returns what is archived then, None when nothing is any more,
        or why it failed."""
        assert self._order is not None
        try:
            if isinstance(self._order, Base):
                return self._archive.put_base(self._order, self._position)
            assert self._position is not None
            return self._archive.put_segment(self._order, self._position)
        except (OSError, SnapshotError) as error:
            return str(error)

    def times_job(self) -> None:
        """Keep the times for the next start."""
        self._noted = self._times[-1:]
        self._archive.note_times(list(self._times))

    def done(self, result: Position | str | None, now: float) -> None:
        """What `job` returned."""
        order, self._order = self._order, None
        if isinstance(result, str):
            self._failed(order, result, now)
            return
        if result is None:
            self._begin_anew("somebody has removed what was archived")
            return
        if self._failing:
            self._log.info("archive goes on", index=result.last)
        self._failing = ""
        self._position = result
        self._look_at = self._archived_at = now
        if isinstance(order, Base):
            self._made = None
            self._log.info("archive has a base", index=order.at, revision=order.revision)
        else:
            self._times = [each for each in self._times if each[0] > result.last]

    def _failed(self, order: Base | Segment | None, reason: str, now: float) -> None:
        if isinstance(order, Base):
            self._made = None  # it may have been pruned
        self._look_at = now + RETRY_S
        if now >= self._complain_at or not self._failing:
            self._complain_at = now + COMPLAIN_S
            self._log.error("archive fails", reason=reason)
        self._failing = reason

    def _complain_if_slow(self, now: float) -> None:
        took_s = now - self._began_at
        if took_s > COMPLAIN_S and now >= self._complain_at:
            self._complain_at = now + COMPLAIN_S
            self._log.warning("archive is slow", under_way_s=round(took_s))

    def cut_short(self) -> None:
        """The node stops."""
        self._archive.cut_short()

    def status(self, now: float) -> dict[str, Any]:
        """Of its member's status."""
        position = self._position
        return {
            "index": position.last if position else 0,
            "base": position.base if position else 0,
            "entry_bytes": position.entry_bytes if position else 0,
            "behind": max(0, self._commit - position.last) if position else self._commit,
            "under_way_s": round(now - self._began_at, 1) if self._order is not None else 0.0,
            "failing": self._failing,
        }


class Archiving(Actor):
    """What an actor does that holds a log and may have an archive."""

    slow_jobs = ("archive",)

    def __init__(self) -> None:
        super().__init__()
        self.archiver: Archiver | None = None
        """Whoever makes the actor sets one where there is an archive."""

    def archive(self, tail: LogTail, commit: int) -> None:
        """Begin a job if there is one; called every heartbeat."""
        job = self.archiver and self.archiver.look(tail, commit, self.now)
        if job:
            self.emit("jobc", job)

    def archive_needs_after(self) -> int:
        """The index after which the archive needs the tail."""
        return self.archiver.needed_after() if self.archiver else 2**63

    def archive_snapshot(self, name: str, index: int, term: int, revision: int) -> None:
        """A snapshot was made: it may be wanted as a base."""
        if self.archiver is not None:
            self.archiver.take_snapshot(Base(name, index, term, revision))

    def archive_status(self) -> dict[str, Any]:
        """Of its status."""
        return {"archive": self.archiver.status(self.now)} if self.archiver else {}

    def on_donec(self, message: Any) -> None:
        """("archive", what is archived or why nothing more) or ("times", None)."""
        if self.archiver is not None and message[0] == "archive":
            self.archiver.done(message[1], self.now)

    @property
    def jobs(self) -> dict[str, Callable[..., Any]]:
        """What the archive takes."""
        archiver = self.archiver
        return {} if archiver is None else {"archive": archiver.job, "times": archiver.times_job}

    def stop(self) -> None:
        """Archive what is committed."""
        if self.archiver is not None:
            self.archiver.stopping = True

    @property
    def idle(self) -> bool:
        """Whether it is."""
        return self.archiver is None or self.archiver.idle

    def cut_jobs_short(self) -> None:
        """A base or a command may take hours."""
        if self.archiver is not None:
            self.archiver.cut_short()
