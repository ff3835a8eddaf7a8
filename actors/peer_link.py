"""What a transport knows of the way to one peer and from it."""

from typing import Any

from ..transport.introductions import PEER_VERSION
from .measures import Histogram


class Link:
    """What is known of the way to one peer and from it."""

    def __init__(self, endpoint: str, now: float) -> None:
        self.endpoint = endpoint
        self.awaited_at = now  # since when it should have something to say
        self.silent = False  # and it was told
        self.incarnation = 0  # the data dir this peer announced through the log
        self.frames: list[bytes] = []  # raft messages of this turn
        self.sent_at = now
        self.sent = self.acked = 0  # bytes from here; acked is what the peer last reported
        self.version = PEER_VERSION  # of the headers that the peer reads
        self.met = 0  # the epoch in which it was heard, and had heard this start of this member
        self.refused: tuple[int, str] | None = None  # in this epoch it must not be heard, and why
        self.greeted_at = float("-inf")
        self.received = 0  # bytes from there, by the peer's own count
        self.reported_at = 0.0
        self.heard_at = 0.0
        self.heard_since = 0.0  # without a pause
        self.format = 0  # what the peer's version can read, 0 while it has not told
        self.asked_at = 0.0
        self.failures = 0  # messages that did not leave
        self.round_trips = Histogram(0.0001, 16)
        self._timed: tuple[int, float] | None = None  # (`sent` after a message, when it left)

    def moved(self, endpoint: str, now: float) -> "Link":
        """The way to the same peer at another endpoint. What is known of the peer stays: it may be
        where it was, if the new endpoint is wrong, and be heard from there."""
        link = Link(endpoint, now)
        link.incarnation, link.refused = self.incarnation, self.refused
        link.version, link.met, link.format = self.version, self.met, self.format
        link.heard_at, link.heard_since = self.heard_at, self.heard_since
        return link

    def sends(self, size: int, now: float) -> None:
        """A message of this size leaves; one at a time is timed."""
        self.sent_at = now
        self.sent += size
        if self._timed is None:
            self._timed = (self.sent, now)

    def acknowledges(self, received: int, now: float) -> None:
        """The peer has received so many of the bytes sent."""
        self.acked = max(self.acked, min(received, self.sent))
        if self._timed is not None and self.acked >= self._timed[0]:
            self.round_trips.observe(now - self._timed[1])
            self._timed = None

    def measured(self, peer: int) -> dict[str, Any]:
        """For metrics."""
        return {
            "peer": peer,
            "sent_bytes": self.sent,
            "received_bytes": self.received,
            "failures": self.failures,
            "round_trips": self.round_trips.told(),
        }
