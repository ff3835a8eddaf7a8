"""What clients have asked and wait for."""

from collections import deque
from typing import Any, NamedTuple

from ..config import limits
from ..transport import requests
from ..transport.codec import CodecError, pack, unpack_header, unpack_local
from ..transport.errors import WireError


class Asked(NamedTuple):
    """One client message that waits for its reply."""

    client: bytes  # empty: has been answered
    message_id: int
    kind: str
    body: bytes
    refused: dict[int, WireError]  # requests of the message that were not let in, by position
    deadline: float
    stamp: tuple[int, int, int] | None = None  # (session, sequence, acknowledged below)
    began: float = 0.0  # when it came
    peer: tuple[int, int] | None = None  # (member, its question): it came from another node

    @property
    def size(self) -> int:
        """Bytes in memory, and in the log, that count against bounds."""
        return len(self.body) + limits.REFUSED_BYTES * len(self.refused)


class Batch(NamedTuple):
    """The messages whose requests went into one entry."""

    asked: list[Asked]
    size: int
    term: int
    """In which it was proposed, as far as the node knew."""

    def take_late(self, now: float) -> list[Asked]:
        """The messages whose time is up. Their places stay, so that results keep their positions,
        but nobody is answered there again."""
        late = []
        for position, asked in enumerate(self.asked):
            if asked.client and asked.deadline <= now:
                late.append(asked)
                self.asked[position] = asked._replace(client=b"")
        return late


def take_late(waiting: list[Asked] | deque[Asked], now: float) -> list[Asked]:
    """Those whose time is up; they do not wait any longer."""
    late = [asked for asked in waiting if asked.deadline <= now]
    if late:
        kept = [asked for asked in waiting if asked.deadline > now]
        waiting.clear()
        waiting.extend(kept)
    return late


def whole_stamp(asked: Asked) -> tuple[Any, ...] | None:
    """The stamp with what was not let in, so that the answer that is kept is the whole one."""
    if asked.stamp is None or not asked.refused:
        return asked.stamp
    return (*asked.stamp, sorted(asked.refused.items()))


def with_refused(asked: Asked, body: bytes) -> bytes:
    """The packed answer of a message as it goes out, with what was not let in."""
    results = unpack_local(body)  # a range may be longer than what a client may send
    if results and type(results[0]) is int:
        return body  # an error, of the whole message
    good, total = iter(results), len(asked.refused) + len(results)
    return pack([asked.refused.get(i) or next(good) for i in range(total)])


def opening(header: bytes) -> tuple[Any, ...]:
    """A message's header, of which every version has the first two fields. Raises CodecError."""
    fields = unpack_header(header)
    if type(fields) is not tuple or not all(map(requests.is_u64, fields[:2])):
        raise CodecError("not a request header")
    return fields


def fields_of(kind: Any, *rest: Any) -> tuple[Any, int, int, Any]:
    """What follows in this version: (kind, timeout_ms, bytes received, stamp or None). Raises
    CodecError."""
    if not all(map(requests.is_u64, rest)):
        raise CodecError("not a request header")
    if len(rest) <= 2:
        timeout_ms, received = (*rest, 0, 0)[:2]
        return kind, timeout_ms, received, None
    timeout_ms, received, session, sequence, acknowledged_below = rest
    if kind != requests.KIND_WRITE or not session or not acknowledged_below <= sequence:
        raise CodecError("not a stamp of a write")
    return kind, timeout_ms, received, rest[2:]
