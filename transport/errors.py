"""Every error that crosses the wire: etcd's gRPC code, etcd's text, and whether it was applied.

Clients map errors by text, as etcd's do, so the texts are those of etcd's
`api/v3rpc/rpctypes/error.go` to the letter.
"""

from enum import StrEnum
from typing import NamedTuple


class Outcome(StrEnum):
    """What is known of the request that failed."""

    NOT_APPLIED = "not applied"
    """It never happened and never will; sending it again is safe."""
    UNKNOWN = "unknown"
    """It may have happened or may yet happen."""


class WireError(NamedTuple):
    """The result of a failed request, in the order in which it travels."""

    code: int
    text: str
    outcome: str


# gRPC status codes as etcd uses them (google.golang.org/grpc/codes)
CANCELLED = 1
UNKNOWN = 2
INVALID_ARGUMENT = 3
DEADLINE_EXCEEDED = 4
NOT_FOUND = 5
PERMISSION_DENIED_CODE = 7
RESOURCE_EXHAUSTED = 8
FAILED_PRECONDITION = 9
OUT_OF_RANGE = 11
UNIMPLEMENTED = 12
INTERNAL = 13
UNAVAILABLE = 14
DATA_LOSS = 15
UNAUTHENTICATED = 16


def _never(code: int, text: str) -> WireError:
    return WireError(code, text, Outcome.NOT_APPLIED.value)


def malformed(detail: str) -> WireError:
    """A request of the wrong shape; `detail` says what was expected."""
    return _never(INVALID_ARGUMENT, f"sampan: malformed request: {detail}")


