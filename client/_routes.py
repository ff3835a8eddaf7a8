"""Which connection a request takes: of which cluster the endpoints are, and who leads it.

An endpoint that has just connected may be anybody: a node of another cluster, a node of this one
that is far behind. So a client with a choice, or one that knows its cluster, asks first who it is,
and sends nothing else before the answer.

The cluster is that of the first endpoint in the list that can be reached. An endpoint of another
one is left alone, and asked again now and then, since addresses change their owners.
"""

import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..transport import errors as wire
from ..transport.requests import KIND_READ, KIND_SERIALIZABLE, KIND_WRITE
from . import _log, errors

if TYPE_CHECKING:
    from ._io import Loop
    from ._link import Link

SETTLE_S = 0.3
"""How long, at most, a new client waits for the endpoints that its list names before the first one
that has answered: a round trip on most networks, with time for a lost packet."""
HELLO_S = 1.0
"""How long, at most, a new client's first requests for the leader wait until the nodes that it has
reached have said who leads, and until that one is reached. Through a follower they would wait until
that has applied them, which takes seconds when it is behind."""
HOLD_S = 3.0
"""How long, at most, after the leader's connection broke, nothing is sent to nodes that believe in
that leader still: they would forward a write to it, and nobody could tell what became of it. They
notice within two election timeouts."""
PROBE_S = 0.1
"""How often they are asked meanwhile."""
_MUTE = (
    "connected, but has never answered: is it the port for members, 2380 by default? "
    "Sampan's own for clients is 2378"
)


