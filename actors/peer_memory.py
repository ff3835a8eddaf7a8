"""What this member knows of its peers' promises, so that none comes back without having kept them.

A data directory that is put back from an older copy has forgotten votes and acknowledged entries.
Were such a member heard, what a majority has acknowledged could be lost. It cannot know; its peers
do:

- each start of a node has a number, counted in its data directory, and a random epoch. An older
  copy counts on from an earlier start, and comes with a number that was there already;
- whatever of a member's log was committed, and acknowledged by it, stays in its log for ever. What
  it acknowledged to the leader of a term, committed or not, stays there in that term. So its log
  must not end before that when it starts. A leader sees it itself, in what comes over links to
  members that it has met. What others hear, such as the claims by which members compare their
  states, does not say in which start of a member it became true: it may be the present one, which
  began with an empty log.

None of that can be untrue of a member that has only been stopped or killed: the number is durable
before a node starts, and entries are before they are acknowledged.
"""

from typing import NamedTuple

from ..transport.codec import pack, unpack


class Life(NamedTuple):
    """What a member says of its present start."""

    start: int
    """Its number."""
    epoch: int
    term: int
    """Of its hard state, as it was on the disk."""
    last: int
    """Index of the last entry there."""


class _Known(NamedTuple):
    start: int = 0
    epoch: int = 0
    acknowledged: int = 0
    """Committed, and in its log as far as this index."""


class PeerMemory:
    """Kept in the log database. It may lag behind there: it only ever grows."""

    def __init__(self, packed: bytes = b"") -> None:
        self._known = {peer: _Known(*rest) for peer, *rest in unpack(packed)} if packed else {}
        self.changed = False
        """Since `packed` was called last."""

    def packed(self) -> bytes:
        """All of it, for the disk."""
        self.changed = False
        return pack([(peer, *known) for peer, known in self._known.items()])

    def acknowledged(self, peer: int, index: int) -> None:
        """`peer` has all that is committed up to `index` in its log, durably, since the start of it
        that this member knows. (What is heard of it otherwise may be of a later one, whose log
        ended before that when it started.)"""
        known = self._known.get(peer, _Known())
        if index > known.acknowledged:
            self._known[peer] = known._replace(acknowledged=index)
            self.changed = True

    def judge(self, peer: int, life: Life, match: int) -> str:
        """Why a peer must not be heard in this life; empty when it may, which is remembered.
        `match`: what it acknowledged in its present term to this member as the leader."""
        known = self._known.get(peer, _Known())
        floor = max(known.acknowledged, match)
        if (life.start, life.epoch) == known[:2]:
            return ""
        if life.start <= known.start:
            return f"this is start {life.start} of it, and start {known.start} has been seen"
        if life.last < floor:
            return f"its log ends at index {life.last}, and it had acknowledged index {floor}"
        self._known[peer] = known._replace(start=life.start, epoch=life.epoch)
        self.changed = True
        return ""

    def epoch(self, peer: int) -> int:
        """Of the start of a peer that is known, 0 of one that is not."""
        return self._known.get(peer, _Known()).epoch


def another_history(why: str) -> str:
    """What a member is told that has committed what its leader has never had."""
    return (
        f"the data directory of this member is of another history than its cluster's: {why}. Was "
        "it restored, or put back, alone? Restore all members from the same backup before any of "
        "them starts, or remove this member from the cluster and add it again as a new one, with "
        "an empty directory"
    )


def refusal(why: str) -> str:
    """What a member is told that must not be heard."""
    return (
        f"the data directory of this member is an older copy of itself: {why}. It has forgotten "
        "what it voted for and acknowledged since: put the newest one back, or remove this member "
        "from the cluster and add it again as a new one, with an empty directory"
    )
