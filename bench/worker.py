"""One worker process of a load: `python -m sampan.bench.worker INDEX SPEC`, the spec as JSON.

- Parent to worker: a line for each phase, `fill`, `warm_up` and `measure`; end of file: stop.
- Worker to parent: `{"event": "progress", "done": n}` now and then, `{"event": "done", "result":
  …}` after each phase, or `{"event": "failed", "text": …}`.

Every worker waits for the others between the phases: reads find what all of them filled in.
"""

import asyncio
import importlib
import importlib.util
import json
import random
import selectors
import sys
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, repeat

from ..client import AsyncClient, Client, SampanError
from ..client.ops import RangeOptions
from .errors import BenchError
from .histogram import Histogram
from .pipelined import PipelinedLoad
from .spec import LoadResult, LoadSpec

PROGRESS_S = 0.2
_VALUE_POOL = 1 << 20
_CATCH_UP_S = 10
_CHOSEN_AT_ONCE = 10_000
_FILLING_TASKS = 256
"""Few clients fill in the keys as fast as many."""

Work = Iterator[tuple[bool, bytes]]


def _say(**event: object) -> None:
    print(json.dumps(event), flush=True)


class Load:
    """The clients of one worker and what they do."""

    def __init__(self, spec: LoadSpec, index: int) -> None:
        self._spec = spec
        self._index = index
        self._random = random.Random(spec.seed)
        self._keys = spec.all_keys()
        self._pool = self._random.randbytes(_VALUE_POOL + spec.value_size)
        self._clients: list[AsyncClient] = []
        # One latency after the other: sorting them into buckets can wait until the end.
        self._put_ns = array("q")
        self._range_ns = array("q")
        self._errors: Counter[str] = Counter()

    @property
    def driver(self) -> str:
        """What drives it, for the report."""
        return event_loop(bool(self._spec.rate))[1]

    @property
    def done(self) -> int:
        """Requests answered so far, well or badly."""
        return len(self._put_ns) + len(self._range_ns) + self._errors.total()

    async def fill(self) -> None:
        """Connect, and write this worker's share of the keys that reads will look for.

        Raises:
            BenchError: when the cluster does not answer or refuses.
        """
        spec = self._spec
        endpoints = list(spec.endpoints)
        self._clients = [AsyncClient(endpoints) for _ in range(spec.connections)]
        try:
            for client in self._clients:
                await client.get(self._keys[0])
        except SampanError as error:
            raise BenchError(f"no answer from {', '.join(spec.endpoints)}: {error}") from error
        if spec.kind not in ("put", "fill"):
            share = [(False, key) for key in self._keys[self._index :: spec.processes]]
            await self._run(iter(share), _FILLING_TASKS)
            self._refuse_errors("filling in the keys")

    async def warm_up(self) -> None:
        """Do as the measured part does, and forget it.

        Raises:
            BenchError: when a request fails, or a node that is read locally stays behind.
        """
        if self._spec.serializable:
            await asyncio.gather(*map(self._until_caught_up, self._clients))
        await self._drive(self._work(self._spec.warmup))
        self._refuse_errors("warming up")

    async def _drive(self, work: Work) -> None:
        await self._run(work, self._spec.clients, self._spec.rate)

    async def _until_caught_up(self, client: AsyncClient) -> None:
        """Local reads may be stale: wait until the client's node has what was filled in."""
        key = self._keys[0]
        newest = (await client.get(key)).header.revision
        give_up = time.monotonic() + _CATCH_UP_S
        while (await client.get(key, serializable=True)).header.revision < newest:
            if time.monotonic() > give_up:
                raise BenchError(f"a node is still behind revision {newest} after {_CATCH_UP_S} s")
            await asyncio.sleep(0.005)

    def _refuse_errors(self, doing: str) -> None:
        if self._errors:
            raise BenchError(f"errors while {doing}: {dict(self._errors)}")

    async def measure(self) -> LoadResult:
        """Do the measured work."""
        self._put_ns, self._range_ns = array("q"), array("q")
        work = self._work(self._spec.total)
        started = time.monotonic()
        await self._drive(work)
        ended = time.monotonic()
        both = {"put": self._put_ns, "range": self._range_ns}
        latencies = {name: Histogram.of(each) for name, each in both.items() if each}
        return LoadResult(started, ended, latencies, self._errors, self.driver)

    async def close(self) -> None:
        """Let go of the connections."""
        for client in self._clients:
            await client.aclose()

    def _work(self, total: int) -> Work:
        """`total` requests, chosen many at a time: whether it is a read, and its key."""
        if self._spec.kind == "fill":
            size, processes = self._spec.key_size, self._spec.processes
            return ((False, b"%0*d" % (size, n * processes + self._index)) for n in range(total))
        sizes = (min(_CHOSEN_AT_ONCE, total - n) for n in range(0, total, _CHOSEN_AT_ONCE))
        return chain.from_iterable(map(self._choose, sizes))

    def _choose(self, count: int) -> list[tuple[bool, bytes]]:
        keys = self._random.choices(self._keys, k=count)
        if self._spec.kind == "mixed":
            percent = self._spec.read_percent
            kinds = self._random.choices((True, False), (percent, 100 - percent), k=count)
            return list(zip(kinds, keys, strict=True))
        return list(zip(repeat(self._spec.kind != "put"), keys, strict=False))

    async def _run(self, work: Work, tasks: int, rate: int = 0) -> None:
        clients = self._clients
        schedule = _schedule(rate) if rate else None
        await asyncio.gather(
            *(
                self._logical_client(clients[number % len(clients)], work, schedule)
                for number in range(tasks)
            )
        )

    async def _logical_client(
        self, client: AsyncClient, work: Work, schedule: Iterator[int] | None
    ) -> None:
        """One request after the other until the shared work is used up.

        In an open loop a latency begins when the request should have been sent: a server that
        stalls makes the requests late that were due meanwhile, and that must show.
        """
        now, pool, size = time.perf_counter_ns, self._pool, self._spec.value_size
        serializable = self._spec.serializable
        add_put, add_range = self._put_ns.append, self._range_ns.append
        offset = self._random.randrange(_VALUE_POOL)
        bounds: RangeOptions = {}
        if self._spec.kind == "list":
            bounds["range_end"] = self._keys[-1] + b"\x00"
        expected = len(self._keys) if bounds else 1
        for is_read, key in work:
            if schedule is None:
                begin = now()
            else:
                begin = next(schedule)
                await asyncio.sleep((begin - now()) / 1e9)
            try:
                if is_read:
                    if bounds:
                        key = self._keys[0]  # noqa: PLW2901  # the range begins at the first
                    found = await client.get(key, serializable=serializable, **bounds)
                    if sum([len(kv.value) == size for kv in found.kvs]) == expected:
                        add_range(now() - begin)
                    else:
                        self._errors["key not found"] += 1
                else:
                    offset = (offset + 257) % _VALUE_POOL
                    await client.put(key, pool[offset : offset + size])
                    add_put(now() - begin)
            except SampanError as error:
                self._errors[type(error).__name__] += 1


