"""What a node counts of its clients' requests."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ..config import limits
from ..transport.errors import WireError
from .asked import Asked
from .measures import Histogram


class Traffic:
    """Requests by name, message by message; how long answers took, by kind; what failed."""

    def __init__(self, kinds: Iterable[str], log: Any) -> None:
        self._log = log
        self._slow_told_at = float("-inf")
        self.requests: Counter[str] = Counter()
        """Requests that were let in, by name."""
        self.failures: Counter[tuple[str, int]] = Counter()
        """Messages that were refused or came to nothing as a whole, by kind and code."""
        self.received_bytes = self.sent_bytes = 0
        self.slow = 0
        self.leader_changes = 0
        self.durations = {kind: Histogram(0.0001, 16) for kind in kinds}

    def answered(self, asked: Asked, body: bytes, now: float) -> None:
        """A message was answered."""
        self.received_bytes += len(asked.body)
        self.sent_bytes += len(body)
        took_s = now - asked.began
        if asked.kind in self.durations:  # a client may call its messages what it likes
            self.durations[asked.kind].observe(took_s)
        if took_s > limits.SLOW_REQUEST_S:
            self.slow += 1
            if now - self._slow_told_at > limits.SLOW_TOLD_S:
                self._slow_told_at = now
                self._log.warning(
                    "slow request", kind=asked.kind, took_s=round(took_s, 3), so_far=self.slow
                )

    def failed(self, asked: Asked, error: WireError) -> None:
        """A message was answered with an error."""
        self.failures[asked.kind if asked.kind in self.durations else "", error.code] += 1

    def told(self) -> dict[str, Any]:
        """As it travels: names and numbers."""
        return {
            "requests": dict(self.requests),
            "failures": [(kind, code, n) for (kind, code), n in self.failures.items()],
            "received_bytes": self.received_bytes,
            "sent_bytes": self.sent_bytes,
            "slow_requests": self.slow,
            "leader_changes": self.leader_changes,
        }
