"""What watches return, and how one is asked for."""

from enum import StrEnum
from typing import Any, NamedTuple, TypedDict, Unpack, cast

from ..transport import watches as wire
from ._decode import key_value
from .ops import Bytes, RangeOptions, key_range
from .types import KeyValue, ResponseHeader

START_REVISION_MAX = wire.U63_MAX


class EventType(StrEnum):
    """What happened to a key."""

    PUT = "PUT"
    DELETE = "DELETE"


class WatchEvent(NamedTuple):
    """One change of one key.

    Attributes:
        type: what happened.
        kv: the key as of this change; of a deletion only its key and mod revision.
        prev_kv: the key before it, when asked for; None when it did not exist or was compacted.
    """

    type: EventType
    kv: KeyValue
    prev_kv: KeyValue | None

    @property
    def is_create(self) -> bool:
        """Whether the key did not exist before."""
        return self.type == EventType.PUT and self.kv.create_revision == self.kv.mod_revision

    @property
    def is_modify(self) -> bool:
        """Whether a key that existed got a new value."""
        return self.type == EventType.PUT and not self.is_create


class WatchResponse(NamedTuple):
    """Events of one or more whole revisions, in order. Without events it tells progress: all events
    up to `header.revision` have been returned."""

    header: ResponseHeader
    events: list[WatchEvent]

    @property
    def is_progress(self) -> bool:
        """Whether it only tells how far the watch is."""
        return not self.events


_TYPES = (EventType.PUT, EventType.DELETE)


def event(packed: tuple[Any, ...]) -> WatchEvent:
    """Of `[type, kv, prev_kv=nil]`.

    Raises:
        ValueError, TypeError, IndexError: it is not one.
    """
    kind, kv, *previous = packed
    prev_kv = key_value(previous[0]) if previous else None
    return WatchEvent(_TYPES[kind], key_value(kv), prev_kv)


class WatchOptions(TypedDict, total=False):
    """What a watch may also say.

    Attributes:
        range_end: watch from the key up to here, without it.
        prefix: watch every key that begins with the key.
        from_key: watch every key at or after the key.
        start_revision: the first revision to tell of, in the past or in the future; 0 for what
            happens from now on.
        prev_kv: tell what was there before each event.
        progress_notify: tell now and then how far the watch is when nothing happens.
        no_put: leave puts out.
        no_delete: leave deletions out.
    """

    range_end: Bytes | None
    prefix: bool
    from_key: bool
    start_revision: int
    prev_kv: bool
    progress_notify: bool
    no_put: bool
    no_delete: bool


class WatchSpec(NamedTuple):
    """What a watch is of, as it travels."""

    key: bytes
    range_end: bytes
    start_revision: int
    flags: int


def describe(spec: WatchSpec) -> str:
    """Its keys, for people."""
    key, end = spec.key, spec.range_end
    if not end:
        return repr(key)
    if end == wire.prefix_end(key):
        return f"all that begin with {key!r}" if key else "all keys"
    return f"{key!r} to {end!r}" if end != b"\x00" else f"{key!r} and all after it"


def spec(key: Bytes, **options: Unpack[WatchOptions]) -> WatchSpec:
    """What to watch.

    Raises:
        ValueError: two of range_end, prefix and from_key; a start revision that cannot be.
        TypeError: an unknown option.
    """
    start_revision = options.pop("start_revision", 0)
    if not 0 <= start_revision <= START_REVISION_MAX:
        raise ValueError(f"start_revision is 0 to {START_REVISION_MAX}, not {start_revision}")
    flags = (
        wire.FRAGMENT  # the pieces are joined here
        + wire.REQUIRE_LEADER  # a node that is cut off must not keep the watch in silence
        + bool(options.pop("prev_kv", False)) * wire.PREV_KV
        + bool(options.pop("progress_notify", False)) * wire.PROGRESS_NOTIFY
        + bool(options.pop("no_put", False)) * wire.NO_PUT
        + bool(options.pop("no_delete", False)) * wire.NO_DELETE
    )
    start, end = key_range(key, cast("RangeOptions", options))
    if options:
        raise TypeError(f"watch has no option {', '.join(options)}")
    return WatchSpec(start, end, start_revision, flags)
