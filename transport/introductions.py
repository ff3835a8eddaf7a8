"""How members, and those who want to be, ask each other who the members are.

Two kinds of messages between peers (docs/protocol.md). They are answered whatever cluster, member
and data dir the asker has: one that is refused for any of these has to be told why. An older
version drops what it does not know, which tells that it is older.
"""

from typing import Any, NamedTuple

from ..config import addresses
from .codec import CodecError, pack, unpack
from .requests import is_u64

PEER_VERSION = 2
"""Of the header between peers."""
OLDER_VERSION = 1
"""Whose header ends with the kind: who speaks it is spoken to in it, so that a cluster can be
upgraded member by member."""
FORMAT = 1
"""What this version can read of others' entries and snapshots: 1, changes of members. Those that
do not tell, which are older, cannot."""


class Tell(NamedTuple):
    """What a member tells of its cluster."""

    leader: int
    """The member it follows, 0 for none."""
    members: tuple[Any, ...]
    """As the state keeps them (storage/members.py)."""
    removed: tuple[Any, ...]
    """(id, peer addresses) of former ones."""
    format: int = FORMAT


def pack_ask(advertise: str) -> bytes:
    """Who are the members? `advertise` is where to answer."""
    return pack((advertise,))


def unpack_ask(frames: list[bytes]) -> str:
    """The inverse of `pack_ask`; raises CodecError."""
    (endpoint,) = _fields(frames, 1)
    if type(endpoint) is not str or len(endpoint) > 300:
        raise CodecError("an endpoint is str")
    try:
        addresses.parse(endpoint)
    except (addresses.EndpointError, UnicodeError) as error:
        raise CodecError(f"not an endpoint: {error}") from error
    return endpoint


def pack_tell(told: Tell) -> bytes:
    """The answer."""
    return pack(tuple(told))


def unpack_tell(frames: list[bytes]) -> Tell:
    """The inverse of `pack_tell`; raises CodecError."""
    leader, members, removed, format_, *_ = _fields(frames, 4)
    shaped = is_u64(leader) and is_u64(format_) and type(members) is type(removed) is tuple
    if not shaped or not all(map(_is_member, members)) or not all(map(_is_removed, removed)):
        raise CodecError("not what a member tells")
    return Tell(leader, members, removed, format_)


def _fields(frames: list[bytes], least: int) -> tuple[Any, ...]:
    value = unpack(frames[0]) if len(frames) == 1 else None
    if type(value) is not tuple or len(value) < least:
        raise CodecError("not an introduction")
    return value


def _is_member(member: Any) -> bool:
    return (
        type(member) is tuple
        and len(member) >= 6
        and list(map(type, member[:6])) == [int, str, tuple, tuple, bool, int]
        and is_u64(member[0])
        and all(type(each) is str for each in (*member[2], *member[3]))
        and bool(member[2])
    )


def _is_removed(removed: Any) -> bool:
    return type(removed) is tuple and list(map(type, removed)) == [int, tuple]
