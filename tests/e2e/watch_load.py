"""Transactions that write all the time, watches that check each event, and what both add up to."""

import asyncio
import gc
import random
from collections import defaultdict

from sampan.client import AsyncClient, NotAppliedError, SampanError, ops
from sampan.client.errors import WatchCompactedError
from sampan.client.watch import EventType

from .background import Background
from .cluster import WAIT_S, wait_for
from .watch_child import END

PREFIX = b"watch/"
SHARDS = 10
KEYS = 30
TXN_OPS_MAX = 100
WRITERS = 6


class Seen:
    """What one watch has told, checked against the rules as it comes.

    `log`: revision -> events. `state`: what they add up to; whole for a watch from the beginning.
    """

    def __init__(self, prefix, first):
        self.prefix = prefix
        self.first = first
        self.log = {}
        self.state = {} if first <= 2 else None
        self.last = self.bookmark = first - 1
        self.bookmarks = self.count = 0

    def take(self, response):
        if response.is_progress:
            assert response.header.revision >= self.last, "a bookmark below what was told (7)"
            assert response.header.revision >= self.bookmark, "a bookmark went back (7)"
            self.bookmark = response.header.revision
            self.bookmarks += 1
            return
        revisions = [event.kv.mod_revision for event in response.events]
        assert revisions == sorted(revisions), "not in order (2)"
        assert revisions[0] > self.last, "a revision in two responses, or twice (3, 4)"
        assert revisions[0] > self.bookmark, "an event below a bookmark (7)"
        assert response.header.revision >= revisions[-1]
        self.last = revisions[-1]
        for event in response.events:
            self._event(event)

    def _event(self, event):
        key, revision = event.kv.key, event.kv.mod_revision
        assert key.startswith(self.prefix), "not watched (1)"
        self.count += 1
        if self.state is not None:
            before = self.state.pop(key, None)
            assert event.prev_kv == before, "prev_kv (8)"
            if event.type == EventType.PUT:
                assert event.is_create == (before is None), "is_create (9)"
                self.state[key] = event.kv
        self.log.setdefault(revision, []).append((str(event.type), key, event.kv.value))

    def check(self, truth):
        """Rules 3, 5 and 6: exactly what happened from `first` on, to the end."""
        expected = {}
        for revision, events in truth.items():
            mine = [event for event in events if event[1].startswith(self.prefix)]
            if mine and revision >= self.first:
                expected[revision] = mine
        assert list(self.log) == list(expected), "revisions are missing, or are not in order (5, 6)"
        assert self.log == expected


