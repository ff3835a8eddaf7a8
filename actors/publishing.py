"""What a member says of itself through the log, until the log holds it."""

from collections.abc import Callable
from typing import Any

from .entries import PUBLISH


class Publishing:
    """A node's announcement: its name, its client endpoints, its data dir."""

    def __init__(self, member_id: int, wanted: tuple[Any, ...], every_s: float) -> None:
        self._member_id = member_id
        self._wanted = wanted
        self._every_s = every_s
        self._due_at = 0.0

    def dropped(self) -> None:
        """Raft refused it."""
        self._due_at = 0.0

    def work(self, members: tuple[Any, ...], now: float, say: Callable[[Any], None]) -> None:
        """Say it, if the members do not tell it yet."""
        me = next((m for m in members if m[0] == self._member_id), None)
        said = me is None or (me[1], me[3], me[5]) == self._wanted
        if not said and now >= self._due_at:
            self._due_at = now + self._every_s
            say((PUBLISH, self._member_id, *self._wanted))
