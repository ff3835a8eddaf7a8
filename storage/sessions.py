"""Sessions: how the state machine recognises a write that it has applied before.

A client that may send a message of writes twice gives it a number within a session (D. Ongaro,
"Consensus: Bridging Theory and Practice", section 6.3). The first answer is kept until the client
says that it needs it no longer; a message that comes again gets that answer and changes nothing.
All of this is part of the state: it is decided by entries alone, so it holds whoever leads, and it
is committed in the same batch as what the entries wrote, so it survives what they survive.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias, cast

from ..transport import errors
from ..transport.codec import pack, pack_array, unpack_local
from . import keys
from .mvcc import Result
from .overlay import Overlay

# Members that differ in these would divide: they are as much a part of the format as the keys.
SESSIONS_MAX = 10_000
"""Sessions beyond this end, the one first that was not used for longest: as many as connections."""
ANSWERS_MAX = 128
"""Answers kept a session; the client library has no more messages under way."""
SESSION_BYTES_MAX = 1 << 18
"""Bytes of answers kept a session, which are written again at every commit. Those of plain puts
take 64 each; what does not fit is forgotten, and who asks for it again is told so."""
SESSIONS_BYTES_MAX = 1 << 26
"""Bytes of answers kept in all; beyond, sessions end as with SESSIONS_MAX."""
RESULT_BYTES_SMALL = 512
"""Results that are kept when their message's answer does not fit as a whole."""

_OVERHEAD = 64  # an answer's place in memory and on disk, roughly
_NUMBER_BITS = 40
_CLOCK_KEY = keys.META + b"sessions"
_EXPIRED = pack(errors.SESSION_EXPIRED)

Kept: TypeAlias = bytes | tuple[int, int]
"""An answer as it is kept: packed, or of plain puts the first revision and how many there were."""
Answer: TypeAlias = Kept | Sequence[Result]

_PENDING: Kept = (0, 0)  # claimed by a message that is being applied


class Stamp(NamedTuple):
    """What a message of writes says of itself (docs/protocol.md)."""

    session: int
    sequence: int
    acknowledged_below: int
    refused: tuple[tuple[int, Any], ...] = ()
    """(position, error) of each of the message's requests that the node did not let in."""


class _Session:
    """One session's kept answers."""

    __slots__ = ("answers", "floor", "size", "used", "user")

    def __init__(self, used: int, floor: int, answers: dict[int, Kept], user: str) -> None:
        self.user = user  # who opened it; empty while nobody was asked
        self.used = used
        self.floor = floor  # nothing is known of sequences below it
        self.answers = answers
        self.size = sum(map(_size, answers.values()))


