"""Clients that overwrite a few keys with values of all sizes, and know what must be there.

Each value begins with its number, and each writer has keys of its own: whatever happens, a key
holds a number that is not below the last acknowledged one, and none that was not written.
"""

import asyncio
import contextlib
import random

from sampan.client import AsyncClient, SampanError

from .background import Background
from .cluster import wait_for

KEYS = 8
"""Of each writer."""
SIZE_MAX = 1_400_000


class Churn(Background):
    """Writers."""

    def __init__(self, endpoints, *, writers=4, pause_s=0.01, seed=0, size_max=SIZE_MAX):
        super().__init__()
        self._endpoints, self._writers, self._pause_s = endpoints, writers, pause_s
        self._seed, self._size_max = seed, size_max
        self.acked = 0
        self.bytes = 0
        self.floor, self.tried = {}, {}  # key -> number that was acknowledged last, or sent last

    def _run(self):
        asyncio.run(self._work())

    async def _work(self):
        async with AsyncClient(self._endpoints, timeout_s=10) as client:
            await asyncio.gather(*(self._write(client, n) for n in range(self._writers)))

    async def _write(self, client, writer):
        rng, number = random.Random(self._seed * 100 + writer), 0
        while not self._stop.is_set():
            number += 1
            key = b"churn/%d/%d" % (writer, rng.randrange(KEYS))
            # As many of each order of magnitude: 1 B as often as 1 MB.
            size = int(self._size_max ** rng.random())
            value = b"%d." % number + bytes([number % 251]) * size
            self.tried[key] = number
            with contextlib.suppress(SampanError):
                await client.put(key, value[: max(size, len(b"%d." % number))])
                self.floor[key] = number
                self.acked += 1
                self.bytes += size
            await asyncio.sleep(self._pause_s)

    def wait_more(self, count=10):
        """Until so many more writes are acknowledged."""
        done = self.acked + count

        def enough():
            self.check()
            return self.acked >= done

        wait_for(enough, f"{count} more acknowledged writes")

    def verify(self, client):
        """What was acknowledged is there; call it when the writers have stopped."""
        self.check()
        for key, floor in self.floor.items():
            found = client.get(key).kvs
            assert found, f"{key!r} is lost"
            number, _, rest = found[0].value.partition(b".")
            assert floor <= int(number) <= self.tried[key], f"{key!r} went back to {number!r}"
            assert rest == rest[:1] * len(rest), f"{key!r} holds what nobody wrote"