class LoneLoad(Load):
    """One logical client: the blocking one, as most programs that wait for each answer have it."""

    @property
    def driver(self) -> str:
        """See `Load`."""
        return "the blocking client"

    async def fill(self) -> None:
        """As of `Load`, by its clients."""
        self._client = Client(self._spec.endpoints)  # `close` wants it, whatever fails
        await super().fill()

    async def _drive(self, work: Work) -> None:
        await asyncio.to_thread(self._call, work)

    def _call(self, work: Work) -> None:
        client, pool, size = self._client, self._pool, self._spec.value_size
        serializable, offset, now = self._spec.serializable, 0, time.perf_counter_ns
        add_put, add_range = self._put_ns.append, self._range_ns.append
        for is_read, key in work:
            begin = now()
            try:
                if is_read:
                    found = client.get(key, serializable=serializable)
                    if sum([len(kv.value) == size for kv in found.kvs]) == 1:
                        add_range(now() - begin)
                    else:
                        self._errors["key not found"] += 1
                else:
                    offset = (offset + 257) % _VALUE_POOL
                    client.put(key, pool[offset : offset + size])
                    add_put(now() - begin)
            except SampanError as error:
                self._errors[type(error).__name__] += 1

    async def _until_caught_up(self, client: AsyncClient) -> None:
        await super()._until_caught_up(client)
        await asyncio.to_thread(self._wait_for, (await client.get(self._keys[0])).header.revision)

    def _wait_for(self, revision: int) -> None:
        client, give_up = self._client, time.monotonic() + _CATCH_UP_S
        while client.get(self._keys[0], serializable=True).header.revision < revision:
            if time.monotonic() > give_up:
                raise BenchError(f"a node is still behind revision {revision}")

    async def close(self) -> None:
        """Let go of the connections."""
        self._client.close()
        await super().close()


