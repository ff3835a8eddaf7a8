"""Majorities, and majorities of two configurations at once (raft thesis, 4.3).

Source: etcd-io/raft, quorum/.
"""

from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
from typing import Final

Lookup = Callable[[int], int | None]  # acknowledged index of a voter, None if unknown

_INFINITE: Final = 2**64 - 1  # what an empty majority has committed, so that a joint half adds 0


class VoteResult(IntEnum):
    """How an election stands."""

    VotePending = 1
    VoteLost = 2
    VoteWon = 3


class MajorityConfig(set[int]):
    """A set of voters that decides by majority."""

    def __str__(self) -> str:
        return f"({' '.join(f'{id_:x}' for id_ in sorted(self))})"

    def committed_index(self, acked: Lookup) -> int:
        """The largest index that a majority has acknowledged; 2**64-1 if there are no voters."""
        if not self:
            return _INFINITE
        indexes = sorted([acked(id_) or 0 for id_ in self])
        return indexes[(len(indexes) - 1) // 2]

    def vote_result(self, votes: Mapping[int, bool]) -> VoteResult:
        """Won or lost as soon as a majority says so; won if there are no voters."""
        if not self:
            return VoteResult.VoteWon
        cast = [votes[id_] for id_ in self if id_ in votes]
        needed = len(self) // 2 + 1
        if sum(cast) >= needed:
            return VoteResult.VoteWon
        if sum(cast) + len(self) - len(cast) >= needed:
            return VoteResult.VotePending
        return VoteResult.VoteLost

    def describe(self, acked: Lookup) -> str:
        """A table of the voters' indexes, a bar for the rank of each."""
        if not self:
            return "<empty majority quorum>"
        width = len(self)
        known = {id_: acked(id_) for id_ in sorted(self)}
        ranked = sorted(index or 0 for index in known.values())
        lines = [" " * width + "    idx\n"]
        for id_, index in known.items():
            if index is None:
                bar = "?" + " " * width
            else:
                rank = ranked.index(index)
                bar = "x" * rank + ">" + " " * (width - rank)
            lines.append(f"{bar} {index or 0:5d}    (id={id_:x})\n")
        return "".join(lines)


class JointConfig(list[MajorityConfig]):
    """[incoming, outgoing]: decisions need both majorities; outgoing is empty unless joint."""

    def __init__(
        self, incoming: Iterable[int] | None = None, outgoing: Iterable[int] | None = None
    ) -> None:
        super().__init__([MajorityConfig(incoming or ()), MajorityConfig(outgoing or ())])

    def __str__(self) -> str:
        return f"{self[0]}&&{self[1]}" if self[1] else str(self[0])

    def ids(self) -> set[int]:
        """Every voter of either half."""
        return self[0] | self[1]

    def committed_index(self, acked: Lookup) -> int:
        """The largest index that both majorities have acknowledged."""
        incoming = self[0].committed_index(acked)
        return min(incoming, self[1].committed_index(acked)) if self[1] else incoming

    def vote_result(self, votes: Mapping[int, bool]) -> VoteResult:
        """Won if both halves are won, lost if either is lost."""
        incoming, outgoing = self[0].vote_result(votes), self[1].vote_result(votes)
        if incoming == outgoing:
            return incoming
        if VoteResult.VoteLost in (incoming, outgoing):
            return VoteResult.VoteLost
        return VoteResult.VotePending

    def describe(self, acked: Lookup) -> str:
        """The table of both halves together."""
        return MajorityConfig(self.ids()).describe(acked)
