"""A small event loop in a thread of its own, for the sync client.

It has what a `Dispatcher` needs and nothing else. asyncio would do, but importing it takes longer
than all the rest of a short command, and its futures cannot be waited for by threads.

Calls may come from anywhere: from a signal handler that interrupts another call at any point, from
a finalizer that the garbage collector runs in any thread, the loop's own too. So nothing that they
do takes a lock that the interrupted code may hold.
"""

import heapq
import os
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from time import monotonic
from typing import Any

from ..transport.polling import Poller
from ..transport.streams import READ

Callback = Callable[..., object]

JOIN_S = 2.0
POLL_S_MAX = 24 * 3600.0
"""What is due later is looked at again then: the kernel counts in milliseconds, up to 2^31."""


class Waiter:
    """One call's answer, waited for by the thread that made the call."""

    __slots__ = ("_done", "_error", "_given_up", "_lock", "_result")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._done = self._given_up = False
        self._result: Any = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Whether there is an answer or an error, or nobody waiting any more."""
        return self._done or self._given_up

    def set_result(self, result: Any, /) -> None:
        """Answer; the first answer or error counts."""
        if not self._done:
            self._result, self._done = result, True
            self._lock.release()

    def set_exception(self, exception: BaseException, /) -> None:
        """Fail; the first answer or error counts."""
        if not self._done:
            self._error, self._done = exception, True
            self._lock.release()

    def wait(self, timeout_s: float) -> Any:
        """The answer; raises the error. For one thread, once.

        Raises:
            TimeoutError: the loop has not even said that the time is over.
        """
        if not self._lock.acquire(timeout=timeout_s):
            self._given_up = True
            if not self._done:
                raise TimeoutError
        if self._error is not None:
            raise self._error
        return self._result


class TimerHandle:
    """A timer of `PollLoop`."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callback) -> None:
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        """Do not run it."""
        self.callback = None


class PollLoop:
    """Callbacks, timers and descriptors, in the thread that `start` makes.

    All but `call_threadsafe` and `stop` belong to that thread.

    Attributes:
        blocked: its thread waits for something in the middle of a callback, in a finalizer.
    """

    time = staticmethod(monotonic)

    def __init__(self) -> None:
        self._ready: deque[tuple[Callback, tuple[Any, ...]]] = deque()
        self._timers: list[tuple[float, int, TimerHandle]] = []
        self._timer_count = count()
        self._poller = Poller()
        self.watch, self.unwatch = self._poller.watch, self._poller.unwatch
        self._awake = False
        self._stopped = False
        self._ended = False
        self.blocked = False
        self._wakeup_read, self._wakeup_write = socket.socketpair()
        self._wakeup_read.setblocking(False)
        self._wakeup_write.setblocking(False)
        self.watch(self._wakeup_read.fileno(), READ, self._woken)
        self._thread: threading.Thread | None = None
        _in_this_process.add(self)

    def start(self, on_failure: Callable[[BaseException], object]) -> None:
        """Begin to run. `on_failure` is called, at the end, when a callback raised."""
        self._thread = threading.Thread(
            target=self._run, args=(on_failure,), name="sampan-client", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End after what is ready now."""
        self.call_threadsafe(self._stop)

    def join(self) -> None:
        """Wait for the end, unless it is this thread's, but not for long: a finalizer may keep it
        waiting for whatever this thread holds."""
        if self._thread is not None and not self.is_this_thread():
            self._thread.join(JOIN_S)

    def is_this_thread(self) -> bool:
        """Whether the caller runs within a callback, as a finalizer may."""
        return self._thread is not None and self._thread.ident == threading.get_ident()

    def forked(self) -> None:
        """This is a copy in a child process, and its thread has stayed with the parent."""
        self._ready.clear()
        self._stopped = self._ended = True

    def call_threadsafe(self, callback: Callback, *args: Any) -> None:
        """Run it soon; calls by many threads before the loop wakes cost one wake-up. After the end
        it runs at once: all that it can do then is to find that."""
        self._ready.append((callback, args))
        if self._ended:
            self._run_ready()
        elif not self._awake:
            self._awake = True  # before: what was sent may be read at once, and ends this
            with suppress(OSError):  # it has many, or it ends, and looks once more then
                self._wakeup_write.send(b"w")

    call_soon_threadsafe = call_threadsafe

    def call_soon(self, callback: Callback, /, *args: Any) -> None:
        """Run it after everything that is ready now."""
        self._ready.append((callback, args))

    def call_at(self, when: float, callback: Callback, /) -> TimerHandle:
        """Run it at `when`, in monotonic seconds."""
        handle = TimerHandle(callback)
        heapq.heappush(self._timers, (when, next(self._timer_count), handle))
        return handle

    def _stop(self) -> None:
        self._stopped = True

    def _woken(self, _events: int) -> None:
        self._wakeup_read.recv(64)

    def _run(self, on_failure: Callable[[BaseException], object]) -> None:
        try:
            self._run_until_stopped()
        except BaseException as error:
            on_failure(error)
            raise
        finally:
            self._ended = True  # before the last look: whoever comes later looks for himself
            self._run_ready()
            self._wakeup_read.close()
            self._wakeup_write.close()
            self._poller.close()

    def _run_until_stopped(self) -> None:
        while not self._stopped:
            self._poller.wait(self._timeout_s())
            self._awake = False  # before the queue is looked at: what comes later wakes again
            now = monotonic()
            while self._timers and self._timers[0][0] <= now:
                callback = heapq.heappop(self._timers)[2].callback
                if callback is not None:
                    callback()
            self._run_ready()

    def _run_ready(self) -> None:
        for _ in range(len(self._ready)):
            try:
                callback, args = self._ready.popleft()
            except IndexError:
                return  # at the end several may look
            callback(*args)

    def _timeout_s(self) -> float:
        if self._ready:
            return 0.0
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return POLL_S_MAX
        return min(max(0.0, self._timers[0][0] - monotonic()), POLL_S_MAX)


_in_this_process: "weakref.WeakSet[PollLoop]" = weakref.WeakSet()


def _forked() -> None:
    for loop in _in_this_process:
        loop.forked()


os.register_at_fork(after_in_child=_forked)
