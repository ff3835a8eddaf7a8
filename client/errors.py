"""Every error a client raises. The two branches below it answer "may I send it again?"::

    SampanError
    ├── ClientClosedError              the client was closed, or belongs to another process (fork)
    ├── LeaseLostError                 a lease that was kept alive has ended, or may have
    │   └── LockLostError              a lock is not held, or may not be any more
    │       └── NotLeaderError         the same of a leadership
    ├── NotAppliedError                it never happened and never will: sending again is safe
    │   ├── UnreachableError           nothing was sent: no endpoint was connected in time
    │   ├── OtherClusterError          nothing was sent: nodes of another cluster are all there is
    │   ├── ReadTimeoutError
    │   ├── NoLeaderError
    │   ├── ServerStoppedError
    │   ├── TooManyRequestsError
    │   ├── NoSpaceError
    │   ├── BarrierFullError
    │   ├── CompactedError
    │   │   └── WatchCompactedError    a watch's next revision; tells what is left
    │   ├── WatchCanceledError
    │   ├── FutureRevisionError
    │   ├── LeaseNotFoundError
    │   ├── LeaseExistsError
    │   ├── LeaseTtlTooLargeError
    │   ├── MemberNotFoundError
    │   ├── MemberExistsError
    │   ├── PeerUrlExistsError
    │   ├── NotALearnerError
    │   ├── LearnerNotReadyError
    │   ├── TooManyLearnersError
    │   ├── NotEnoughStartedError      a change of members would lose the majority
    │   ├── UnhealthyClusterError      likewise, of those that are up
    │   ├── MixedVersionsError
    │   ├── LearnerError               a learner answers serializable reads and status only
    │   ├── NotTheLeaderError
    │   ├── BadTransfereeError
    │   ├── AuthenticationError        the node does not know who asks
    │   │   ├── WrongPasswordError
    │   │   └── UnknownUserError       no token, or none that it knows
    │   ├── PermissionDeniedError
    │   ├── AuthError                  users and roles cannot be changed like this
    │   ├── UnsupportedError           an unknown protocol version or message kind
    │   └── InvalidRequestError
    │       ├── EmptyKeyError
    │       ├── KeyNotFoundError
    │       ├── ValueProvidedError
    │       ├── LeaseProvidedError
    │       ├── TooManyOperationsError
    │       ├── DuplicateKeyError
    │       ├── InvalidSortOptionError
    │       ├── BadPeerUrlsError
    │       └── RequestTooLargeError
    └── UnknownOutcomeError            it may have happened or may yet happen: read, then decide
        ├── LeaderChangedError
        ├── RequestTimeoutError
        ├── SessionExpiredError
        ├── AnswerNotKeptError         it happened once, but its answer is lost
        ├── RevisionsWentBackError     the cluster was put back to an older copy of itself
        ├── ConnectionLostError
        └── MalformedReplyError

A server may know errors that this tree does not: they are raised as the bare branch they belong to.
`code` is the gRPC status code and `text` the text that etcd gives for the same condition.
"""

from typing import Self

from ..transport import errors as wire
from ..transport.errors import Outcome, WireError
from ..transport.requests import KIND_WRITE
from .types import ResponseHeader


class SampanError(Exception):
    """Base of the tree.

    Attributes:
        code: gRPC status code (`transport/errors.py`).
        text: the server's words, or the client's own.
        tried: what is known of each endpoint, where none has answered.
    """

    tried = ""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text

    @property
    def timed_out(self) -> bool:
        """Whether its time was over."""
        return self.code == wire.DEADLINE_EXCEEDED

    def copy(self) -> Self:
        """The same for another who raises it: a raised exception grows a traceback each time."""
        again = type(self).__new__(type(self), *self.args)
        again.__dict__.update(self.__dict__)
        again.__cause__ = self.__cause__
        return again


class ClientClosedError(SampanError):
    """The client was closed, or was made by the process that this one was forked from."""


class LeaseLostError(SampanError):
    """A lease that was kept alive has ended, or may have: its keys may be gone, and what it
    guarded may be somebody else's."""


class LockLostError(LeaseLostError):
    """A lock is not held, or may not be held any more: somebody else may hold it."""


class NotLeaderError(LockLostError):
    """This candidate does not lead, or may not lead any more."""


class NotAppliedError(SampanError):
    """The request never happened and never will. Sending it again is safe."""


class UnknownOutcomeError(SampanError):
    """The request may have happened or may yet happen. Never send a write again blindly."""


class UnreachableError(NotAppliedError):
    """The deadline passed before any endpoint was connected; the request was not sent."""


class OtherClusterError(NotAppliedError):
    """The endpoints that answer are nodes of another cluster than this client's, which is the one
    of the first endpoint that could be reached. The request was not sent to them."""


class ReadTimeoutError(NotAppliedError):
    """A read was not answered by its deadline."""


class NoLeaderError(NotAppliedError):
    """The cluster had no leader until the deadline."""


class ServerStoppedError(NotAppliedError):
    """The node is stopping, and no other endpoint took the request before the deadline."""


