"""Every error of the raft core, in one tree.

::

    Exception
    ├── RaftError                     the message or proposal was refused; the node goes on
    │   ├── ProposalDropped           no leader, quota used up, or a transfer under way
    │   ├── StepLocalMsg              a local message arrived from another node
    │   ├── StepPeerNotFound          a response from a node that is not a member
    │   └── InvalidMessage            malformed: no correct peer sends it
    │       ├── UnknownEntry          a follower acknowledges what this leader's log does not have
    │       └── UnsafeMessage         also a RaftPanic: it contradicts this node's committed log
    ├── StorageError                  what a Storage answers when it cannot deliver
    │   ├── ErrCompacted
    │   ├── ErrUnavailable
    │   ├── ErrSnapOutOfDate
    │   └── ErrSnapshotTemporarilyUnavailable
    └── RuntimeError
        └── RaftPanic                 an impossible state: stop the node, keep its disk

``str(error)`` is the text an operator sees; where etcd has the same error it is etcd's text.
"""


class RaftError(Exception):
    """A refused proposal or message. The node's state is sound and the caller may go on."""


class ProposalDropped(RaftError):
    """The proposal was not appended; propose it again later or elsewhere."""

    def __init__(self, text: str = "raft proposal dropped") -> None:
        super().__init__(text)


class StepLocalMsg(RaftError):
    """A message that only this node may send to itself came in through `RawNode.step`."""

    def __init__(self, text: str = "raft: cannot step raft local message") -> None:
        super().__init__(text)


class StepPeerNotFound(RaftError):
    """A response came from a node that is in neither half of the configuration."""

    def __init__(self, text: str = "raft: cannot step as peer not found") -> None:
        super().__init__(text)


class InvalidMessage(RaftError):
    """A message or an encoding that no correct peer produces. Nothing was changed by it."""


class UnknownEntry(InvalidMessage):
    """A follower acknowledges to this leader an entry that is not in its log.

    Once that is a broken message; again and again, the follower has committed what this leader
    has never had: their logs are of two histories.
    """


class StorageError(Exception):
    """What a `Storage` raises when it cannot deliver."""


class ErrCompacted(StorageError):
    """The entry is older than the first index: it now lives in a snapshot only."""

    def __init__(self, text: str = "requested index is unavailable due to compaction") -> None:
        super().__init__(text)


class ErrUnavailable(StorageError):
    """The entry is newer than the last index."""

    def __init__(self, text: str = "requested entry at index is unavailable") -> None:
        super().__init__(text)


class ErrSnapOutOfDate(StorageError):
    """The storage already holds a snapshot at least as new."""

    def __init__(self, text: str = "requested index is older than the existing snapshot") -> None:
        super().__init__(text)


class ErrSnapshotTemporarilyUnavailable(StorageError):
    """The snapshot is being made; the leader asks again later."""

    def __init__(self, text: str = "snapshot is temporarily unavailable") -> None:
        super().__init__(text)


class RaftPanic(RuntimeError):
    """An impossible state: a bug, a misused interface, or a log that lost durable writes."""


class UnsafeMessage(InvalidMessage, RaftPanic):
    """A message that contradicts what this node has committed.

    Either the sender is broken or this node lost writes it had acknowledged. Dropping the message
    is safe (nothing was changed), but it repeats until somebody looks: report it loudly.
    """
