"""The calls about alarms, of both clients, and what they return."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from ..transport import errors as wire
from ..transport.requests import KIND_READ, KIND_WRITE
from . import errors
from ._decode import Answer, header
from .types import ResponseHeader

NOSPACE = 1
CORRUPT = 2
_NAMES = {NOSPACE: "NOSPACE", CORRUPT: "CORRUPT"}

Request = tuple[Any, ...]


class AlarmMember(NamedTuple):
    """An alarm, and the member that raised it.

    Attributes:
        member_id: the member.
        alarm: NOSPACE (its database has outgrown the quota) or CORRUPT (it differs from others).
    """

    member_id: int
    alarm: int

    @property
    def name(self) -> str:
        """The alarm's name, as etcd's."""
        return _NAMES.get(self.alarm, "UNKNOWN")


class AlarmResponse(NamedTuple):
    """`alarms`: those that are raised, or that were until this call disarmed them."""

    header: ResponseHeader
    alarms: list[AlarmMember]


def _alarms(answer: Answer) -> AlarmResponse:
    """Of `[0, revision, [[member, kind], …]]`."""
    reply, result = answer
    try:
        _, revision, alarms = result
        return AlarmResponse(header(reply, revision), [AlarmMember(*each) for each in alarms])
    except (ValueError, TypeError) as error:
        text = f"sampan: malformed result: {str(result)[:80]}"
        raise errors.MalformedReplyError(wire.INTERNAL, text) from error


class AsyncAlarmCalls:
    """The part of `AsyncClient` that is about alarms."""

    _submit: Callable[[str, Request, float | None], Awaitable[Any]]

    async def alarm_list(self, *, timeout_s: float | None = None) -> AlarmResponse:
        """The alarms that are raised."""
        return _alarms(await self._submit(KIND_READ, ("alarm_list",), timeout_s))

    async def alarm_disarm(
        self, member_id: int = 0, alarm: int = 0, *, timeout_s: float | None = None
    ) -> AlarmResponse:
        """Disarm alarms of a member (0: of any) and of a kind (0: any); returns which."""
        request = ("alarm_disarm", member_id, alarm)
        return _alarms(await self._submit(KIND_WRITE, request, timeout_s))


class AlarmCalls:
    """The part of `Client` that is about alarms."""

    _call: Callable[[str, Request, float | None], Any]

    def alarm_list(self, *, timeout_s: float | None = None) -> AlarmResponse:
        """The alarms that are raised."""
        return _alarms(self._call(KIND_READ, ("alarm_list",), timeout_s))

    def alarm_disarm(
        self, member_id: int = 0, alarm: int = 0, *, timeout_s: float | None = None
    ) -> AlarmResponse:
        """Disarm alarms of a member (0: of any) and of a kind (0: any); returns which."""
        request = ("alarm_disarm", member_id, alarm)
        return _alarms(self._call(KIND_WRITE, request, timeout_s))
