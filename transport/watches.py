"""Watch requests and responses: their shapes, and the check of what clients send.

Requests are those of docs/protocol.md, kind "watch". Responses travel in messages of their own with
message id 0, each an array of responses, each response an array that begins with its name.
"""

from typing import Any

from . import errors
from .errors import WireError
from .requests import Check

KIND_WATCH = "watch"
PUSH_ID = 0
"""Message id of what a node sends without being asked; no request has it."""

PREV_KV = 1
PROGRESS_NOTIFY = 2
FRAGMENT = 4
NO_PUT = 8
NO_DELETE = 16
REQUIRE_LEADER = 32
FLAGS_MAX = 63

EVENTS = "events"
"""`["events", watch_id, revision, more, [[type, kv, prev_kv], …]]`."""
CANCELED = "canceled"
"""`["canceled", watch_id, revision, compact_revision, reason]`."""
PROGRESS = "progress"
"""`["progress", watch_id, revision]`, watch id -1 for all of the connection."""

EVENT_PUT = 0
EVENT_DELETE = 1

EVERY_WATCH = -1

U63_MAX = 2**63 - 1
"""The largest id or revision, as etcd's int64."""


def prefix_end(prefix: bytes) -> bytes:
    """The first key after all that begin with `prefix` (etcd's `GetPrefixRangeEnd`); a zero byte,
    the end of all keys, when there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b"\x00"


def check_create(request: tuple[Any, ...]) -> WireError | None:
    """`("create", key, range_end=b"", start_revision=0, flags=0, watch_id=0)`."""
    if not 2 <= len(request) <= 6:
        return errors.malformed("create takes key, range_end, start_revision, flags, watch_id")
    key, (range_end, *numbers) = request[1], (*request[2:], b"")[: max(1, len(request) - 2)]
    if type(key) is not bytes or type(range_end) is not bytes:
        return errors.malformed("create: key and range_end are bin")
    if not all(type(number) is int and 0 <= number <= U63_MAX for number in numbers):
        return errors.malformed("create: start_revision, flags and watch_id are 0 to 2^63 - 1")
    if len(numbers) > 1 and numbers[1] > FLAGS_MAX:
        return errors.malformed(f"create: flags is 0 to {FLAGS_MAX}")
    if range_end not in (b"", b"\x00") and key >= range_end:
        return errors.WATCH_EMPTY_RANGE
    return None


def check_cancel(request: tuple[Any, ...]) -> WireError | None:
    """`("cancel", watch_id)`."""
    if len(request) != 2 or type(request[1]) is not int or not 0 <= request[1] <= U63_MAX:
        return errors.malformed("cancel takes watch_id")
    return None


def check_bare(request: tuple[Any, ...]) -> WireError | None:
    """`("progress",)` or `("ack",)`."""
    return None if len(request) == 1 else errors.malformed(f"{request[0]} takes nothing")


WATCH_CHECKS: dict[str, Check] = {
    "create": check_create,
    "cancel": check_cancel,
    "progress": check_bare,
    "ack": check_bare,
}