EMPTY_KEY = _never(INVALID_ARGUMENT, "etcdserver: key is not provided")
KEY_NOT_FOUND = _never(INVALID_ARGUMENT, "etcdserver: key not found")
VALUE_PROVIDED = _never(INVALID_ARGUMENT, "etcdserver: value is provided")
LEASE_PROVIDED = _never(INVALID_ARGUMENT, "etcdserver: lease is provided")
TOO_MANY_OPS = _never(INVALID_ARGUMENT, "etcdserver: too many operations in txn request")
DUPLICATE_KEY = _never(INVALID_ARGUMENT, "etcdserver: duplicate key given in txn request")
INVALID_SORT_OPTION = _never(INVALID_ARGUMENT, "etcdserver: invalid sort option")
REQUEST_TOO_LARGE = _never(INVALID_ARGUMENT, "etcdserver: request is too large")
COMPACTED = _never(OUT_OF_RANGE, "etcdserver: mvcc: required revision has been compacted")
FUTURE_REVISION = _never(OUT_OF_RANGE, "etcdserver: mvcc: required revision is a future revision")
NO_SPACE = _never(RESOURCE_EXHAUSTED, "etcdserver: mvcc: database space exceeded")
LEASE_NOT_FOUND = _never(NOT_FOUND, "etcdserver: requested lease not found")
LEASE_EXISTS = _never(FAILED_PRECONDITION, "etcdserver: lease already exists")
LEASE_TTL_TOO_LARGE = _never(OUT_OF_RANGE, "etcdserver: too large lease TTL")
MEMBER_NOT_FOUND = _never(NOT_FOUND, "etcdserver: member not found")
MEMBER_EXISTS = _never(FAILED_PRECONDITION, "etcdserver: member ID already exist")
PEER_URL_EXISTS = _never(FAILED_PRECONDITION, "etcdserver: Peer URLs already exists")
MEMBERS_NOT_STARTED = _never(
    FAILED_PRECONDITION,
    "etcdserver: re-configuration failed due to not enough started members",
)
MEMBER_BAD_URLS = _never(INVALID_ARGUMENT, "etcdserver: given member URLs are invalid")
MEMBER_NOT_LEARNER = _never(FAILED_PRECONDITION, "etcdserver: can only promote a learner member")
LEARNER_NOT_READY = _never(
    FAILED_PRECONDITION,
    "etcdserver: can only promote a learner member which is in sync with leader",
)
TOO_MANY_LEARNERS = _never(FAILED_PRECONDITION, "etcdserver: too many learner members in cluster")
UNHEALTHY = _never(UNAVAILABLE, "etcdserver: unhealthy cluster")
MIXED_VERSIONS = _never(
    FAILED_PRECONDITION,
    "sampan: a member runs an older version, which cannot follow a change of members; upgrade all "
    "of them first",
)
NOT_FOR_LEARNER = _never(FAILED_PRECONDITION, "etcdserver: rpc not supported for learner")
NOT_LEADER = _never(FAILED_PRECONDITION, "etcdserver: not leader")
BAD_TRANSFEREE = _never(FAILED_PRECONDITION, "etcdserver: bad leader transferee")
TOO_MANY_REQUESTS = _never(RESOURCE_EXHAUSTED, "etcdserver: too many requests")
NO_LEADER = _never(UNAVAILABLE, "etcdserver: no leader")
STOPPED = _never(UNAVAILABLE, "etcdserver: server stopped")
LEADER_CHANGED = WireError(UNAVAILABLE, "etcdserver: leader changed", Outcome.UNKNOWN.value)
TIMEOUT = WireError(UNAVAILABLE, "etcdserver: request timed out", Outcome.UNKNOWN.value)
LEADER_FAILED = WireError(
    UNAVAILABLE,
    "etcdserver: request timed out, possibly due to previous leader failure",
    Outcome.UNKNOWN.value,
)
SESSION_EXPIRED = WireError(
    FAILED_PRECONDITION,
    "sampan: session expired; this message was not applied, an earlier one of its number may be",
    Outcome.UNKNOWN.value,
)
ANSWER_NOT_KEPT = WireError(
    DATA_LOSS,
    "sampan: applied once, but the first answer was lost and is too large to be kept",
    Outcome.UNKNOWN.value,
)
ROOT_USER_NOT_EXIST = _never(FAILED_PRECONDITION, "etcdserver: root user does not exist")
ROOT_ROLE_NOT_EXIST = _never(FAILED_PRECONDITION, "etcdserver: root user does not have root role")
USER_EXISTS = _never(FAILED_PRECONDITION, "etcdserver: user name already exists")
USER_EMPTY = _never(INVALID_ARGUMENT, "etcdserver: user name is empty")
USER_NOT_FOUND = _never(FAILED_PRECONDITION, "etcdserver: user name not found")
ROLE_EXISTS = _never(FAILED_PRECONDITION, "etcdserver: role name already exists")
ROLE_NOT_FOUND = _never(FAILED_PRECONDITION, "etcdserver: role name not found")
ROLE_EMPTY = _never(INVALID_ARGUMENT, "etcdserver: role name is empty")
AUTH_FAILED = _never(
    INVALID_ARGUMENT, "etcdserver: authentication failed, invalid user ID or password"
)
PERMISSION_DENIED = _never(PERMISSION_DENIED_CODE, "etcdserver: permission denied")
ROLE_NOT_GRANTED = _never(FAILED_PRECONDITION, "etcdserver: role is not granted to the user")
PERMISSION_NOT_GRANTED = _never(
    FAILED_PRECONDITION, "etcdserver: permission is not granted to the role"
)
AUTH_NOT_ENABLED = _never(FAILED_PRECONDITION, "etcdserver: authentication is not enabled")
VERIFY_ONLY = _never(UNKNOWN, "auth: token signing attempted with verify-only key")
INVALID_AUTH_TOKEN = _never(UNAUTHENTICATED, "etcdserver: invalid auth token")
INVALID_AUTH_MGMT = _never(INVALID_ARGUMENT, "etcdserver: invalid auth management")
AUTH_OLD_REVISION = _never(INVALID_ARGUMENT, "etcdserver: revision of auth store is old")
PASSWORD_TOO_LONG = _never(INVALID_ARGUMENT, "sampan: a password has at most 72 bytes")
READ_TIMEOUT = _never(UNAVAILABLE, "etcdserver: request timed out")
NOT_REMEMBERED = _never(NOT_FOUND, "sampan: the way of that write is no longer remembered")
SNAPSHOT_GONE = _never(NOT_FOUND, "sampan: no such snapshot, or it was not read for a minute")
SNAPSHOT_FAILED = _never(
    INTERNAL, "sampan: the snapshot could not be made; the member's log says why"
)
WATCH_EXISTS = _never(FAILED_PRECONDITION, "mvcc: duplicate watch ID provided on the WatchStream")
WATCH_NOT_FOUND = _never(NOT_FOUND, "mvcc: watcher does not exist")
WATCH_EMPTY_RANGE = _never(INVALID_ARGUMENT, "mvcc: watcher range is empty")
WATCH_SILENT = _never(CANCELLED, "sampan: watches of a client that was silent for too long")
WATCH_DROPPED = _never(CANCELLED, "sampan: more replies were left unread than the node can queue")
UNSUPPORTED_VERSION = _never(
    UNIMPLEMENTED, "sampan: unsupported protocol version; this node speaks 1"
)
UNKNOWN_KIND = _never(
    UNIMPLEMENTED,
    "sampan: unknown message kind; expected write, read, serializable, maintenance, inspect or "
    "watch",
)
