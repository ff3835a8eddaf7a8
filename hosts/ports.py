"""A node's doors to the outside: where clients and peers connect, and the links to peers.

Hosts own these; actors only see channels. What an actor emits, (channel, message), comes as it is.
"""

import errno
import itertools
import math
import time
from collections.abc import Callable
from functools import partial
from socket import socket
from typing import Any

from ..config import limits
from ..transport import tcp
from ..transport.names import Names
from ..transport.polling import Poller
from ..transport.streams import HANDSHAKE_S, READ, Outgoing, Stream
from ..transport.zmtp import Bounds, Engine, Message

Deliver = Callable[[tuple[str, Any]], object]
"""Takes a (channel, message) for an actor."""

PEER_SILENCE_S = 3.0
"""As long as an election takes, after which a peer that has nothing to say is thought gone."""
CLIENT_SILENCE_S = limits.WATCH_SILENCE_S
"""A client that acknowledges nothing, or reads nothing of what waits for it, for so long is cut."""
CROWDED_S = 1.0
"""Likewise for so long, while all clients together leave too much unread."""
CLIENT_LINGER_S = 1.0
"""Replies under way get this long at shutdown; everything else is raft's to send again."""
LARGE_REPLY_BYTES = 4 * limits.KIB
"""What is smaller is bounded by its number alone."""
ACCEPTED_A_TURN = 64

RECONNECT_S, RECONNECT_S_MAX = 0.05, 1.0
"""A restarted node is found again within its own start-up time, a dead one is not hammered."""

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

CLIENT_BOUNDS = Bounds(
    limits.CLIENT_FRAME_BYTES_MAX, limits.CLIENT_MESSAGE_BYTES_MAX, limits.CLIENT_FRAMES_MAX
)
PEER_BOUNDS = Bounds(
    limits.PEER_FRAME_BYTES_MAX, limits.PEER_MESSAGE_BYTES_MAX, 2 * limits.PEER_FRAMES_MAX
)


class Door:
    """Listens at an address, and keeps the connections that come."""

    what: str
    bounds: Bounds
    silence_s: float
    reads_until = 2**63
    reserve_share: float
    """Of the descriptors that are kept, what this door leaves: peers find room where clients do
    not."""

    def __init__(self, endpoint: str, log: Any) -> None:
        """Raises BindError."""
        self._listeners = tcp.listen(endpoint)
        self._log = log
        self._poller: Poller
        self._deliver: Deliver
        self._streams: dict[bytes, Stream] = {}
        self._shaking: dict[Stream, float] = {}  # until when their handshake must end, in order
        self._numbers = itertools.count(1)
        self._accepting = False
        self._descriptor_max = tcp.last_descriptor(self.reserve_share)
        self.address = tcp.name_of(self._listeners[0])
        """As it was bound, for a port that the kernel chose."""

    def open(self, poller: Poller, deliver: Deliver) -> None:
        """Accept connections from now on."""
        self._poller, self._deliver = poller, deliver
        self._watch()

    def _watch(self) -> None:
        self._accepting = True
        for listener in self._listeners:
            self._poller.watch(listener.fileno(), READ, partial(self._accept, listener))

    def _accept(self, listener: socket, _events: int) -> None:
        for _ in range(ACCEPTED_A_TURN):
            try:
                accepted = tcp.accept(listener, self.silence_s)
            except OSError as error:
                if error.errno not in _SCARCE:
                    raise
                self._pause()
                return
            if accepted is None:
                return
            self._add(accepted)
            if accepted.fileno() >= self._descriptor_max:
                self._pause()
                return

    def _add(self, accepted: socket) -> None:
        stream = Stream(
            self._poller,
            accepted,
            Engine(b"ROUTER", self.bounds),
            self,
            key=next(self._numbers).to_bytes(8, "big"),
            reads_until=self.reads_until,
        )
        if stream.open:
            self._streams[stream.key] = stream
            self._shaking[stream] = time.monotonic() + HANDSHAKE_S

    def _pause(self) -> None:
        """Leave new connections to the kernel until there are descriptors again."""
        self._log.warning(
            "out of descriptors: no more connections for now; see `ulimit -n`",
            door=self.what,
            connections=len(self._streams),
        )
        self._unwatch()

    def _unwatch(self) -> None:
        self._accepting = False
        for listener in self._listeners:
            self._poller.unwatch(listener.fileno())

    def tick(self) -> None:
        """See to what takes too long. To be called some times a second."""
        now = time.monotonic()
        while self._shaking:
            stream, until = next(iter(self._shaking.items()))
            if now < until:
                break
            stream.end("no handshake")
        if not self._accepting and tcp.lowest_free(self._listeners[0]) < self._descriptor_max:
            self._watch()

    def close(self) -> None:
        """Close all sockets."""
        if self._accepting:
            self._unwatch()
        for listener in self._listeners:
            listener.close()
        for stream in self._streams.values():
            stream.close()

    # -- what streams tell

    def on_ready(self, stream: Stream) -> None:
        """See StreamOwner."""
        del self._shaking[stream]

    def on_messages(self, stream: Stream, messages: list[Message]) -> None:
        """See StreamOwner."""
        raise NotImplementedError

    def on_taken(self, stream: Stream) -> None:
        """See StreamOwner."""

    def on_over(self, stream: Stream, _why: str) -> None:
        """See StreamOwner."""
        self._streams.pop(stream.key, None)
        self._shaking.pop(stream, None)