def _schedule(rate: int) -> Iterator[int]:
    """When each request of an open loop is due, in `perf_counter_ns`."""
    begin, number = time.perf_counter_ns(), 0
    while True:
        yield begin + number * 1_000_000_000 // rate
        number += 1


def event_loop(open_loop: bool) -> tuple[Callable[[], asyncio.AbstractEventLoop], str]:
    """The loop's factory and its name for the report.

    uvloop if it is installed. An open loop needs timers finer than the milliseconds of uvloop and
    of epoll: `select` has microseconds.
    """
    if open_loop:
        return _select_loop, "asyncio (select)"
    if importlib.util.find_spec("uvloop"):
        uvloop = importlib.import_module("uvloop")
        return uvloop.new_event_loop, f"uvloop {uvloop.__version__}"
    return asyncio.new_event_loop, "asyncio"


def _select_loop() -> asyncio.AbstractEventLoop:
    return asyncio.SelectorEventLoop(selectors.SelectSelector())


async def _tell_progress(load: Load | PipelinedLoad) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        _say(event="progress", done=load.done)


class _Orders(asyncio.Protocol):
    """The lines of stdin; at its end `task` is cancelled, whatever it is doing."""

    def __init__(self, task: "asyncio.Task[None]") -> None:
        self.phases: asyncio.Queue[str] = asyncio.Queue()
        self._task = task

    def data_received(self, data: bytes) -> None:
        """Each phase is ordered when the one before is done, so lines arrive whole."""
        for line in data.decode().splitlines():
            self.phases.put_nowait(line)

    def eof_received(self) -> None:
        """The parent needs nothing more, or is gone."""
        self._task.cancel()


async def _run_phase(load: Load | PipelinedLoad, phase: str) -> None:
    phases = {"fill": load.fill, "warm_up": load.warm_up, "measure": load.measure}
    progress = asyncio.create_task(_tell_progress(load)) if phase == "measure" else None
    try:
        result = await phases[phase]()
    finally:
        if progress is not None:
            progress.cancel()
    _say(event="done", result=result and result.to_json())


def load_of(spec: LoadSpec, index: int) -> Load | PipelinedLoad:
    """The driver for a load."""
    if spec.message_puts:
        return PipelinedLoad(spec)
    lone = spec.clients == spec.processes == 1 and not spec.rate and spec.kind != "list"
    return LoneLoad(spec, index) if lone else Load(spec, index)


async def _run(spec: LoadSpec, index: int) -> None:
    task = asyncio.current_task()
    assert task is not None, "run as a task"
    orders = _Orders(task)
    await asyncio.get_running_loop().connect_read_pipe(lambda: orders, sys.stdin)
    load = load_of(spec, index)
    try:
        while True:
            await _run_phase(load, await orders.phases.get())
    except asyncio.CancelledError:
        return
    finally:
        await load.close()


def main(argv: Sequence[str]) -> int:
    """Run the load that the arguments describe, phase by phase as stdin orders."""
    index, spec = int(argv[0]), LoadSpec.from_json(json.loads(argv[1]))
    factory, _ = event_loop(bool(spec.rate))
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_run(spec, index))
    except (BenchError, SampanError) as error:
        _say(event="failed", text=str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
