"""What the node is asked about itself: `status`, `metrics` and `member_list`.

The first two are put to every actor (statusc) and answered when all have said something.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..transport import errors
from ..transport.codec import pack
from ..transport.requests import is_u64
from . import channels
from .asked import Asked
from .flight import Flight, Step

STATUS, METRICS, MEMBER_LIST = ("status",), ("metrics",), ("member_list",)
_EXPECTED = "expected status, metrics, member_list, move_leader, or one trace"
FACTS = ("facts",)
"""What the node itself wants to know of the actors, in place of a client's requests."""


class Question(NamedTuple):
    """One message that waits for the actors' answers."""

    asked: Asked
    requests: Any
    answers: dict[str, tuple[dict[str, Any], Any]]
    """actor -> (status, what it has measured, or its steps)"""

    @property
    def status(self) -> dict[str, Any]:
        """What the actors say of themselves."""
        merged: dict[str, Any] = {}
        for values, _ in self.answers.values():
            merged |= values
        return merged


class Questions:
    """Questions under way, by number."""

    def __init__(self, channel: str) -> None:
        """`channel`: on which they are put to the actors, all of whom answer."""
        self._open: dict[int, Question] = {}
        self._actors = len(channels.CHANNELS[channel].consumers)

    def begin(self, number: int, asked: Asked, requests: Any) -> None:
        """It was put to the actors."""
        self._open[number] = Question(asked, requests, {})

    def take(self, message: Any) -> Question | None:
        """An actor's answer; the question when that was the last one."""
        number, actor, status, measured = message
        question = self._open.get(number)
        if question is None:
            return None  # its time was up
        question.answers[actor] = (status, measured)
        return self._open.pop(number) if len(question.answers) == self._actors else None

    def take_late(self, now: float) -> list[Asked]:
        """Those whose time is up; they do not wait any longer."""
        late = [number for number, question in self._open.items() if question.asked.deadline <= now]
        return [self._open.pop(number).asked for number in late]


class Doors(NamedTuple):
    """What the node does for its desk."""

    new_id: Callable[[], int]
    ask_status: Callable[[Any], None]
    ask_trace: Callable[[Any], None]
    """Both put a question to the actors."""
    own: Callable[[], tuple[dict[str, Any], dict[str, Any], Any]]
    """The node's (status, measures, members)."""
    reply: Callable[[Asked, bytes], None]
    flight: Flight


class Desk:
    """Takes messages that ask about the node, and answers them when the actors have told."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._statuses = Questions("statusc")
        self._traces = Questions("tracec")

    def ask(self, asked: Asked, requests: Any) -> None:
        """A client's message, or FACTS."""
        if requests is FACTS or any(request in (STATUS, METRICS) for request in requests):
            number = self._doors.new_id()
            self._statuses.begin(number, asked, requests)
            self._doors.ask_status(number)
        else:
            self._trace_or_answer(Question(asked, requests, {}))

    def on_status(self, message: Any) -> Question | None:
        """An actor's answer to statusc; returns FACTS that are complete."""
        question = self._statuses.take(message)
        if question is not None and question.requests is FACTS:
            return question
        if question is not None:
            self._trace_or_answer(question)
        return None

    def _trace_or_answer(self, question: Question) -> None:
        numbers = _traced(question.requests)
        if numbers is None:
            self._answer(question)
            return
        number = self._doors.new_id()
        self._traces.begin(number, question.asked, (question, numbers))
        self._doors.ask_trace((number, numbers))

    def on_trace(self, message: Any) -> None:
        """An actor's answer to tracec."""
        told = self._traces.take(message)
        if told is not None:
            question, numbers = told.requests
            flight = self._doors.flight
            self._answer(question, (flight.clock(), _steps(told, flight.about(numbers))))

    def _answer(self, question: Question, trace: tuple[float, Any] | None = None) -> None:
        self._doors.reply(question.asked, _answer(question, self._doors.own(), trace))

    def take_late(self, now: float) -> list[Asked]:
        """Those whose time is up."""
        return self._statuses.take_late(now) + self._traces.take_late(now)


def _answer(
    question: Question,
    own: tuple[dict[str, Any], dict[str, Any], Any],
    trace: tuple[float, Any] | None,
) -> bytes:
    """The packed results; `trace` is (now, steps) of the first request for one."""
    own_status, measured, members = own
    status = own_status | question.status
    actors = {channels.NODE: measured}
    actors |= {actor: values for actor, (_, values) in question.answers.items()}
    results: list[Any] = []
    for request in question.requests:
        if request == STATUS:
            results.append((0, status))
        elif request == METRICS:
            results.append((0, {"status": status, "actors": actors}))
        elif request == MEMBER_LIST:
            results.append((0, [m[:5] for m in members]))
        elif trace is not None and _numbers(request) is not None:
            results.append((0, *trace))
            trace = None  # there is one in a message
        else:
            results.append(errors.malformed(_EXPECTED))
    return pack(results)


def is_move_leader(request: Any) -> bool:
    """Whether it is `("move_leader", …)`; a client may have sent anything."""
    return type(request) is tuple and request[:1] == ("move_leader",)


def _traced(requests: Any) -> tuple[int, int] | None:
    """(index, batch) of the first entry whose way a message asks for; None when it asks for
    none."""
    return next((found for r in requests if (found := _numbers(r)) is not None), None)


def _numbers(request: Any) -> tuple[int, int] | None:
    if type(request) is not tuple or request[:1] != ("trace",) or len(request) != 3:
        return None
    _, index, batch = request
    return (index, batch) if is_u64(index) and is_u64(batch) else None


def _steps(told: Question, own: Sequence[Step]) -> list[tuple[Any, ...]]:
    """(actor, step, when, peer) of what all actors have told, and the node itself."""
    found: list[tuple[Any, ...]] = [(channels.NODE, *step) for step in own]
    for actor, (_, noted) in told.answers.items():
        found += [(actor, *step) for step in noted]
    return found
