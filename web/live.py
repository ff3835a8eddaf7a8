"""What the live page is told: all members' statuses and measures, a few times a second.

One poller for all who look, and none while nobody does. The page works rates and shares out itself,
from what has changed between two tellings.
"""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any

from ..client import AsyncClient, SampanError

EVERY_S = 0.5
"""Often enough to see a leader change at once; asking costs each node 0.5 ms."""
ASK_S = 1.0
"""A member that does not answer in this time is shown as away."""
VIEWERS_MAX = 16

Send = Callable[[bytes], None]


class Live:
    """Asks the members, and tells whoever looks."""

    def __init__(self, client: AsyncClient) -> None:
        """`client` has the page's own node as its only endpoint."""
        self._client = client
        self._all: AsyncClient | None = None
        self._endpoints: dict[int, tuple[str, str]] = {}  # member -> (name, endpoint)
        self._viewers: set[Send] = set()
        self._polling: asyncio.Task[None] | None = None

    def look(self, send: Send) -> bool:
        """Have `send` called with each telling, as a server-sent event; False when too many look
        already."""
        if len(self._viewers) >= VIEWERS_MAX:
            return False
        self._viewers.add(send)
        if self._polling is None:
            self._polling = asyncio.get_running_loop().create_task(self._poll())
        return True

    def leave(self, send: Send) -> None:
        """Look no more."""
        self._viewers.discard(send)

    async def aclose(self) -> None:
        """Stop asking."""
        self._viewers.clear()
        if self._polling is not None:
            self._polling.cancel()
            with suppress(asyncio.CancelledError):
                await self._polling
        if self._all is not None:
            await self._all.aclose()

    async def trace(self, revision: int) -> dict[str, Any]:
        """The way of the write that made a revision; 0 for the newest.

        Raises:
            SampanError: it is not remembered, or who took it does not answer.
        """
        client = await self._cluster()
        if not revision:
            revision = (await client.status(timeout_s=ASK_S)).header.revision
        trace = await client.trace(revision)
        return trace._asdict() | {"steps": [step._asdict() for step in trace.steps]}

    async def _poll(self) -> None:
        try:
            while self._viewers:
                due = monotonic() + EVERY_S
                telling = json.dumps(await self._telling(), separators=(",", ":"))
                for send in list(self._viewers):
                    send(f"data: {telling}\n\n".encode())
                await asyncio.sleep(max(0.0, due - monotonic()))
        finally:
            self._polling = None

    async def _telling(self) -> dict[str, Any]:
        try:
            client = await self._cluster()
        except SampanError as error:
            return {"at": monotonic(), "trouble": error.text, "nodes": {}}
        asked = [self._ask(client, endpoint) for _, endpoint in self._endpoints.values()]
        answers = await asyncio.gather(*asked)
        nodes = {
            f"{member:x}": {"name": name or f"{member:x}", "measured": answer}
            for (member, (name, _)), answer in zip(self._endpoints.items(), answers, strict=True)
        }
        return {"at": monotonic(), "trouble": "", "nodes": nodes}

    async def _ask(self, client: AsyncClient, endpoint: str) -> dict[str, Any] | None:
        try:
            return (await client.metrics(endpoint, timeout_s=ASK_S)).fields
        except SampanError:
            return None

    async def _cluster(self) -> AsyncClient:
        """A client of all members there are now; of those known last, where that is not told."""
        try:
            members = (await self._client.member_list(timeout_s=ASK_S)).members
        except SampanError:
            if self._all is None:
                raise
            return self._all
        # Addresses that begin with http are for etcd's clients.
        found = {
            m.id: (m.name, next((u for u in m.client_urls if not u.startswith("http")), ""))
            for m in members
        }
        found = {member: where for member, where in found.items() if where[1]}
        if self._all is None or found != self._endpoints:
            if self._all is not None:
                await self._all.aclose()
            self._endpoints = found
            self._all = AsyncClient([endpoint for _, endpoint in found.values()])
        return self._all
