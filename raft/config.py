"""A node's options, their validation, and what the core writes its log lines to."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from .storage import Storage
from .types import NO_LIMIT, NONE, is_local_msg_target


class Logger(Protocol):
    """What `logging.Logger` offers: the text is `fmt % args`, formatted during the call."""

    def debug(self, fmt: str, *args: object) -> None:
        """Detail of replication."""
        ...

    def info(self, fmt: str, *args: object) -> None:
        """Elections, roles, configurations, snapshots."""
        ...

    def warning(self, fmt: str, *args: object) -> None:
        """Something an operator may have to look at."""
        ...

    def error(self, fmt: str, *args: object) -> None:
        """Something that should not happen."""
        ...


class NullLogger:
    """Discards everything; the default, so that an embedded core stays silent."""

    def debug(self, fmt: str, *args: object) -> None:
        """Discard."""

    info = warning = error = debug


class ReadOnlyOption(IntEnum):
    """How a leader makes sure that it still is one before it answers a read.

    Safe: a round of heartbeats. LeaseBased: it trusts that clocks tick at about the same rate.
    """

    ReadOnlySafe = 0
    ReadOnlyLeaseBased = 1


@dataclass
class Config:
    """The options of a node; see the package docstring for the consequences of each.

    Sizes are bytes, ticks are calls of `RawNode.tick`. `rand(n)` gives an integer in [0, n).
    """

    id: int = 0
    election_tick: int = 0
    heartbeat_tick: int = 0
    storage: Storage | None = None
    applied: int = 0
    async_storage_writes: bool = False
    max_size_per_msg: int = 0
    max_committed_size_per_ready: int = 0
    max_uncommitted_entries_size: int = 0
    max_inflight_msgs: int = 0
    max_inflight_bytes: int = 0
    check_quorum: bool = False
    pre_vote: bool = False
    read_only_option: ReadOnlyOption = ReadOnlyOption.ReadOnlySafe
    logger: Logger | None = None
    disable_proposal_forwarding: bool = False
    disable_conf_change_validation: bool = False
    step_down_on_removal: bool = False
    commits_on_request: bool = False
    rand: Callable[[int], int] | None = None

    def validate(self) -> Storage:
        """Check the options and give the storage; raises ValueError with etcd's text."""
        if self.id == NONE:
            raise ValueError("cannot use none as id")
        if is_local_msg_target(self.id):
            raise ValueError("cannot use local target as id")
        if self.heartbeat_tick <= 0:
            raise ValueError("heartbeat tick must be greater than 0")
        if self.election_tick <= self.heartbeat_tick:
            raise ValueError("election tick must be greater than heartbeat tick")
        if self.storage is None:
            raise ValueError("storage cannot be nil")
        if self.max_inflight_msgs <= 0:
            raise ValueError("max inflight messages must be greater than 0")
        if 0 < self.max_inflight_bytes < self.max_size_per_msg:
            raise ValueError("max inflight bytes must be >= max message size")
        lease = self.read_only_option == ReadOnlyOption.ReadOnlyLeaseBased
        if lease and not self.check_quorum:
            raise ValueError(
                "CheckQuorum must be enabled when ReadOnlyOption is ReadOnlyLeaseBased"
            )
        return self.storage

    def applying_size_max(self) -> int:
        """Bound on entries being applied: its own option, else the message size, else none.

        A bound of 0 would mean never to apply anything, so 0 in both options is no bound.
        """
        return self.max_committed_size_per_ready or self.max_size_per_msg or NO_LIMIT
