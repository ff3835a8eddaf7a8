"""The shape of every client request, and the check that stands between the wire and the log.

A request is a positional tuple whose first element names the operation (docs/protocol.md).
Whatever passes `check_*` here can be applied without a further look on every member: the state
machine trusts it, because a request that one member applied and another refused would divide them.
"""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from ..config import addresses, limits
from . import auth, errors
from .errors import WireError

PROTOCOL_VERSION = 1

KIND_WRITE = "write"
KIND_READ = "read"
KIND_SERIALIZABLE = "serializable"
KIND_MAINTENANCE = "maintenance"
KIND_INSPECT = "inspect"

PUT_PREV_KV = 1
PUT_IGNORE_VALUE = 2
PUT_IGNORE_LEASE = 4
DELETE_PREV_KV = 1
RANGE_KEYS_ONLY = 1
RANGE_COUNT_ONLY = 2
RANGE_NO_COUNT = 4
COMPARE_VALUE = 3

TXN_OPS_MAX = 128
"""Operations in one transaction, etcd's --max-txn-ops."""
U64_MAX = 2**64 - 1


def is_u64(value: Any) -> bool:
    """Whether it is an unsigned integer of 64 bits."""
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
    if not is_u64(request[3]):
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
    if not all(is_u64(option) for option in request[3:]):
        return errors.malformed("range: options are unsigned integers")
    if len(request) > 5 and (request[5] > 7 or request[5] & 6 == RANGE_COUNT_ONLY | RANGE_NO_COUNT):
        return errors.malformed("range: flags is 0 to 5")
    if not request[1]:
        return errors.EMPTY_KEY
    if (len(request) > 6 and request[6] > 4) or (len(request) > 7 and request[7] > 2):
        return errors.INVALID_SORT_OPTION
    return None


def check_compare(compare: Any) -> WireError | None:
    """`(target, result, key, value, range_end=b"")`, an element of a transaction's first part."""
    if type(compare) is not tuple or not 4 <= len(compare) <= 5:
        return errors.malformed("a compare is target, result, key, value, range_end")
    target, result, key, value = compare[:4]
    if type(target) is not int or not 0 <= target <= 4:
        return errors.malformed("compare: target is 0 to 4")
    if type(result) is not int or not 0 <= result <= 3:
        return errors.malformed("compare: result is 0 to 3")
    if type(key) is not bytes or (len(compare) > 4 and type(compare[4]) is not bytes):
        return errors.malformed("compare: key and range_end are bin")
    if type(value) is not bytes if target == COMPARE_VALUE else not is_u64(value):
        return errors.malformed("compare: value is an unsigned integer, or bin for target 3")
    return None if key else errors.EMPTY_KEY


def check_txn(request: tuple[Any, ...]) -> WireError | None:
    """`("txn", (compare, …), (op, …), (op, …))`; etcd's checkTxnRequest and checkIntervals."""
    return _check_txn_shape(request, TXN_OPS_MAX) or _check_txn_keys(request)


def check_read_txn(request: tuple[Any, ...]) -> WireError | None:
    """A transaction that only reads."""
    refusal = check_txn(request)
    if refusal is None and not is_read_only(request):
        return errors.malformed("a txn that puts or deletes is sent as a write")
    return refusal


def is_read_only(request: tuple[Any, ...]) -> bool:
    """Whether a checked range or txn changes nothing, whichever way its compares go."""
    if request[0] != "txn":
        return bool(request[0] == "range")
    return all(is_read_only(operation) for part in request[2:] for operation in part)


def _check_txn_shape(request: tuple[Any, ...], ops_max: int) -> WireError | None:
    if len(request) != 4 or any(type(part) is not tuple for part in request[1:]):
        return errors.malformed("txn takes three arrays: compares, success, failure")
    width = max(len(part) for part in request[1:])
    if width > ops_max:
        return errors.TOO_MANY_OPS
    for compare in request[1]:
        if (refusal := check_compare(compare)) is not None:
            return refusal
    for operation in (*request[2], *request[3]):
        if type(operation) is not tuple or not operation or type(operation[0]) is not str:
            return errors.malformed("txn: an operation is an array that begins with its name")
        if operation[0] == "txn":
            refusal = _check_txn_shape(operation, ops_max - width)
        elif (check := TXN_CHECKS.get(operation[0])) is None:
            refusal = errors.malformed("txn: an operation is put, delete, range or txn")
        else:
            refusal = check(operation)
        if refusal is not None:
            return refusal
    return None


