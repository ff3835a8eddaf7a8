"""The keys of a client, for nodes that ask for them (docs/security.md)."""

import os
from collections.abc import Iterable
from itertools import product
from pathlib import Path

from ..config import keys
from ..transport.curve import KEY_BYTES, Caller, Choice, Pair, new_pair, pairs_of, public_of


class ClientKeys:
    """By what a client knows the nodes, and what it proves with who it is."""

    def __init__(self, servers: Iterable[bytes], secrets: Iterable[bytes] = ()) -> None:
        """Keys are 32 bytes each.

        Args:
            servers: the public keys that the nodes may show.
            secrets: the client's own, of which the nodes know the public halves; without one it
                makes one up, for nodes that let in whoever has a name and a password.

        Raises:
            ValueError: no server, or what is no key.
        """
        known, own = tuple(servers), tuple(secrets)
        if not known or any(len(key) != KEY_BYTES for key in (*known, *own)):
            raise ValueError(f"keys need one of the nodes' at least; each has {KEY_BYTES} bytes")
        pairs = [Pair(public_of(secret), secret) for secret in own] or [new_pair()]
        self._choices = tuple(product(known, pairs))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "ClientKeys":
        """Those in a file that `sampan keys client` made; raises ValueError."""
        found = keys.read(Path(path))
        if not found.servers:
            raise keys.KeyFileError(f"{path}: has no line `server PUBLIC`: is it a client's?")
        return cls(found.servers, [pair.secret for pair in pairs_of(found, str(path))])

    def choices(self) -> tuple[Choice, ...]:
        """What to try."""
        return self._choices

    def caller(self) -> Caller:
        """Makes the mechanisms of one endpoint's connections."""
        return Caller(self.choices)
