"""Order-preserving keys of the state database: one prefix byte a kind, then big-endian numbers."""

from struct import Struct

KV = b"k"
"""+ key -> the newest record of a key that exists."""
EVENTS = b"e"
"""+ revision u64, sub u32 of the first event -> chunk of events in order."""
DEAD = b"d"
"""+ escaped key, revision u64 of the deletion -> header of the last version before it."""
KEPT = b"o"
"""+ revision u64, key -> record that compaction must not lose."""
LEASE = b"l"
"""+ lease u64 -> [granted time to live in seconds, index of the last renewal]."""
LEASE_KEY = b"n"
"""+ lease u64, key -> nothing: the lease holds the key."""
SESSION = b"s"
"""+ session u64 -> [last use, first sequence known, [[sequence, answer], …]]."""
USER = b"u"
"""+ name -> [hash of the password, [role, …]]."""
ROLE = b"r"
"""+ name -> [[kind, key, range_end], …]."""
META = b"m"
"""+ name -> what the store is about as a whole."""

U64 = Struct(">Q")
SUB_MAX = 2**32 - 1
_CHUNK = Struct(">cQI")
_DEAD_END = b"\x00\x01"

pack_u64 = U64.pack


def after_prefix(prefix: bytes) -> bytes:
    """The first key after all keys that begin with the one byte `prefix`."""
    return bytes([prefix[0] + 1])


def range_bounds(key: bytes, range_end: bytes) -> tuple[bytes, bytes]:
    """First key in and first key out, under KV, of an etcd range.

    `range_end` empty means the one key, a zero byte every key from `key` on.
    """
    if not range_end:
        return KV + key, KV + key + b"\x00"
    if range_end == b"\x00":
        return KV + key, after_prefix(KV)
    return KV + key, KV + range_end


def chunk_key(revision: int, sub: int) -> bytes:
    """Key of the chunk that begins with event number `sub` of `revision`."""
    return _CHUNK.pack(EVENTS, revision, sub)


def parse_chunk_key(key: bytes) -> tuple[int, int]:
    """(revision, sub) of `chunk_key`."""
    _, revision, sub = _CHUNK.unpack(key)
    return revision, sub


def escape(key: bytes) -> bytes:
    """`key` such that more can follow it and the order stays: "a" before "a\\x00" before "b"."""
    return key.replace(b"\x00", b"\x00\xff") + _DEAD_END


def dead_key(key: bytes, revision: int) -> bytes:
    """Key of the generation of `key` that was deleted at `revision`."""
    return DEAD + escape(key) + pack_u64(revision)


def parse_dead_key(dead: bytes) -> tuple[bytes, int]:
    """(key, revision) of `dead_key`."""
    escaped = dead[1 : -U64.size - len(_DEAD_END)]
    return escaped.replace(b"\x00\xff", b"\x00"), U64.unpack_from(dead, len(dead) - U64.size)[0]


def dead_bounds(key: bytes, range_end: bytes) -> tuple[bytes, bytes]:
    """First in and first out of the deleted generations in an etcd range."""
    start = DEAD + escape(key)
    if not range_end:
        return start, start + b"\xff"
    if range_end == b"\x00":
        return start, after_prefix(DEAD)
    return start, DEAD + escape(range_end)


def kept_key(revision: int, key: bytes) -> bytes:
    """Key of a record that survives compaction."""
    return KEPT + pack_u64(revision) + key


def parse_kept_key(kept: bytes) -> tuple[int, bytes]:
    """(revision, key) of `kept_key`."""
    return U64.unpack_from(kept, 1)[0], kept[1 + U64.size :]


def lease_key(lease: int) -> bytes:
    """Key of a lease."""
    return LEASE + pack_u64(lease)


def lease_member_key(lease: int, key: bytes) -> bytes:
    """Key that says that `lease` holds `key`."""
    return LEASE_KEY + pack_u64(lease) + key


def session_key(session: int) -> bytes:
    """Key of a session."""
    return SESSION + pack_u64(session)


def parse_lease_member_key(stored: bytes) -> tuple[int, bytes]:
    """(lease, key) of `lease_member_key`."""
    return U64.unpack_from(stored, 1)[0], stored[1 + U64.size :]