class TooManyRequestsError(NotAppliedError):
    """The node refused load, or this client read its replies too slowly, until the deadline."""


class NoSpaceError(NotAppliedError):
    """The store reached its quota; deletes and compaction still work."""


class BarrierFullError(NotAppliedError):
    """As many as a double barrier is for are inside already."""


class CompactedError(NotAppliedError):
    """The revision asked for has been compacted away."""


class WatchCompactedError(CompactedError):
    """The next revision of a watch has been compacted away: events are missing from here on.

    Attributes:
        compact_revision: the first revision that a new watch may begin at.
        header: who says so.
    """

    def __init__(self, text: str, compact_revision: int, header: ResponseHeader) -> None:
        super().__init__(wire.OUT_OF_RANGE, text)
        self.compact_revision = compact_revision
        self.header = header


class WatchCanceledError(NotAppliedError):
    """The node ended the watch; the text says why."""


class FutureRevisionError(NotAppliedError):
    """The revision asked for does not exist yet."""


class LeaseNotFoundError(NotAppliedError):
    """No such lease, or it has expired."""


class LeaseExistsError(NotAppliedError):
    """A lease of that id exists."""


class LeaseTtlTooLargeError(NotAppliedError):
    """The TTL asked for exceeds what a lease may have."""


class MemberNotFoundError(NotAppliedError):
    """No member of that id."""


class MemberExistsError(NotAppliedError):
    """There is a member of that id, or was one."""


class PeerUrlExistsError(NotAppliedError):
    """Another member has one of these peer addresses."""


class NotALearnerError(NotAppliedError):
    """Only a learner can be promoted."""


class LearnerNotReadyError(NotAppliedError):
    """The learner is not in sync with the leader yet."""


class TooManyLearnersError(NotAppliedError):
    """One learner at a time."""


class NotEnoughStartedError(NotAppliedError):
    """Too few members have ever started to be a majority after this change."""


class UnhealthyClusterError(NotAppliedError):
    """Too few members have been up for long enough to change the members."""


class MixedVersionsError(NotAppliedError):
    """A member runs a version that cannot follow a change of members."""


class LearnerError(NotAppliedError):
    """The node is a learner: it answers serializable reads and status only."""


class NotTheLeaderError(NotAppliedError):
    """Only the leader can hand leadership over."""


class BadTransfereeError(NotAppliedError):
    """Leadership can go to members that vote only."""


class AuthenticationError(NotAppliedError):
    """The node does not know who asks."""


class WrongPasswordError(AuthenticationError):
    """The name or the password is wrong."""


class UnknownUserError(AuthenticationError):
    """The node asks who this is: the client has no name and password, or an unknown token."""


class PermissionDeniedError(NotAppliedError):
    """The user may not do this."""


class AuthError(NotAppliedError):
    """Users and roles cannot be changed like this, or are not there."""


class UnsupportedError(NotAppliedError):
    """The node does not know this protocol version, kind of message, or request."""


class InvalidRequestError(NotAppliedError):
    """The request is wrong in itself and will never succeed as it is."""


class EmptyKeyError(InvalidRequestError):
    """The key is empty."""


class KeyNotFoundError(InvalidRequestError):
    """`ignore_value` or `ignore_lease` needs a key that exists."""


class ValueProvidedError(InvalidRequestError):
    """A value came with `ignore_value`."""


class LeaseProvidedError(InvalidRequestError):
    """A lease came with `ignore_lease`."""


class TooManyOperationsError(InvalidRequestError):
    """A transaction of more than 128 operations."""


class DuplicateKeyError(InvalidRequestError):
    """A transaction would write the same key twice."""


class InvalidSortOptionError(InvalidRequestError):
    """An unknown sort target or order."""


class BadPeerUrlsError(InvalidRequestError):
    """Peer addresses that are not `host:port`."""


class RequestTooLargeError(InvalidRequestError):
    """A single request of more than 1.5 MiB."""


class LeaderChangedError(UnknownOutcomeError):
    """Leadership moved while the request was under way."""


class RequestTimeoutError(UnknownOutcomeError):
    """A write was sent and not answered by its deadline."""


class SessionExpiredError(UnknownOutcomeError):
    """A write was sent, and when it was to be sent again its session had ended at the store."""


class AnswerNotKeptError(UnknownOutcomeError):
    """A write was applied once. Its first answer was lost, and was too large to be kept."""


class RevisionsWentBackError(UnknownOutcomeError):
    """The cluster was put back to an older copy of itself: writes that it had acknowledged are
    gone, and their revisions are used again. This client is of no use any more, since whatever was
    read through it may never have been. Forget that, and make a new client."""


class ConnectionLostError(UnknownOutcomeError):
    """The connection to the node broke after the write was sent and before it was answered."""


class MalformedReplyError(UnknownOutcomeError):
    """The node answered something that the protocol does not allow."""


def closed() -> ClientClosedError:
    """What calls on a closed client raise."""
    return ClientClosedError(wire.UNAVAILABLE, "sampan: the client is closed")


