"""The calls about the members and who leads them, of both clients, and what they return."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

from ..config import addresses
from ..transport import errors as wire
from ..transport.requests import KIND_MAINTENANCE, KIND_READ, KIND_WRITE
from . import errors
from ._decode import Answer, header, member_of
from .types import Member, MemberListResponse, ResponseHeader, StatusResponse

Request = tuple[Any, ...]
Change = tuple[Any, ...]
"""What `add`, `remove`, `update` and `promote` make, for `member_change`."""


class MemberAddResponse(NamedTuple):
    """`member`: the new one, with its id; `members`: all of them, ordered by id."""

    header: ResponseHeader
    member: Member
    members: list[Member]


class MemberChangeResponse(NamedTuple):
    """`ids`: the member of each change, in order; `members`: all of them, ordered by id."""

    header: ResponseHeader
    ids: list[int]
    members: list[Member]


class MoveLeaderResponse(NamedTuple):
    """Leadership has moved."""

    header: ResponseHeader


def add(peer_urls: Sequence[str], *, learner: bool = False, auto_promote: bool = False) -> Change:
    """A new member at these peer addresses."""
    return ("add", 0, tuple(peer_urls), int(learner), int(auto_promote))


def remove(member_id: int) -> Change:
    """A member goes, for good: its id is never used again."""
    return ("remove", member_id)


def update(member_id: int, peer_urls: Sequence[str]) -> Change:
    """A member's peer addresses are others."""
    return ("update", member_id, tuple(peer_urls))


def promote(member_id: int) -> Change:
    """A learner votes from now on."""
    return ("promote", member_id)


def _changed(answer: Answer) -> MemberChangeResponse:
    """Of `[0, revision, [member id, …], [member, …]]`."""
    reply, result = answer
    try:
        _, _, ids, members = result
        found = sorted(map(member_of, members))
        return MemberChangeResponse(header(reply, 0), list(ids), found)
    except (TypeError, ValueError) as error:
        raise _malformed(result) from error


def _added(answer: Answer) -> MemberAddResponse:
    response = _changed(answer)
    new = [member for member in response.members if member.id == response.ids[0]]
    if not new:
        raise _malformed(answer[1])
    return MemberAddResponse(response.header, new[0], response.members)


def _listed(answer: Answer) -> MemberListResponse:
    """Of `[0, revision, [member, …]]`, or without a revision when it was read as it is. There is
    none in the header, as in etcd's: the members are no part of the key-value history."""
    reply, result = answer
    try:
        members = result[-1]
        return MemberListResponse(header(reply, 0), sorted(map(member_of, members)))
    except (TypeError, ValueError) as error:
        raise _malformed(result) from error


def _malformed(result: Any) -> errors.MalformedReplyError:
    text = f"sampan: malformed result: {str(result)[:80]}"
    return errors.MalformedReplyError(wire.INTERNAL, text)


def _list_request(serializable: bool) -> tuple[str, Request]:
    return KIND_MAINTENANCE if serializable else KIND_READ, ("member_list",)


def _endpoint_of(leader: Any, members: Sequence[Member], endpoints: Sequence[str]) -> str | None:
    """The leader's among a client's own; None when it is not there."""
    urls = [url for member in members if member.id == leader for url in member.client_urls]
    known = {addresses.tcp(url) for url in urls}
    return next((each for each in endpoints if each in known), None)


