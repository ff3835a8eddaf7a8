"""The transport: etcd's rafthttp.

Sends raft messages to peers, or drops them: raft sends again. Receives theirs, after a look at who
sends: another cluster, another member, or a member whose data dir was emptied or is an older copy
is not listened to.
Streams snapshots (snapshot_stream.py).

Each side sends on a link of its own and receives on its bound socket. Every header says how many
bytes were sent so far and how many arrived from the other side, so a link's queue is bounded in
bytes wherever they are: here, in the kernel or in the peer.
"""

from typing import Any, NamedTuple

from ..config import addresses, limits
from ..storage.snapshot_store import SnapshotStore
from ..transport.codec import CodecError, pack, unpack, unpack_header
from ..transport.introductions import (
    OLDER_VERSION,
    PEER_VERSION,
    Tell,
    pack_ask,
    pack_tell,
    unpack_ask,
    unpack_tell,
)
from ..transport.requests import is_u64
from . import channels, snapshot_stream
from .actor import Actor
from .changes import TELLS_WITHIN_S
from .peer_link import Link
from .peer_memory import Life
from .reconfiguration import REMOVED
from .roster import Roster, Way
from .snapshot_pace import Pace
from .snapshot_stream import SnapshotReceiver, SnapshotSender

SMALL_BYTES = 4 * limits.KIB
"""Messages this small pass a full link: heartbeats probe whether the peer is back."""

REPORT_EVERY_S = 0.1
"""How often one peer is reported unreachable."""


HELLO_EVERY_S = 0.05
"""How often, at most, a member says hello to a peer that does not know of its present start."""

LOST_S = 1.0
"""Without a word for so long a peer does not count as connected."""
KEEP_S = 0.4
"""How long a member is silent towards a peer: followers, which have nothing to say to each other,
know so who of them is there when one of them leads."""
ASK_EVERY_S = 1.0
"""How often a peer is asked who the members are, while it has not said what it can read, or while
nobody leads: who was removed meanwhile finds out so."""
GUEST_S = 3.0
"""How long the link to somebody who is no peer is kept."""
GUEST = 0
"""Its key among the links: no member has this id."""
DISOWNED_MAX = 3
"""How often the leader must say that this is no member: a new one may not know of it at once."""
NOT_A_MEMBER = (
    "member {:x} is not a member of this cluster: its leader does not know it. Add it with "
    "`sampanctl member add` and start it with an empty data dir and initial_cluster_state "
    '= "existing"'
)
SILENCE_S = 5.0
"""After so long without a word of a peer the log says so: time for a restart, not for a mistake."""


def _is_told(times: int) -> bool:
    """Whether to log what has happened so often."""
    return times in (1, 10, 100) or times % 1000 == 0


class TransportSettings(NamedTuple):
    """What the transport needs to know of the configuration."""

    cluster_id: int
    member_id: int
    incarnation: int
    start: int
    """The number of this start of the node."""
    epoch: int
    """Random, new at every start: byte counts of an earlier life are recognised by it."""
    peers: tuple[tuple[int, str, str], ...]
    """(id, peer endpoint, name) from the configuration, until the log tells the members."""
    advertise: str = ""
    """This member's own peer endpoint, where those answer that have no link to it."""
    snapshot_bytes_per_s: int = 0
    """How fast snapshots may leave; 0: no bound."""


