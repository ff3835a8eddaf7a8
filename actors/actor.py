"""What every actor is: a handler without sockets, threads or a clock.

`handle(channel, message)` takes one message, `flush()` acts on all that were taken, `on_timer()`
comes by the clock. What the actor wants to happen it puts on channels with `emit`; a host moves it.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from .flight import Flight
from .measures import Histogram, Load


class Impossible(RuntimeError):
    """A state that cannot be. The node stops with the numbers and a hint in the text."""


class Actor:
    """Base of the five actors. Subclasses define `on_<channel>` for every channel they consume."""

    name: ClassVar[str]
    timer_s: ClassVar[float] = 0.1
    """How often `on_timer` is called."""
    slow_jobs: ClassVar[tuple[str, ...]] = ()
    """Jobs that take minutes: each runs beside the others."""

    def __init__(self) -> None:
        self.now = 0.0
        """Monotonic seconds, set by the host before each turn."""
        self.wake_at: float | None = None
        """When `on_wake` is to be called, for what must not wait for the timer."""
        self.out: list[tuple[str, Any]] = []
        """(channel, message) in the order of emission; the host takes and clears it."""
        self.flight = Flight(lambda: self.now)
        """What it did lately with entries."""
        self.load = Load()
        """What its host notes of its turns."""
        self.histograms: dict[str, Histogram] = {}
        """How long things took, by what they are; its host counts its jobs here."""
        self.handlers: dict[str, Callable[[Any], None]] = {
            name[3:]: getattr(self, name)
            for name in dir(self)
            if name.startswith("on_") and name not in ("on_timer", "on_wake")
        }
        """Channel -> method, for hosts; `handle` looks one up."""

    def emit(self, channel: str, message: Any) -> None:
        """Put one message on a channel."""
        self.out.append((channel, message))

    def handle(self, channel: str, message: Any) -> None:
        """Take one message."""
        self.handlers[channel](message)

    def measured(self) -> dict[str, Any]:
        """Its load and its histograms, as they travel."""
        durations = {name: histogram.told() for name, histogram in self.histograms.items()}
        return {"load": self.load.told(), "durations": durations}

    def start(self) -> None:
        """Called once, before any message."""

    def flush(self) -> None:
        """Act on the messages taken since the last flush."""

    def on_timer(self) -> None:
        """Called about every `timer_s`, never before the first turn."""

    def on_wake(self) -> None:
        """Called once at or after `wake_at`."""

    def stop(self) -> None:
        """The node is stopping: take in nothing new. May be called again."""

    @property
    def idle(self) -> bool:
        """Whether nothing that was taken in still waits for an answer."""
        return True

    def cut_jobs_short(self) -> None:
        """No turn follows, and the host waits for the jobs that are under way: see to it that they
        end soon."""

    def close(self) -> None:
        """Release what the actor owns; the last call."""

    @property
    def jobs(self) -> dict[str, Callable[..., Any]]:
        """What `jobc` may name: blocking calls that a host runs beside the actor's turns."""
        return {}
