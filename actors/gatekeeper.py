"""Who asks: tokens, logins and the passwords that must not get into the log.

A client exchanges a name and a password for a token, and shows the token with each message. That
somebody has logged in goes through the log, so that every member knows the token (its digest: what
is in the log helps nobody to log in); how long it is good each member counts by itself, from when
it was last shown there. A member that starts again asks its clients to log in again.

Passwords are compared and hashed in a thread, one after the other: each takes as long as hundreds
of puts.
"""

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..config import limits
from ..security import passwords, rules
from ..security.auth import Auth
from ..security.rules import Who
from ..transport import auth as shapes
from ..transport import errors
from ..transport.codec import pack, unpack_local, unpack_requests
from ..transport.errors import WireError
from .asked import Asked

if TYPE_CHECKING:
    from ..security.jwt_tokens import Claims, JwtTokens

SWEEP_S = 10.0
"""How often tokens that were not shown for too long are looked for."""


class Job(NamedTuple):
    """A message that waits for passwords to be compared or hashed."""

    asked: Asked
    work: Callable[[], Any]
    done: Callable[[Asked, Any], None]


class Gatekeeper:
    """The node's part in who may do what. `now` is monotonic seconds.

    `hold` takes messages whose body may go into the log, `reply` answers one with results, `start`
    has a thread call `run_job` once, whose result comes back to `job_done`.
    """

    def __init__(
        self,
        cost: int,
        token_ttl_s: float,
        own_token: str = "",
        jwt: "JwtTokens | None" = None,
        *,
        hold: Callable[[Asked], None],
        reply: Callable[[Asked, Any], None],
        start: Callable[[], None],
    ) -> None:
        self.auth: Auth | None = None
        """Users and roles as the applier told of them last; None until it has."""
        self._cost = cost
        self._token_ttl_s = token_ttl_s
        self._own_digest = passwords.token_digest(own_token or passwords.new_token())
        self._jwt = jwt
        self._changed: set[str] = set()  # users whose password the last change took away
        self._hold = hold
        self._reply = reply
        self._start = start
        self._tokens: dict[bytes, tuple[str, float]] = {}  # digest -> user, until when
        self._waiting: deque[Job] = deque()  # for the thread
        self._working: deque[Job] = deque()  # the same, until its result is here
        self._sweep_at = 0.0

    # -- who asks

    @property
    def asks(self) -> bool:
        """Whether anybody is asked who they are."""
        return self.auth is not None and self.auth.enabled

    def identify(self, token: str, now: float, user: str = "") -> Who | WireError | None:
        """For whom a message is admitted that came with a token, or else by the key of a user."""
        auth = self.auth
        if auth is None:
            return errors.NO_LEADER if token else None  # whoever executes it will ask
        if not auth.enabled:
            return None
        if not token and user:
            return Who(user, auth.revision) if user in auth.users else errors.PERMISSION_DENIED
        if not token:
            return errors.USER_EMPTY
        asking, named = shapes.split_token(token)
        digest = passwords.token_digest(asking)
        if digest == self._own_digest:
            if len(named.encode()) > shapes.NAME_BYTES_MAX:
                return errors.PERMISSION_DENIED  # as any name that no user has
            return Who(named or rules.ITSELF, auth.revision)
        if self._jwt is not None:
            return self._of_claims(self._jwt.read(token), auth.revision)
        user, until = self._tokens.get(digest, ("", 0.0))
        if until <= now or named:
            return errors.INVALID_AUTH_TOKEN
        self._tokens[digest] = (user, now + self._token_ttl_s)
        return Who(user, auth.revision)

    def _of_claims(self, claims: "Claims | None", revision: int) -> Who | WireError:
        """Stricter than etcd, which takes old tokens for what needs no right on keys."""
        if claims is None:
            return errors.INVALID_AUTH_TOKEN
        if claims.revision < revision:
            return errors.AUTH_OLD_REVISION
        return Who(claims.user, claims.revision)

    def on_authc(self, message: Any, now: float) -> bool:
        """("auth", all users and roles) or ("login", digest, user); whether rights may differ."""
        if message[0] == "login":
            if self._jwt is not None:
                return False  # its token says everything
            _, digest, user = message
            while len(self._tokens) >= limits.TOKENS_MAX:
                del self._tokens[next(iter(self._tokens))]
            self._tokens[digest] = (user, now + self._token_ttl_s)
            return False
        before, self.auth = self.auth, Auth.load(message[1])
        kept = self.auth.users if self.auth.enabled else {}
        was = before.users if before is not None else {}
        self._changed = {
            name for name in was if name not in kept or kept[name].password != was[name].password
        }
        self._tokens = {
            digest: (user, until)
            for digest, (user, until) in self._tokens.items()
            if user in was and user not in self._changed
        }
        return True

    def on_timer(self, now: float) -> None:
        """Forget tokens that were not shown for too long."""
        if now >= self._sweep_at:
            self._sweep_at = now + SWEEP_S
            over = [digest for digest, (_, until) in self._tokens.items() if until <= now]
            for digest in over:
                del self._tokens[digest]

    def refuses(self, asked: Asked, decoded: Any) -> WireError | None:
        """Why a message that the node answers itself is refused; None when it is not."""
        auth = self.auth
        if auth is None:
            return None  # it was let in before there was anything to tell
        named = (each for each in decoded if type(each) is tuple and each)
        refused = (rules.refusal(auth, asked.who, each, lambda _: ()) for each in named)
        return next((each for each in refused if each is not None), None)

    # -- watches

    def may_create(self, asked: Asked, request: Any) -> WireError | None:
        """Why a watch is not created; None when it is."""
        if self.auth is None:
            return errors.NO_LEADER
        return rules.refusal(self.auth, asked.who, request, lambda _: ())

    def may_go_on(self, asked: Asked, key: bytes, range_end: bytes) -> WireError | None:
        """Why a watch that was created for a message ends now; None when it goes on."""
        auth = self.auth
        if auth is None or not auth.enabled:
            return None
        if asked.who is None:
            return errors.USER_EMPTY
        if not self._still_known(asked):
            return errors.INVALID_AUTH_TOKEN
        may = rules.may_watch(auth, asked.who.user, key, range_end)
        return None if may else errors.PERMISSION_DENIED

    def _still_known(self, asked: Asked) -> bool:
        """Whether who was let in by a token would be so by the same login now."""
        digest = passwords.token_digest(shapes.split_token(asked.token)[0])
        if not asked.token or digest == self._own_digest:
            return True
        if self._jwt is not None:
            return asked.who is not None and asked.who.user not in self._changed
        return digest in self._tokens

    # -- logging in

    def take_login(self, asked: Asked, decoded: Any) -> None:
        """A message of kind "auth"."""
        auth = self.auth
        if len(decoded) != 1:
            refused: WireError | None = errors.malformed("a message of kind auth has one request")
        else:
            refused = check_login(decoded[0])
        if refused is None and auth is None:
            refused = errors.NO_LEADER
        if refused is None and auth is not None and not auth.enabled:
            refused = errors.AUTH_NOT_ENABLED
        if refused is None and self._jwt is not None and not self._jwt.signs:
            refused = errors.VERIFY_ONLY
        if refused is not None or auth is None:
            self._reply(asked, refused)
            return
        _, name, password = decoded[0]
        hashed = auth.users[name].password if name in auth.users else b""
        cost, revision = self._cost, auth.revision

        def work() -> str:
            right = passwords.is_password(password, hashed, cost)
            if not right:
                return ""
            return self._jwt.sign(name, revision) if self._jwt else passwords.new_token()

        def done(asked: Asked, token: str) -> None:
            if not token:
                self._reply(asked, errors.AUTH_FAILED)
                return
            request = ("authenticate", name, passwords.token_digest(token), revision)
            self._hold(asked._replace(body=pack([request]), token=token))

        self._queue(Job(asked._replace(body=b""), work, done))

    # -- passwords in writes

    def take_passwords(self, asked: Asked) -> bool:
        """Whether a message of checked writes has passwords: then it is held when they are
        hashed."""
        if b"user_" not in asked.body:
            return False  # nearly always
        decoded = unpack_requests(asked.body)
        if not any(shapes.has_password(request) for request in decoded):
            return False
        auth = self.auth
        rights = auth.rights(asked.who.user) if auth and asked.who else None
        if auth is None or (auth.enabled and not (rights and rights.root)):
            self._reply(asked, errors.NO_LEADER if auth is None else errors.PERMISSION_DENIED)
        elif sum(map(shapes.has_password, decoded)) > limits.PASSWORDS_A_MESSAGE_MAX:
            self._reply(asked, errors.TOO_MANY_REQUESTS)
        else:
            cost = self._cost

            def work() -> bytes:
                return pack([without_password(request, cost) for request in decoded])

            def done(asked: Asked, body: bytes) -> None:
                self._hold(asked._replace(body=body))

            self._queue(Job(asked._replace(body=b""), work, done))
        return True

    # -- the thread

    def _queue(self, job: Job) -> None:
        """A client has a few turns in the queue at most, so that one alone does not fill it."""
        of_client = Counter(each.asked.client for each in self._working)[job.asked.client]
        if (
            len(self._working) >= limits.PASSWORDS_WAITING_MAX
            or of_client >= limits.PASSWORDS_OF_CLIENT_MAX
        ):
            self._reply(job.asked, errors.TOO_MANY_REQUESTS)
            return
        self._waiting.append(job)
        self._working.append(job)
        self._start()

    def run_job(self) -> Any:
        """Do the next job, in a thread."""
        return self._waiting.popleft().work()

    def job_done(self, result: Any) -> None:
        """Its result, in order."""
        job = self._working.popleft()
        job.done(job.asked, result)


def check_login(request: Any) -> WireError | None:
    """The error of a request to log in, None when it may be looked at."""
    if type(request) is not tuple or request[:1] != ("authenticate",):
        return errors.malformed("expected authenticate")
    return shapes.check_name_and_password(request)


def without_password(request: Any, cost: int) -> Any:
    """A checked write as it goes into the log."""
    if not shapes.has_password(request):
        return request
    name, user, password, *options = request
    hashed = b"" if any(options) else passwords.hash_password(password, cost)
    return (name, user, hashed)


def with_token(asked: Asked, body: bytes) -> bytes:
    """The packed answer to a login: what is in the log does not have the token."""
    results = unpack_local(body)
    if results and results[0][0] == 0:
        return pack([(*results[0], asked.token)])
    return body
