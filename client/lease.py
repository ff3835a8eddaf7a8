"""A lease that is renewed by itself for as long as it is needed, and says when it was lost.

    with client.lease(10) as lease:
        client.put("workers/7", "here", lease=lease.id)
        while lease.alive:
            work_a_little()

What a holder may rely on: the cluster does not end the lease before the time to live has passed
since the last renewal that it acknowledged was *asked for*. That is the deadline here, by this
machine's monotonic clock, and after it the lease is lost, whatever the cluster still does.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from ..transport import errors as wire
from ..transport.requests import KIND_WRITE
from . import errors
from ._io import Loop
from ._timeouts import check_timeout
from .types import LeaseGrantResponse

if TYPE_CHECKING:
    from ._dispatch import Dispatcher
    from ._thread import PollLoop

RENEWALS = 3
"""Renewals in a time to live, as etcd's client: two may fail."""
RETRY_S_MAX = 0.5
REVOKED = "was revoked"
RETRIES = 20
"""After a failed renewal the next one follows within a 20th of the time to live."""
REQUEST_BYTES = 40


class KeepAlive:
    """Renews one lease, in the thread of its loop.

    Attributes:
        deadline: monotonic seconds until which the lease lives for certain.
        lost: why it does not any more, empty while it does. It stays so.
        listeners: called when it is lost, by whichever thread notices.
    """

    def __init__(
        self,
        loop: Loop,
        dispatcher: "Dispatcher",
        granted: LeaseGrantResponse,
        asked_at: float,
        on_lost: Callable[[], object],
    ) -> None:
        """`asked_at`: monotonic seconds before the grant was asked for."""
        self._loop = loop
        self._dispatcher = dispatcher
        self._id = granted.id
        self._ttl_s = granted.ttl_s
        self.listeners = [on_lost]
        self._asked_at = asked_at
        self._timer: Any = None
        self._stopped = False
        self._error: BaseException | None = None  # of the last renewal that failed
        self.deadline = asked_at + granted.ttl_s
        self.lost = ""

    def start(self) -> None:
        """Begin to renew."""
        if self._dispatcher.refusal is not None:
            self.on_closed()
            return
        self._dispatcher.on_close.add(self.on_closed)
        self._wake_at(self._asked_at + self._ttl_s / RENEWALS)

    def stop(self) -> None:
        """Renew no more."""
        self._stopped = True
        self._dispatcher.on_close.discard(self.on_closed)
        if self._timer is not None:
            self._timer.cancel()

    def on_closed(self) -> None:
        """The client was closed, or ended for want of its cluster."""
        self._error = self._dispatcher.refusal
        why = "the client is closed" if self._error is None else self._error.args[0]
        self.lose(f"is not renewed any more: {why.removeprefix('sampan: ')}")

    def lose(self, text: str = "") -> None:
        """It is lost, for this reason or because its time is over. Any thread may say so, and only
        the first time counts."""
        self._stopped = True
        self._dispatcher.on_close.discard(self.on_closed)
        if not self.lost:
            self.lost = text or f"was not renewed within its {self._ttl_s} s"
            if not self._dispatcher.forked:  # whoever waits, waits in the parent
                for listener in list(self.listeners):
                    listener()

    def error(self) -> errors.LeaseLostError:
        """What to raise when it was lost."""
        error = errors.LeaseLostError(wire.NOT_FOUND, f"sampan: lease {self._id:x} {self.lost}")
        error.__cause__ = self._error
        return error

    def _wake_at(self, when: float) -> None:
        if not self._stopped:
            delay = max(0.0, min(when, self.deadline) - monotonic())
            self._timer = self._loop.call_at(self._loop.time() + delay, self._renew)

    def _renew(self) -> None:
        if self._stopped:
            return
        now = monotonic()
        if now >= self.deadline:
            self.lose()
            return
        timeout_s = min(self._ttl_s / RENEWALS, self.deadline - now)
        lane = self._dispatcher.lanes[KIND_WRITE]
        request = ("lease_keep_alive", self._id)
        self._dispatcher.queue(lane, _Renewal(self, now), request, REQUEST_BYTES, timeout_s)

    def on_answer(self, asked_at: float, ttl_s: int) -> None:
        """A renewal that was asked for at `asked_at` got an answer."""
        if self._stopped:
            return
        if not ttl_s:
            self.lose("does not exist any more")
        elif monotonic() >= self.deadline:
            self.lose()  # somebody may have looked at the clock before this answer came
        else:
            self.deadline, self._error = asked_at + ttl_s, None
            self._wake_at(asked_at + ttl_s / RENEWALS)

    def on_failure(self, error: BaseException) -> None:
        """A renewal failed."""
        self._error = error
        if isinstance(error, errors.ClientClosedError):
            self.on_closed()
        self._wake_at(monotonic() + min(RETRY_S_MAX, self._ttl_s / RETRIES))


