"""The WAL writer: etcd's raftNode.start, "save hard state and entries".

Knows nothing of raft. What comes on readyc is written at once and made durable by one fsync for all
that had come; what was to wait for that then leaves: messages to peers on sendc, and the number of
the last durable write on advancec.
"""

from collections.abc import Callable
from typing import Any

from ..config import limits
from ..storage.log_store import LogStore
from . import channels
from .actor import Actor


class WalWriter(Actor):
    """Owns the log database."""

    name = channels.WAL_WRITER

    def __init__(self, store: LogStore) -> None:
        super().__init__()
        self._store = store
        # (seq, messages, awaited) not yet covered by a sync, and of the sync under way
        self._written: list[tuple[int, Any, bool]] = []
        self._syncing: list[tuple[int, Any, bool]] = []
        self._entries = self._syncing_entries = (0, 0)  # first and last index of these
        self._dirty = False  # something was written that must be durable
        self._unsaid = 0  # the last durable write that the core has not heard of
        self._marking = False
        self._mark_at = 0.0

    def start(self) -> None:
        """Tell the core what the log holds."""
        store = self._store
        entries = tuple(store.entries(store.first_index, store.last_index + 1))
        self.emit("knownc", store.peers())
        self.emit("logc", (store.hard_state(), store.start, entries))

    def on_readyc(self, message: Any) -> None:
        """("append", seq, entries, hard_state, start, must_sync, messages, awaited), or
        ("compact", index, term), or ("peers", bytes), which becomes durable with the next append.
        `awaited`: the core has something to do once it is durable."""
        if message[0] == "compact":
            _, index, term = message
            self._store.compact(index, term)
            return
        if message[0] == "peers":
            self._store.note_peers(message[1])
            return
        _, seq, entries, hard_state, start, must_sync, messages, awaited = message
        if start is not None:
            self._store.reset(*start)
        if entries or hard_state is not None:
            self._store.save(entries, hard_state)
        if entries:
            first, last = entries[0][1], entries[-1][1]
            self._entries = (self._entries[0] or first, last)
            self.flight.note("write", first, last)
        self._dirty = self._dirty or must_sync
        self._written.append((seq, messages, awaited))

    def flush(self) -> None:
        """Begin a sync of everything written so far, unless one is under way: the next takes it."""
        if self._syncing or not self._written:
            return
        self._syncing, self._written = self._written, []
        self._syncing_entries, self._entries = self._entries, (0, 0)
        if self._dirty:
            self._dirty = False
            self.emit("jobc", "sync")
        else:
            self._release()

    def on_tracec(self, message: Any) -> None:
        """(question, numbers): what was done with an entry."""
        self.emit("tracerc", (message[0], self.name, {}, self.flight.about(message[1])))

    def on_statusc(self, request_id: int) -> None:
        """Answer a status question."""
        self.emit("statusrc", (request_id, self.name, {}, self.measured()))

    def on_timer(self) -> None:
        """Note beside the log what is durable in it, now and then."""
        if self.now >= self._mark_at and not self._marking and not self._store.is_marked:
            self._marking = True
            self.emit("jobc", "mark")

    def on_donec(self, message: Any) -> None:
        """The sync is done: release what waited, and begin the next."""
        if message[0] == "mark":
            self._marking = False
            self._mark_at = self.now + limits.LOG_MARK_S
            return
        self._release()
        self.flush()

    def _release(self) -> None:
        synced, self._syncing = self._syncing, []
        if self._syncing_entries[1]:
            self.flight.note("fsync", *self._syncing_entries)
        wanted = False
        for seq, messages, awaited in synced:
            for message in messages:
                self.emit("sendc", message)
            self._unsaid = seq
            wanted = wanted or awaited
        if wanted:
            self.on_wake()
        elif self.wake_at is None:
            self.wake_at = self.now + limits.HOLD_S

    def on_wake(self) -> None:
        """Tell the core how far the log is durable."""
        if self._unsaid:
            self.emit("advancec", ("durable", self._unsaid))
            self._unsaid, self.wake_at = 0, None

    @property
    def jobs(self) -> dict[str, Callable[..., Any]]:
        """The fsync, and the mark."""
        return {"sync": self._store.sync, "mark": self._store.mark}

    def close(self) -> None:
        """Close the log database."""
        self._store.close()