Deleted = list[tuple[bytes, bytes]]
"""(key, range_end) of delete requests."""


def _check_txn_keys(request: tuple[Any, ...]) -> WireError | None:
    """No path may put a key twice, or put one that it deletes. As in etcd what an earlier nested
    transaction puts, a later one beside it may delete; not the other way round."""
    for operations in request[2:]:
        if _puts_and_deletes(operations) is None:
            return errors.DUPLICATE_KEY
    return None


def _puts_and_deletes(operations: tuple[Any, ...]) -> tuple[set[bytes], Deleted] | None:
    """What a list of operations may put and delete; None when that overlaps.

    The two branches of a nested transaction exclude each other and may put the same keys.
    """
    deleted: Deleted = [
        (operation[1], operation[2] if len(operation) > 2 else b"")
        for operation in operations
        if operation[0] == "delete"
    ]
    puts: set[bytes] = set()
    for operation in operations:
        if operation[0] == "txn":
            branches = [_puts_and_deletes(branch) for branch in operation[2:]]
            added: set[bytes] = set()
            for branch in branches:
                if branch is None or branch[0] & puts or _any_deleted(branch[0], deleted):
                    return None
                added |= branch[0]
            puts |= added
            for branch in branches:
                deleted += branch[1] if branch else []
    own = [operation[1] for operation in operations if operation[0] == "put"]
    if len(set(own)) < len(own) or puts & set(own) or _any_deleted(set(own), deleted):
        return None
    return puts | set(own), deleted


def _any_deleted(puts: set[bytes], deleted: Deleted) -> bool:
    ordered = sorted(puts)
    for start, end in deleted:
        position = bisect_left(ordered, start)
        if position < len(ordered):
            key = ordered[position]
            if end == b"\x00" or (key < end if end else key == start):
                return True
    return False


def check_lease_grant(request: tuple[Any, ...]) -> WireError | None:
    """`("lease_grant", lease, ttl_s)`; for lease 0 the node chooses an id."""
    if len(request) != 3 or not is_u64(request[1]) or not is_u64(request[2]):
        return errors.malformed("lease_grant takes lease, ttl")
    return None


def complete_lease_grant(
    request: tuple[Any, ...], new_id: Callable[[], int], ttl_min_s: int
) -> tuple[Any, ...]:
    """A checked grant as it goes into the log: with an id, and a time to live that an election
    does not use up (etcd's minLeaseTTL). Members may be configured differently, so that this
    cannot wait until it is applied."""
    name, lease, ttl_s = request
    return (name, lease or new_id(), max(ttl_s, ttl_min_s))


def check_lease(request: tuple[Any, ...]) -> WireError | None:
    """`(name, lease)`."""
    if len(request) != 2 or not is_u64(request[1]):
        return errors.malformed(f"{request[0]} takes lease")
    return None


def check_lease_time_to_live(request: tuple[Any, ...]) -> WireError | None:
    """`("lease_time_to_live", lease, with_keys=0)`."""
    if not 2 <= len(request) <= 3 or not is_u64(request[1]):
        return errors.malformed("lease_time_to_live takes lease, with_keys")
    if len(request) > 2 and (type(request[2]) is not int or request[2] not in (0, 1)):
        return errors.malformed("lease_time_to_live: with_keys is 0 or 1")
    return None


def check_lease_list(request: tuple[Any, ...]) -> WireError | None:
    """`("lease_list",)`."""
    return None if len(request) == 1 else errors.malformed("lease_list takes nothing")


