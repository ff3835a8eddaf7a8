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
from typing import TYPE_CHECKING, Any

from ..config import limits
from ..transport import tcp
from ..transport.codec import CodecError, unpack_header
from ..transport.names import Names
from ..transport.polling import Poller
from ..transport.streams import HANDSHAKE_S, READ, Outgoing, Stream
from ..transport.zmtp import Bounds, Engine, Mechanism, Message, Null, RefusedError
from .visitors import Visitors

if TYPE_CHECKING:
    from .keys import DoorKeys, MemberKeys, ServerKeys

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
ACCEPTED_A_TURN = 8
"""At 0.1 ms each: others wait."""
REFUSED_TOLD_S = 1.0
"""Between two lines in the log about refused connections."""

RECONNECT_S, RECONNECT_S_MAX = 0.05, 1.0
"""A restarted node is found again within its own start-up time, a dead one is not hammered."""

HEADER_NUMBERS = 9
"""With which a header of a peer begins, before a word."""

PONGS_BYTES = 64 * limits.KIB
"""While who only gets answers to its PINGs leaves more of them unread, nothing is read from it."""

_SCARCE = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

CLIENT_BOUNDS = Bounds(
    limits.CLIENT_FRAME_BYTES_MAX, limits.CLIENT_MESSAGE_BYTES_MAX, limits.CLIENT_FRAMES_MAX
)
PEER_BOUNDS = Bounds(
    limits.PEER_FRAME_BYTES_MAX, limits.PEER_MESSAGE_BYTES_MAX, 2 * limits.PEER_FRAMES_MAX
)