class Transport(Actor):
    """Owns the links to the peers."""

    name = channels.TRANSPORT

    def __init__(self, settings: TransportSettings, snapshots: SnapshotStore, log: Any) -> None:
        super().__init__()
        self._settings = settings
        self._log = log
        self._links: dict[int, Link] = {}
        self._wanted: dict[int, tuple[str, str]] = {}  # peer -> (endpoint, name)
        self._roster = Roster(settings.member_id, settings.peers)
        self._guest = ""  # endpoint of somebody else who has asked, and is answered there
        self._guest_until = 0.0
        self._leader = 0
        self._disowned = 0  # how often leaders have said that this is no member
        self._log_end: tuple[int, int] | None = None
        self.counts = dict.fromkeys(
            ("sent", "received", "refused", "malformed", "strange", "overflow"), 0
        )
        self._sender = SnapshotSender(
            snapshots,
            self._send_snapshot,
            self._report_snapshot,
            Pace(settings.snapshot_bytes_per_s),
            self._clock,
        )
        self._receiver = SnapshotReceiver(snapshots, self._send_snapshot, self._deliver)

    def start(self) -> None:
        """Link to the configured peers."""
        self._set_links(self._roster.ways())

    # -- members

    def on_statec(self, message: Any) -> None:
        """What the state database holds at start."""
        self.on_membersc((message[3], message[5]))

    def on_membersc(self, message: Any) -> None:
        """(members, removed members) of the cluster, as the log has them."""
        members, removed = message
        if not members:
            return
        self._roster.take(members, removed)
        self._set_links(self._roster.ways())
        for m in members:
            if m[0] in self._links:
                self._links[m[0]].incarnation = m[5]

    def on_logendc(self, message: Any) -> None:
        """(term, last index) of the log at this start. Peers judge by it whether this member is
        what it was, so nothing is sent before."""
        self._log_end = message
        self._greet()

    def _greet(self) -> None:
        for peer, link in self._links.items():
            if not link.met:
                self._hello(peer, link)

    def _hello(self, peer: int, link: Link) -> None:
        late = self.now - link.greeted_at >= HELLO_EVERY_S
        if late and self._transmit(peer, "hello", [], (PEER_VERSION, link.met)):
            link.greeted_at = self.now

    def _introduce_myself(self, peer: int, link: Link, who: tuple[int, int], kind: Any) -> None:
        """The older version reads the header of a hello in its own version, and no more. It never
        says it: who does reads this one, and takes this member for older."""
        if who[0] == OLDER_VERSION and kind != "hello":
            self._transmit(peer, "hello", [], who)
        else:
            self._hello(peer, link)

    def _set_links(self, wanted: dict[int, Way]) -> None:
        if wanted == self._wanted:
            return
        self._wanted = wanted
        for peer, link in list(self._links.items()):
            if peer not in wanted:
                del self._links[peer]
            elif wanted[peer][0] != link.endpoint:
                self._links[peer] = link.moved(wanted[peer][0], self.now)
        for peer, (endpoint, _) in wanted.items():
            if peer not in self._links:
                self._links[peer] = Link(endpoint, self.now)
        self._emit_links()

    def _emit_links(self) -> None:
        guest = {GUEST: (self._guest, "")} if self._guest else {}
        self.emit("linksc", self._wanted | guest)

    def on_softstatec(self, message: Any) -> None:
        """(term, leader, role). Followers of one leader have nothing to say to each other."""
        _, self._leader, _ = message
        for link in self._links.values():
            link.awaited_at = self.now

    # -- to peers

    def on_sendc(self, message: Any) -> None:
        """(peer, bytes): one raft message."""
        peer, data = message
        link = self._links.get(peer)
        if link is not None:  # a removed member gets no more messages
            link.frames.append(data)

    def flush(self) -> None:
        """All messages of this turn for one peer leave together."""
        for peer, link in self._links.items():
            if link.frames:
                frames, link.frames = link.frames, []
                for start in range(0, len(frames), limits.PEER_FRAMES_MAX):
                    self._transmit(peer, "raft", frames[start : start + limits.PEER_FRAMES_MAX])
        self.wake_at = self._sender.due_at

    def _transmit(
        self, peer: int, kind: str, frames: list[bytes], to: tuple[int, int] | None = None
    ) -> bool:
        """Send to a start of a peer: the one that was met, or `to`, (version, epoch), which a
        message has named that is answered. It hears nothing that names another."""
        if self._log_end is None:
            return False
        link = self._links[peer]
        met = (link.version, link.met)
        version, peer_epoch = to or met
        received = link.received if (version, peer_epoch) == met else 0
        size = sum(map(len, frames))
        if link.sent - link.acked + size > limits.PEER_QUEUE_BYTES and size > SMALL_BYTES:
            self.counts["overflow"] += 1
            self._report_unreachable(peer)
            return False
        link.sends(size, self.now)
        self.counts["sent"] += 1
        s = self._settings
        start = (s.start, *self._log_end) if version == PEER_VERSION else ()
        header = (version, s.cluster_id, s.member_id, peer, s.incarnation, s.epoch,
                  link.sent, peer_epoch, received, kind, *start)  # fmt: skip
        self.emit("linkc", (peer, [pack(header), *frames]))
        return True

    def on_linkfullc(self, peer: int) -> None:
        """The link took no more: the peer is away."""
        if peer in self._links:
            self._report_unreachable(peer)

    def on_brokenc(self, peer: int) -> None:
        """Its connection broke and it refuses another: its process is gone."""
        if peer in self._links:
            self.emit("reportc", ("gone", peer))

    def _report_unreachable(self, peer: int) -> None:
        link = self._links[peer]
        link.failures += 1
        if self.now - link.reported_at >= REPORT_EVERY_S:
            link.reported_at = self.now
            self.emit("reportc", ("unreachable", peer))

    # -- from peers

    def on_peerc(self, message: Any) -> None:
        """(header, frame, …) as it came from the socket."""
        try:
            (version, cluster_id, peer, to, incarnation, epoch,
             sent, my_epoch, received, kind, *start) = unpack_header(message[0])  # fmt: skip
            numbers = (version, cluster_id, peer, to, incarnation, epoch, sent, my_epoch,
                       received, *start)  # fmt: skip
            if set(map(type, numbers)) != {int} or len(message) > limits.PEER_FRAMES_MAX + 1:
                raise CodecError("not a peer header")
        except (CodecError, TypeError, ValueError, IndexError):
            self.counts["malformed"] += 1
            return
        s = self._settings
        link = self._links.get(peer)
        older = version == OLDER_VERSION
        why = self._stranger(version, cluster_id, to)
        if kind in ("ask", "tell") and version == PEER_VERSION:
            self._introduce(kind, (peer, cluster_id, to), (epoch, my_epoch), message[1:])
        elif why or link is None:
            self._refuse(peer, why or "not a member")
            if not why:
                self._ask_about(peer)
        elif link.incarnation not in (0, incarnation):
            self._refuse_amnesiac(peer, (version, epoch), incarnation)
        elif link.refused is not None and link.refused[0] == epoch:
            self._refuse_rolled_back(peer, link.refused)
        elif len(start) != (0 if older else 3):
            self.counts["malformed"] += 1
        else:
            if kind == "hello" and not older:
                self._transmit(peer, "raft", [], (version, epoch))  # by which it knows this start
            if my_epoch != s.epoch or (kind == "hello" and older):
                # It has not heard this start yet, or somebody speaks in its name who does not hear
                # what it is told: nothing of it is believed.
                self.counts["strange"] += kind != "hello"
                self._introduce_myself(peer, link, (version, epoch), kind)
                return
            self._heard(peer, link)
            if (version, epoch) != (link.version, link.met):
                self._meet(peer, link, (version, epoch), start)
            link.received = sent
            link.acknowledges(received, self.now)
            self._take(peer, kind, list(message[1:]))

    def _ask_about(self, peer: int) -> None:
        """Somebody who knows this member is not known here: the log may be behind."""
        if not self._roster.is_removed(peer):
            for other, link in self._links.items():
                if self.now - link.asked_at > ASK_EVERY_S:
                    self._ask(other, link)

    def _stranger(self, version: int, cluster_id: int, to: int) -> str:
        """Why a header cannot be a member's; empty when it can."""
        s = self._settings
        if version not in (OLDER_VERSION, PEER_VERSION):
            return f"it speaks version {version}, this node version {PEER_VERSION}"
        if cluster_id != s.cluster_id:
            ids = f"{cluster_id:x}, not {s.cluster_id:x}"
            return f"another cluster, {ids}: is `cluster` the same in every file?"
        return "" if to == s.member_id else f"it takes this member, {s.member_id}, for {to}"

    def _heard(self, peer: int, link: Link) -> None:
        if self.now - link.heard_at > LOST_S:
            link.heard_since = self.now
        link.heard_at = self.now
        if link.silent:
            link.silent = False
            self._log.info("peer heard", peer=peer)

    def _meet(self, peer: int, link: Link, who: tuple[int, int], start: list[int]) -> None:
        """It is a start of the peer that hears this member: (version, epoch)."""
        link.version, link.met = who
        link.received = 0
        # It has started again, perhaps as another version: what it can read is not known yet.
        link.format, link.asked_at, link.heard_since = 0, 0.0, self.now
        self._sender.lost(peer)
        if start:  # the older version tells nothing to judge it by
            number, *log = start
            self.emit("reportc", ("started", peer, Life(number, link.met, *log)))
        self._transmit(peer, "raft", [])  # so that it meets this member, too

    def _refuse(self, peer: int, why: str) -> None:
        self.counts["refused"] += 1
        if _is_told(self.counts["refused"]):
            self._log.warning("peer refused", peer=peer, why=why, times=self.counts["refused"])

    def _refuse_amnesiac(self, peer: int, who: tuple[int, int], incarnation: int) -> None:
        # It has forgotten its vote and its log: were it heard, a term could have two leaders.
        # The answer names what is refused, the start or, to the older version, the data dir: the
        # true member, which it goes to when another process or a forger speaks in its name, must
        # not take it for its own.
        self._refuse(peer, "its data dir is not the one it joined with")
        text = (
            "this member has already been bootstrapped with another data dir; restore that one: an "
            "empty one has forgotten what this member voted for and acknowledged"
        )
        version, epoch = who
        named = incarnation if version == OLDER_VERSION else epoch
        self._transmit(peer, "refuse", [pack((named, text))], who)

    def on_refusec(self, message: Any) -> None:
        """(peer, epoch, why): it must not be heard in this epoch."""
        peer, epoch, why = message
        link = self._links.get(peer)
        if link is not None:
            link.refused = (epoch, why)
            self._refuse_rolled_back(peer, link.refused)

    def _refuse_rolled_back(self, peer: int, refused: tuple[int, str]) -> None:
        epoch, why = refused
        self._refuse(peer, why)
        self._transmit(peer, "refuse", [pack((epoch, why))], (PEER_VERSION, epoch))

    def _take(self, peer: int, kind: Any, frames: list[bytes]) -> None:
        self.counts["received"] += 1
        if kind == "raft":
            if frames:
                self.emit("recvc", (peer, frames, ""))
        elif kind == "hello":
            pass
        elif kind == "snap":
            self._take_snapshot(peer, frames)
        elif kind == "refuse" and frames:
            self._take_refusal(peer, frames[0])
        elif kind in ("forward", "answer") and len(frames) == 2:
            self._take_forwarded(peer, kind, *frames)
        else:
            self.counts["malformed"] += 1

    def _take_refusal(self, peer: int, frame: bytes) -> None:
        try:
            named, text = unpack(frame, array_max=2)
        except (CodecError, TypeError, ValueError):
            self.counts["malformed"] += 1
            return
        if named in (self._settings.epoch, self._settings.incarnation):
            self.emit("fatalc", str(text))
        else:
            self.counts["refused"] += 1
            if _is_told(self.counts["refused"]):
                self._log.warning("another data dir was refused under this member's id", peer=peer)

    # -- introductions: who are the members, and what can they read

    def _ask(self, peer: int, link: Link) -> None:
        link.asked_at = self.now
        self._transmit(peer, "ask", [pack_ask(self._settings.advertise)])

    def _introduce(
        self, kind: str, sender: tuple[int, int, int], epochs: tuple[int, int], frames: list[bytes]
    ) -> None:
        """`epochs`: the sender's, and the one of this member that it knows."""
        epoch, my_epoch = epochs
        if kind == "ask":
            self._on_ask(sender[0], epoch, frames)
        elif my_epoch == self._settings.epoch:
            self._on_tell(*sender, frames)
        else:  # not asked by this start: anybody could tell it that it was removed
            self.counts["strange"] += 1

    def _on_ask(self, peer: int, epoch: int, frames: list[bytes]) -> None:
        """Tell whoever asks who the members are: over its link, or where it says it listens. Who is
        no peer does not hear what this start is called."""
        try:
            endpoint = unpack_ask(frames)
        except CodecError:
            self.counts["malformed"] += 1
            return
        told = [pack_tell(Tell(self._leader, self._roster.members, self._roster.removed))]
        link = self._links.get(peer)
        if link is not None and addresses.parse(link.endpoint) == addresses.parse(endpoint):
            self._transmit(peer, "tell", told, (PEER_VERSION, epoch))
            return
        if endpoint != self._guest and self.now < self._guest_until:
            return  # one guest at a time; whoever is not answered asks again
        if endpoint != self._guest:
            self._guest = endpoint
            self._emit_links()
        self._guest_until = self.now + GUEST_S
        s = self._settings
        header = (PEER_VERSION, s.cluster_id, s.member_id, peer, 0, 0, 0, epoch, 0, "tell")
        self.emit("linkc", (GUEST, [pack(header), *told]))

    def _on_tell(self, peer: int, cluster_id: int, to: int, frames: list[bytes]) -> None:
        """A peer says who the members are. Who was removed did not always hear of it in time."""
        try:
            told = unpack_tell(frames)
        except CodecError:
            self.counts["malformed"] += 1
            return
        s = self._settings
        if cluster_id != s.cluster_id or to != s.member_id:
            return
        if peer in self._links:
            self._links[peer].format = told.format
        if s.member_id in dict(told.removed):
            self.emit("fatalc", REMOVED)
        elif told.members and all(m[0] != s.member_id for m in told.members):
            # A peer that is behind need not know of this member yet. Who leads does, shortly.
            self._disowned += told.leader == peer
            if self._disowned >= DISOWNED_MAX:
                self.emit("fatalc", NOT_A_MEMBER.format(s.member_id))
        else:
            self._disowned = 0
            if self._roster.hear(told.members):
                self._set_links(self._roster.ways())

    # -- between nodes

    def on_forwardc(self, message: Any) -> None:
        """("ask", peer, question, (kind, timeout_ms, stamp, who), body) or
        ("answer", peer, question, body): to another member's node."""
        what, peer, question, *about, body = message
        link = self._links.get(peer)
        if what == "answer":
            if link is not None:
                self._transmit(peer, "answer", [pack((question,)), body])
        elif link is None or not link.format:
            older = link is not None and self._heard_ms(link) > 1000 * TELLS_WITHIN_S
            self.emit("forwardedc", ("refused", question, older))
        else:
            self._transmit(peer, "forward", [pack((question, *about[0])), body])

    def _take_forwarded(self, peer: int, kind: str, frame: bytes, body: bytes) -> None:
        try:
            question, *about = unpack(frame, array_max=5)
        except (CodecError, TypeError, ValueError):
            self.counts["malformed"] += 1
            return
        if not is_u64(question) or len(about) != (4 if kind == "forward" else 0):
            self.counts["malformed"] += 1
        elif kind == "forward":
            self.emit("forwardedc", ("asked", peer, question, *about, body))
        else:
            self.emit("forwardedc", ("answered", question, body))

    # -- snapshots

    def _clock(self) -> float:
        """The time within a turn."""
        return self.flight.clock()  # a host's, which comes after the actor

    def on_snapsendc(self, message: Any) -> None:
        """(peer, snapshot name, raft message): stream the snapshot, then deliver the message."""
        peer, name, raft_message = message
        if peer in self._links:
            self._sender.begin(peer, name, raft_message, self.now)

    def on_hurryc(self, hurries: bool) -> None:
        """Whether the log has little room left for what comes after a snapshot on its way."""
        self._sender.hurry(hurries, self.now)

    def on_wake(self) -> None:
        """A snapshot goes on."""
        self._sender.go_on(self.now)

    def on_snapreadyc(self, message: Any) -> None:
        """A newer snapshot was made; older ones that nobody is sent can go."""
        self._sender.made(message[0])

    def _take_snapshot(self, peer: int, frames: list[bytes]) -> None:
        for frame in frames:
            try:
                message = snapshot_stream.parse(frame)
            except CodecError:
                self.counts["malformed"] += 1
                continue
            answer = message[0] in snapshot_stream.FROM_RECEIVER
            (self._sender if answer else self._receiver).take(peer, message, self.now)

    def _send_snapshot(self, peer: int, frame: bytes) -> bool:
        return peer in self._links and self._transmit(peer, "snap", [frame])

    def _report_snapshot(self, peer: int, ok: bool) -> None:
        self._log.info("snapshot sent" if ok else "snapshot failed", peer=peer)
        self.emit("reportc", ("snapshot", peer, ok))

    def _deliver(self, peer: int, name: str, raft_message: bytes) -> None:
        self._sender.forget_digests()
        self.emit("recvc", (peer, [raft_message], name))

    # -- the rest

    def on_timer(self) -> None:
        """Give up streams that do not move; tell of silent peers; ask what is not known."""
        self._greet()
        self._sender.tick(self.now)
        self._receiver.tick(self.now)
        if self._guest and self.now > self._guest_until:
            self._guest = ""
            self._emit_links()
        for peer, link in self._links.items():
            if link.met and self.now - link.sent_at >= KEEP_S:
                self._transmit(peer, "raft", [])
            if (not link.format or not self._leader) and self.now - link.asked_at > ASK_EVERY_S:
                self._ask(peer, link)
        for peer, link in self._links.items():
            if link.silent or self._leader not in (0, self._settings.member_id, peer):
                continue
            if self.now - max(link.heard_at, link.awaited_at) > SILENCE_S:
                link.silent = True
                self._log.warning("peer not heard", peer=peer, endpoint=link.endpoint)

    def on_statusc(self, request_id: int) -> None:
        """Answer a status question."""
        status: dict[str, Any] = {f"peer_{name}": count for name, count in self.counts.items()}
        status["peers_heard"] = sum(
            1 for link in self._links.values() if self.now - link.heard_at < LOST_S
        )
        status["peers"] = [
            (peer, self._heard_ms(link), link.format) for peer, link in self._links.items()
        ]
        links = [link.measured(peer) for peer, link in self._links.items()]
        self.emit("statusrc", (request_id, self.name, status, self.measured() | {"peers": links}))

    def _heard_ms(self, link: Link) -> int:
        """For how long it was heard without a pause; -1 when it is not now."""
        if not link.heard_at or self.now - link.heard_at > LOST_S:
            return -1
        return int(1000 * (self.now - link.heard_since))
