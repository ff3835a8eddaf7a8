"""All members, as a node's pages ask them."""

from typing import Any, NamedTuple

from ..client import AsyncClient
from ..client.trace import Trace

ASK_S = 1.0
"""A member that does not answer in this time is away."""


class Place(NamedTuple):
    """A member, for people, and where it takes clients."""

    name: str
    endpoint: str


class Cluster:
    """A client of all members there are, renewed when there are others."""

    def __init__(self, own: AsyncClient, **identity: Any) -> None:
        """`own` says who the members are: of pages, their own node; `identity`: as who all of them
        are asked, in a client's options."""
        self.own = own
        self._identity = identity
        self.client = own
        self.places: dict[int, Place] = {}

    async def refresh(self) -> None:
        """Find out who the members are.

        Raises:
            SampanError: the node does not answer; those known last stay.
        """
        members = (await self.own.member_list(timeout_s=ASK_S)).members
        found = {}
        for m in members:
            # Addresses that begin with http are for etcd's clients.
            endpoint = next((url for url in m.client_urls if not url.startswith("http")), "")
            if endpoint:
                found[m.id] = Place(m.name or f"{m.id:x}", endpoint)
        if found and found != self.places:
            before, self.places = self.client, found
            endpoints = [place.endpoint for place in found.values()]
            self.client = AsyncClient(endpoints, **self._identity)
            if before is not self.own:
                await before.aclose()

    async def trace(self, revision: int) -> Trace:
        """The way of the write that made a revision; 0 for the newest.

        Raises:
            SampanError: it is not remembered, or who took it does not answer.
        """
        if not self.places:
            await self.refresh()
        if not revision:
            revision = (await self.own.status(timeout_s=ASK_S)).header.revision
        return await self.client.trace(revision)

    async def aclose(self) -> None:
        """Let go of the members."""
        if self.client is not self.own:
            await self.client.aclose()