class Door:
    """Listens at an address, and keeps the connections that come. Those of which nothing good is
    known wait on the porch: they are served after all others, a little in each turn."""

    what: str
    bounds: Bounds
    silence_s: float
    reads_until = PONGS_BYTES
    reserve_share: float
    """Of the descriptors that are kept, what this door leaves: peers find room where clients do
    not."""

    def __init__(
        self, endpoint: str, log: Any, keys: "DoorKeys | None" = None, beside: str = ""
    ) -> None:
        """Without keys nobody is asked who they are. `beside` is a socket file to listen at, too.
        Raises BindError."""
        self._listeners = tcp.listen(endpoint)
        if beside:
            self._listeners.append(tcp.listen_beside(beside))
        self._log = log
        self._keys = keys
        self._refused = 0
        self._poller: Poller
        self._porch: Poller
        self._deliver: Deliver
        self._streams: dict[bytes, Stream] = {}
        # Until when their handshake must end, in order, and where they come from.
        self._shaking: dict[Stream, tuple[float, str]] = {}
        self._visitors = None if keys is None else Visitors()
        self._told_at = float("-inf")
        self._numbers = itertools.count(1)
        self._accepting = False
        self._descriptor_max = tcp.last_descriptor(self.reserve_share)
        self.address = tcp.name_of(self._listeners[0])
        """As it was bound, for a port that the kernel chose."""

    def open(self, poller: Poller, deliver: Deliver) -> None:
        """Accept connections from now on."""
        self._poller, self._deliver = poller, deliver
        self._porch = poller.inner(limits.STRANGERS_TURN_S)
        self._watch()

    def _watch(self) -> None:
        self._accepting = True
        for listener in self._listeners:
            self._porch.watch(listener.fileno(), READ, partial(self._accept, listener))

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
            host = tcp.peer_of(accepted)
            if self._visitors is not None and not self._visitors.admits(host, time.monotonic()):
                accepted.close()
                continue
            self._add(accepted, host)
            if accepted.fileno() >= self._descriptor_max:
                self._pause()
                return

    def _add(self, accepted: socket, host: str) -> None:
        mechanism = None if self._keys is None else self._keys.server()
        stream = Stream(
            self._porch,
            accepted,
            Engine(b"ROUTER", self.bounds, mechanism),
            self,
            key=next(self._numbers).to_bytes(8, "big"),
            reads_until=self.reads_until,
            few=True,
        )
        if stream.open:
            self._streams[stream.key] = stream
            self._shaking[stream] = (time.monotonic() + HANDSHAKE_S, host)
        elif self._visitors is not None:
            self._visitors.done(host)

    def _stop_shaking(self, stream: Stream) -> str:
        """The end of a handshake; where it came from, empty when it ended before."""
        _, host = self._shaking.pop(stream, (0.0, ""))
        if host and self._visitors is not None:
            self._visitors.done(host)
        return host

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
            self._porch.unwatch(listener.fileno())

    def tick(self) -> None:
        """See to what takes too long. To be called some times a second."""
        if self._keys is not None and self._keys.refresh():
            self._end_unknown(self._keys)
        now = time.monotonic()
        while self._shaking:
            stream, (until, _) = next(iter(self._shaking.items()))
            if now < until:
                break
            stream.end("no handshake")
        if not self._accepting and tcp.lowest_free(self._listeners[0]) < self._descriptor_max:
            self._watch()

    def _end_unknown(self, keys: "DoorKeys") -> None:
        """End the connections whose key is not accepted any more, or is somebody else's."""
        for stream in list(self._streams.values()):
            known = stream.known
            if known is not None and keys.name_of(known.key) != known.name:
                self._log.warning("cut: its key is not accepted any more", door=self.what,
                                  name=known.name)  # fmt: skip
                stream.end("its key is not accepted any more")

    def close(self) -> None:
        """Close all sockets."""
        if self._accepting:
            self._unwatch()
        for listener in self._listeners:
            listener.close()
        for stream in self._streams.values():
            stream.close()
        if self._porch is not self._poller:
            self._porch.close()

    def _suspect(self, stream: Stream) -> None:
        """What it says means nothing, which nobody does by mistake."""
        stream.move(self._porch, few=True)

    # -- what streams tell

    def on_ready(self, stream: Stream) -> None:
        """See StreamOwner."""
        self._let_in(stream)

    def _let_in(self, stream: Stream) -> str:
        """From the porch; where it came from."""
        stream.move(self._poller, few=False)
        return self._stop_shaking(stream)

    def on_messages(self, stream: Stream, messages: list[Message]) -> None:
        """See StreamOwner."""
        raise NotImplementedError

    def on_taken(self, stream: Stream) -> None:
        """See StreamOwner."""

    def on_over(self, stream: Stream, why: str) -> None:
        """See StreamOwner."""
        self._streams.pop(stream.key, None)
        host = self._stop_shaking(stream)
        if isinstance(stream.error, RefusedError):
            self._refused += 1
            self._tell_refused(why, host)

    def _tell_refused(self, why: str, host: str) -> None:
        """In the log, where there may be thousands of them."""
        now = time.monotonic()
        if now - self._told_at >= REFUSED_TOLD_S:
            self._told_at = now
            told, self._refused = self._refused, 0
            self._log.warning("refused", door=self.what, why=why, address=host, times=told)


class ClientPort(Door):
    """Where clients connect. Whatever they call themselves, a connection has an id of its own; the
    user whose key it came with stands behind the number in it."""

    what = "client"
    bounds = CLIENT_BOUNDS
    silence_s = CLIENT_SILENCE_S
    reads_until = limits.CLIENT_UNREAD_BYTES
    reserve_share = 1.0

    def __init__(
        self, endpoint: str, log: Any, keys: "ServerKeys | None" = None, beside: str = ""
    ) -> None:
        """See Door."""
        super().__init__(endpoint, log, keys, beside)
        self._answered: dict[Stream, None] = {}  # have a reply that is not sent
        self._slow: dict[Stream, None] = {}  # have left replies unread
        self._large: dict[Stream, list[int]] = {}  # large answers that have not left
        self.gone = 0  # replies to clients that left

    def on_ready(self, stream: Stream) -> None:
        """See StreamOwner."""
        host = self._let_in(stream)
        if stream.known is not None:
            del self._streams[stream.key]
            stream.key += stream.known.name.encode()
            self._streams[stream.key] = stream
        self._deliver(("camec", (stream.key, host)))

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

    def strangec(self, item: tuple[str, bytes]) -> None:
        """Whoever sent what means nothing is served after the others from now on."""
        stream = self._streams.get(item[1])
        if stream is not None:
            self._suspect(stream)

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
            if stream.unsent and stream.open:
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
        mechanism: Callable[[], Mechanism] = Null,
    ) -> None:
        """`on_gone` is told of a peer whose connection broke and that refuses the next one,
        `on_linked` whether messages may be sent, when that changes; `mechanism` makes that of each
        connection."""
        self.endpoint = endpoint
        self._poller, self._names, self._peer, self._log = poller, names, peer, log
        self._on_gone, self._on_linked = on_gone, on_linked
        self._mechanism = mechanism
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
            mechanism=self._mechanism,
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

    def end_unknown(self, keys: "DoorKeys") -> None:
        """End the connection, for another one, if its other end's key is not accepted any more."""
        known = self._connection.known
        if known is not None and keys.name_of(known.key) is None:
            self._connection.end("its key is not accepted any more")

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


