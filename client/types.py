"""What the calls of a client return: etcd's response messages as tuples with names."""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple, Protocol, TypeAlias, overload

from .trace import Trace

_new = tuple.__new__  # half the cost of calling a NamedTuple


class ResponseHeader(NamedTuple):
    """Where and when an answer was made.

    Attributes:
        cluster_id: the cluster that answered.
        member_id: the member that answered.
        revision: the store's revision when the answer was made; a write's own revision.
        raft_term: the member's term.
    """

    cluster_id: int
    member_id: int
    revision: int
    raft_term: int


class KeyValue(NamedTuple):
    """A key as of one revision, in the order in which it travels.

    Attributes:
        key: the key.
        create_revision: revision of the put that created it.
        mod_revision: revision of its last put.
        version: puts since it was created; 1 after the first.
        lease: id of the lease it is attached to, 0 for none.
        value: the value; empty when only keys were asked for.
    """

    key: bytes
    create_revision: int
    mod_revision: int
    version: int
    lease: int
    value: bytes


Kvs: TypeAlias = tuple[tuple[Any, ...], ...]
"""Keys as they travel: `KeyValue`s in all but the name."""


class Packed(Protocol):
    """Keys that are still packed."""

    def __len__(self) -> int:
        """How many."""

    def pieces(self) -> Iterator[Kvs]:
        """Some at a time."""


def _key_values(kvs: Kvs) -> Iterator[KeyValue]:
    return map(_new, repeat(KeyValue), kvs)


class KeyValues(Sequence[KeyValue]):
    """Keys of an answer, in its order. Equal to any sequence of the same keys.

    Each is made when it is asked for: Python's collector would look again and again at the 10,000
    of a large answer, for longer than it takes to make them. Those of a large range are decoded
    then, too: all of them for one by its index, some at a time when it is gone through.
    """

    __slots__ = ("_kvs", "_packed")

    def __init__(self, kvs: Kvs | None, packed: Packed | None = None) -> None:
        """Of what travels, or of what is still packed; whoever makes it looks at its shape."""
        self._kvs = kvs
        self._packed = packed

    def _all(self) -> Kvs:
        kvs, packed = self._kvs, self._packed
        if kvs is None:
            assert packed is not None, "one of the two is there"
            self._kvs = kvs = tuple(chain.from_iterable(packed.pieces()))
            self._packed = None  # after that: another thread may look
        return kvs

    def __len__(self) -> int:
        kvs, packed = self._kvs, self._packed
        return len(self._all() if packed is None else packed) if kvs is None else len(kvs)

    @overload
    def __getitem__(self, index: int) -> KeyValue: ...
    @overload
    def __getitem__(self, index: slice) -> "KeyValues": ...
    def __getitem__(self, index: int | slice) -> "KeyValue | KeyValues":
        found = (self._kvs or self._all())[index]
        if isinstance(index, slice):
            return KeyValues(found)
        return _new(KeyValue, found)

    def __iter__(self) -> Iterator[KeyValue]:
        kvs, packed = self._kvs, self._packed
        if kvs is None and packed is not None:
            return chain.from_iterable(map(_key_values, packed.pieces()))
        return map(_new, repeat(KeyValue), self._all())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, KeyValues):
            return self._all() == other._all()
        if isinstance(other, Sequence):
            return len(self) == len(other) and all(map(KeyValue.__eq__, self, other))
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self._all())

    def __reduce__(self) -> tuple[type["KeyValues"], tuple[Kvs]]:
        return KeyValues, (self._all(),)

    def __repr__(self) -> str:
        return repr(list(self))


class PutResponse(NamedTuple):
    """What a put answers.

    Attributes:
        header: its revision is the put's.
        prev_kv: what the put replaced, when asked for and there was something.
        trace: its way through the nodes, when asked for and they remember.
    """

    header: ResponseHeader
    prev_kv: KeyValue | None
    trace: Trace | None = None


