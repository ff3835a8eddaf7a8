"""Watches of the asyncio client."""

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from . import errors
from .types import ResponseHeader
from .watch import WatchResponse, WatchSpec, describe
from .watch_engine import RESUME_BYTES, Engine, Watch


class AsyncWatch:
    """Responses of one watch, for one task: an async iterator and a context manager.

    It begins with the first response asked for, or on entering the context, which returns when a
    node has it: whatever happens after that is told.

        async with client.watch("ships/", prefix=True) as watch:
            async for response in watch:
                for event in response.events:
                    print(event.type, event.kv.key)

    It goes on by itself, without a gap and without a repetition, when its node or the connection
    fails; only when no node takes it in time, or what it waits for was compacted, it raises.
    """

    def __init__(
        self, find_engine: Callable[[], Engine], spec: WatchSpec, timeout_s: float
    ) -> None:
        self._find_engine = find_engine
        self._engine: Engine | None = None  # since it was started
        self._watch = Watch(spec, self, timeout_s)
        self._responses: deque[tuple[WatchResponse, int]] = deque()
        self._unread_bytes = 0
        self._error: errors.SampanError | None = None
        self._canceled = False
        self._waiting: asyncio.Future[None] | None = None
        self.revision = 0
        """The store's revision when the watch was created, 0 before."""

    def __repr__(self) -> str:
        state = "canceled" if self._canceled else "ended" if self._error else "open"
        return f"<{type(self).__name__} of {describe(self._watch.spec)}: {state}>"

    # -- for the reader

    async def __aenter__(self) -> Self:
        try:
            self._start()
            while not self.revision and not self._canceled:
                self._check()
                await self._change()
        except BaseException:
            self.cancel()  # nobody will leave a context that was not entered
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> WatchResponse:
        """The next response.

        Raises:
            WatchCompactedError: what comes next has been compacted away.
            SampanError: no node took the watch in time, or the client was closed.
        """
        self._start()
        while not self._responses:
            if self._canceled:
                raise StopAsyncIteration
            self._check()
            await self._change()
        response, size = self._responses.popleft()
        self._unread_bytes -= size
        if self._engine and self._unread_bytes <= RESUME_BYTES < self._unread_bytes + size:
            self._engine.drained(self._watch)
        return response

    def cancel(self) -> None:
        """End the watch; the iteration ends after what has arrived."""
        if self._engine is not None:
            self._engine.cancel(self._watch)
        self._canceled = True
        self._wake()

    def request_progress(self) -> None:
        """Ask for a response without events, which comes when the watch has told of everything up
        to its header's revision."""
        self._start()
        if self._engine is not None:
            self._engine.request_progress(self._watch)

    def _start(self) -> None:
        if self._engine is None and not self._canceled:
            self._engine = self._find_engine()
            self._engine.start(self._watch)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.copy()

    async def _change(self) -> None:
        self._waiting = asyncio.get_running_loop().create_future()
        await self._waiting

    # -- for the engine

    def created(self, header: ResponseHeader) -> None:
        """A node has the watch."""
        self.revision = header.revision
        self._wake()

    def put(self, response: WatchResponse, size: int) -> int:
        """One more response."""
        self._responses.append((response, size))
        self._unread_bytes += size
        self._wake()
        return self._unread_bytes

    def end(self, error: errors.SampanError) -> None:
        """Nothing more comes."""
        self._error = error
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)
