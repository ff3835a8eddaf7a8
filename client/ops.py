"""Requests as they travel (docs/protocol.md), and the parts of a transaction.

    txn([version("k") == 0], success=[put("k", "first")], failure=[get("k")])

Keys and values are bytes, or str that is sent as UTF-8.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypedDict, Unpack

from ..transport import requests as wire
from ..transport.watches import prefix_end

Bytes: TypeAlias = bytes | str
Request: TypeAlias = tuple[Any, ...]

FROM_KEY = b"\x00"
"""As a range's end: every key at or after the start."""

TXN_OPS_MAX = wire.TXN_OPS_MAX
"""Operations in a branch of a transaction."""

_TARGETS = ("version", "create_revision", "mod_revision", "value", "lease")
_RESULTS = ("==", ">", "<", "!=")
SORT_TARGETS = {"key": 0, "version": 1, "create": 2, "mod": 3, "value": 4}
SORT_ORDERS = {"none": 0, "ascend": 1, "descend": 2}


def to_bytes(text: Bytes) -> bytes:
    """`text` as it travels.

    Raises:
        TypeError: it is neither bytes nor str.
    """
    if isinstance(text, bytes):
        return text
    if isinstance(text, str):
        return text.encode()
    raise TypeError(f"keys and values are bytes or str, not {type(text).__name__}")


class PutOptions(TypedDict, total=False):
    """What a put may also say.

    Attributes:
        lease: id of the lease to attach the key to.
        prev_kv: answer what the put replaced.
        ignore_value: keep the current value; `value` must be empty and the key exist.
        ignore_lease: keep the current lease; the key must exist.
    """

    lease: int
    prev_kv: bool
    ignore_value: bool
    ignore_lease: bool


class Bounds(TypedDict, total=False):
    """Where a range ends; one of the three.

    Attributes:
        range_end: from the key up to here, without it.
        prefix: every key that begins with the key.
        from_key: every key at or after the key.
    """

    range_end: Bytes | None
    prefix: bool
    from_key: bool


class DeleteOptions(Bounds, total=False):
    """What a delete may also say, besides `Bounds`.

    Attributes:
        prev_kv: answer what was deleted.
    """

    prev_kv: bool


class RangeOptions(Bounds, total=False):
    """What a get may also say, besides `Bounds`.

    Attributes:
        limit: at most so many keys; 0 for all.
        revision: as of this revision; 0 for the newest.
        sort_by: "key", "version", "create", "mod" or "value".
        sort_order: "ascend" or "descend".
        keys_only: leave the values out.
        count_only: answer the count alone.
        no_count: do not count the keys beyond the limit: `count` is that of `kvs`. Counting costs
            as much as reading them.
        min_mod_revision, max_mod_revision: only keys last put in these revisions; 0 for no bound.
        min_create_revision, max_create_revision: only keys created in these.
    """

    limit: int
    revision: int
    sort_by: str | None
    sort_order: str | None
    keys_only: bool
    count_only: bool
    no_count: bool
    min_mod_revision: int
    max_mod_revision: int
    min_create_revision: int
    max_create_revision: int


def put(key: Bytes, value: Bytes, **options: Unpack[PutOptions]) -> Request:
    """A put, as a transaction's operation."""
    if type(key) is not bytes:
        key = to_bytes(key)
    if type(value) is not bytes:
        value = to_bytes(value)
    request = ("put", key, value)
    if not options:
        return request
    flags = (
        bool(options.pop("prev_kv", False)) * wire.PUT_PREV_KV
        + bool(options.pop("ignore_value", False)) * wire.PUT_IGNORE_VALUE
        + bool(options.pop("ignore_lease", False)) * wire.PUT_IGNORE_LEASE
    )
    lease_id = options.pop("lease", 0)
    refuse_rest("put", options)
    return (*request, lease_id, flags)


def delete(key: Bytes, **options: Unpack[DeleteOptions]) -> Request:
    """A delete, as a transaction's operation.

    Raises:
        ValueError: more than one of range_end, prefix and from_key.
    """
    if not options:
        return ("delete", to_bytes(key))
    flags = bool(options.pop("prev_kv", False)) * wire.DELETE_PREV_KV
    bounds = key_range(key, options)
    refuse_rest("delete", options)
    return ("delete", *bounds, flags)


def get(key: Bytes, **options: Unpack[RangeOptions]) -> Request:
    """A read, as a transaction's operation.

    Raises:
        ValueError: an unknown `sort_by` or `sort_order`; two of range_end, prefix and from_key.
    """
    if not options:
        return ("range", to_bytes(key))
    flags = (
        bool(options.pop("keys_only", False)) * wire.RANGE_KEYS_ONLY
        + bool(options.pop("count_only", False)) * wire.RANGE_COUNT_ONLY
        + bool(options.pop("no_count", False)) * wire.RANGE_NO_COUNT
    )
    sort_by, sort_order = options.pop("sort_by", None), options.pop("sort_order", None)
    request = (
        "range",
        *key_range(key, options),
        options.pop("limit", 0),
        options.pop("revision", 0),
        flags,
        _choice("sort_by", sort_by or "key", SORT_TARGETS),
        _choice("sort_order", sort_order or ("ascend" if sort_by else "none"), SORT_ORDERS),
        options.pop("min_mod_revision", 0),
        options.pop("max_mod_revision", 0),
        options.pop("min_create_revision", 0),
        options.pop("max_create_revision", 0),
    )
    refuse_rest("get", options)
    return request


