"""One connection to one endpoint. It is remade whenever it breaks.

What a connection that breaks has not sent is lost with it: nothing is sent seconds or minutes after
the caller was told "unknown outcome". What was in flight is handed to the link's owner.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..transport import codec, errors
from ..transport.names import Names
from ..transport.requests import PROTOCOL_VERSION
from ..transport.streams import CLOSED, Outgoing, OutgoingOwner
from ..transport.watches import PUSH_ID
from ..transport.zmtp import UNBOUNDED, Frame, Mechanism, NotZmtpError, Null, RefusedError
from . import _log
from ._io import Future, SocketLoop
from ._large import unpack_results
from ._session import Session
from .errors import ConnectionLostError, MalformedReplyError, OtherClusterError, SampanError

if TYPE_CHECKING:
    from ._direct import Line

INFLIGHT_BYTES_MAX = 16 << 20
"""Request bytes that one connection may have unanswered: 16 full messages."""
INFLIGHT_MESSAGES_MAX = 128
"""Messages unanswered; what waits meanwhile shares the next message. Far below the socket's HWM."""
BACKOFF_S_MIN = 0.05
BACKOFF_S_MAX = 1.0
FOREIGN_S = 5.0
"""How often an endpoint that was another cluster's is asked again."""

_WHO_ARE_YOU = (errors.INVALID_AUTH_TOKEN.text, errors.USER_EMPTY.text)
TICK_S = 0.25
"""How often a connection is looked after."""
_WRONG_DOOR = (
    " before a word: is it the port for etcd's clients, 2379 by default? Sampan's own is 2378"
)
_WRONG_KEY = (
    " before a word: does it ask for keys, and is its key one of those that this client knows?"
)
SILENCE_S = 3.0
"""An end that is not heard for so long, though it is asked, is gone."""
MUTE_S = 1.0
"""An end that has never answered, though it was asked so long ago, is hardly a node's."""


class Call(NamedTuple):
    """One request on its way: who waits, what travels, until when, and what it met so far."""

    future: Future
    request: tuple[Any, ...]
    size: int
    deadline: float
    attempt: int = 0
    error: SampanError | None = None


# By position and without a step of Python for each call.
_request_of = itemgetter(Call._fields.index("request"))
deadline_of = itemgetter(Call._fields.index("deadline"))


class Message(NamedTuple):
    """Calls that travel together. `lane` is where reads return to when the link breaks; a write
    with a `session` may be sent again as a whole, at `due`. `floor` is the newest revision that was
    known when it was sent first."""

    lane: Any
    calls: Sequence[Call]
    size: int
    expires: float
    session: Session | None = None
    sequence: int = 0
    attempt: int = 0
    due: float = 0.0
    floor: int = 0

    def settle(self) -> None:
        """It is not sent again: it was answered, or nobody waits for its answer."""
        if self.session is not None:
            self.session.settle(self.sequence)

    def known_of(self, error: errors.WireError) -> tuple[int, str, str]:
        """What the last attempt's error says about it: nothing about earlier attempts."""
        outcome = error.outcome if self.attempt <= 1 else errors.Outcome.UNKNOWN.value
        return (error.code, error.text, outcome)

    def settle_unwanted(self) -> bool:
        """Whether nobody waits for its answer any more; then it is settled."""
        unwanted = all(call.future.done() for call in self.calls)
        if unwanted:
            self.settle()
        return unwanted


class Reply(NamedTuple):
    """A reply's header after its version and message id, as docs/protocol.md orders it."""

    cluster_id: int
    member_id: int
    raft_term: int
    leader_id: int


class Owner(Protocol):
    """Whom a link tells what happened."""

    def on_connected(self, link: "Link") -> None:
        """The link can send, and the node knows who this client is."""

    def on_met(self, link: "Link") -> None:
        """The first reply on the connection has come; what is at its other end may be refused."""

    def on_reply(self, link: "Link", message: Message, reply: Reply, results: Any) -> None:
        """A message was answered.

        Raises:
            MalformedError: the results have not the shape that the protocol gives them.
        """

    def on_push(self, link: "Link", reply: Reply, responses: Any) -> None:
        """The node sent responses of watches.

        Raises:
            MalformedError: as for `on_reply`.
        """

    def on_lost(self, link: "Link", messages: list[Message], error: SampanError) -> None:
        """The link broke with these unanswered, for `error`."""


class Credentials(Protocol):
    """What exchanges a name and a password for a token."""

    def begin(self, link: "Link") -> None:
        """Have `link.admit` called, sooner or later."""


class Caller(Protocol):
    """What proves who this client is (transport/curve.py)."""

    def __call__(self) -> Mechanism:
        """The mechanism of the next attempt to connect."""

    @property
    def tried_all(self) -> bool:
        """Whether there is no other key to try."""


class Keys(Protocol):
    """A client's keys, for all its endpoints."""

    def caller(self) -> Caller:
        """For one of them."""


class MalformedError(Exception):
    """A reply that the protocol does not allow."""


