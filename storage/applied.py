"""How far a state is: what the state database says of itself."""

from struct import Struct
from typing import NamedTuple

from . import keys

KEY = keys.META + b"applied"
_NUMBERS = Struct(">QQQQI")


class Applied(NamedTuple):
    """All of it in one value, written together with what it tells of."""

    applied_index: int = 0
    """Of the last raft entry that was applied."""
    applied_term: int = 0
    """Its term."""
    revision: int = 1
    """The newest; an empty store is at 1, as etcd's."""
    compact_revision: int = 0
    history_hash: int = 0
    """CRC-32 of all events ever applied."""

    def packed(self) -> bytes:
        """The value of `KEY`."""
        return _NUMBERS.pack(*self)


def unpack_applied(raw: bytes | None) -> Applied:
    """From the value of `KEY`, None for a new database."""
    return Applied(*_NUMBERS.unpack(raw)) if raw else Applied()
