"""Reads that wait for the leader to prove that it still leads (raft thesis, 6.4).

Every heartbeat carries the position of the newest waiting read; an answer to it confirms that
read and all earlier ones. Source: etcd-io/raft, read_only.go.
"""

from dataclasses import dataclass

from .config import ReadOnlyOption
from .errors import InvalidMessage
from .quorum import JointConfig
from .types import Message

_CONTEXT_BYTES = 8


@dataclass(slots=True)
class ReadState:
    """A confirmed read: serve it once `index` is applied. `request_ctx` names the request."""

    index: int = 0
    request_ctx: bytes = b""


class ReadOnly:
    """The queue of reads that wait for a quorum; positions count from the start of the term."""

    __slots__ = ("_acks", "_confirmed", "option", "unconfirmed")

    def __init__(self, option: ReadOnlyOption) -> None:
        self.option = option
        self.unconfirmed: list[tuple[Message, int]] = []  # request, commit index when it came
        self._confirmed = 0
        self._acks: dict[int, int] = {}

    def add_request(self, commit_index: int, request: Message) -> None:
        """Queue a read."""
        self.unconfirmed.append((request, commit_index))

    @property
    def newest(self) -> int:
        """Position of the newest read."""
        return self._confirmed + len(self.unconfirmed)

    def waits(self, position: int) -> bool:
        """Whether the read at `position` is not confirmed yet."""
        return position > self._confirmed

    def acknowledged(self, peer: int) -> int:
        """Position of the newest read that the peer has confirmed."""
        return self._acks.get(peer, 0)

    def heartbeat_context(self) -> bytes:
        """What a heartbeat must carry to confirm every waiting read; b"" if none waits."""
        if not self.unconfirmed:
            return b""
        return self.newest.to_bytes(_CONTEXT_BYTES, "little")

    def receive_ack(self, from_: int, context: bytes) -> None:
        """Note a heartbeat's answer; acknowledgements may be repeated or out of order.

        Raises InvalidMessage if the context is none that this leader sent.
        """
        position = int.from_bytes(context, "little")
        if len(context) != _CONTEXT_BYTES or position > self.newest:
            raise InvalidMessage(
                f"heartbeat response from {from_:x} carries an unknown context {context.hex()} "
                f"(newest read: {self.newest})"
            )
        self._acks[from_] = max(self._acks.get(from_, 0), position)

    def advance(self, voters: JointConfig) -> list[tuple[Message, int]]:
        """Take the reads out of the queue that a quorum has confirmed."""
        count = voters.committed_index(self._acks.get) - self._confirmed
        if count <= 0:
            return []
        confirmed = self.unconfirmed[:count]
        del self.unconfirmed[:count]
        self._confirmed += len(confirmed)
        return confirmed
