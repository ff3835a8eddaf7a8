"""What the live page is told: all members' figures, and the ways of writes, twice a second.

One poller for all who look, and none while nobody does. Who answers late holds up nobody: it is
shown as it was, until it has been silent for too long.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any

from ..client import SampanError
from .cluster import ASK_S, Cluster
from .figures import Answer, figures
from .traces import Traces

TRACE_EVERY_S = 1.0
"""Between two writes that are traced: that costs each of three nodes 1 to 2 ms."""
EVERY_S = 0.5
"""Often enough to see a leader change at once; asking costs each node 0.5 ms."""
WAIT_S = 0.2
"""How long a telling waits for answers."""
SILENT_S = 1.5
"""A member is shown as away after so long."""
VIEWERS_MAX = 16

Send = Callable[[bytes], None]


class Live:
    """Asks the members, and tells whoever looks."""

    def __init__(
        self, cluster: Cluster, traces: Traces, lab: Callable[[], dict[str, Any]] = dict
    ) -> None:
        """`lab` tells what is wrong by order."""
        self._cluster = cluster
        self._traces = traces
        self._lab = lab
        self._viewers: set[Send] = set()
        self._polling: asyncio.Task[None] | None = None
        self._asking: dict[str | int, asyncio.Task[None]] = {}
        self._answers: dict[int, tuple[Answer, Answer | None]] = {}  # the last, the one before
        self._troubles: dict[int, str] = {}
        self._revision = 0  # of the write that was looked at last
        self._trace_at = 0.0  # when the next one may be

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
            for task in self._asking.values():
                task.cancel()
            self._asking.clear()
            self._answers.clear()

    async def _telling(self) -> dict[str, Any]:
        if not self._cluster.places:
            await self._refresh()
        self._begin("members", self._refresh)
        for member in self._cluster.places:
            self._begin(member, partial(self._ask, member))
        if self._newest() > self._revision and monotonic() >= self._trace_at:
            self._begin("trace", self._look_at_newest)
        await asyncio.wait(self._asking.values(), timeout=WAIT_S)
        shown = {f"{member:x}": self._shown(member) for member in self._cluster.places}
        return {"nodes": shown, "traces": self._traces.told(), "lab": self._lab()}

    def _begin(self, what: str | int, ask: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Ask, unless that has been asked and is not answered yet."""
        if what not in self._asking:
            task = self._asking[what] = asyncio.create_task(ask())
            task.add_done_callback(lambda _: self._asking.pop(what, None))

    async def _refresh(self) -> None:
        with suppress(SampanError):  # those known last are asked on
            await self._cluster.refresh()

    async def _ask(self, member: int) -> None:
        place = self._cluster.places.get(member)
        if place is None:
            return  # it was removed just now
        try:
            measured = (await self._cluster.client.metrics(place.endpoint, timeout_s=ASK_S)).fields
        except SampanError as error:
            self._troubles[member] = error.text
        else:
            before = self._answers[member][0] if member in self._answers else None
            self._answers[member] = (Answer(monotonic(), measured), before)

    async def _look_at_newest(self) -> None:
        self._revision = revision = self._newest()
        self._trace_at = monotonic() + TRACE_EVERY_S
        with suppress(SampanError):  # the next one, then
            self._traces.keep(await self._cluster.client.trace(revision))

    def _newest(self) -> int:
        answers = [now.measured["status"].get("revision", 0) for now, _ in self._answers.values()]
        return max(answers, default=0)

    def _shown(self, member: int) -> dict[str, Any]:
        name = self._cluster.places[member].name
        now, before = self._answers.get(member, (None, None))
        if now is None or monotonic() - now.at > SILENT_S:
            why = self._troubles.get(member, "does not answer")
            return {"name": name, "away": why, "figures": None}
        return {"name": name, "away": "", "figures": figures(now, before)}
