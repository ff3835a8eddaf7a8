"""When records may wait in memory: while the same few keys are written again and again.

A record that is replaced before it is committed need never be written, so a commit that waits costs
less; but one of many keys stops everything for as long as it takes. While nearly every write is to
one of a few thousand keys, commits wait for the next flush: each key is then written once for all
its changes since the last one.
"""

from collections.abc import Collection

KEYS_MAX = 16_384
"""So many take one commit 20 ms, once a flush."""
WRITES_PER_KEY = 2
"""How often each was written when they count as few: half of the writes are spared at least."""


class HotKeys:
    """Watches which keys are written."""

    def __init__(self) -> None:
        self.few = False
        """Whether what is written may wait."""
        self._begin()

    def _begin(self) -> None:
        self._events = 0
        self._seen: set[bytes] = set()

    def note(self, waiting: Collection[bytes], events: int) -> None:
        """So many events were applied since the last time, and these keys are not committed."""
        if self.few:
            self.few = len(waiting) <= KEYS_MAX
            return
        self._events += events
        self._seen.update(waiting)
        self.few = self._events >= WRITES_PER_KEY * len(self._seen)
        if self.few or len(self._seen) > KEYS_MAX:
            self._begin()
