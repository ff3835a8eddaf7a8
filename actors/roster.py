"""Whom a member links to: those whom its log knows, and those of whom others have told it.

A member that was away gets its log from the leader, which may have been added since; and a new one
replays times when others had the ids, and the addresses, of today's members. So what it was told
when it joined, and what peers tell it, counts as long as its log does not know better.
"""

from collections.abc import Iterable
from typing import Any

Way = tuple[str, str]
"""(peer endpoint, name)."""


class Roster:
    """The members as far as this one knows.

    Attributes:
        members: as the log has them (storage/members.py).
        removed: (id, peer addresses) of former ones, likewise.
    """

    def __init__(self, member_id: int, configured: Iterable[tuple[int, str, str]]) -> None:
        """`configured`: (id, peer endpoint, name) of the others, in the file or when it joined."""
        self.members: tuple[Any, ...] = ()
        self.removed: tuple[Any, ...] = ()
        self._me = member_id
        self._told: dict[int, Way] = {peer: (at, name) for peer, at, name in configured}
        self._configured = {member_id, *self._told}
        self._is_in_log = False

    def take(self, members: tuple[Any, ...], removed: tuple[Any, ...]) -> None:
        """What the log says now."""
        self.members, self.removed = members, removed
        listed = {m[0] for m in members}
        # The log of a new cluster begins with its members, one after the other.
        begins = not removed and listed <= self._configured
        if not self._is_in_log and self._me in listed and not begins:
            self._is_in_log = True  # it has come to where this member is one
            for peer in self._configured:
                self._told.pop(peer, None)

    def hear(self, members: Iterable[Any]) -> bool:
        """What a peer says; whether that is news. Before the log knows any, the file counts."""
        known = {m[0] for m in self.members} | dict(self.removed).keys()
        news = {m[0]: (m[2][0], m[1]) for m in members if m[0] not in known}
        if not self.members or news.items() <= self._told.items():
            return False
        self._told |= news
        return True

    def is_removed(self, peer: int) -> bool:
        """Whether the log says so."""
        return peer in dict(self.removed)

    def ways(self) -> dict[int, Way]:
        """Whom to link to."""
        known = {m[0]: (m[2][0], m[1]) for m in self.members}
        gone = dict(self.removed)
        self._told = {p: way for p, way in self._told.items() if p not in known and p not in gone}
        taken = {endpoint for endpoint, _ in self._told.values()}
        ways = {p: way for p, way in known.items() if way[0] not in taken} | self._told
        return {peer: way for peer, way in ways.items() if peer != self._me}
