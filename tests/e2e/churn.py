"""Clients that overwrite a few keys with values of all sizes, and know what must be there.

Each value begins with its number, and each writer has keys of its own: whatever happens, a key
holds a number that is not below the last acknowledged one, and none that was not written.
"""

import asyncio
import contextlib
import random
import threading

from sampan.client import AsyncClient, SampanError

from .cluster import WAIT_S, wait_for

KEYS = 8
"""Of each writer."""
SIZE_MAX = 1_400_000


class Churn:
    """Writers in a thread of their own while the context lasts."""

    def __init__(self, endpoints, *, writers=4, pause_s=0.01, seed=0, size_max=SIZE_MAX):
        self._endpoints, self._writers, self._pause_s = endpoints, writers, pause_s
        self._seed, self._size_max = seed, size_max
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))
        self._failure = None
        self.acked = 0
        self.bytes = 0
        self.floor, self.tried = {}, {}  # key -> number that was acknowledged last, or sent last

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive(), "the writers do not end"

    async def _main(self):
        try:
            async with AsyncClient(self._endpoints, timeout_s=10) as client:
                await asyncio.gather(*(self._write(client, n) for n in range(self._writers)))
        except BaseException as error:
            self._failure = error
            raise

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
            if self._failure is not None:
                raise self._failure
            return self.acked >= done

        wait_for(enough, f"{count} more acknowledged writes")

    def verify(self, client):
        """What was acknowledged is there; call it when the writers have stopped."""
        assert self._failure is None, self._failure
        for key, floor in self.floor.items():
            found = client.get(key).kvs
            assert found, f"{key!r} is lost"
            number, _, rest = found[0].value.partition(b".")
            assert floor <= int(number) <= self.tried[key], f"{key!r} went back to {number!r}"
            assert rest == rest[:1] * len(rest), f"{key!r} holds what nobody wrote"
