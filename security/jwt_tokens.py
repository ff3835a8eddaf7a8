"""Tokens that say by themselves whose they are (RFC 7519), as etcd's: no member keeps them.

A token carries the auth revision at which it was given. One from before a change of users and roles
is refused, and its client logs in again.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jwt
from cryptography import x509

from ..config.jwt import JwtOptions

KNOWN_MAX = 10_000
"""Tokens whose signature was looked at and is not again: a comparison takes 0.1 ms."""
_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


class Claims(NamedTuple):
    """What a token says."""

    user: str
    revision: int
    expires: float


class JwtTokens:
    """Signs, unless somebody else does, and reads. `clock` tells the seconds since 1970.

    Attributes:
        signs: there is a private key; `sign` is there for that.
    """

    def __init__(
        self, options: JwtOptions, private_key: bytes, public_key: bytes, clock: Callable[[], float]
    ) -> None:
        """Of the files' contents; the private key may be empty, the public one in a certificate.

        Raises:
            ValueError: they are no keys for that method, or none of one pair.
        """
        self._method, self._ttl_s, self._clock = options.method, options.ttl_s, clock
        self._known: dict[str, Claims] = {}
        self.signs = bool(private_key) or options.method.startswith("HS")
        algorithm = jwt.get_algorithm_by_name(options.method)
        try:
            if self.signs:
                self._private = algorithm.prepare_key(private_key)
            public: Any = public_key
            if not options.method.startswith("HS"):
                public = _public(public_key) or self._private.public_key()
            self._public = algorithm.prepare_key(public or private_key)
            if self.signs and self.read(self.sign("", 0)) is None:
                raise ValueError("pub-key and priv-key are none of one pair")
            if not self.signs and hasattr(self._public, "public_key"):
                raise ValueError("pub-key is a private key")
        except (jwt.InvalidKeyError, TypeError, AttributeError) as error:
            raise ValueError(f"no keys for {options.method}: {error}") from error

    def sign(self, user: str, revision: int) -> str:
        """A token for a user, given at an auth revision."""
        claims = {
            "username": user,
            "revision": revision,
            "exp": int(self._clock()) + self._ttl_s,
        }
        return jwt.encode(claims, self._private, self._method)

    def read(self, token: str) -> Claims | None:
        """What a token says; None for one that is none of ours, or over."""
        claims = self._known.get(token)
        if claims is None:
            claims = self._verified(token)
            if claims is None:
                return None
            if len(self._known) >= KNOWN_MAX:
                del self._known[next(iter(self._known))]
            self._known[token] = claims
        return claims if self._clock() < claims.expires else None

    def _verified(self, token: str) -> Claims | None:
        options: Any = {"require": ["exp"], "verify_exp": False}  # by our clock
        try:
            said = jwt.decode(token, self._public, [self._method], options)
            user, revision, expires = said["username"], said["revision"], said["exp"]
        except (jwt.InvalidTokenError, KeyError):
            return None
        if type(user) is not str or type(revision) is not int or type(expires) not in (int, float):
            return None
        return Claims(user, revision, expires)


def _public(pem: bytes) -> Any:
    """What is in the file of a public key: it, or a certificate that has it."""
    if _CERTIFICATE not in pem:
        return pem
    try:
        return x509.load_pem_x509_certificate(pem).public_key()
    except ValueError as error:
        raise ValueError(f"pub-key is a certificate, and damaged: {error}") from error
