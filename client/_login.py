"""Who a client is: a name and a password, exchanged for a token on each connection.

A connection carries no requests before its node knows the token, so that a request meets no node
that has not heard of it. A node that forgets (it has started again, or nothing was said for too
long) is told again.
"""

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..transport import auth
from ..transport import errors as wire
from . import errors
from ._lane import Lane
from ._link import Call, Message

if TYPE_CHECKING:
    from ._io import Loop
    from ._link import Link
    from .keys import ClientKeys

ANSWER_S = 7.0
"""How long a node may take: it compares one password after the other."""
RETRY_S = 0.1
WRONG_RETRY_S = 1.0
"""How soon to try again after a wrong password: the user may be made yet, or the password set."""


def keys_of(keys: "str | os.PathLike[str] | ClientKeys | None") -> "ClientKeys | None":
    """A client's keys, which may be in a file; raises ValueError."""
    if not isinstance(keys, str | os.PathLike):
        return keys
    from .keys import ClientKeys  # with libsodium, which few need

    return ClientKeys.load(keys)


class Login:
    """One client's name and password."""

    def __init__(
        self, loop: "Loop", user: str, password: str, on_wrong: Callable[[errors.SampanError], None]
    ) -> None:
        """`on_wrong`: a node has refused them."""
        self._loop = loop
        self._request = ("authenticate", user, password)
        self._on_wrong = on_wrong

    def begin(self, link: "Link") -> None:
        """Ask the node at the other end for a token; `link.admit` follows, sooner or later."""
        self._ask(link, link.connection)

    def _ask(self, link: "Link", connection: object) -> None:
        if not link.connected or link.connection is not connection:
            return  # the next connection asks by itself
        deadline = self._loop.time() + ANSWER_S
        call = Call(_Answer(self, link), self._request, 0, deadline)
        link.send(Message(Lane(auth.KIND_AUTH, link), [call], 0, deadline), int(1000 * ANSWER_S))

    def on_refused(self, link: "Link", connection: object, error: BaseException) -> None:
        """No token this time."""
        delay_s = RETRY_S
        if isinstance(error, errors.SampanError):
            if error.text == wire.AUTH_NOT_ENABLED.text:
                link.admit("")
                return
            if isinstance(error, errors.InvalidRequestError | errors.AuthenticationError):
                delay_s = WRONG_RETRY_S
                self._on_wrong(error)
        when = self._loop.time() + delay_s
        self._loop.call_at(when, lambda: self._ask(link, connection))


class Token:
    """A token that a client has from somewhere else; there is no other when it is not good."""

    def __init__(self, token: str) -> None:
        self._token = token

    def begin(self, link: "Link") -> None:
        """It is at hand."""
        link.admit(self._token)


class _Answer:
    """The future of a request for a token."""

    def __init__(self, login: Login, link: "Link") -> None:
        self._login = login
        self._link = link
        self._connection = link.connection
        self._done = False

    def done(self) -> bool:
        """Whether it was answered, or its connection is gone."""
        return self._done or self._link.connection is not self._connection

    def set_result(self, result: Any, /) -> None:
        """`(Reply, [0, revision, token])`."""
        if not self.done():
            self._done = True
            self._link.admit(result[1][2])

    def set_exception(self, exception: BaseException, /) -> None:
        """The node refused, or did not answer."""
        if not self.done():
            self._done = True
            self._login.on_refused(self._link, self._connection, exception)