class AsyncMemberCalls:
    """The part of `AsyncClient` that is about the members."""

    _submit: Callable[..., Awaitable[Any]]
    status: Callable[..., Awaitable[StatusResponse]]
    _endpoints: Sequence[str]

    async def member_list(
        self, *, serializable: bool = False, timeout_s: float | None = None
    ) -> MemberListResponse:
        """The members of the cluster, ordered by id; `serializable`: as any node knows them."""
        kind, request = _list_request(serializable)
        return _listed(await self._submit(kind, request, timeout_s))

    async def member_change(
        self, changes: Sequence[Change], *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Make several changes at once, all or none: voters go from the old to the new ones
        together, by joint consensus, so that there is no moment with fewer.

        Args:
            changes: at most 16, of `add`, `remove`, `update` and `promote` in this module.
            timeout_s: this call's time.

        Raises:
            NotEnoughStartedError, UnhealthyClusterError: it would risk the majority that is there.
            MemberExistsError, PeerUrlExistsError, MemberNotFoundError, NotALearnerError,
            LearnerNotReadyError, TooManyLearnersError: it does not fit the members.
        """
        request = ("member_change", tuple(changes))
        return _changed(await self._submit(KIND_WRITE, request, timeout_s))

    async def member_add(
        self,
        peer_urls: Sequence[str],
        *,
        learner: bool = False,
        auto_promote: bool = False,
        timeout_s: float | None = None,
    ) -> MemberAddResponse:
        """Add a member that will be reached at these peer addresses, before it is started.

        Args:
            peer_urls: `host:port`, one or more.
            learner: it does not vote, until it is promoted.
            auto_promote: that happens by itself when it is in sync.
            timeout_s: this call's time.

        Raises:
            as `member_change`.
        """
        change = add(peer_urls, learner=learner, auto_promote=auto_promote)
        request = ("member_change", (change,))
        return _added(await self._submit(KIND_WRITE, request, timeout_s))

    async def member_remove(
        self, member_id: int, *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Remove a member for good."""
        return await self.member_change([remove(member_id)], timeout_s=timeout_s)

    async def member_update(
        self, member_id: int, peer_urls: Sequence[str], *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Tell the others where a member is reached from now on."""
        return await self.member_change([update(member_id, peer_urls)], timeout_s=timeout_s)

    async def member_promote(
        self, member_id: int, *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Let a learner vote; it must be in sync with the leader."""
        return await self.member_change([promote(member_id)], timeout_s=timeout_s)

    async def move_leader(
        self, member_id: int, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> MoveLeaderResponse:
        """Make another member lead.

        Args:
            member_id: it must vote.
            endpoint: the leader's; None to look for it among this client's.
            timeout_s: this call's time.

        Raises:
            NotTheLeaderError: `endpoint` does not lead.
            BadTransfereeError: not a member that votes.
        """
        if endpoint is None:
            leader = (await self.status(timeout_s=timeout_s)).fields.get("leader")
            listed = await self.member_list(serializable=True, timeout_s=timeout_s)
            endpoint = _endpoint_of(leader, listed.members, self._endpoints)
        request = ("move_leader", member_id)
        reply, _ = await self._submit(KIND_MAINTENANCE, request, timeout_s, endpoint)
        return MoveLeaderResponse(header(reply, 0))


class MemberCalls:
    """The part of `Client` that is about the members; `AsyncMemberCalls` tells more."""

    _call: Callable[..., Any]
    status: Callable[..., StatusResponse]
    _endpoints: Sequence[str]

    def member_list(
        self, *, serializable: bool = False, timeout_s: float | None = None
    ) -> MemberListResponse:
        """The members of the cluster, ordered by id; `serializable`: as any node knows them."""
        kind, request = _list_request(serializable)
        return _listed(self._call(kind, request, timeout_s))

    def member_change(
        self, changes: Sequence[Change], *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Make several changes at once, all or none."""
        return _changed(self._call(KIND_WRITE, ("member_change", tuple(changes)), timeout_s))

    def member_add(
        self,
        peer_urls: Sequence[str],
        *,
        learner: bool = False,
        auto_promote: bool = False,
        timeout_s: float | None = None,
    ) -> MemberAddResponse:
        """Add a member that will be reached at these peer addresses, before it is started."""
        change = add(peer_urls, learner=learner, auto_promote=auto_promote)
        return _added(self._call(KIND_WRITE, ("member_change", (change,)), timeout_s))

    def member_remove(
        self, member_id: int, *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Remove a member for good."""
        return self.member_change([remove(member_id)], timeout_s=timeout_s)

    def member_update(
        self, member_id: int, peer_urls: Sequence[str], *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Tell the others where a member is reached from now on."""
        return self.member_change([update(member_id, peer_urls)], timeout_s=timeout_s)

    def member_promote(
        self, member_id: int, *, timeout_s: float | None = None
    ) -> MemberChangeResponse:
        """Let a learner vote; it must be in sync with the leader."""
        return self.member_change([promote(member_id)], timeout_s=timeout_s)

    def move_leader(
        self, member_id: int, endpoint: str | None = None, *, timeout_s: float | None = None
    ) -> MoveLeaderResponse:
        """Make another member lead."""
        if endpoint is None:
            leader = self.status(timeout_s=timeout_s).fields.get("leader")
            listed = self.member_list(serializable=True, timeout_s=timeout_s)
            endpoint = _endpoint_of(leader, listed.members, self._endpoints)
        request = ("move_leader", member_id)
        reply, _ = self._call(KIND_MAINTENANCE, request, timeout_s, endpoint)
        return MoveLeaderResponse(header(reply, 0))
