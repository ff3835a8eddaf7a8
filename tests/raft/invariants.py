"""What must hold of a group of nodes at any time (raft paper, figure 3)."""

import itertools

from sampan.raft import ConfState, Entry, EntryType

BASE = (2, 1)  # index and term of the snapshot that the first members start from


class ViolationError(AssertionError):
    """A property of raft does not hold."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise ViolationError(text)


class History:
    """What was ever observed of the whole group, to hold every node's behaviour against."""

    def __init__(self) -> None:
        self.leaders: dict[int, int] = {}  # term -> node
        self.entries: dict[tuple[int, int], tuple[int, EntryType, bytes]] = {}
        self.checksums: dict[int, int] = {}  # index -> state after it
        self.configs: dict[int, ConfState] = {}
        self.commits: list[tuple[int, int, int]] = []  # leader's term, index, entry's term
        self.acknowledged = BASE[0]
        self.read_floors: dict[bytes, int] = {}

    def saw_leader(self, term: int, node: int) -> None:
        first = self.leaders.setdefault(term, node)
        require(first == node, f"two leaders in term {term}: {first} and {node}")

    def saw_entry(self, previous_term: int, e: Entry) -> None:
        """Log matching: an entry determines its data and the entry before it."""
        have = self.entries.setdefault((e.index, e.term), (previous_term, e.type, e.data))
        require(
            have == (previous_term, e.type, e.data),
            f"logs differ at {e.term}/{e.index}: {have} and {(previous_term, e.type, e.data)}",
        )

    def saw_commit(self, leader_term: int, index: int, term: int) -> None:
        """Only an entry of its own term tells a leader what is committed (5.4.2)."""
        require(term == leader_term, f"leader of {leader_term} committed {term}/{index}")
        self.commits.append((leader_term, index, term))

    def committed_before(self, term: int) -> tuple[int, int]:
        """The last (index, term) that a leader of an earlier term committed."""
        return max(
            ((i, t) for leader_term, i, t in self.commits if leader_term < term), default=BASE
        )

    def saw_applied(self, index: int, checksum: int, node: int) -> None:
        have = self.checksums.setdefault(index, checksum)
        require(have == checksum, f"node {node} applied something else at {index}")
        self.acknowledged = max(self.acknowledged, index)

    def saw_config(self, index: int, old: ConfState, new: ConfState) -> None:
        if index in self.configs:
            require(self.configs[index] == new, f"configurations differ at {index}")
            return
        self.configs[index] = new
        require(quorums_overlap(old, new), f"quorums of {old} and {new} need not meet")


def quorums_overlap(old: ConfState, new: ConfState) -> bool:
    """True if no quorum of one configuration avoids all quorums of the other."""
    ids = sorted({*old.voters, *old.voters_outgoing, *new.voters, *new.voters_outgoing})

    def is_quorum(members: frozenset[int], config: ConfState) -> bool:
        halves = [half for half in (config.voters, config.voters_outgoing) if half]
        return all(2 * len(members & set(half)) > len(half) for half in halves)

    subsets = [frozenset(c) for n in range(len(ids) + 1) for c in itertools.combinations(ids, n)]
    everyone = frozenset(ids)
    return not any(is_quorum(s, old) and is_quorum(everyone - s, new) for s in subsets)
