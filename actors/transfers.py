"""Requests to hand leadership over, until they have their answer."""

from collections.abc import Callable
from typing import Any

from ..transport import errors
from ..transport.codec import pack
from ..transport.errors import WireError
from ..transport.requests import is_u64
from .asked import Asked


class Transfers:
    """A node's transfers of leadership (etcd's MoveLeader)."""

    def __init__(
        self,
        transfer: Callable[[int], None],
        reply: Callable[[Asked, bytes], None],
        fail: Callable[[Asked, WireError], None],
    ) -> None:
        self._transfer = transfer
        self._reply = reply
        self._fail = fail
        self._waiting: list[tuple[int, Asked]] = []  # (to whom, who asked for it)

    def take(self, asked: Asked, request: Any, members: Any, *, leads: bool) -> None:
        """`("move_leader", member)`, alone in its message: answered when that member leads."""
        target: Any = request[1] if len(request) == 2 else None
        refusal = None
        if not is_u64(target):
            refusal = errors.malformed("move_leader takes member")
        elif not leads:
            refusal = errors.NOT_LEADER
        elif target not in [m[0] for m in members if not m[4]]:
            refusal = errors.BAD_TRANSFEREE
        if refusal is not None:
            self._reply(asked, pack([refusal]))
            return
        self._waiting.append((target, asked))
        self._transfer(target)

    def settle(self, leader: int, now: float) -> None:
        """Answer those whose member leads, and those whose time is up."""
        waiting, self._waiting = self._waiting, []
        for target, asked in waiting:
            if leader == target:
                self._reply(asked, pack([(0,)]))
            elif asked.deadline <= now:
                self._fail(asked, errors.TIMEOUT)
            else:
                self._waiting.append((target, asked))