class Routes:
    """The connections of one client, and what is known of who is at their other ends.

    Attributes:
        links: in no order, so that clients spread over the nodes.
        cluster_id: 0 before it is known.
    """

    def __init__(
        self,
        loop: "Loop",
        links: "list[Link]",
        probe: "Callable[[Link], None]",
        on_change: Callable[[], None],
    ) -> None:
        """`probe`: ask a node who it is; `on_change`: more may be sent now than before."""
        self._loop = loop
        self._listed = tuple(links)
        self.links = links
        random.shuffle(self.links)
        self._probe = probe
        self._on_change = on_change
        self.cluster_id = 0
        self._settle_at = 0.0
        self._home: Link | None = None
        self._leader_id = 0
        self._leader_term = 0
        self._lost_leader: Link | None = None
        self._lost_leader_id = 0
        self._hold_until = 0.0
        self._hello_until = 0.0

    def start(self) -> None:
        """Begin to connect."""
        if len(self.links) > 1:
            self._settle_at = self._loop.time() + SETTLE_S
            self._loop.call_at(self._settle_at, self._settle)
            self._hello_until = self._loop.time() + HELLO_S
            self._loop.call_at(self._hello_until, self._on_change)
        for link in self._listed:
            link.open()

    def dial(self) -> None:
        """The name of an endpoint has become known, or it is known to have none."""
        for link in self.links:
            link.tick()

    def let_go(self) -> None:
        """Close the connections of a client whose loop is closed: nobody waits any more."""
        for link in self.links:
            link.close()

    # ---- which one ------------------------------------------------------------------------------

    def pick(self, kind: str) -> "Link | None":
        """The leader for what only it can answer; otherwise stay where the last call went."""
        now = self._loop.time()
        for_leader = kind in (KIND_WRITE, KIND_READ)
        if for_leader and now >= self._hold_until and (link := self._to_leader(now)) is not None:
            return link
        usable = [link for link in self.links if self._usable(link)]
        if for_leader and now < self._hello_until and self._may_meet_leader(usable):
            return None
        usable = [link for link in usable if link.avoid_until <= now] or usable
        if for_leader:
            if now < self._hold_until:
                usable = [link for link in usable if link.leader_id != self._lost_leader_id]
            for link in usable:
                if link.member_id == self._leader_id != 0:
                    return link
        if not usable:
            return None
        if self._home not in usable:
            self._home = usable[0]
        return self._home

    def pick_for_watch(self) -> "Link | None":
        """The leader, which has events first, or any node while it is not known or away; None
        while nothing is connected."""
        return self._to_leader(self._loop.time()) or self.pick(KIND_SERIALIZABLE)

    def _usable(self, link: "Link") -> bool:
        """Whether it leads to this cluster, or there is no other that it could be."""
        known = self.cluster_id != 0 or len(self.links) == 1
        return link.ready and known and link.cluster_id == self.cluster_id

    def _may_meet_leader(self, met: "list[Link]") -> bool:
        """Whether a connection that has not said anything yet may be the leader's."""
        members = [link.member_id for link in met]
        unmet = len(met) < len(self.links) and self._leader_id not in (0, *members)
        return unmet or any(link.ready and not link.cluster_id for link in self.links)

    def _to_leader(self, now: float) -> "Link | None":
        for link in self.links:
            is_leader = link.member_id == self._leader_id != 0  # of whichever cluster
            if is_leader and self._usable(link) and link.avoid_until <= now:
                return link
        return None

    # ---- what becomes known ---------------------------------------------------------------------

    def on_connected(self, link: "Link") -> None:
        """Ask who it is, unless it cannot matter."""
        if link is self._lost_leader:
            self._hold_until = 0.0
        if len(self.links) > 1 or self.cluster_id:
            self._probe(link)

    def on_met(self, link: "Link") -> None:
        """It has said who it is, for the first time on this connection."""
        self._settle()
        if self.cluster_id not in (0, link.cluster_id):
            self._refuse(link)
        self._on_change()

    def _refuse(self, link: "Link") -> None:
        link.refuse(
            f"a node of cluster {link.cluster_id:x}, and this client's is {self.cluster_id:x}"
        )

    def _settle(self) -> None:
        """Decide which cluster it is, if that is not to be left to an endpoint listed before."""
        if self.cluster_id:
            return
        for link in self._listed:
            if link.cluster_id:
                self.cluster_id = link.cluster_id
                break
            if not link.trouble and self._loop.time() < self._settle_at:
                return
        for link in self._listed:
            if link.cluster_id == self.cluster_id:
                self.on_reply(link)
            elif link.cluster_id:
                self._refuse(link)
        self._on_change()

    def on_reply(self, link: "Link") -> None:
        """Every reply says who leads."""
        if link.cluster_id == self.cluster_id and link.raft_term >= self._leader_term:
            if link.leader_id != self._leader_id:
                _log.info("member %x leads in term %d", link.leader_id, link.raft_term)
            self._leader_term, self._leader_id = link.raft_term, link.leader_id

    def on_lost(self, link: "Link") -> None:
        """A connection broke, or could not be made."""
        self.lose_leader(link)
        self._settle()

    def lose_leader(self, link: "Link") -> None:
        """If `link` leads to the leader, begin to wait for the next one."""
        is_leader = link.member_id == self._leader_id != 0 and link.cluster_id == self.cluster_id
        if is_leader and len(self.links) > 1:
            self._lost_leader, self._lost_leader_id = link, link.member_id
            self._leader_id = 0
            self._hold_until = self._loop.time() + HOLD_S
            for each in self.links:
                each.leader_id = link.member_id  # what they said before may be from any time
            self._probe_all()

    def _probe_all(self) -> None:
        """While the leader is lost: until a node knows that, or the time to wait is over."""
        for link in self.links:
            if link.ready:
                self._probe(link)
        known = self._leader_id not in (0, self._lost_leader_id)
        if not known and self._loop.time() < self._hold_until:
            self._loop.call_at(self._loop.time() + PROBE_S, self._probe_all)
        self._on_change()

    def hopeless(self, only: "Link | None") -> bool:
        """Whether all endpoints, or the one, were found to be another cluster's, or no node."""
        links = self._listed if only is None else (only,)
        return all(link.hopeless and not link.ready for link in links)

    def unreachable(self, what: str, only: "Link | None" = None) -> errors.SampanError:
        """A new error that says what could not be done, and what is known of all endpoints, or of
        the one that it was for."""
        links = self._listed if only is None else (only,)
        tried = "; ".join(map(_known_of, links))
        text = f"sampan: {what}; endpoints: {tried}"
        if any(link.foreign for link in links):
            return errors.OtherClusterError(wire.FAILED_PRECONDITION, text)
        error = errors.UnreachableError(wire.DEADLINE_EXCEEDED, text)
        error.tried = tried
        return error

    def unanswered(self, only: "Link | None" = None) -> errors.SampanError:
        """A new error for a read that was sent; likewise, if nothing was ever answered."""
        links = self._listed if only is None else (only,)
        text = "sampan: no answer by the deadline"
        tried = "" if any(link.cluster_id for link in links) else "; ".join(map(_known_of, links))
        error = errors.ReadTimeoutError(
            wire.DEADLINE_EXCEEDED, f"{text}; endpoints: {tried}" if tried else text
        )
        error.tried = tried
        return error


def _known_of(link: "Link") -> str:
    """An endpoint, and what became of it."""
    known = link.trouble or (_MUTE if link.mute else "")
    return f"{link.endpoint}: {known}" if known else link.endpoint