def key_range(key: Bytes, options: Bounds) -> tuple[bytes, bytes]:
    """Key and range end as they travel; takes the bounds out of the options.

    Raises:
        ValueError: more than one of range_end, prefix and from_key.
    """
    start = to_bytes(key)
    range_end = options.pop("range_end", None)
    prefix, from_key = options.pop("prefix", False), options.pop("from_key", False)
    if (range_end is not None) + prefix + from_key > 1:
        raise ValueError("give one of range_end, prefix and from_key")
    if prefix:
        return (start, prefix_end(start)) if start else (b"\x00", FROM_KEY)
    if from_key:
        return start or b"\x00", FROM_KEY
    return start, b"" if range_end is None else to_bytes(range_end)


def refuse_rest(call: str, options: Mapping[str, object]) -> None:
    """Raise TypeError for options that nobody took."""
    if options:
        raise TypeError(f"{call} has no option {', '.join(options)}")


def txn(
    compares: "Sequence[Compare]", success: Sequence[Request], failure: Sequence[Request] = ()
) -> Request:
    """A transaction, also as an operation of another one."""
    return ("txn", [tuple(each) for each in compares], list(success), list(failure))


def size(request: Request) -> int:
    """Bytes that a request's keys, values and structure take, roughly."""
    if request[0] == "put":
        return len(request[1]) + len(request[2]) + 32
    if len(request) == 2 and isinstance(request[1], bytes):
        return len(request[1]) + 32
    return _size(request)


def _size(value: Any) -> int:
    if isinstance(value, bytes | str):
        return len(value) + 5
    if isinstance(value, tuple | list):
        return 5 + sum(map(_size, value))
    return 9


def _choice(name: str, value: str, choices: dict[str, int]) -> int:
    if value not in choices:
        raise ValueError(f"{name} is one of {', '.join(choices)}, not {value!r}")
    return choices[value]


class Compare(NamedTuple):
    """One condition of a transaction, in the order in which it travels."""

    target: int
    result: int
    key: bytes
    value: int | bytes
    range_end: bytes = b""

    def __repr__(self) -> str:
        target = Target(self.target, self.key, self.range_end)
        return f"{target!r} {_RESULTS[self.result]} {self.value!r}"


class Target:
    """What a condition looks at; `==`, `!=`, `<` and `>` make the `Compare`."""

    __hash__ = None  # type: ignore[assignment]  # == makes a Compare, so it cannot serve a set

    def __init__(self, target: int, key: Bytes, range_end: Bytes) -> None:
        self._target = target
        self._key = to_bytes(key)
        self._range_end = to_bytes(range_end)

    def __repr__(self) -> str:
        at = f"{self._key!r}, {self._range_end!r}" if self._range_end else repr(self._key)
        return f"{_TARGETS[self._target]}({at})"

    def compare(self, result: int, value: int | Bytes) -> Compare:
        """`result`: 0 equal, 1 greater, 2 less, 3 not equal."""
        operand = to_bytes(value) if isinstance(value, str) else value
        return Compare(self._target, result, self._key, operand, self._range_end)

    def __eq__(self, value: object) -> Compare:  # type: ignore[override]  # a builder, not a test
        return self.compare(0, _operand(value))

    def __gt__(self, value: int | Bytes) -> Compare:
        return self.compare(1, value)

    def __lt__(self, value: int | Bytes) -> Compare:
        return self.compare(2, value)

    def __ne__(self, value: object) -> Compare:  # type: ignore[override]  # a builder, not a test
        return self.compare(3, _operand(value))


def _operand(value: object) -> int | Bytes:
    if not isinstance(value, int | bytes | str):
        raise TypeError(f"a compare takes int, bytes or str, not {type(value).__name__}")
    return value


def version(key: Bytes, range_end: Bytes = b"") -> Target:
    """The key's version; 0 when it does not exist."""
    return Target(0, key, range_end)


def create_revision(key: Bytes, range_end: Bytes = b"") -> Target:
    """The key's create revision; 0 when it does not exist."""
    return Target(1, key, range_end)


def mod_revision(key: Bytes, range_end: Bytes = b"") -> Target:
    """The key's mod revision; 0 when it does not exist."""
    return Target(2, key, range_end)


def value(key: Bytes, range_end: Bytes = b"") -> Target:
    """The key's value; a condition on a key that does not exist is false."""
    return Target(3, key, range_end)


def lease(key: Bytes, range_end: Bytes = b"") -> Target:
    """The key's lease id; 0 for none."""
    return Target(4, key, range_end)
