"""What the node knows of one client that watches: its watches, and what it has left unread."""

from collections import deque
from typing import Any

from ...config import limits
from ...transport.codec import pack, pack_array
from ...transport.watches import (
    CANCELED,
    EVENTS,
    FRAGMENT,
    NO_DELETE,
    NO_PUT,
    PREV_KV,
    PROGRESS,
    PROGRESS_NOTIFY,
    REQUIRE_LEADER,
)
from .ranges import Range

SYNCED, UNSYNCED, STALLED, ENDED = range(4)


class Watcher:
    """One watch.

    Attributes:
        state: SYNCED: gets new events as they come. UNSYNCED: reads history. STALLED: as well, as
            soon as its client has read what it was sent. ENDED: is no more.
        next: deliver nothing below this revision. Everything below was delivered, except that
            `next` of a synced one stays behind as revisions pass.
        asked: the message that created it.
        quiet: nothing was sent to it since the last round of progress notifications.
    """

    __slots__ = (
        "asked", "connection", "fragment", "id", "next", "prev_kv", "progress_notify", "quiet",
        "range", "require_leader", "state", "unwanted",
    )  # fmt: skip

    def __init__(
        self, connection: "Connection", watch_id: int, range_: Range, first: int, flags: int
    ) -> None:
        self.asked: Any = None
        self.connection = connection
        self.id = watch_id
        self.range = range_
        self.next = first
        self.state = SYNCED
        self.quiet = True
        self.prev_kv = bool(flags & PREV_KV)
        self.progress_notify = bool(flags & PROGRESS_NOTIFY)
        self.fragment = bool(flags & FRAGMENT)
        self.require_leader = bool(flags & REQUIRE_LEADER)
        # By event type: whether the watch does not want it.
        self.unwanted = (bool(flags & NO_PUT), bool(flags & NO_DELETE))


class Connection:
    """One client's watches.

    Attributes:
        watchers: its watches by their ids.
        stalled: those that wait until it has read more.
        window: [bytes sent to the client, bytes it has reported as received].
        heard_at: when it last said something.
    """

    def __init__(self, client: bytes) -> None:
        self.client = client
        self.window = [0, 0]
        self.watchers: dict[int, Watcher] = {}
        self.stalled: set[Watcher] = set()
        self.heard_at = 0.0
        self._next_id = 0
        self._responses: list[bytes] = []
        self._bytes = 0
        # (all bytes sent up to its end, its own bytes) of each message of events that has not been
        # reported as received. Replies to requests do not count: a large one is no slow reader.
        self._unread: deque[tuple[int, int]] = deque()
        self._unread_bytes = 0

    def new_id(self) -> int:
        """The smallest id from the last one on that no watch has, as etcd."""
        while self._next_id in self.watchers:
            self._next_id += 1
        self._next_id += 1
        return self._next_id - 1

    def heard(self, window: list[int], now: float) -> None:
        """The client has said something. The node may have forgotten its window and begun a new
        one, with which the old marks have nothing to do."""
        if window is not self.window:
            self.window = window
            self._unread.clear()
            self._unread_bytes = 0
        self.heard_at = now

    # -- flow control

    def _forget_what_was_read(self) -> None:
        while self._unread and self._unread[0][0] <= self.window[1]:
            self._unread_bytes -= self._unread.popleft()[1]

    @property
    def full(self) -> bool:
        """Whether the client has to read before it gets more."""
        self._forget_what_was_read()
        return (
            self._unread_bytes + self._bytes >= limits.WATCH_WINDOW_BYTES
            or len(self._unread) >= limits.WATCH_WINDOW_MESSAGES
        )

    @property
    def has_room(self) -> bool:
        """Whether so much was read that going on is worth it."""
        self._forget_what_was_read()
        return (
            self._unread_bytes <= limits.WATCH_WINDOW_BYTES // 2
            and len(self._unread) <= limits.WATCH_WINDOW_MESSAGES // 2
        )

    # -- responses

    def add_events(self, watcher: Watcher, revision: int, events: list[bytes]) -> None:
        """Queue events of a watch, which are packed; they leave at the next `take`."""
        begin = 0
        while watcher.fragment and (end := _fragment(events, begin)) < len(events):
            self._add_events(watcher, revision, events[begin:end], more=True)
            begin = end
        self._add_events(watcher, revision, events[begin:] if begin else events, more=False)

    def _add_events(
        self, watcher: Watcher, revision: int, events: list[bytes], *, more: bool
    ) -> None:
        head = (EVENTS, watcher.id, revision, more)
        self._add(pack_array([*map(pack, head), pack_array(events)]))

    def add_canceled(
        self, watcher: Watcher, revision: int, compact_revision: int, reason: str
    ) -> None:
        """Queue the end of a watch."""
        self._add(pack((CANCELED, watcher.id, revision, compact_revision, reason)))

    def add_progress(self, watch_id: int, revision: int) -> None:
        """Queue how far a watch, or all of them, are."""
        self._add(pack((PROGRESS, watch_id, revision)))

    def _add(self, response: bytes) -> None:
        self._responses.append(response)
        self._bytes += len(response)

    def take(self) -> list[bytes]:
        """The bodies of the messages that are to leave now."""
        bodies: list[bytes] = []
        if len(self._responses) == 1 or self._bytes <= limits.WATCH_FRAGMENT_BYTES:
            bodies.append(pack_array(self._responses))
        else:
            bodies.extend(pack_array([response]) for response in self._responses)
        sent = self.window[0]
        for body in bodies:
            sent += len(body)
            self._unread.append((sent, len(body)))
            self._unread_bytes += len(body)
        self._responses, self._bytes = [], 0
        return bodies


def _fragment(events: list[bytes], begin: int) -> int:
    """Where the fragment that begins at `begin` ends."""
    size = 0
    for position in range(begin, len(events)):
        size += len(events[position])
        if size > limits.WATCH_FRAGMENT_BYTES and position > begin:
            return position
    return len(events)
