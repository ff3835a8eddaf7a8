"""Clients that write and read all the time and note what they saw, for history.check."""

import asyncio
import random
import time
from itertools import pairwise

from sampan.client import AsyncClient, NotAppliedError, SampanError, UnknownOutcomeError

from .background import Background
from .cluster import WAIT_S, wait_for
from .history import ACKED, INFINITY, NOT_APPLIED, UNKNOWN, Op, check

PREFIX = b"load/"
STATES_READ = 50
"""As of so many revisions, about, the state is compared with the history."""


class Load(Background):
    """A load."""

    def __init__(self, endpoints, *, writers=6, readers=4, keys=5, timeout_s=3.0, value_size=0,
                 client_keys=None):  # fmt: skip
        super().__init__()
        self._endpoints = endpoints
        self._writers = writers
        self._readers = readers
        self._keys = [PREFIX + b"%d" % i for i in range(keys)]
        self._options = {"timeout_s": timeout_s, "keys": client_keys}
        self._name = b"%x" % random.getrandbits(32)  # values are unique over all loads of a test
        self._padding = b"." * value_size
        self.ops = []
        self.acked = 0
        """Acknowledged writes so far."""
        self.acked_at = []
        """When each write was acknowledged."""

    def _run(self):
        asyncio.run(self._work())

    async def _work(self):
        async with AsyncClient(self._endpoints, **self._options) as client:
            writers = [self._write(client, n) for n in range(self._writers)]
            # One connection for each reader, each begins at another member.
            turns = [self._endpoints[n:] + self._endpoints[:n] for n in range(len(self._endpoints))]
            readers = [self._read(turns[n % len(turns)], n) for n in range(self._readers)]
            await asyncio.gather(*writers, *readers)

    async def _write(self, client, number):
        rng, count = random.Random(number), 0
        while not self._stop.is_set():
            count += 1
            key = rng.choice(self._keys)
            if rng.random() < 0.1:
                await self._delete(client, key)
            else:
                await self._put(
                    client, key, b"%s-%d-%d" % (self._name, number, count) + self._padding
                )
            await asyncio.sleep(0.004)

    async def _put(self, client, key, value):
        call = time.monotonic()
        try:
            answer = await client.put(key, value)
        except NotAppliedError:
            self.ops.append(Op("put", key, value, call, time.monotonic(), NOT_APPLIED))
        except UnknownOutcomeError:
            self.ops.append(Op("put", key, value, call, INFINITY, UNKNOWN))
        else:
            now = time.monotonic()
            self.acked += 1
            self.acked_at.append(now)
            self.ops.append(Op("put", key, value, call, now, ACKED, answer.header.revision))

    async def _delete(self, client, key):
        call = time.monotonic()
        try:
            answer = await client.delete(key)
        except SampanError:
            return  # a delete leaves no value to look for: the history tells whether it happened
        found = (key,) if answer.deleted else ()
        revision = answer.header.revision
        self.ops.append(Op("delete", key, b"", call, time.monotonic(), ACKED, revision, found))

    async def _read(self, endpoints, number):
        rng = random.Random(-number)
        async with AsyncClient(endpoints, **self._options) as client:
            while not self._stop.is_set():
                kind = "read" if rng.random() < 0.8 else "serializable"
                call = time.monotonic()
                try:
                    answer = await client.get(
                        PREFIX, prefix=True, serializable=kind == "serializable"
                    )
                except SampanError:
                    continue  # it promised nothing
                found = tuple((kv.key, kv.value, kv.mod_revision) for kv in answer.kvs)
                now = time.monotonic()
                self.ops.append(
                    Op(kind, PREFIX, b"", call, now, ACKED, answer.header.revision, found)
                )
                await asyncio.sleep(0.004)

    def wait_more(self, count=30, timeout_s=WAIT_S):
        """Wait until `count` more writes were acknowledged."""
        target = self.acked + count

        def enough():
            self.check()
            return self.acked >= target

        wait_for(enough, f"{count} more acknowledged writes", timeout_s)

    @property
    def longest_gap_s(self):
        """The longest time without an acknowledged write."""
        return max((b - a for a, b in pairwise(self.acked_at)), default=0)

    def verify(self):
        """Compare all that was seen with the cluster's own history; returns its last revision."""
        self.check()
        assert self.acked, "nothing was acknowledged, so nothing is proved"
        log = asyncio.run(read_log(self._endpoints, self._options["keys"]))
        check(self.ops, log)
        return max(log, default=1)


async def read_log(endpoints, keys=None):
    """revision -> [(key, value or None)] of everything under PREFIX, read back from the store: its
    history, which states as of some revisions have to agree with."""
    async with AsyncClient(endpoints, timeout_s=WAIT_S, keys=keys) as client:
        last = (await client.get(PREFIX)).header.revision
        log = {revision: [] for revision in range(2, last + 1)}
        async with client.watch(b"\0", from_key=True, start_revision=2) as watch:
            while last > 1:
                events = (await anext(watch)).events
                for event in events:
                    if event.kv.key.startswith(PREFIX) and event.kv.mod_revision <= last:
                        value = event.kv.value if event.type == "PUT" else None
                        log[event.kv.mod_revision].append((event.kv.key, value))
                if events and events[-1].kv.mod_revision >= last:
                    break
        checked = {*range(2, last, max(1, last // STATES_READ)), last}
        state = {}
        for revision, changes in log.items():
            state.update(changes)
            if revision in checked:
                found = (await client.get(PREFIX, prefix=True, revision=revision)).kvs
                there = {key: value for key, value in state.items() if value is not None}
                assert {kv.key: kv.value for kv in found} == there, f"at revision {revision}"
    return log
