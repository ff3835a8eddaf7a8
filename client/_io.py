"""What a dispatcher needs from the outside: a loop and futures."""

from collections.abc import Callable
from typing import Any, Protocol


class Future(Protocol):
    """One call's answer; asyncio's future and the sync client's waiter both are one."""

    def done(self) -> bool:
        """Whether there is an answer, an error, or nobody waiting any more."""

    def set_result(self, result: Any, /) -> None:
        """Answer."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Fail."""


class Timer(Protocol):
    """What `call_at` returns."""

    def cancel(self) -> None:
        """Do not run it."""


class Loop(Protocol):
    """What is used of a loop: `client/_thread.py` has one, asyncio's is another."""

    def time(self) -> float:
        """Monotonic seconds."""

    def call_soon(self, callback: Callable[..., object], /, *args: Any) -> object:
        """Run it after everything that is ready now."""

    def call_at(self, when: float, callback: Callable[[], object], /) -> Timer:
        """Run it at `when`, in the loop's time."""


class SocketLoop(Loop, Protocol):
    """What connections use besides; `client/_tasks.py` adds it to asyncio's."""

    def call_soon_threadsafe(self, callback: Callable[..., object], /, *args: Any) -> object:
        """`call_soon` for other threads."""

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        """See transport/streams.py's Loop."""

    def unwatch(self, descriptor: int) -> None:
        """Likewise."""


class Unwatched:
    """The future of a call that nobody waits for: what it tells was learnt when its reply came."""

    def done(self) -> bool:
        """Never: its reply is wanted."""
        return False

    def set_result(self, result: Any, /) -> None:
        """Nothing is left to do."""

    def set_exception(self, exception: BaseException, /) -> None:
        """Likewise."""
