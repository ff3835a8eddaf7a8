"""The shape of every client request, and the check that stands between the wire and the log.

A request is a positional tuple whose first element names the operation (docs/protocol.md).
Whatever passes `check_*` here can be applied without a further look on every member: the state
machine trusts it, because a request that one member applied and another refused would divide them.
"""

from collections.abc import Callable
from typing import Any

from . import errors
from .errors import WireError

PROTOCOL_VERSION = 1

KIND_WRITE = "write"
KIND_READ = "read"
KIND_SERIALIZABLE = "serializable"
KIND_MAINTENANCE = "maintenance"

PUT_PREV_KV = 1
PUT_IGNORE_VALUE = 2
PUT_IGNORE_LEASE = 4
DELETE_PREV_KV = 1
RANGE_KEYS_ONLY = 1
RANGE_COUNT_ONLY = 2

TXN_OPS_MAX = 128
"""Operations in one transaction, etcd's --max-txn-ops."""
U64_MAX = 2**64 - 1


def _is_u64(value: Any) -> bool:
    return type(value) is int and 0 <= value <= U64_MAX


def check_put(request: tuple[Any, ...]) -> WireError | None:
    """`("put", key, value, lease=0, flags=0)`."""
    if not 3 <= len(request) <= 5:
        return errors.malformed("put takes key, value, lease, flags")
    key, value = request[1], request[2]
    if type(key) is not bytes or type(value) is not bytes:
        return errors.malformed("put: key and value are bin")
    if not key:
        return errors.EMPTY_KEY
    if len(request) == 3:
        return None
    if not _is_u64(request[3]):
        return errors.malformed("put: lease is an unsigned integer")
    if len(request) == 4:
        return None
    flags = request[4]
    if type(flags) is not int or not 0 <= flags <= 7:
        return errors.malformed("put: flags is 0 to 7")
    if flags & PUT_IGNORE_VALUE and value:
        return errors.VALUE_PROVIDED
    if flags & PUT_IGNORE_LEASE and request[3]:
        return errors.LEASE_PROVIDED
    return None


def check_delete(request: tuple[Any, ...]) -> WireError | None:
    """`("delete", key, range_end=b"", flags=0)`."""
    if not 2 <= len(request) <= 4:
        return errors.malformed("delete takes key, range_end, flags")
    if type(request[1]) is not bytes or (len(request) > 2 and type(request[2]) is not bytes):
        return errors.malformed("delete: key and range_end are bin")
    if len(request) > 3 and (type(request[3]) is not int or request[3] not in (0, 1)):
        return errors.malformed("delete: flags is 0 or 1")
    return None if request[1] else errors.EMPTY_KEY


def check_range(request: tuple[Any, ...]) -> WireError | None:
    """`("range", key, range_end=b"", limit=0, revision=0, flags=0, sort_target=0, …)`."""
    if not 2 <= len(request) <= 12:
        return errors.malformed("range takes key and up to ten options")
    if type(request[1]) is not bytes or (len(request) > 2 and type(request[2]) is not bytes):
        return errors.malformed("range: key and range_end are bin")
    if not all(_is_u64(option) for option in request[3:]):
        return errors.malformed("range: options are unsigned integers")
    if len(request) > 5 and request[5] > 3:
        return errors.malformed("range: flags is 0 to 3")
    if not request[1]:
        return errors.EMPTY_KEY
    if (len(request) > 6 and request[6] > 4) or (len(request) > 7 and request[7] > 2):
        return errors.INVALID_SORT_OPTION
    return None


Check = Callable[[tuple[Any, ...]], WireError | None]
WRITE_CHECKS: dict[str, Check] = {"put": check_put, "delete": check_delete}
READ_CHECKS: dict[str, Check] = {"range": check_range}


def check_request(request: Any, checks: dict[str, Check]) -> WireError | None:
    """The error of one decoded request, None when it may pass."""
    if type(request) is not tuple or not request or type(request[0]) is not str:
        return errors.malformed("a request is an array that begins with its name")
    check = checks.get(request[0])
    if check is None:
        return errors.malformed(f"expected one of {', '.join(sorted(checks))}")
    return check(request)


def all_plain_puts(decoded: tuple[Any, ...], checks: dict[str, Check]) -> bool:
    """Whether every request is a well-formed put of key and value: nearly all of a busy node's
    traffic, so it is recognised without a call for each."""
    if checks is not WRITE_CHECKS:
        return False
    for request in decoded:
        if (
            type(request) is not tuple
            or len(request) != 3
            or request[0] != "put"
            or type(request[1]) is not bytes
            or type(request[2]) is not bytes
            or not request[1]
        ):
            return False
    return True


def size(request: tuple[Any, ...]) -> int:
    """Bytes of a checked request's keys and values, at any depth."""
    return sum(
        len(part) if type(part) in (bytes, str) else size(part) if type(part) is tuple else 8
        for part in request
    )
