"""What a leader knows of each peer: how far its log agrees, and what is on its way to it.

Source: etcd-io/raft, tracker/. `ProgressTracker.progress` is always in ascending order of ids, so
iterating over it visits peers in the order the interface promises.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from .errors import RaftPanic
from .quorum import JointConfig, MajorityConfig, VoteResult
from .types import ConfState


class ProgressState(IntEnum):
    """Probe: one message at a time, looking for the point where the logs agree. Replicate:
    pipelined. Snapshot: nothing is sent until the snapshot has arrived or failed."""

    StateProbe = 0
    StateReplicate = 1
    StateSnapshot = 2


PROBE: Final = ProgressState.StateProbe
REPLICATE: Final = ProgressState.StateReplicate
SNAPSHOT: Final = ProgressState.StateSnapshot


class Inflights:
    """The window of append messages sent and not yet acknowledged.

    `size` bounds their number and `max_bytes` their payload (0: no bound). A message is accepted
    while the window is not full, so the bytes may exceed the bound by one message.
    """

    __slots__ = ("_bytes", "_max_bytes", "_size", "_window")

    def __init__(self, size: int, max_bytes: int = 0) -> None:
        self._size = size
        self._max_bytes = max_bytes
        self._bytes = 0
        self._window: deque[tuple[int, int]] = deque()

    def add(self, index: int, nbytes: int) -> bool:
        """Note a message whose last entry is `index`; True if that fills the window.

        RaftPanic if it is full already.
        """
        window = self._window
        if len(window) == self._size or 0 < self._max_bytes <= self._bytes:
            raise RaftPanic("cannot add into a Full inflights")
        window.append((index, nbytes))
        self._bytes += nbytes
        return len(window) == self._size or 0 < self._max_bytes <= self._bytes

    def free_le(self, to: int) -> None:
        """Forget the messages whose last entry is at or before `to`."""
        window = self._window
        while window and window[0][0] <= to:
            self._bytes -= window.popleft()[1]

    def full(self) -> bool:
        """True if nothing more may be sent."""
        return len(self._window) == self._size or 0 < self._max_bytes <= self._bytes

    def count(self) -> int:
        """Messages in the window."""
        return len(self._window)

    def reset(self) -> None:
        """Empty the window."""
        self._window.clear()
        self._bytes = 0

    def clone(self) -> "Inflights":
        """A copy that shares nothing."""
        copy = Inflights(self._size, self._max_bytes)
        copy._window = self._window.copy()
        copy._bytes = self._bytes
        return copy


@dataclass(slots=True)
class Progress:
    """A peer's progress in the leader's eyes.

    `match`: highest index known to agree. `next`: first index to send; match < next.
    `recent_active`: heard from in this election timeout. `msg_app_flow_paused`: nothing is sent
    until the next heartbeat response. `sent_commit`: highest commit index on its way.
    """

    match: int = 0
    next: int = 0
    state: ProgressState = PROBE
    pending_snapshot: int = 0
    recent_active: bool = False
    msg_app_flow_paused: bool = False
    is_learner: bool = False
    inflights: Inflights | None = None
    sent_commit: int = 0

    def window(self) -> Inflights:
        """The in-flight window; RaftPanic on a copy made for status, which has none."""
        if self.inflights is None:
            raise RaftPanic("progress without an in-flight window: this is a copy for status")
        return self.inflights

    def _reset_state(self, state: ProgressState) -> None:
        self.msg_app_flow_paused = False
        self.pending_snapshot = 0
        self.state = state
        self.window().reset()

    def become_probe(self) -> None:
        """Look for the point of agreement, after a pending snapshot if there is one."""
        after_snapshot = self.pending_snapshot + 1
        was_snapshot = self.state is SNAPSHOT
        self._reset_state(PROBE)
        self.next = max(self.match + 1, after_snapshot) if was_snapshot else self.match + 1
        self.sent_commit = min(self.sent_commit, self.next - 1)

    def become_replicate(self) -> None:
        """Send optimistically from match + 1 on."""
        self._reset_state(REPLICATE)
        self.next = self.match + 1

    def become_snapshot(self, index: int) -> None:
        """Send nothing: a snapshot at `index` is on its way."""
        self._reset_state(SNAPSHOT)
        self.pending_snapshot = index
        self.next = index + 1
        self.sent_commit = index

    def sent_entries(self, count: int, nbytes: int) -> None:
        """Note an append message of `count` entries with `nbytes` of payload."""
        if self.state is REPLICATE:
            # A message that fills the window, or finds it full, is a probe: one per heartbeat.
            if count:
                self.next += count
                self.msg_app_flow_paused = self.window().add(self.next - 1, nbytes)
            else:
                self.msg_app_flow_paused = self.window().full()
        elif self.state is PROBE:
            if count:
                self.msg_app_flow_paused = True
        else:
            raise RaftPanic(f"sending append in unhandled state {self.state.name}")

    def can_bump_commit(self, index: int) -> bool:
        """True if telling the peer of commit `index` may raise its own, and was not yet done."""
        return index > self.sent_commit and self.sent_commit < self.next - 1

    def maybe_update(self, index: int) -> bool:
        """Take an acknowledgement of `index`; False if it is an old one."""
        if index <= self.match:
            return False
        self.match = index
        if self.next <= index:
            self.next = index + 1
        self.msg_app_flow_paused = False
        return True

    def maybe_decr_to(self, rejected: int, match_hint: int) -> bool:
        """Take the rejection of an append at `rejected`; False if it is an old one.

        `match_hint` is where the logs may agree. `next` never falls to or below `match`.
        """
        if self.state is REPLICATE:
            if rejected <= self.match:
                return False
            self.next = self.match + 1
            self.sent_commit = min(self.sent_commit, self.next - 1)
            return True
        # One message at a time is out, so a rejection of anything else is an old one.
        if self.next - 1 != rejected:
            return False
        self.next = max(min(rejected, match_hint + 1), self.match + 1)
        self.sent_commit = min(self.sent_commit, self.next - 1)
        self.msg_app_flow_paused = False
        return True

    def is_paused(self) -> bool:
        """True if no entries may be sent now."""
        return self.msg_app_flow_paused or self.state is SNAPSHOT

    def copy(self, *, with_inflights: bool = True) -> "Progress":
        """A copy; without its own window if only the numbers are wanted."""
        window = self.inflights.clone() if self.inflights and with_inflights else None
        return Progress(
            self.match, self.next, self.state, self.pending_snapshot, self.recent_active,
            self.msg_app_flow_paused, self.is_learner, window, self.sent_commit,
        )  # fmt: skip

    def __str__(self) -> str:
        parts = [f"{self.state.name} match={self.match} next={self.next}"]
        if self.is_learner:
            parts.append("learner")
        if self.is_paused():
            parts.append("paused")
        if self.pending_snapshot:
            parts.append(f"pendingSnap={self.pending_snapshot}")
        if not self.recent_active:
            parts.append("inactive")
        if self.inflights and self.inflights.count():
            full = "[full]" if self.inflights.full() else ""
            parts.append(f"inflight={self.inflights.count()}{full}")
        return " ".join(parts)


@dataclass(slots=True)
class TrackerConfig:
    """The active configuration.

    `learners_next` are voters of the outgoing half that become learners when it is left. A node is
    never learner and voter at once.
    """

    voters: JointConfig = field(default_factory=JointConfig)
    learners: set[int] = field(default_factory=set)
    learners_next: set[int] = field(default_factory=set)
    auto_leave: bool = False

    def is_joint(self) -> bool:
        """True while two majorities are needed."""
        return bool(self.voters[1])

    def copy(self) -> "TrackerConfig":
        """A copy that shares nothing."""
        return TrackerConfig(
            JointConfig(*self.voters), set(self.learners), set(self.learners_next), self.auto_leave
        )

    def __str__(self) -> str:
        text = f"voters={self.voters}"
        if self.learners:
            text += f" learners={MajorityConfig(self.learners)}"
        if self.learners_next:
            text += f" learners_next={MajorityConfig(self.learners_next)}"
        return text + " autoleave" if self.auto_leave else text


class ProgressTracker:
    """The configuration, each member's progress, and the votes of the current campaign."""

    __slots__ = ("config", "max_inflight", "max_inflight_bytes", "progress", "votes")

    def __init__(self, max_inflight: int, max_inflight_bytes: int = 0) -> None:
        self.max_inflight = max_inflight
        self.max_inflight_bytes = max_inflight_bytes
        self.config = TrackerConfig()
        self.progress: dict[int, Progress] = {}
        self.votes: dict[int, bool] = {}

    def new_inflights(self) -> Inflights:
        """An empty window with the configured bounds."""
        return Inflights(self.max_inflight, self.max_inflight_bytes)

    def conf_state(self) -> ConfState:
        """The configuration in the form that snapshots carry."""
        config = self.config
        return ConfState(
            voters=sorted(config.voters[0]),
            learners=sorted(config.learners),
            voters_outgoing=sorted(config.voters[1]),
            learners_next=sorted(config.learners_next),
            auto_leave=config.auto_leave,
        )

    def committed(self) -> int:
        """The largest index that the voters' acknowledgements commit."""
        matches = {id_: pr.match for id_, pr in self.progress.items()}
        return self.config.voters.committed_index(matches.get)

    def others(self, self_id: int) -> Iterator[tuple[int, Progress]]:
        """Every peer but this node, in ascending order."""
        return ((id_, pr) for id_, pr in self.progress.items() if id_ != self_id)

    def quorum_active(self) -> bool:
        """True if a quorum of voters was heard from in this election timeout."""
        active = {id_: pr.recent_active for id_, pr in self.progress.items() if not pr.is_learner}
        return self.config.voters.vote_result(active) == VoteResult.VoteWon

    def voter_nodes(self) -> list[int]:
        """Voters of either half, ascending."""
        return sorted(self.config.voters.ids())

    def record_vote(self, id_: int, granted: bool) -> None:
        """Note a vote; a second one from the same node changes nothing."""
        self.votes.setdefault(id_, granted)

    def tally_votes(self) -> tuple[int, int, VoteResult]:
        """(granted, rejected, result) of the current campaign."""
        cast = [
            self.votes[id_]
            for id_, pr in self.progress.items()
            if id_ in self.votes and not pr.is_learner
        ]
        return sum(cast), len(cast) - sum(cast), self.config.voters.vote_result(self.votes)