class RangeResponse(NamedTuple):
    """`kvs`: the keys found. `count`: keys in the range, whatever the limit. `more`: cut by it."""

    header: ResponseHeader
    kvs: Sequence[KeyValue]
    count: int  # type: ignore[assignment]  # etcd's name; tuple.count is of no use here
    more: bool


class DeleteResponse(NamedTuple):
    """`deleted`: how many keys. `prev_kvs`: what they held, when asked for."""

    header: ResponseHeader
    deleted: int
    prev_kvs: Sequence[KeyValue]


class TxnResponse(NamedTuple):
    """`succeeded`: every compare held, so the success branch ran. `responses`: one an operation."""

    header: ResponseHeader
    succeeded: bool
    responses: "list[OpResponse]"


OpResponse: TypeAlias = PutResponse | RangeResponse | DeleteResponse | TxnResponse
"""What one operation of a transaction answers; `isinstance` tells which."""


class CompactResponse(NamedTuple):
    """`header.revision`: the store's revision when it was compacted."""

    header: ResponseHeader


class HashKvResponse(NamedTuple):
    """What one member's state hashes to.

    Attributes:
        header: from that member.
        hash: CRC-32 of every key and value as of `hash_revision`; equal on all members.
        compact_revision: the revision below which the member refuses reads, 0 for none.
        hash_revision: the revision that was hashed.
    """

    header: ResponseHeader
    hash: int
    compact_revision: int
    hash_revision: int


class StatusResponse(NamedTuple):
    """What a node says of itself.

    `fields` are its own words, by name: docs/protocol.md lists them. What is asked for most often
    is an attribute, too; 0 or empty when the node does not tell.
    """

    header: ResponseHeader
    fields: dict[str, Any]

    @property
    def name(self) -> str:
        """The member's name."""
        return str(self.fields.get("name", ""))

    @property
    def version(self) -> str:
        """Sampan's version there."""
        return str(self.fields.get("version", ""))

    @property
    def leader(self) -> int:
        """The id of the leader that it knows."""
        return int(self.fields.get("leader", 0))

    @property
    def role(self) -> str:
        """`leader`, `follower` and so on."""
        return str(self.fields.get("role", ""))

    @property
    def revision(self) -> int:
        """The store's revision there."""
        return int(self.fields.get("revision", 0))

    @property
    def db_size(self) -> int:
        """Bytes on its disk."""
        return int(self.fields.get("db_size", 0))


class Member(NamedTuple):
    """A member of the cluster; an empty `name` has not started yet."""

    id: int
    name: str
    peer_urls: list[str]
    client_urls: list[str]
    is_learner: bool


class MemberListResponse(NamedTuple):
    """`members`: all of them, ordered by id."""

    header: ResponseHeader
    members: list[Member]


class LeaseGrantResponse(NamedTuple):
    """`ttl_s`: the time to live granted, which may be more than was asked for."""

    header: ResponseHeader
    id: int
    ttl_s: int


class LeaseRevokeResponse(NamedTuple):
    """The lease and its keys are gone."""

    header: ResponseHeader


class LeaseKeepAliveResponse(NamedTuple):
    """`ttl_s`: the time to live that begins anew; it began before this answer came."""

    header: ResponseHeader
    id: int
    ttl_s: int


class LeaseTimeToLiveResponse(NamedTuple):
    """What a lease has left.

    Attributes:
        id: the lease.
        granted_ttl_s: the time to live that was granted, 0 for a lease that does not exist.
        ttl_s: whole seconds that remain, -1 for a lease that does not exist.
        keys: the keys attached to it, when asked for.
    """

    header: ResponseHeader
    id: int
    granted_ttl_s: int
    ttl_s: int
    keys: list[bytes]


class LeasesResponse(NamedTuple):
    """`leases`: ids of all leases, those that end first first."""

    header: ResponseHeader
    leases: list[int]
