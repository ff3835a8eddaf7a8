"""Watches of the blocking client."""

import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from . import errors
from ._dispatch import Dispatcher
from ._thread import PollLoop
from .types import ResponseHeader
from .watch import WatchResponse, WatchSpec, describe
from .watch_engine import RESUME_BYTES, Engine, Watch, engine_of


class SyncWatch:
    """Responses of one watch: an iterator and a context manager. `AsyncWatch` says more.

    One thread reads it; any may call `cancel`, which ends a wait for the next response.

        with client.watch("ships/", prefix=True) as watch:
            for response in watch:
                for event in response.events:
                    print(event.type, event.kv.key)
    """

    def __init__(
        self,
        client: object,
        loop: PollLoop,
        dispatcher: Dispatcher,
        spec: WatchSpec,
        timeout_s: float,
    ) -> None:
        self._client = client  # which would be closed when nobody referred to it
        self._loop = loop
        self._dispatcher = dispatcher
        self._watch = Watch(spec, self, timeout_s)
        self._started = False
        self._changed = threading.Condition()
        self._responses: deque[tuple[WatchResponse, int]] = deque()
        self._unread_bytes = 0
        self._error: errors.SampanError | None = None
        self._canceled = False
        self.revision = 0
        """The store's revision when the watch was created, 0 before."""

    def __repr__(self) -> str:
        state = "canceled" if self._canceled else "ended" if self._error else "open"
        return f"<{type(self).__name__} of {describe(self._watch.spec)}: {state}>"

    # -- for the reader

    def __enter__(self) -> Self:
        try:
            self._start()
            with self._changed:
                while not self.revision and not self._canceled:
                    self._check()
                    self._changed.wait()
        except BaseException:
            self.cancel()  # nobody will leave a context that was not entered
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> WatchResponse:
        """The next response; waits for it.

        Raises:
            WatchCompactedError: what comes next has been compacted away.
            SampanError: no node took the watch in time, or the client was closed.
        """
        self._start()
        with self._changed:
            while not self._responses:
                if self._canceled:
                    raise StopIteration
                self._check()
                self._changed.wait()
            response, size = self._responses.popleft()
            self._unread_bytes -= size
            drained = self._unread_bytes <= RESUME_BYTES < self._unread_bytes + size
        if drained:
            self._tell(Engine.drained)
        return response

    def cancel(self) -> None:
        """End the watch; the iteration ends after what has arrived."""
        if self._dispatcher.forked:
            return  # it is the parent's, and a thread of the parent's may have held the lock
        with self._changed:
            tell = self._started and not self._canceled and self._error is None
            self._canceled = True
            self._changed.notify_all()
        if tell:
            self._tell(Engine.cancel)

    def request_progress(self) -> None:
        """Ask for a response without events, which comes when the watch has told of everything up
        to its header's revision."""
        self._start()
        self._tell(Engine.request_progress)

    def _start(self) -> None:
        if self._dispatcher.forked and self._dispatcher.refusal is not None:
            raise self._dispatcher.refusal.copy()  # the thread that would answer is the parent's
        if self._started:
            return
        with self._changed:  # `cancel` either comes first or finds it started
            self._started = not self._canceled
        if self._started:
            self._tell(Engine.start)

    def _tell(self, call: Callable[[Engine, Watch], None]) -> None:
        def run() -> None:
            call(engine_of(self._loop, self._dispatcher), self._watch)

        self._loop.call_threadsafe(run)

    def _check(self) -> None:
        if self._error is not None:
            raise self._error.copy()

    # -- for the engine, in its thread

    def created(self, header: ResponseHeader) -> None:
        """A node has the watch."""
        with self._changed:
            self.revision = header.revision
            self._changed.notify_all()

    def put(self, response: WatchResponse, size: int) -> int:
        """One more response."""
        with self._changed:
            self._responses.append((response, size))
            self._unread_bytes += size
            self._changed.notify_all()
            return self._unread_bytes

    def end(self, error: errors.SampanError) -> None:
        """Nothing more comes."""
        with self._changed:
            self._error = error
            self._changed.notify_all()
