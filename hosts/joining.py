"""Asking the members of a running cluster who they are, before a new one joins them.

Bounded, and before anything of raft runs: whoever is no member hears so, and never votes.
"""

import secrets
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..actors.reconfiguration import REMOVED
from ..config import addresses
from ..config.model import ConfigError
from ..transport.codec import CodecError, pack, unpack_header
from ..transport.introductions import PEER_VERSION, Tell, pack_ask, unpack_tell
from ..transport.polling import Poller
from ..transport.tcp import BindError
from .ports import PeerPort

if TYPE_CHECKING:
    from .keys import MemberKeys

ANSWER_S = 10.0
"""How long the peers have to answer: several elections."""
ASK_EVERY_S = 0.3
SURE_AFTER = 3
"""So often must the leader say that nobody has this address: it may have applied the addition a
moment later than whoever answered it."""


class Asker(NamedTuple):
    """Who asks."""

    cluster_id: int
    """As configured; 0 when it is the cluster's to say."""
    name: str
    advertise: str
    """Its peer address as the others know it."""
    listen: str
    member_id: int
    """As configured; 0 when it is the cluster's to say."""


class Joined(NamedTuple):
    """What a new member has to know before its log tells it."""

    cluster_id: int
    member_id: int
    peers: tuple[tuple[int, str], ...]
    """(id, peer address) of the others."""


def join(
    asker: Asker, configured: Mapping[str, str], log: Any, keys: "MemberKeys | None" = None
) -> Joined:
    """Ask the members at the configured peer addresses, which have these names; raises ConfigError
    when this node is not one of theirs, or cannot be."""
    try:
        port = PeerPort(asker.listen, log, keys)
    except BindError as error:
        raise ConfigError(f"{asker.name}: {error}") from error
    poller = Poller()
    try:
        return _Joining(asker, configured, port, poller).run()
    finally:
        port.close()
        poller.close()


class _Joining:
    def __init__(
        self, asker: Asker, configured: Mapping[str, str], port: PeerPort, poller: Poller
    ) -> None:
        self._asker = asker
        self._configured = list(configured)
        self._mine = addresses.parse(asker.advertise)
        self._port = port
        self._poller = poller
        self._tell: Tell | None = None  # the newest that knows this address, or of the leader
        self._unknown = 0  # how often the leader did not know it
        self._cluster_id = asker.cluster_id
        self._foreign = 0  # another cluster that has answered
        self._epoch = secrets.randbits(63)  # whoever does not repeat it was not asked
        port.open(poller, self._deliver)
        others = [each for each in self._configured if addresses.parse(each) != self._mine]
        self._links = dict(enumerate(others, 1))
        named = {link: (peer, configured[peer]) for link, peer in self._links.items()}
        port.linksc(("linksc", named))

    def run(self) -> Joined:
        give_up, ask_at = time.monotonic() + ANSWER_S, 0.0
        while (now := time.monotonic()) < give_up:
            if now >= ask_at:
                ask_at = now + ASK_EVERY_S
                self._ask()
            self._poller.wait(0.05)
            self._port.tick()
            if self._tell is not None and self._member(self._tell) is not None:
                return self._accept(self._tell)
            if self._foreign or self._unknown >= SURE_AFTER:
                break
        raise ConfigError(f"{self._asker.name}: {self._why_not()}")

    def _ask(self) -> None:
        asker = self._asker
        who = (asker.cluster_id, asker.member_id)
        header = (PEER_VERSION, *who, 0, 0, self._epoch, 0, 0, 0, "ask")
        for link in self._links:
            self._port.linkc(("linkc", (link, [pack(header), pack_ask(asker.advertise)])))

    def _deliver(self, item: tuple[str, Any]) -> None:
        channel, message = item
        if channel != "peerc":
            return  # a connection broke: the port makes another
        try:
            head, *frames = message
            version, cluster_id, peer, *_, asked, _, kind = unpack_header(head)[:10]
            if version != PEER_VERSION or kind != "tell" or asked != self._epoch:
                return  # raft's messages for who has been added: it is not running yet
            told = unpack_tell(frames)
        except (CodecError, TypeError, ValueError):
            return
        self._cluster_id = self._cluster_id or cluster_id
        if cluster_id != self._cluster_id:
            self._foreign = cluster_id
            return
        known = self._member(told) is not None
        self._unknown += not known and told.leader == peer
        if known or told.leader == peer or self._tell is None:
            self._tell = told

    def _member(self, told: Tell) -> Any:
        return next((m for m in told.members if self._mine in map(addresses.parse, m[2])), None)

    def _why_not(self) -> str:
        asker = self._asker
        if self._foreign:
            return (
                f"the peers are of cluster {self._foreign:x}, not {self._cluster_id:x}: is "
                "`cluster` the same in every file?"
            )
        if self._tell is None:
            asked = ", ".join(self._links.values()) or "any address"
            return (
                f"no peer at {asked} has answered within {ANSWER_S:g} s: is the cluster up, and "
                f"does it reach {asker.advertise}?"
            )
        if any(asker.member_id == member for member, _ in self._tell.removed):
            return REMOVED
        return (
            f"no member of the cluster has the peer address {asker.advertise}: add it first, with "
            f"`sampanctl member add {asker.name} --peer-urls={asker.advertise}`"
        )

    def _accept(self, told: Tell) -> Joined:
        asker, member = self._asker, self._member(told)
        if member[5]:
            raise ConfigError(
                f"{asker.name}: member {member[0]:x} at {asker.advertise} has been started before, "
                "with another data dir: put that one back; or, if it is lost, "
                f"`sampanctl member remove {member[0]:x}`, `sampanctl member add {asker.name} "
                f"--peer-urls={asker.advertise}`, and start again"
            )
        if asker.member_id not in (0, member[0]):
            raise ConfigError(
                f"{asker.name}: it is configured as member {asker.member_id:x}, but the cluster "
                f"knows its address as member {member[0]:x}: take id out of the file"
            )
        self._check_configured(told)
        others = tuple((m[0], m[2][0]) for m in told.members if m is not member)
        return Joined(self._cluster_id, member[0], others)

    def _check_configured(self, told: Tell) -> None:
        """etcd's ValidateClusterAndAssignIDs: both must name the same members."""
        configured = {addresses.parse(each): each for each in self._configured}
        known = {addresses.parse(peer): m for m in told.members for peer in m[2]}
        strange = [text for address, text in configured.items() if address not in known]
        met = {known[address][0] for address in configured if address in known}
        missing = [m[2][0] for m in told.members if m[0] not in met]
        if strange or missing:
            raise ConfigError(
                f"{self._asker.name}: the members in the file are not those of the cluster: "
                + "; ".join(
                    [f"{each} is no member's peer address" for each in strange]
                    + [f"{each} is missing" for each in missing]
                )
            )
