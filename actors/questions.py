"""What the node is asked about itself: `status`, `metrics` and `member_list`.

The first two are put to every actor (statusc) and answered when all have said something.
"""

from typing import Any, NamedTuple

from ..transport import errors
from ..transport.codec import pack
from ..transport.requests import is_u64
from . import channels
from .asked import Asked
from .flight import Flight

STATUS, METRICS, MEMBER_LIST = ("status",), ("metrics",), ("member_list",)
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


def are_for_actors(requests: Any) -> bool:
    """Whether the actors have to be asked."""
    return any(request in (STATUS, METRICS) for request in requests)


def answer(
    question: Question, own: dict[str, Any], measured: dict[str, Any], members: Any
) -> bytes:
    """The packed results; `own` and `measured` are the node's part."""
    status = own | question.status
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
        else:
            results.append(errors.malformed("expected status, metrics, member_list or move_leader"))
    return pack(results)


def traced(requests: Any) -> tuple[int, int] | None:
    """(index, batch) of the entry whose way a message asks for; None when it asks for none."""
    (request, *more) = requests
    if more or request[:1] != ("trace",) or len(request) != 3:
        return None
    _, index, batch = request
    return (index, batch) if is_u64(index) and is_u64(batch) else None


def trace(question: Question, own: Flight, now: float) -> bytes:
    """The packed answer to `trace`: (0, now, [(actor, step, when, peer), …])."""
    steps = [(channels.NODE, *step) for step in own.about(question.requests)]
    for actor, (_, found) in question.answers.items():
        steps += [(actor, *step) for step in found]
    return pack([(0, now, steps)])