class _Renewal:
    """The future of one renewal."""

    def __init__(self, keep_alive: KeepAlive, asked_at: float) -> None:
        self._keep_alive = keep_alive
        self._asked_at = asked_at
        self._done = False

    def done(self) -> bool:
        return self._done

    def set_result(self, result: Any, /) -> None:
        _, (_, _, _, ttl_s) = result  # ValueError when it is none, which breaks the connection
        self._done = True
        self._keep_alive.on_answer(self._asked_at, ttl_s)

    def set_exception(self, exception: BaseException, /) -> None:
        self._done = True
        self._keep_alive.on_failure(exception)


class LeaseState:
    """What the leases of both clients tell.

    Attributes:
        id: to be given to `put`.
        ttl_s: the time to live granted, in seconds.
    """

    def __init__(self, granted: LeaseGrantResponse) -> None:
        self.id = granted.id
        self.ttl_s = granted.ttl_s
        self._ended = False
        self._keep_alive: KeepAlive

    def __repr__(self) -> str:
        keep_alive = self._keep_alive
        state = keep_alive.lost or f"{self.remaining_s:.1f} s left of {self.ttl_s}"
        return f"<{type(self).__name__} {self.id:x}: {state}>"

    @property
    def remaining_s(self) -> float:
        """Seconds for which it lives for certain; 0 when it was lost or has been revoked."""
        keep_alive = self._keep_alive
        if keep_alive.lost:
            return 0.0
        return max(0.0, keep_alive.deadline - monotonic())

    @property
    def alive(self) -> bool:
        """Whether it lives for certain. It is read from the clock: true at this moment, even in a
        program that was stopped for a while and has not noticed yet."""
        return self.remaining_s > 0

    def check(self) -> None:
        """Go on only if it lives for certain.

        Raises:
            errors.LeaseLostError: it has ended, or may have.
        """
        if self.alive:
            return
        self._keep_alive.lose()
        raise self._keep_alive.error()

    def give_up(self, why: str) -> None:
        """Renew it no more, so that what it holds ends with it: within its time to live."""
        self._keep_alive.lose(why)

    @contextmanager
    def when_lost(self, call: Callable[[], object]) -> Iterator[None]:
        """Have `call` called when it is lost while the block runs, by whichever thread notices; at
        once when it was lost before. It may be called twice."""
        listeners = self._keep_alive.listeners
        listeners.append(call)
        try:
            if self._keep_alive.lost:
                call()
            yield
        finally:
            listeners.remove(call)


class Lease(LeaseState):
    """A lease of `Client`, made by `Client.lease`. Any thread may use it.

    As a context manager it is revoked at the end, and its keys with it; when it was lost by then,
    the end raises `LeaseLostError`.
    """

    def __init__(
        self,
        revoke: Callable[..., object],
        loop: "PollLoop",
        dispatcher: "Dispatcher",
        granted: LeaseGrantResponse,
        asked_at: float,
    ) -> None:
        """See `Client.lease`."""
        super().__init__(granted)
        self._revoke = revoke
        self._loop = loop
        self._dispatcher = dispatcher
        self._changed = threading.Condition()
        self._keep_alive = KeepAlive(loop, dispatcher, granted, asked_at, self._wake)
        loop.call_threadsafe(self._keep_alive.start)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def wait_lost(self, timeout_s: float | None = None) -> errors.LeaseLostError | None:
        """Wait until it is lost or revoked, or the client closed; returns why, None when it is not
        within `timeout_s`."""
        if self._dispatcher.forked and self._dispatcher.refusal is not None:
            raise self._dispatcher.refusal.copy()  # the thread that would tell is the parent's
        give_up_at = float("inf") if timeout_s is None else monotonic() + check_timeout(timeout_s)
        with self._changed:  # a lock that a signal handler in here may take again
            while not self._keep_alive.lost:
                now = monotonic()
                if now >= self._keep_alive.deadline:
                    self._keep_alive.lose()
                elif now >= give_up_at:
                    return None
                else:
                    self._changed.wait(min(give_up_at, self._keep_alive.deadline) - now)
        return self._keep_alive.error()

    def revoke(self, *, timeout_s: float | None = None) -> None:
        """End it and delete its keys. It may have ended before.

        Raises:
            errors.SampanError: it could not be; it ends by itself when its time is over.
        """
        self._ended = True
        self._keep_alive.lose(REVOKED)
        self._loop.call_threadsafe(self._keep_alive.stop)
        try:
            self._revoke(self.id, timeout_s=timeout_s)
        except errors.LeaseNotFoundError:
            return

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._ended:
            return
        try:
            self.check()
            self.revoke()
        except errors.SampanError:
            if error is None:
                raise
