"""What a core goes on with: what its two databases hold, made to agree after any crash."""

from typing import Any, NamedTuple

from ..raft import Entry, EntryType, HardState
from .actor import Impossible


class Recovered(NamedTuple):
    """See `recover`."""

    hard_state: HardState
    start: tuple[int, int]
    """(index, term) after which the log begins."""
    entries: list[Entry]
    is_reset: bool
    """The log must be made to begin there on the disk, too."""

    @property
    def last(self) -> int:
        """Index of the last entry, or of the start when there is none."""
        return self.entries[-1].index if self.entries else self.start[0]


def recover(disk: Any, state: Any) -> Recovered:
    """From what came on logc and statec. Raises Impossible when something is gone."""
    (term, vote, commit), start, raw = disk
    applied, applied_term, _, _, installed, *_ = state
    entries = [Entry(t, i, EntryType(k), d) for t, i, k, d in raw]
    last = entries[-1].index if entries else start[0]
    at = applied - start[0]  # position after the entry that the state ends with
    contradicts = 0 < at <= len(entries) and entries[at - 1].term != applied_term
    is_reset = applied > last or contradicts
    if is_reset:
        # Killed between installing a snapshot's state and resetting the log behind it. What a
        # longer log holds there was never committed.
        if installed != (applied, applied_term):
            raise Impossible(
                f"the state ends at {applied} of term {applied_term} but the log at {last}: "
                "what was durable in the log is gone. Was the log database replaced by an "
                "older copy? Restore the whole data directory as it was last"
            )
        start, entries, last = (applied, applied_term), [], applied
    if applied < start[0]:
        raise Impossible(
            f"the log starts after {start[0]} but the state ends at {applied}: entries between "
            "are gone. Was the state database replaced by an older copy?"
        )
    if term < applied_term:  # the vote belongs to the term that the snapshot has overtaken
        term, vote = applied_term, 0
    hard_state = HardState(term, vote, max(commit, min(applied, last)))
    return Recovered(hard_state, start, entries, is_reset)