def check_compact(request: tuple[Any, ...]) -> WireError | None:
    """`("compact", revision)`, and `("compacted", revision)`."""
    if len(request) != 2 or not is_u64(request[1]):
        return errors.malformed(f"{request[0]} takes revision")
    return None


def check_hash_kv(request: tuple[Any, ...]) -> WireError | None:
    """`("hash_kv", revision=0)`."""
    return None if len(request) == 1 else check_compact(request)


def check_session_open(request: tuple[Any, ...]) -> WireError | None:
    """`("session_open", nonce)`."""
    if len(request) != 2 or not is_u64(request[1]):
        return errors.malformed("session_open takes nonce")
    return None


def check_alarm_disarm(request: tuple[Any, ...]) -> WireError | None:
    """`("alarm_disarm", member=0, kind=0)`; 0 is any."""
    if not 1 <= len(request) <= 3 or not all(is_u64(option) for option in request[1:]):
        return errors.malformed("alarm_disarm takes member, kind")
    return None


def check_alarm_list(request: tuple[Any, ...]) -> WireError | None:
    """`("alarm_list",)`."""
    return None if len(request) == 1 else errors.malformed("alarm_list takes nothing")


def check_member_change(request: tuple[Any, ...]) -> WireError | None:
    """`("member_change", (change, …))`: all of them take effect together, or none. A change is
    `("add", member, (peer, …), learner, auto_promote)`, `("remove", member)`,
    `("update", member, (peer, …))` or `("promote", member)`."""
    if len(request) != 2 or type(request[1]) is not tuple:
        return errors.malformed("member_change takes changes")
    changes = request[1]
    if not 1 <= len(changes) <= limits.MEMBER_CHANGES_MAX:
        return errors.malformed(f"member_change takes 1 to {limits.MEMBER_CHANGES_MAX} changes")
    for change in changes:
        if type(change) is not tuple or not change or type(change[0]) is not str:
            return errors.malformed("a change of members is an array that begins with its name")
        shape = _MEMBER_CHANGES.get(change[0])
        if shape is None or list(map(type, change[1:])) != shape or not is_u64(change[1]):
            known = ", ".join(_MEMBER_CHANGES)
            return errors.malformed(f"expected {known} with their arguments")
        if not change[1] and change[0] != "add":
            return errors.MEMBER_NOT_FOUND
        if len(change) > 2 and not _are_peers(change[2]):
            return errors.MEMBER_BAD_URLS
    return None


_MEMBER_CHANGES: dict[str, list[type]] = {
    "add": [int, tuple, int, int],
    "remove": [int],
    "update": [int, tuple],
    "promote": [int],
}


def _are_peers(peers: tuple[Any, ...]) -> bool:
    if not 1 <= len(peers) <= limits.MEMBER_PEERS_MAX or len(set(peers)) < len(peers):
        return False
    return all(type(peer) is str and _is_peer(peer) for peer in peers)


def _is_peer(address: str) -> bool:
    if not address.isprintable() or any(sign in address for sign in "@?# "):
        return False
    try:
        return addresses.parse(address)[1] != 0
    except (addresses.EndpointError, UnicodeError):
        return False


def check_refused(request: tuple[Any, ...]) -> WireError | None:
    """`("refused", code, text, outcome)`: what a node would not let in, of a message that may be in
    the log already, where its first answer counts."""
    if list(map(type, request[1:])) == [int, str, str]:
        return None
    return errors.malformed("refused takes code, text, outcome")


def changes_members(decoded: tuple[Any, ...]) -> bool:
    """Whether a checked message changes members: it then goes another way into the log."""
    return any(request[0] == "member_change" for request in decoded)


def complete_member_change(request: tuple[Any, ...], new_id: Callable[[Any], int]) -> Any:
    """A checked change as it goes into the log: who is added has an id, and addresses have one
    form."""
    changes = []
    for name, member, *rest in request[1]:
        if rest:
            rest[0] = tuple(map(addresses.plain, rest[0]))
        changes.append((name, member or new_id(rest[0]), *rest))
    return ("member_change", tuple(changes))


