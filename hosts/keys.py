"""The keys of a node's doors, read from its folder at the start and whenever it gets SIGHUP.

A key that is taken out of the file is not accepted from then on, and its connections end. What is
wrong with a file then is told in the log, and what was read before holds.
"""

from collections.abc import Callable, Collection
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from ..client.keys import ClientKeys
from ..config import keys
from ..config.keys import KeyFileError
from ..config.model import ConfigError
from ..transport.curve import Caller, Choice, CurveServer, Pair, new_pair, pairs_of

Made = TypeVar("Made")


class DoorKeys:
    """The own pairs that a door shows, and whose keys it accepts.

    Attributes:
        pairs: the own ones; the first is used to connect to others.
        stale: the files are to be read again, by whoever uses them next.
    """

    def __init__(self, folder: Path, own: str, log: Any) -> None:
        """`own` names the pairs. Raises KeyFileError."""
        self._own = keys.own_file(folder, own)
        self._authorized = folder / keys.AUTHORIZED
        self._log = log
        self.stale = False
        self.pairs: tuple[Pair, ...] = ()
        self._names: dict[bytes, str] = {}
        self._read()

    def _read(self) -> None:
        own, authorized = keys.read(self._own), keys.read(self._authorized)
        if not own.own:
            raise KeyFileError(f"{self._own}: has no line `own PUBLIC SECRET`")
        if authorized.own:
            raise KeyFileError(f"{self._authorized}: has a secret, and is for everybody's eyes")
        self.pairs = pairs_of(own, str(self._own))
        self._names = self._accepted(authorized)

    def _accepted(self, authorized: keys.Keys) -> dict[bytes, str]:
        raise NotImplementedError

    def refresh(self) -> bool:
        """Read the files again if they are stale; whether something may be accepted no more."""
        if not self.stale:
            return False
        self.stale = False
        try:
            self._read()
        except KeyFileError as error:
            self._log.error("keys not read again; those of before hold", reason=str(error))
            return False
        self._log.info("keys read again", own=len(self.pairs), accepted=len(self._names))
        return True

    def name_of(self, key: bytes) -> str | None:
        """Whose key it is; None when it is not accepted."""
        return self._names.get(key)

    def server(self) -> CurveServer:
        """The mechanism of one connection that came."""
        return CurveServer(self.pairs, self.name_of)


class MemberKeys(DoorKeys):
    """Those of the door for members."""

    def _accepted(self, authorized: keys.Keys) -> dict[bytes, str]:
        return {key: name for name, key in authorized.members}

    def caller(self, name: Callable[[], str], others: Callable[[], Collection[str]]) -> Caller:
        """Makes the mechanisms of a link to the member of that name. It is not known before the
        member has started for the first time: then it is any, first those that are not `others`."""
        return Caller(lambda: self._choices(name(), others()))

    def _choices(self, name: str, others: Collection[str]) -> list[Choice]:
        known = self._names.items()
        if name:
            theirs = [key for key, whose in known if whose == name]
        else:
            theirs = sorted((key for key, _ in known), key=lambda key: self._names[key] in others)
        # Of a member whose key nobody has told, the answer is that nobody is there.
        return list(product(theirs or [new_pair().public], self.pairs))


class ServerKeys(DoorKeys):
    """Those of the door for clients. The node's own processes come with the pair of the door."""

    def __init__(self, folder: Path, log: Any) -> None:
        """Raises KeyFileError."""
        self._any, self._members = False, frozenset[bytes]()
        super().__init__(folder, keys.SERVER, log)

    def _accepted(self, authorized: keys.Keys) -> dict[bytes, str]:
        self._any = authorized.any_client
        self._members = frozenset(key for _, key in authorized.members)
        own = {pair.public: "" for pair in self.pairs}
        return own | {key: user for user, key in authorized.clients}

    def name_of(self, key: bytes) -> str | None:
        """See DoorKeys; the user, empty for nobody in particular. A member's key is no client's
        because any is."""
        if self._any and key not in self._members:
            return self._names.get(key, "")
        return self._names.get(key)

    def own(self) -> "OwnKeys":
        """As which the node's own processes come."""
        return OwnKeys(self)


class OwnKeys(ClientKeys):
    """As which the node's own processes come to its door for clients."""

    def __init__(self, door: ServerKeys) -> None:
        self._door = door

    def choices(self) -> tuple[Choice, ...]:
        """See ClientKeys."""
        self._door.refresh()
        return tuple((pair.public, pair) for pair in self._door.pairs)


def made(kind: Callable[..., Made], *told: Any) -> Made:
    """Keys of a kind, made of what it is told; raises ConfigError, at the start of a node."""
    try:
        return kind(*told)
    except KeyFileError as error:
        raise ConfigError(f"{error} (`sampan keys --help` tells how keys are made)") from error
