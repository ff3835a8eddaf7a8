"""The pace at which a member forgets the history that compact requests have cut off."""

from ..config import limits
from ..storage.state_store import StateStore


class Forgetting:
    """A step after the other, with pauses; more when more is written meanwhile, or history would
    grow for ever."""

    def __init__(self) -> None:
        self._at = float("-inf")  # when the next step is due
        self._revision = 0  # at the step before

    def due_at(self, state: StateStore, now: float) -> float | None:
        """When to `work`, None when there is nothing to forget."""
        return max(now, self._at) if state.compacting else None

    def work(self, state: StateStore, now: float) -> None:
        """Forget some of it, if it is time."""
        if not state.compacting or now < self._at:
            return
        revision = state.revision
        lately = now - self._at < 100 * limits.COMPACT_PAUSE_S
        written = revision - self._revision if lately else 0
        budget = max(limits.COMPACT_STEP_VERSIONS, limits.COMPACT_WORK_PER_WRITE * written)
        state.compact_step(min(budget, limits.COMPACT_STEP_VERSIONS_MAX))
        self._revision = revision
        self._at = now + limits.COMPACT_PAUSE_S