class Sessions:
    """All sessions. Entries use them through `claim` and `keep`; `save` comes before a commit."""

    def __init__(self, overlay: Overlay) -> None:
        self._overlay = overlay
        self._dirty: set[int] = set()
        raw = overlay.get(_CLOCK_KEY)
        # Counts uses, so that their order is the same on a member that has started again.
        self._clock: int = 0 if raw is None else cast("int", unpack_local(raw))
        loaded: dict[int, _Session] = {}
        for stored, record in overlay.pairs(keys.SESSION, keys.after_prefix(keys.SESSION)):
            used, floor, answers, user = (*cast("Any", unpack_local(record)), "")[:4]
            loaded[keys.U64.unpack_from(stored, 1)[0]] = _Session(used, floor, dict(answers), user)
        # In order of their last use.
        self._sessions = dict(sorted(loaded.items(), key=lambda item: item[1].used))
        self._size = sum(session.size for session in loaded.values())

    def __len__(self) -> int:
        return len(self._sessions)

    @property
    def changed(self) -> int:
        """How many sessions have to be written at the next commit."""
        return len(self._dirty)

    def open(self, nonce: int, user: str = "") -> int:
        """A new session's id, for a `user` alone where users are asked who they are. It is never
        used again, and with a random `nonce` it is none of another cluster, either, which a client
        may have known under the same address."""
        self._clock += 1
        session = nonce % (1 << 64 - _NUMBER_BITS) << _NUMBER_BITS | self._clock
        self._sessions[session] = _Session(self._clock, 1, {}, user)
        self._dirty.add(session)
        self._end_oldest()
        return session

    def claim(self, stamp: Stamp, user: str | None = None) -> Kept | None:
        """The answer of a message that was applied before, or an error; None when the message is
        to be applied now, and its answer to be given to `keep`. The session of another `user`, if
        one is given, is none: answers are for who asked."""
        number, sequence, acknowledged_below, _ = stamp
        session = self._sessions.get(number)
        if session is None or user not in (None, session.user):
            return _EXPIRED
        del self._sessions[number]
        self._clock += 1
        session.used = self._clock
        self._sessions[number] = session
        self._dirty.add(number)
        if acknowledged_below > session.floor:
            self._forget_below(session, acknowledged_below)
        if sequence < session.floor:
            return _EXPIRED
        kept = session.answers.get(sequence)
        if kept is None:
            session.answers[sequence] = _PENDING
            session.size += _OVERHEAD
            self._size += _OVERHEAD
            if len(session.answers) > ANSWERS_MAX:
                self._forget_below(session, min(session.answers) + 1)
            if self._size > SESSIONS_BYTES_MAX:
                self._end_oldest()
        return kept

    def is_new(self, stamp: Stamp, user: str | None = None) -> bool:
        """Whether `claim` would let the message be applied now."""
        session = self._sessions.get(stamp.session)
        return (
            session is not None
            and user in (None, session.user)
            and stamp.sequence >= session.floor
            and stamp.sequence not in session.answers
        )

    def repeated(self, stamp: Stamp, known: Kept) -> Kept:
        """What `claim` found, or when that had only been claimed by the same entry, its answer."""
        if known is not _PENDING:
            return known
        session = self._sessions.get(stamp.session)
        return _EXPIRED if session is None else session.answers.get(stamp.sequence, _EXPIRED)

    def keep_puts(self, stamp: Stamp, first_revision: int, count: int) -> Kept:
        """Keep the answer of a message of plain puts; returns it."""
        kept = (first_revision, count)
        session = self._sessions.get(stamp.session)
        if session is not None and stamp.sequence in session.answers:
            session.answers[stamp.sequence] = kept  # as large as what `claim` put there
        return kept

    def keep(self, stamp: Stamp, results: Sequence[bytes]) -> bytes:
        """Keep a message's answer, as much of it as there is room for; returns it. Each result is
        packed already."""
        packed = pack_array(results)
        session = self._sessions.get(stamp.session)
        if session is not None:
            room = SESSION_BYTES_MAX - session.size
            self._keep(stamp, packed if len(packed) <= room else _shortened(results, room))
        return packed

    def _keep(self, stamp: Stamp, kept: bytes) -> None:
        session = self._sessions.get(stamp.session)
        if session is None or stamp.sequence not in session.answers:
            return  # it has ended, or was acknowledged, by what came later in the same entry
        session.answers[stamp.sequence] = kept
        session.size += len(kept)
        self._size += len(kept)
        self._end_oldest()

    def _forget_below(self, session: _Session, floor: int) -> None:
        session.floor = floor
        answers, size = session.answers, 0
        for sequence in [each for each in answers if each < floor]:
            size += _size(answers.pop(sequence))
        session.size -= size
        self._size -= size

    def _end_oldest(self) -> None:
        while len(self._sessions) > SESSIONS_MAX or self._size > SESSIONS_BYTES_MAX:
            oldest = next(iter(self._sessions))
            self._size -= self._sessions.pop(oldest).size
            self._dirty.add(oldest)

    def save(self) -> None:
        """Write what has changed since the last time."""
        if not self._dirty:
            return
        writes = self._overlay.writes
        for number in self._dirty:
            session = self._sessions.get(number)
            writes[keys.session_key(number)] = (
                None
                if session is None
                else pack((session.used, session.floor, [*session.answers.items()], session.user))
            )
        writes[_CLOCK_KEY] = pack(self._clock)
        self._dirty.clear()


def _size(kept: Kept) -> int:
    return _OVERHEAD + len(kept) if type(kept) is bytes else _OVERHEAD


def _shortened(results: Sequence[bytes], room: int) -> bytes:
    """The answer without its large results; when that does not fit either, without any."""
    not_kept = pack(errors.ANSWER_NOT_KEPT)
    short = pack_array([r if len(r) <= RESULT_BYTES_SMALL else not_kept for r in results])
    return short if len(short) <= room else not_kept


def with_refused(results: Iterable[Result], refused: Sequence[tuple[int, Any]]) -> list[Result]:
    """All of a message's results, in the order of its requests."""
    merged = list(results)
    for position, error in refused:  # in ascending order, so each finds its place
        merged.insert(position, error)
    return merged


def pack_answer(answer: Answer) -> bytes:
    """A message's answer as it travels."""
    if type(answer) is bytes:
        return answer
    if type(answer) is tuple:
        first, count = answer
        return pack([(0, revision) for revision in range(first, first + count)])
    return pack(answer)
