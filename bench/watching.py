"""From a put to the watchers that see it: the time that each event takes, on both systems.

One client puts a key, waits until every watcher has the event, and puts again. The watchers of one
system share one connection, as the watches of one program do.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from time import perf_counter_ns
from typing import Any

from ..client import AsyncClient
from .errors import BenchError
from .histogram import Histogram

KEY = b"watched"
_EVENT_S = 10.0


class Arrivals:
    """When events arrive, counted from when their put began."""

    def __init__(self, watchers: int) -> None:
        self.latencies = Histogram()
        self._watchers = watchers
        self._missing = 0
        self._begin_ns = 0
        self._complete = asyncio.Event()

    def note(self) -> None:
        """A watcher has the event."""
        self.latencies.add(perf_counter_ns() - self._begin_ns)
        self._missing -= 1
        if self._missing <= 0:
            self._complete.set()

    async def put(self, put: Callable[[], Awaitable[Any]]) -> None:
        """Put once and wait for all watchers.

        Raises:
            BenchError: when an event does not come.
        """
        self._missing = self._watchers
        self._complete.clear()
        self._begin_ns = perf_counter_ns()
        await put()
        try:
            await asyncio.wait_for(self._complete.wait(), _EVENT_S)
        except TimeoutError:
            raise BenchError(f"{self._missing} watchers saw no event in {_EVENT_S:g} s") from None


async def measure_puts(
    arrivals: Arrivals,
    puts: int,
    put: Callable[[], Awaitable[Any]],
    readers: Sequence[Coroutine[Any, Any, None]],
) -> Histogram:
    """The latencies of `puts` puts, after a tenth as many to warm up, while `readers` run.

    Raises:
        BenchError: when an event does not come.
    """
    tasks = [asyncio.ensure_future(reader) for reader in readers]
    try:
        for number in range(puts + puts // 10):
            if number == puts // 10:  # that was the warm-up
                arrivals.latencies = Histogram()
            await arrivals.put(put)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return arrivals.latencies


async def _sampan(endpoints: Sequence[str], watchers: int, puts: int, value: bytes) -> Histogram:
    async with AsyncClient(list(endpoints)) as client:
        watches = [client.watch(KEY) for _ in range(watchers)]
        for watch in watches:
            await watch.__aenter__()
        arrivals = Arrivals(watchers)

        async def read(watch: AsyncIterator[Any]) -> None:
            async for response in watch:
                for _ in response.events:
                    arrivals.note()

        return await measure_puts(
            arrivals, puts, lambda: client.put(KEY, value), [read(watch) for watch in watches]
        )


def sampan_watch_latencies(
    endpoints: Sequence[str], watchers: int, puts: int, value: bytes
) -> Histogram:
    """`puts` puts, each seen by so many watchers of Sampan's asyncio client.

    Raises:
        BenchError: when an event does not come.
    """
    return asyncio.run(_sampan(endpoints, watchers, puts, value))
