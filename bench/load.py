"""Runs a load: starts the workers, lets them begin together, adds up what they did."""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any, cast

from .errors import BenchError
from .spec import LoadResult, LoadSpec

_LINE_BYTES_MAX = 16 << 20
_STOP_S = 5.0

Progress = Callable[[int], None]
"""Called with how many requests are done."""


class _Worker:
    """A child process and its pipe."""

    def __init__(self, process: asyncio.subprocess.Process, index: int) -> None:
        self._process = process
        self._index = index
        self.done = 0

    @classmethod
    async def start(cls, spec: LoadSpec, index: int) -> "_Worker":
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "sampan.bench.worker", str(index), json.dumps(spec.share(index).to_json())),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_BYTES_MAX,
            start_new_session=True,  # Ctrl-C is the parent's; the end of stdin ends the worker
        )
        return cls(process, index)

    async def run_phase(self, phase: str, on_progress: Callable[[], None]) -> dict[str, Any] | None:
        """Let it run a phase to its end; progress on the way is noted. Returns its result.

        Raises:
            BenchError: when the worker reports a failure or ends.
        """
        orders, events = self._process.stdin, self._process.stdout
        assert orders is not None, "started with a pipe"
        assert events is not None, "started with a pipe"
        orders.write(phase.encode() + b"\n")
        await orders.drain()
        while line := await events.readline():
            match json.loads(line):
                case {"event": "done", "result": result}:
                    return cast("dict[str, Any] | None", result)
                case {"event": "progress", "done": done}:
                    self.done = done
                    on_progress()
                case {"event": "failed", "text": text}:
                    raise BenchError(text)
        code = await self._process.wait()
        raise BenchError(f"worker {self._index} ended with exit code {code}; its error is above")

    async def stop(self) -> None:
        """Close its stdin, which ends it; kill it when that does not."""
        assert self._process.stdin is not None, "started with a pipe"
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _STOP_S)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


async def _run(spec: LoadSpec, on_progress: Progress) -> LoadResult:
    workers: list[_Worker] = []

    def tell_progress() -> None:
        on_progress(sum(worker.done for worker in workers))

    async def run_phase(phase: str) -> list[dict[str, Any] | None]:
        running = [asyncio.create_task(each.run_phase(phase, tell_progress)) for each in workers]
        try:
            return await asyncio.gather(*running)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    try:
        for index in range(spec.processes):
            workers.append(await _Worker.start(spec, index))  # noqa: PERF401  # stop what started
        for phase in ("fill", "warm_up"):
            await run_phase(phase)
        results = [LoadResult.from_json(each) for each in await run_phase("measure") if each]
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))
    together = results[0]
    for result in results[1:]:
        together.merge(result)
    return together


def run_load(spec: LoadSpec, on_progress: Progress = lambda _done: None) -> LoadResult:
    """Do the work and wait for its end.

    Raises:
        BenchError: when the spec is wrong, the cluster does not answer, or a worker fails.
    """
    return asyncio.run(_run(spec.validate(), on_progress))
