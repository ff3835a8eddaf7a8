"""What a member sees to by itself: compacting automatically, and comparing itself with the others.

The applier holds it, asks it now and then what to propose, and gives it the entries about it.
"""

from collections.abc import Iterator
from typing import Any

from ..storage.state_store import StateStore
from .compactor import Compactor
from .divergence import Divergence
from .entries import own_entry


class Upkeep:
    """A member's compactor and its part in finding divergence."""

    def __init__(self, divergence: Divergence, compactor: Compactor | None, log: Any) -> None:
        self._divergence = divergence
        self._compactor = compactor
        self._log = log
        self.leading = False

    def proposals(self, state: StateStore, now: float, members: int) -> Iterator[bytes]:
        """Entries to be proposed now, by a member of so many."""
        target = self._compactor and self._compactor.tick(
            now, state.revision, state.compact_revision, leading=self.leading
        )
        if target:
            self._log.info("automatic compaction", revision=target)
            yield own_entry(("compact", target))
        entry = self._divergence.tick(state, now, leading=self.leading, members=members)
        if entry is not None:
            yield entry

    def apply(self, state: StateStore, at: tuple[int, int], entry: Any, configuration: Any) -> None:
        """Apply an entry of a comparison; see Divergence.apply."""
        verdict = self._divergence.apply(state, at, entry, configuration)
        if verdict is not None and verdict.wrong:
            self._log.error("members have diverged", right=verdict.right, wrong=verdict.wrong)

    def status(self, state: StateStore, members: Any) -> dict[str, Any]:
        """Its part of the status."""
        return {"diverged": self._divergence.diverged(state, members)}

    def reason_to_stop(self, state: StateStore) -> str:
        """Why this member must stop for good; empty when it need not."""
        return self._divergence.reason_to_stop(state)