def _sender_of(header: bytes) -> int | None:
    """Which member says it, of any version; None when it is no header, and nobody believes it."""
    try:
        fields = unpack_header(header)
    except (CodecError, TypeError, ValueError):
        return None
    if set(map(type, fields[:HEADER_NUMBERS])) != {int}:
        return None
    sender = fields[2] if len(fields) > HEADER_NUMBERS else None
    return sender if type(sender) is int else None


class PeerPort(Door):
    """Where peers connect, and one link to each of them. Each side sends on its link alone. With
    keys a connection speaks for the member whose key it came with, and for no other."""

    what = "peer"
    bounds = PEER_BOUNDS
    silence_s = PEER_SILENCE_S
    reserve_share = 0.5

    def __init__(self, endpoint: str, log: Any, keys: "MemberKeys | None" = None) -> None:
        """See Door."""
        super().__init__(endpoint, log, keys)
        self._links: dict[int, Link] = {}
        self._member_keys = keys
        self._members: dict[int, str] = {}  # their names, as far as they are known
        self._names = Names()

    def on_messages(self, stream: Stream, messages: list[Message]) -> None:
        """Messages from peers; who they are from stands in them."""
        for message in messages:
            frames = list(map(bytes, message))
            sender = _sender_of(frames[0])
            if sender is None:
                self._suspect(stream)
            elif stream.known is not None and not self._speaks_for(stream.known.name, sender):
                self._log.warning("cut: it speaks in another member's name", name=stream.known.name)
                stream.end("it speaks in another member's name")
                return
            self._deliver(("peerc", frames))

    def _speaks_for(self, name: str, sender: int) -> bool:
        """Whether the member of that name may say what is from this one. Who is no peer may: it
        learns no more than who the members are. So may who has not told its name yet."""
        return self._members.get(sender, "") in ("", name)

    def linksc(self, item: tuple[str, dict[int, tuple[str, str]]]) -> None:
        """Connect to exactly these peers, at an endpoint each, which have these names."""
        _, wanted = item
        self._members = {peer: name for peer, (_, name) in wanted.items()}
        for peer, link in list(self._links.items()):
            if peer not in wanted or wanted[peer][0] != link.endpoint:
                link.close()
                del self._links[peer]
        for peer, (endpoint, _) in wanted.items():
            if peer not in self._links:
                self._links[peer] = Link(
                    self._poller,
                    self._names,
                    peer,
                    endpoint,
                    self._log,
                    on_gone=self._gone,
                    on_linked=self._linked,
                    mechanism=self._mechanism(peer),
                )

    def _mechanism(self, peer: int) -> Callable[[], Mechanism]:
        if self._member_keys is None:
            return Null
        return self._member_keys.caller(
            lambda: self._members.get(peer, ""), lambda: set(self._members.values())
        )

    def _end_unknown(self, keys: "DoorKeys") -> None:
        super()._end_unknown(keys)
        for link in self._links.values():
            link.end_unknown(keys)

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
