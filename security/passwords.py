"""Passwords, as they are kept: bcrypt, salted, slow on purpose. And tokens, as they are known.

Both are the work of a thread: a comparison takes 50 ms at the default cost, and lets other threads
run meanwhile.
"""

import hashlib
import secrets
from functools import cache

import bcrypt

PASSWORD_BYTES_MAX = 72
"""bcrypt looks at no more; a longer one is refused instead of being cut."""
TOKEN_BYTES = 24
FINGERPRINT_LETTERS = 12


def hash_password(password: str, cost: int) -> bytes:
    """What is kept of a password of at most PASSWORD_BYTES_MAX bytes, 2^cost rounds of work."""
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost))


def is_password(password: str, hashed: bytes, cost: int) -> bool:
    """Whether it is the one that was hashed. No hash (there is no such user, or one without a
    password) takes as long as a wrong password, so that nobody learns which names there are."""
    encoded = password.encode()
    fits = len(encoded) <= PASSWORD_BYTES_MAX
    right = bcrypt.checkpw(encoded if fits else b"", hashed or _nobodys(cost))
    return right and fits and bool(hashed)


@cache
def _nobodys(cost: int) -> bytes:
    return bcrypt.hashpw(secrets.token_bytes(TOKEN_BYTES), bcrypt.gensalt(cost))


def new_token() -> str:
    """What a client shows from then on, not to be guessed."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_digest(token: str) -> bytes:
    """What members know of a token: nobody can show what they find in the log of a member."""
    return hashlib.sha256(token.encode()).digest()


def fingerprint(token: str) -> str:
    """By which lines about the same token are known in the audit log; nobody can show it."""
    return token_digest(token).hex()[:FINGERPRINT_LETTERS]
