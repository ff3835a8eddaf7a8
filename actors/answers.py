"""The applier's answers to messages of reads."""

from typing import Any

from ..config import limits
from ..security.rules import Who
from ..storage.sliced import Sliced, joined
from ..storage.state_store import SLICED_READS, StateStore
from ..transport import codec, errors
from ..transport.auth import READS as AUTH_READS
from .actor import Impossible
from .lessor import READS, Lessor

TOO_MUCH = codec.pack(errors.TOO_MANY_REQUESTS)


def answer(
    state: StateStore, lessor: Lessor, body: bytes, asking: Any, now: float
) -> Sliced[bytes]:
    """The packed results of one message, about READ_TURN_BYTES and one result at most. Each is
    judged as it begins, and tells what was there then."""
    asked = codec.unpack(body)
    parts = [codec.array_head(len(asked))]
    who = None if asking is None else Who(*asking)
    room = limits.READ_TURN_BYTES
    for request in asked:
        if room <= 0:
            parts.append(TOO_MUCH)
            continue
        refused = state.refusal(who, request) if state.auth.enabled else None
        if refused is not None:
            result = codec.pack(refused)
        elif request[0] not in SLICED_READS:
            result = _small(state, lessor, request, now)
        elif len(request) == 2:  # nearly all
            result = state.read_newest(request[1])
        else:
            *before, result = yield from state.read_sliced(request)
            parts += before
            room -= sum(map(len, before))
        parts.append(result)
        room -= len(result)
    return (yield from joined(parts))


def _small(state: StateStore, lessor: Lessor, request: tuple[Any, ...], now: float) -> bytes:
    name = request[0]
    if name in READS:
        return codec.pack(lessor.read(request, state, now))
    if name == "member_list":
        return codec.pack((0, state.revision, state.members.shown()))
    if name == "alarm_list":
        return codec.pack((0, state.revision, state.alarms.all()))
    if name in AUTH_READS:
        return codec.pack(state.auth_store.read(request, state.revision))
    raise Impossible(f"a read of an unknown kind, {name!r}")
