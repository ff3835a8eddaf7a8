"""What stands first in a client's message, read with mistrust (docs/protocol.md)."""

from typing import Any, NamedTuple

from ..transport import requests
from ..transport.codec import CodecError, unpack_header


class Header(NamedTuple):
    """What follows the version and the message id."""

    kind: Any
    timeout_ms: int
    received: int
    stamp: tuple[int, int, int] | None
    """(session, sequence, acknowledged below)."""
    token: str


def opening(header: bytes) -> tuple[Any, ...]:
    """The header, of which every version has the first two fields. Raises CodecError."""
    fields = unpack_header(header)
    if not all(map(requests.is_u64, fields[:2])):
        raise CodecError("not a request header")
    return fields


def rest(kind: Any, *fields: Any) -> Header:
    """What follows in this version. Raises CodecError, TypeError or ValueError."""
    token, with_token = "", len(fields) == 6
    if with_token:
        *fields, token = fields  # type: ignore[assignment]  # a list is as good
        if type(token) is not str:
            raise CodecError("not a token")
    if not all(map(requests.is_u64, fields)):
        raise CodecError("not a request header")
    if len(fields) <= 2:
        timeout_ms, received = (*fields, 0, 0)[:2]
        return Header(kind, timeout_ms, received, None, token)
    timeout_ms, received, session, sequence, acknowledged_below = fields
    stamp = (session, sequence, acknowledged_below)
    if with_token and stamp == (0, 0, 0):
        return Header(kind, timeout_ms, received, None, token)
    if kind != requests.KIND_WRITE or not session or not acknowledged_below <= sequence:
        raise CodecError("not a stamp of a write")
    return Header(kind, timeout_ms, received, stamp, token)