_CLASSES: dict[tuple[str, str], type[SampanError]] = {
    (error.text, error.outcome): cls
    for error, cls in (
        (wire.EMPTY_KEY, EmptyKeyError),
        (wire.KEY_NOT_FOUND, KeyNotFoundError),
        (wire.VALUE_PROVIDED, ValueProvidedError),
        (wire.LEASE_PROVIDED, LeaseProvidedError),
        (wire.TOO_MANY_OPS, TooManyOperationsError),
        (wire.DUPLICATE_KEY, DuplicateKeyError),
        (wire.INVALID_SORT_OPTION, InvalidSortOptionError),
        (wire.REQUEST_TOO_LARGE, RequestTooLargeError),
        (wire.COMPACTED, CompactedError),
        (wire.FUTURE_REVISION, FutureRevisionError),
        (wire.NO_SPACE, NoSpaceError),
        (wire.LEASE_NOT_FOUND, LeaseNotFoundError),
        (wire.LEASE_EXISTS, LeaseExistsError),
        (wire.LEASE_TTL_TOO_LARGE, LeaseTtlTooLargeError),
        (wire.MEMBER_NOT_FOUND, MemberNotFoundError),
        (wire.MEMBER_EXISTS, MemberExistsError),
        (wire.PEER_URL_EXISTS, PeerUrlExistsError),
        (wire.MEMBER_NOT_LEARNER, NotALearnerError),
        (wire.LEARNER_NOT_READY, LearnerNotReadyError),
        (wire.TOO_MANY_LEARNERS, TooManyLearnersError),
        (wire.MEMBERS_NOT_STARTED, NotEnoughStartedError),
        (wire.MEMBER_BAD_URLS, BadPeerUrlsError),
        (wire.UNHEALTHY, UnhealthyClusterError),
        (wire.MIXED_VERSIONS, MixedVersionsError),
        (wire.NOT_FOR_LEARNER, LearnerError),
        (wire.NOT_LEADER, NotTheLeaderError),
        (wire.BAD_TRANSFEREE, BadTransfereeError),
        (wire.TOO_MANY_REQUESTS, TooManyRequestsError),
        (wire.AUTH_FAILED, WrongPasswordError),
        (wire.VERIFY_ONLY, AuthenticationError),
        (wire.USER_EMPTY, UnknownUserError),
        (wire.INVALID_AUTH_TOKEN, UnknownUserError),
        (wire.PERMISSION_DENIED, PermissionDeniedError),
        *(
            (error, AuthError)
            for error in (
                wire.ROOT_USER_NOT_EXIST,
                wire.ROOT_ROLE_NOT_EXIST,
                wire.USER_EXISTS,
                wire.USER_NOT_FOUND,
                wire.ROLE_EXISTS,
                wire.ROLE_NOT_FOUND,
                wire.ROLE_EMPTY,
                wire.ROLE_NOT_GRANTED,
                wire.PERMISSION_NOT_GRANTED,
                wire.AUTH_NOT_ENABLED,
                wire.INVALID_AUTH_MGMT,
                wire.AUTH_OLD_REVISION,
                wire.PASSWORD_TOO_LONG,
            )
        ),
        (wire.NO_LEADER, NoLeaderError),
        (wire.STOPPED, ServerStoppedError),
        (wire.LEADER_CHANGED, LeaderChangedError),
        (wire.LEADER_FAILED, LeaderChangedError),
        (wire.SESSION_EXPIRED, SessionExpiredError),
        (wire.ANSWER_NOT_KEPT, AnswerNotKeptError),
        (wire.TIMEOUT, RequestTimeoutError),
        (wire.READ_TIMEOUT, ReadTimeoutError),
        (wire.UNSUPPORTED_VERSION, UnsupportedError),
        (wire.UNKNOWN_KIND, UnsupportedError),
    )
}
_CLASSES_BY_CODE: dict[int, type[SampanError]] = {
    wire.INVALID_ARGUMENT: InvalidRequestError,
    wire.UNIMPLEMENTED: UnsupportedError,
}


def from_wire(error: WireError) -> SampanError:
    """The exception for a failed request's result; an outcome that is not known is "unknown"."""
    cls = _CLASSES.get((error.text, error.outcome))
    if cls is None and error.outcome == Outcome.NOT_APPLIED:
        cls = _CLASSES_BY_CODE.get(error.code, NotAppliedError)
    return (cls or UnknownOutcomeError)(error.code, error.text)


_NEVER_MIND = (
    wire.TOO_MANY_REQUESTS.text,
    wire.NOT_FOR_LEARNER.text,  # another node may take it
    wire.AUTH_OLD_REVISION.text,
)
"""Not applied, and soon it may be."""


def worth_retrying(kind: str, error: WireError) -> bool:
    """Whether a request of this kind is sent again by itself, here or to another node."""
    if error.text in _NEVER_MIND:
        return True
    if error.code != wire.UNAVAILABLE:
        return False
    return error.outcome == Outcome.NOT_APPLIED or kind != KIND_WRITE
