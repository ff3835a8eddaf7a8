"""Who should lead, as far as a member has a say in it beside raft's election timeout: campaigns.py
and slow_disk.py decide, here the core is told."""

from typing import Any

from ..raft import RawNode, Status
from .campaigns import Campaigns
from .core_config import CoreSettings
from .elections import Elections
from .slow_disk import SlowDisk


class Leadership:
    """One member's say."""

    def __init__(self, settings: CoreSettings, log: Any) -> None:
        election_s = settings.election_ticks * settings.heartbeat_s
        self._id = settings.member_id
        self._election_ticks = settings.election_ticks
        self._log = log
        self.campaigns = Campaigns(self._id, election_s)
        self.slow_disk = SlowDisk(election_s)
        self.elections = Elections(self.campaigns)

    def hand_over_if_slow(self, node: RawNode, oldest: float | None, now: float) -> None:
        """As the leader; `oldest`: when what the disk has still to write was handed to it."""
        if not self.slow_disk.is_slow(oldest, now):
            return
        status = node.status()
        matches = {p: status.progress[p].match for p in _voters(status) if p != self._id}
        successor = self.slow_disk.successor(matches, now)
        if successor:
            self._log.warning("this disk is slow beside others: another one leads", to=successor)
            self.elections.note(f"its disk is slow: hands over to {successor:x}", now)
            self.campaigns.gave_up(now)
            node.transfer_leadership(successor)

    def leader_gone(self, node: RawNode, leader: int, now: float) -> None:
        """As its follower: its process is gone."""
        self._log.info("the leader's process is gone", leader=leader)
        self.campaigns.leader_is_gone(leader, _voters(node.status()), now)
        node.forget_leader()

    def way_back(self, node: RawNode, now: float) -> None:
        """Nobody leads as far as this member knows, and a peer can be reached again."""
        self.campaigns.way_back(_voters(node.status()), now)

    def be_modest(self, node: RawNode, now: float) -> None:
        """Before the clock ticks: who has given up leaves an election to others at first."""
        if self.campaigns.is_modest(now):
            node.set_randomized_election_timeout(3 * self._election_ticks)


def _voters(status: Status) -> set[int]:
    return set().union(*status.config.voters)