def check_member_list(request: tuple[Any, ...]) -> WireError | None:
    """`("member_list",)`."""
    return None if len(request) == 1 else errors.malformed("member_list takes nothing")


Check = Callable[[tuple[Any, ...]], WireError | None]


def check_trace_of(request: tuple[Any, ...]) -> WireError | None:
    """`("trace_of", revision)`."""
    if len(request) != 2 or not is_u64(request[1]):
        return errors.malformed("trace_of takes a revision")
    return None


def check_bare(request: tuple[Any, ...]) -> WireError | None:
    """`(name,)`."""
    return None if len(request) == 1 else errors.malformed(f"{request[0]} takes nothing")


def check_snapshot_read(request: tuple[Any, ...]) -> WireError | None:
    """`("snapshot_read", id, position)`."""
    if len(request) != 3 or not is_u64(request[1]) or not is_u64(request[2]):
        return errors.malformed("snapshot_read takes an id and a position")
    return None


def check_snapshot_close(request: tuple[Any, ...]) -> WireError | None:
    """`("snapshot_close", id)`."""
    if len(request) != 2 or not is_u64(request[1]):
        return errors.malformed("snapshot_close takes an id")
    return None


TXN_CHECKS: dict[str, Check] = {"put": check_put, "delete": check_delete, "range": check_range}
WRITE_CHECKS: dict[str, Check] = {
    "put": check_put,
    "delete": check_delete,
    "txn": check_txn,
    "compact": check_compact,
    "session_open": check_session_open,
    "lease_grant": check_lease_grant,
    "lease_revoke": check_lease,
    "lease_keep_alive": check_lease,
    "alarm_disarm": check_alarm_disarm,
    "member_change": check_member_change,
    **auth.WRITES,
}
LOGGED_CHECKS = WRITE_CHECKS | auth.LOGGED | {"refused": check_refused}
"""Of writes as they are in the log: nodes have completed them, and left nothing secret in them."""
INSPECT_CHECKS: dict[str, Check] = {
    "compacted": check_compact,
    "hash_kv": check_hash_kv,
    "trace_of": check_trace_of,
    "defragment": check_bare,
    "snapshot_open": check_bare,
    "snapshot_read": check_snapshot_read,
    "snapshot_close": check_snapshot_close,
}
READ_CHECKS: dict[str, Check] = {
    "range": check_range,
    "txn": check_read_txn,
    "lease_time_to_live": check_lease_time_to_live,
    "lease_list": check_lease_list,
    "alarm_list": check_alarm_list,
    "member_list": check_member_list,
    **auth.READS,
}


def check_request(request: Any, checks: dict[str, Check]) -> WireError | None:
    """The error of one decoded request, None when it may pass."""
    if type(request) is not tuple or not request or type(request[0]) is not str:
        return errors.malformed("a request is an array that begins with its name")
    check = checks.get(request[0])
    if check is None:
        return errors.malformed(f"expected one of {', '.join(sorted(checks))}")
    return check(request)


def all_plain_puts(decoded: Sequence[Any], checks: dict[str, Check]) -> bool:
    """Whether every request is a well-formed put of key and value: nearly all of a busy node's
    traffic, so it is recognised without a call for each."""
    if checks is not WRITE_CHECKS and checks is not LOGGED_CHECKS:
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


def answers_much(request: tuple[Any, ...]) -> bool:
    """Whether a checked request may be answered with more than one key: nothing in its own size
    bounds that, and a write that was applied must be answered."""
    if request[0] == "txn":
        return any(answers_much(op) for branch in request[2:4] for op in branch)
    ranged = len(request) > 2 and bool(request[2]) and request[0] in ("range", "delete")
    return ranged and (request[0] == "range" or (len(request) == 4 and request[3] == 1))


def size(request: tuple[Any, ...]) -> int:
    """Bytes of a checked request's keys and values, at any depth."""
    return sum(
        len(part) if type(part) in (bytes, str) else size(part) if type(part) is tuple else 8
        for part in request
    )