class Link:
    """A connection that keeps itself up, from `open` to `close`.

    Attributes:
        connected: there is somebody at the other end.
        connection: stands for this connection, and no other.
        ready: it is connected, and logged in where that is wanted.
        cluster_id: of whoever answers on it, 0 before the first reply.
        member_id: who answered last on it, 0 before the first reply.
        leader_id: the leader that it knew then, 0 for none.
        raft_term: its term then.
        avoid_until: loop time until which others are the better choice.
        received_bytes: reply-body bytes of this connection, the protocol's flow control.
        trouble: what became of the last connection, empty while there is nothing to say.
        foreign: the node at its end was of another cluster.
        hopeless: whatever is at its end is none of this client's nodes, and will not become one.
        line: another connection to the same node, for lone calls (client/_direct.py).
    """

    def __init__(
        self,
        loop: SocketLoop,
        names: Names,
        endpoint: str,
        owner: Owner,
        *,
        credentials: Credentials | None = None,
        keys: Keys | None = None,
    ) -> None:
        """`credentials` and `keys` are for nodes that ask for a login, or for keys."""
        self.endpoint = endpoint
        self._caller = keys.caller() if keys is not None else None
        self.connected = self.ready = False
        self._unanswered_s = 0.0  # while it waits for the first answer of all
        self.connection = object()
        self._credentials = credentials
        self._token = ""
        self._token_since = 0  # messages up to this one were sent with another
        self.trouble = ""
        self.foreign = self.hopeless = False
        self.cluster_id = 0
        self.member_id = 0
        self.leader_id = 0
        self.raft_term = 0
        self.avoid_until = 0.0
        self.received_bytes = 0
        self.inflight: dict[int, Message] = {}
        self.inflight_bytes = 0
        self._loop = loop
        self._names = names
        self._owner = owner
        self._outgoing: Outgoing | None = None
        self.line: Line | None = None
        self._ticking: Any = None
        self._backoff_s = 0.0
        self._reopening: Any = None
        self._last_id = 0

    def open(self) -> None:
        """Begin to connect."""
        self._reopening = None
        self.received_bytes = self.cluster_id = self.member_id = self.leader_id = 0
        self.avoid_until = 0.0
        self._outgoing = self.another(self)
        self._loop.call_soon(self.tick)  # there may be nothing to wait for

    def another(self, owner: OutgoingOwner) -> Outgoing:
        """Another connection to the same endpoint."""
        return Outgoing(
            self._loop,
            self._names,
            self.endpoint,
            owner,
            bounds=UNBOUNDED,  # the node that was asked may answer a range of any size
            silence_s=SILENCE_S,
            pings=True,
            mechanism=self._caller or Null,
        )

    def tick(self) -> None:
        """See to what takes too long."""
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self._outgoing is not None:
            self._outgoing.tick()
        if (line := self.line) is not None:
            line.tick()
        if self.inflight and not self.cluster_id:
            self._unanswered_s += TICK_S
        if self._outgoing is not None:
            self._ticking = self._loop.call_at(self._loop.time() + TICK_S, self.tick)

    def close(self) -> list[Message]:
        """Let go of the connection; returns what was unanswered."""
        if self._reopening is not None:
            self._reopening.cancel()
            self._reopening = None
        if self._ticking is not None:
            self._ticking.cancel()
            self._ticking = None
        if self._outgoing is not None:
            self._outgoing.close()
            self._outgoing = None
        if self.line is not None:
            self.line.end()
        self.connected = self.ready = False
        self._unanswered_s = 0.0
        self.connection = object()
        self._token = ""
        unanswered = list(self.inflight.values())
        self.inflight.clear()
        self.inflight_bytes = 0
        return unanswered

    @property
    def mute(self) -> bool:
        """Whether there is somebody who takes messages, had time to answer, and never has."""
        return self.ready and not self.cluster_id and self._unanswered_s >= MUTE_S

    def has_room(self) -> bool:
        """Whether another message may be sent now."""
        return (
            self.inflight_bytes < INFLIGHT_BYTES_MAX and len(self.inflight) < INFLIGHT_MESSAGES_MAX
        )

    def send(self, message: Message, timeout_ms: int) -> bool:
        """Send one message; False when the connection has just gone and its event is under way."""
        assert self._outgoing is not None, "only a ready link is asked to send"
        self._last_id = message_id = self._last_id + 1
        if not self._outgoing.send(
            self.frames(message, message_id, timeout_ms, self.received_bytes)
        ):
            return False
        self.inflight[message_id] = message
        self.inflight_bytes += message.size
        return True

    def frames(
        self, message: Message, message_id: int, timeout_ms: int, received_bytes: int
    ) -> tuple[bytes, bytes]:
        """A message as it travels."""
        header: tuple[Any, ...]
        kind, session = message.lane.kind, message.session
        header = (PROTOCOL_VERSION, message_id, kind, timeout_ms, received_bytes)
        if session is not None:
            header += session.stamp(message.sequence)
        if self._token:
            stamp = () if session is not None else (0, 0, 0)
            header += (*stamp, self._token)
        return codec.pack(header), codec.pack(list(map(_request_of, message.calls)))

    def has_said(self, reply: Reply) -> bool:
        """Whether a reply's header tells nothing new."""
        return reply == (self.cluster_id, self.member_id, self.raft_term, self.leader_id)

    def forget(self, message_id: int) -> None:
        """Give up waiting for a message; a late reply to it is passed over."""
        self.inflight_bytes -= self.inflight.pop(message_id).size

    def on_messages(self, outgoing: Outgoing, messages: list[list[Frame]]) -> None:
        """See transport/streams.py."""
        for frames in messages:
            if outgoing is not self._outgoing:
                return  # it broke meanwhile
            try:
                self._receive(frames)
            except (MalformedError, ValueError, TypeError, IndexError) as malformed:
                self._lost(MalformedReplyError, f"malformed reply: {malformed}")

    def _receive(self, frames: Sequence[Frame]) -> None:
        message_id, reply = read_header(frames)
        self.member_id, self.leader_id = reply.member_id, reply.leader_id
        self.raft_term = reply.raft_term
        self.received_bytes += len(frames[1])
        if reply.cluster_id != self.cluster_id:
            self.cluster_id = reply.cluster_id
            self._owner.on_met(self)
            if not self.connected:
                return
            self.trouble, self.foreign, self.hopeless = "", False, False
        if message_id == PUSH_ID:
            pushed = codec.unpack(frames[1], array_max=len(frames[1]))
            self._owner.on_push(self, reply, pushed)
            return
        message = self.inflight.get(message_id)
        if message is None:
            return  # its callers were answered by their deadline
        results = unpack_results(frames[1], message.calls)
        if is_message_error(results) and results[1] in _WHO_ARE_YOU:
            self._log_in_again(message_id)
        self._owner.on_reply(self, message, reply, results)
        if self.inflight.pop(message_id, None) is not None:  # it may have ended the client
            self.inflight_bytes -= message.size
        self._backoff_s = 0.0

    def on_ready(self, _outgoing: Outgoing) -> None:
        """See transport/streams.py."""
        self.connected = True
        _log.info("connected to %s", self.endpoint)
        if self._credentials is None:
            self.admit("")
        else:
            self._credentials.begin(self)

    def admit(self, token: str) -> None:
        """The node knows who this client is by this token, or asks nobody."""
        self._token, self._token_since = token, self._last_id
        self.ready = True
        self._owner.on_connected(self)

    def _log_in_again(self, message_id: int) -> None:
        """The node has forgotten the token of a message."""
        if self._credentials is not None and self.ready and message_id > self._token_since:
            self.ready = False
            self._credentials.begin(self)

    def on_lost(self, outgoing: Outgoing, why: str) -> None:
        """See transport/streams.py."""
        refused = isinstance(outgoing.error, NotZmtpError | RefusedError)
        self.hopeless = refused and (self._caller is None or self._caller.tried_all)
        if self.connected:
            self._lost(ConnectionLostError, f"connection lost: {why}")
        else:
            hint = ""
            if why.endswith(CLOSED):
                hint = _WRONG_DOOR if self._caller is None else _WRONG_KEY
            self._lost(ConnectionLostError, f"cannot connect: {why}{hint}")

    def refuse(self, why: str) -> None:
        """Close the connection, since its other end is none of this client's."""
        self.foreign = self.hopeless = True
        self._lost(OtherClusterError, why)

    def _lost(self, cls: type[SampanError], cause: str) -> None:
        if self.ready or cause != self.trouble:  # not each vain attempt
            _log.warning("%s: %s", self.endpoint, cause)
        unanswered = self.close()
        self.trouble = cause
        delay_s = self._backoff_s = min(max(2 * self._backoff_s, BACKOFF_S_MIN), BACKOFF_S_MAX)
        if self.foreign:
            delay_s = FOREIGN_S
        self._reopening = self._loop.call_at(self._loop.time() + delay_s, self.open)
        text = f"sampan: {cause}"
        if self.endpoint not in cause:
            text += f" ({self.endpoint})"
        self._owner.on_lost(self, unanswered, cls(errors.UNAVAILABLE, text))


def read_header(frames: Sequence[Frame]) -> tuple[int, Reply]:
    """Which message a reply is for, and the rest of its header.

    Raises:
        MalformedError, CodecError, TypeError: it is none.
    """
    if len(frames) != 2:
        raise MalformedError(f"{len(frames)} frames, expected 2")
    version, message_id, *rest = header = codec.unpack(frames[0])
    if version != PROTOCOL_VERSION:
        raise MalformedError(f"protocol version {version!r}, expected {PROTOCOL_VERSION}")
    if set(map(type, header)) != {int}:
        raise MalformedError(f"expected a header of integers, got {str(header)[:80]}")
    return message_id, Reply(*rest)


def is_message_error(results: Any) -> bool:
    """Whether a reply's body is one error for all its requests."""
    return type(results) is tuple and len(results) == 3 and type(results[0]) is int


def wire_error(result: Any) -> errors.WireError:
    """A failed request's result.

    Raises:
        MalformedError: it is neither a success nor an error.
    """
    if type(result) is not tuple or len(result) != 3 or type(result[0]) is not int:
        raise MalformedError(f"expected (code, text, outcome), got {str(result)[:80]}")
    return errors.WireError(*result)