class ClientPort(Door):
    """Where clients connect. Whatever they call themselves, a connection has an id of its own."""

    what = "client"
    bounds = CLIENT_BOUNDS
    silence_s = CLIENT_SILENCE_S
    reads_until = limits.CLIENT_UNREAD_BYTES
    reserve_share = 1.0

    def __init__(self, endpoint: str, log: Any) -> None:
        """Raises BindError."""
        super().__init__(endpoint, log)
        self._answered: dict[Stream, None] = {}  # have a reply that is not sent
        self._slow: dict[Stream, None] = {}  # have left replies unread
        self._large: dict[Stream, list[int]] = {}  # large answers that have not left
        self.gone = 0  # replies to clients that left

    def on_messages(self, stream: Stream, messages: list[Message]) -> None:
        """Messages from a client, as (id, frame, …)."""
        for message in messages:
            self._deliver(("clientc", (stream.key, *map(bytes, message))))

    def on_over(self, stream: Stream, why: str) -> None:
        """See StreamOwner; who waits for that client is told."""
        super().on_over(stream, why)
        self._answered.pop(stream, None)
        self._slow.pop(stream, None)
        self.on_taken(stream)
        if stream.ready:
            self._deliver(("gonec", stream.key))

    def replyc(self, item: tuple[str, tuple[bytes, bytes, bytes]]) -> None:
        """Take a reply, to be sent by `send`; dropped when its client is gone. A client that reads
        nothing is cut when it would get more than it may ever ask for."""
        _, (client, *frames) = item
        stream = self._streams.get(client)
        if stream is None or not stream.ready:
            self.gone += 1
            return
        large = len(frames[-1]) > LARGE_REPLY_BYTES
        full = large and stream.unsent > limits.REPLY_WINDOW_BYTES
        if full or stream.parts > 4 * limits.CLIENT_QUEUE_MESSAGES:
            stream.end("it does not read its replies")
        else:
            stream.put(frames)
            self._answered[stream] = None

    def largec(self, item: tuple[str, tuple[int, bytes, bytes, bytes]]) -> None:
        """Take the answer to a read likewise, and tell on `leftc` when it is held no longer."""
        _, (read_id, client, header, body) = item
        stream = self._streams.get(client)
        self.replyc(("replyc", (client, header, body)))
        if stream is None or not stream.open:
            self._deliver(("leftc", [read_id]))
        else:
            self._large.setdefault(stream, []).append(read_id)

    def on_taken(self, stream: Stream) -> None:
        """See StreamOwner; what is left of its large answers is little."""
        left = self._large.pop(stream, None)
        if left:
            self._deliver(("leftc", left))

    def send(self) -> None:
        """Send the replies of this turn."""
        if not self._answered:
            return
        answered, self._answered = self._answered, {}
        for stream in answered:
            stream.flush()
            if stream.unsent:
                self._slow[stream] = None
            if stream.unsent <= self.reads_until:
                self.on_taken(stream)

    def tick(self) -> None:
        """See Door; and cut clients that take nothing of what waits for them. When all together
        leave too much, those with large answers go first, and all of them."""
        super().tick()
        if not self._slow:
            return
        self._slow = {stream: None for stream in self._slow if stream.unsent}
        now, unread = time.monotonic(), sum(stream.unsent for stream in self._slow)
        crowded = unread > limits.CLIENTS_UNREAD_BYTES_MAX
        for stream in sorted(self._slow, key=lambda each: (each not in self._large, each.moved_at)):
            if stream not in self._large:
                crowded = unread > limits.CLIENTS_UNREAD_BYTES_MAX
            if now - stream.moved_at < (CROWDED_S if crowded else self.silence_s):
                continue
            unread -= stream.unsent
            self._log.warning("client cut: it does not read", unread_bytes=stream.unsent)
            stream.end("it does not read its replies")

    def close(self) -> None:
        """Close all sockets. Replies under way linger shortly."""
        until = time.monotonic() + CLIENT_LINGER_S
        self.send()
        while any(stream.unsent for stream in self._slow) and time.monotonic() < until:
            self._poller.wait(0.02)
        super().close()


