"""Sampled tracing: a share of all writes is traced as they happen, kept, and perhaps exported.

Which ones is told by their revisions, so nothing is decided, or remembered, where they are made:
nodes remember the last few hundred entries anyway, and here they are asked soon enough. Each node's
pages export what this node took from clients, so that nothing is exported twice.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic

from ..client import SampanError
from ..client.trace import Trace
from .cluster import ASK_S, Cluster
from .health import READ_KEY
from .traces import Traces

EVERY_S = 0.2
"""Within the time for which a busy node remembers entries: half a second of 1,000 clients."""
A_SECOND_MAX = 0.5
"""A trace costs each of three nodes 1 to 2 ms. What is more than this is left out."""

Export = Callable[[Trace], object]


async def sample(cluster: Cluster, share: float, traces: Traces, export: Export) -> None:
    """Trace that share of all writes, until cancelled."""
    every = max(1, round(1 / share))
    seen = None
    next_at = monotonic()
    while True:
        await asyncio.sleep(EVERY_S)
        try:
            # Cheaper than a status, for which all actors are asked.
            read = await cluster.own.get(
                READ_KEY, keys_only=True, limit=1, serializable=True, timeout_s=ASK_S
            )
            header = read.header
        except SampanError:
            continue  # it starts again
        wanted = header.revision - header.revision % every
        if seen is not None and wanted > seen and monotonic() >= next_at:
            next_at = monotonic() + 1 / A_SECOND_MAX
            with suppress(SampanError):  # forgotten already, or who took it is away
                trace = await cluster.trace(wanted)
                traces.keep(trace)
                if trace.took_s and trace.member_id == header.member_id:
                    export(trace)
        seen = wanted
