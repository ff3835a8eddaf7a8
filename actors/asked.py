"""What clients have asked and wait for."""

from collections import deque
from typing import Any, NamedTuple

from ..config import limits
from ..security.rules import Who
from ..transport.codec import pack, unpack_local, unpack_requests
from ..transport.errors import WireError

NOBODY = 0
"""In place of the member whose clients wait for an entry's results."""
OWN = "own"
"""The kind of a message that the node asks for itself."""


_CLIENT_NUMBER_BYTES = 8


def user_of(client: bytes) -> str:
    """The user whose key a client has, which stands behind the number of its connection; empty
    where there are no keys, or it is nobody's in particular (hosts/ports.py)."""
    return client[_CLIENT_NUMBER_BYTES:].decode()


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
    who: Who | None = None
    token: str = ""  # that it came with; of a login, that it is answered with

    @property
    def size(self) -> int:
        """Bytes in memory, and in the log, that count against bounds."""
        return len(self.body) + limits.REFUSED_BYTES * len(self.refused)


def asking(asked: Asked) -> str | bytes:
    """Whom limits are for: a user, or a connection where nobody is asked who they are."""
    return asked.client if asked.who is None else asked.who.user


class Batch(NamedTuple):
    """The messages whose requests went into one entry."""

    asked: list[Asked]
    size: int
    term: int
    """In which it was proposed, as far as the node knew."""
    changes: bool = False
    """It changes the members."""
    again: bool = False
    """It was proposed again, and the first time may have done: nobody knows that it was not."""

    @property
    def repeatable(self) -> bool:
        """Whether it may come twice: sessions see to it that it is applied once, and a session too
        many is none that anybody uses."""
        return not self.changes and all(
            asked.stamp is not None or _opens_session(asked.body) for asked in self.asked
        )

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


def _opens_session(body: bytes) -> bool:
    return b"session_open" in body and all(
        request[0] == "session_open" for request in unpack_requests(body)
    )


def entry_of(member_id: int, batch_id: int, asked: list[Asked]) -> bytes:
    """The entry of the messages (entries.py), with no more than there is to say."""
    origin = NOBODY if asked[0].kind == OWN else member_id
    payload: tuple[Any, ...] = (origin, batch_id, [a.body for a in asked])
    known = any(a.who is not None for a in asked)
    if any(a.stamp is not None for a in asked):
        payload = (*payload, [_whole_stamp(a) for a in asked])
    elif known:
        payload = (*payload, None)
    return pack((*payload, [a.who for a in asked]) if known else payload)


def _whole_stamp(asked: Asked) -> tuple[Any, ...] | None:
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