class Link:
    """The way to one peer: a connection after the other."""

    def __init__(
        self,
        poller: Poller,
        names: Names,
        peer: int,
        endpoint: str,
        log: Any,
        *,
        on_gone: Callable[[int], object],
        on_linked: Callable[[int, bool], object],
    ) -> None:
        """`on_gone` is told of a peer whose connection broke and that refuses the next one,
        `on_linked` whether messages may be sent, when that changes."""
        self.endpoint = endpoint
        self._poller, self._names, self._peer, self._log = poller, names, peer, log
        self._on_gone, self._on_linked = on_gone, on_linked
        self._stands: bool | None = None
        self._was_ready = False
        self._wait_s = RECONNECT_S
        self._again_at = math.inf
        self._began_at = 0.0
        self._told = ""
        self._connection = self._connect()

    def _connect(self) -> Outgoing:
        self._began_at = time.monotonic()
        return Outgoing(
            self._poller,
            self._names,
            self.endpoint,
            self,
            bounds=PEER_BOUNDS,
            silence_s=PEER_SILENCE_S,
        )

    def send(self, frames: list[bytes]) -> bool:
        """False when the peer is away or takes too little."""
        return self._connection.send(frames, limits.PEER_QUEUE_BYTES)

    def tick(self) -> None:
        """Connect again, when it is time."""
        if time.monotonic() >= self._again_at:
            self._again_at = math.inf
            self._connection = self._connect()
        self._connection.tick()

    def close(self) -> None:
        """End it."""
        self._connection.close()

    def on_ready(self, _connection: Outgoing) -> None:
        """See OutgoingOwner."""
        self._wait_s = RECONNECT_S
        self._told = ""
        self._was_ready = True
        self._tell(stands=True)

    def _tell(self, *, stands: bool) -> None:
        if stands != self._stands:
            self._stands = stands
            self._on_linked(self._peer, stands)

    def on_messages(self, _connection: Outgoing, messages: list[Message]) -> None:
        """Peers answer on links of their own: what comes here means nothing."""

    def on_lost(self, connection: Outgoing, why: str) -> None:
        """See OutgoingOwner; the log has each reason once. After a connection that stood the next
        is tried at once: a peer that was killed refuses it, and others may act on that."""
        if why != self._told:
            self._told = why
            self._log.info("peer not connected", peer=self._peer, why=why)
        self._tell(stands=False)
        if connection.was_ready:
            self._connection = self._connect()
            self._connection.tick()
            return
        if self._was_ready and connection.refused:
            self._was_ready = False
            self._on_gone(self._peer)
        # From the last attempt on: one that nobody answered has taken long enough.
        self._again_at = self._began_at + self._wait_s
        self._wait_s = min(2 * self._wait_s, RECONNECT_S_MAX)


class PeerPort(Door):
    """Where peers connect, and one link to each of them. Each side sends on its link alone."""

    what = "peer"
    bounds = PEER_BOUNDS
    silence_s = PEER_SILENCE_S
    reserve_share = 0.5

    def __init__(self, endpoint: str, log: Any) -> None:
        """Raises BindError."""
        super().__init__(endpoint, log)
        self._links: dict[int, Link] = {}
        self._names = Names()

    def on_messages(self, _stream: Stream, messages: list[Message]) -> None:
        """Messages from peers; who they are from stands in them."""
        for message in messages:
            self._deliver(("peerc", list(map(bytes, message))))

    def linksc(self, item: tuple[str, dict[int, str]]) -> None:
        """Connect to exactly these peers."""
        _, wanted = item
        for peer, link in list(self._links.items()):
            if wanted.get(peer) != link.endpoint:
                link.close()
                del self._links[peer]
        for peer, endpoint in wanted.items():
            if peer not in self._links:
                self._links[peer] = Link(
                    self._poller,
                    self._names,
                    peer,
                    endpoint,
                    self._log,
                    on_gone=self._gone,
                    on_linked=self._linked,
                )

    def _gone(self, peer: int) -> None:
        self._deliver(("brokenc", peer))

    def _linked(self, peer: int, stands: bool) -> None:
        self._deliver(("linkedc", (peer, stands)))

    def linkc(self, item: tuple[str, tuple[int, list[bytes]]]) -> bool:
        """Send to a peer; False when it is away or its queue is full, and the message is gone."""
        _, (peer, frames) = item
        link = self._links.get(peer)
        return link is None or link.send(frames)  # no link: removed, nobody waits for the message

    def tick(self) -> None:
        """See Door."""
        super().tick()
        for link in self._links.values():
            link.tick()

    def close(self) -> None:
        """Close all sockets."""
        super().close()
        for link in self._links.values():
            link.close()