class WatchLoad(Background):
    """Writers and watchers; `finish` ends them in order."""

    END_S = 5 * WAIT_S

    def __init__(self, endpoints, *, lazy=True):
        """`lazy`: one of the watches is not read before the end, and compaction overtakes it."""
        super().__init__()
        self._endpoints = endpoints
        self._with_lazy = lazy
        self._loop = None
        self._tasks = []
        self.acked = {}
        """revision -> [(type, key, value)] as the writers know it; deletions of nothing are in."""
        self.events = 0
        self.revision = 0
        self.seen = defaultdict(list)
        """What each watch saw, by a name for its kind."""
        self.compacted_at = None

    def __enter__(self):
        gc.disable()  # a million objects that stay would be looked at again and again
        return super().__enter__()

    def stop_writing(self):
        """The watches go on until they have seen the end."""
        self._stop.set()

    def __exit__(self, *_):
        try:
            super().__exit__()
        finally:
            gc.enable()
        self.check()

    def _run(self):
        asyncio.run(self._main())

    async def _main(self):
        self._loop = asyncio.get_running_loop()
        async with AsyncClient(self._endpoints, timeout_s=WAIT_S) as self._client:
            await self._work()

    async def _work(self):
        await self._begin("whole", self._client, PREFIX, 1, progress=True)
        of_one = AsyncClient(self._endpoints[:1], timeout_s=WAIT_S)
        await self._begin("whole", of_one, PREFIX, 1)
        self._lazy = self._client.watch(PREFIX, prefix=True, start_revision=1, prev_kv=True)
        if self._with_lazy:
            await self._lazy.__aenter__()
        for shard in range(0, SHARDS, 4):
            await self._begin("shard", self._client, PREFIX + b"%d/" % shard, 1)
        await asyncio.gather(*map(self._write, range(WRITERS)))
        while not await self._put_end():
            pass
        async with asyncio.timeout(2 * WAIT_S):
            await asyncio.gather(*self._tasks)
        if self._with_lazy:
            async with asyncio.timeout(2 * WAIT_S):
                await self._read_lazy()
        await of_one.aclose()

    async def _begin(self, kind, client, prefix, first, *, progress=False):
        watch = client.watch(prefix, prefix=True, start_revision=first, prev_kv=True)
        await watch.__aenter__()
        seen = Seen(prefix, first)
        self.seen[kind].append(seen)
        self._tasks.append(asyncio.create_task(self._follow(watch, seen, progress)))

    async def _follow(self, watch, seen, progress):
        async for response in watch:
            events = [each for each in response.events if not each.kv.key.endswith(END)]
            if len(events) < len(response.events):
                if events:
                    seen.take(response._replace(events=events))
                return
            seen.take(response)
            if progress and seen.count >= 2_000 * (seen.bookmarks + 1):
                watch.request_progress()

    async def _read_lazy(self):
        """It was not read until now, and what it would tell has been compacted meanwhile."""
        seen = Seen(PREFIX, 1)
        try:
            async for response in self._lazy:
                assert not response.events[-1].kv.key.endswith(END), "it read in time"
                seen.take(response)
        except WatchCompactedError as error:
            self.compacted_at = error.compact_revision
        self.seen["lazy"].append(seen)

    def wait_told(self, revision):
        """Until every watch that is read has told of something at or after `revision`."""
        read = [*self.seen["whole"], *self.seen["shard"]]
        wait_for(lambda: all(seen.last >= revision for seen in read), "the watches to get there")

    def begin_late(self, first):
        """Watches of shards that begin in the past, from any thread."""
        for shard in range(1, SHARDS, 4):
            begin = self._begin("late", self._client, PREFIX + b"%d/" % shard, first)
            asyncio.run_coroutine_threadsafe(begin, self._loop).result(WAIT_S)

    async def _write(self, number):
        rng, count = random.Random(number), 0
        while not self._stop.is_set():
            count += 1
            keys = rng.sample(range(SHARDS * KEYS), rng.randint(1, TXN_OPS_MAX))
            await self._txn([self._operation(rng, key, b"%d-%d" % (number, count)) for key in keys])

    @staticmethod
    def _operation(rng, key, value):
        name = PREFIX + b"%d/%d" % divmod(key, KEYS)
        return ("DELETE", name, b"") if rng.random() < 0.2 else ("PUT", name, value)

    async def _txn(self, wanted):
        operations = [
            ops.put(key, value) if kind == "PUT" else ops.delete(key) for kind, key, value in wanted
        ]
        try:
            answer = await self._client.txn([], operations)
        except NotAppliedError:
            return
        except SampanError:
            return  # the watches tell whether it happened
        self.revision = max(self.revision, answer.header.revision)
        # Without a change there is no revision of its own.
        if any(r.header.revision and getattr(r, "deleted", 1) for r in answer.responses):
            self.acked[answer.header.revision] = [
                each
                for each, response in zip(wanted, answer.responses, strict=True)
                if getattr(response, "deleted", 1)
            ]
            self.events += len(self.acked[answer.header.revision])

    async def _put_end(self):
        try:
            ends = [ops.put(PREFIX + b"%d/" % shard + END, b"") for shard in range(SHARDS)]
            answer = await self._client.txn([], ends)
        except SampanError:
            return False
        self.revision = answer.header.revision
        return True

    def wait_events(self, count):
        """Wait until so many events were acknowledged; returns the newest revision then."""

        def enough():
            self.check()
            return self.events >= count

        wait_for(enough, f"{count} events", 2 * WAIT_S)
        return self.revision

    def verify(self):
        """All watches against each other, and against what was acknowledged."""
        truth = self.seen["whole"][0].log
        last = max(truth)
        assert list(truth) == list(range(2, last + 1)), "each revision was made here (5)"
        for revision, events in self.acked.items():
            assert truth[revision] == events, "what was acknowledged, in the order of its txn (2)"
        for kind in ("whole", "shard", "late"):
            for seen in self.seen[kind]:
                seen.check(truth)
        for lazy in self.seen["lazy"]:
            lazy.check({revision: truth[revision] for revision in range(2, lazy.last + 1)})
        return truth
