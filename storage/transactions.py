"""Transactions: compares choose a path, and its operations are executed, as etcd's
server/etcdserver/txn does (Txn, checkTxn, applyCompare).

One that only reads needs nothing else, and may be read in slices between which others write: it
shows what there was when it began.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from ..transport import errors
from ..transport.requests import COMPARE_VALUE
from .as_of import AsOf
from .mvcc import Result, Versions
from .overlay import Pair
from .packing import pack_sliced
from .records import HEADER_SIZE, read_header
from .sliced import ITEMS, Sliced, discard, in_parts

Request = tuple[Any, ...]
Check = Callable[[Request], errors.WireError | None]

_COMPARED = (5, 3, 4)
"""compare target -> position in Header, for version, create and mod revision."""
_LEASE = 4

SLICE_COST = 2048
"""Of a slice: a key that is deleted, or found by a transaction, costs 1, about 4 µs."""
REQUEST_COST = 1
"""Of a request that is no plain put, at least."""
_VALUE_BYTES = 4096
"""That cost as much to read."""

FOUND_MUCH = ITEMS
"""Keys of results whose packing takes a slice."""


class Source(Protocol):
    """What transactions are executed on. See Versions."""

    @property
    def revision(self) -> int: ...
    def current(self, key: bytes) -> bytes | None: ...
    def current_pairs(self, key: bytes, range_end: bytes) -> Sliced[list[Pair]]: ...
    def range_one(self, key: bytes) -> Result: ...
    def range(self, request: Request) -> Sliced[Result]: ...
    def check_revision(self, revision: int) -> errors.WireError | None: ...


def read_packed(versions: Versions, request: Request) -> Sliced[bytes]:
    """The packed result of a transaction that only reads, on what is there at the first slice, or
    later when that is compacted meanwhile."""
    while True:
        compacted = versions.compact_revision
        work = Transactions(AsOf(versions)).transaction(request)
        while versions.compact_revision == compacted:
            try:
                next(work)
            except StopIteration as end:
                return (yield from pack_sliced(end.value))
            yield


class Transactions:
    """Executes checked transactions, one after the other. Whoever can do more than read says what
    it checks before (`_checks`) and does (`_write`).

    Attributes:
        found: how many keys results hold since somebody set it to 0.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._left = SLICE_COST  # of the slice under way
        self.found = 0

    def is_over(self, cost: int = REQUEST_COST) -> bool:
        """Whether the slice is, after so much more."""
        self._left -= cost
        if self._left > 0:
            return False
        self._left = SLICE_COST
        return True

    @property
    def found_much(self) -> bool:
        """Whether packing the results would take longer than a slice."""
        return self.found > FOUND_MUCH

    def transaction(self, request: Request) -> Sliced[Result]:
        """Execute a transaction: all compares first, then all checks on the chosen path, then its
        operations."""
        taken: list[bool] = []
        yield from self._choose(request, taken)
        for check in self._checks():
            refusal = self._check(request, iter(taken), check)
            if refusal is not None:
                return refusal
        return (yield from self._run(request, iter(taken)))

    def _checks(self) -> tuple[Check, ...]:
        return (self._check_range,)

    def _write(self, operation: Request) -> Sliced[Result]:
        raise NotImplementedError(f"{operation[0]} in a transaction that reads")

    def _header_revision(self) -> int:
        """The revision that a result shows now."""
        return self._source.revision

    def _choose(self, request: Request, taken: list[bool]) -> Sliced[None]:
        """Evaluate the compares of a transaction and of those on its path, depth first."""
        holds = True
        for compare in request[1]:
            one = len(compare) == 4  # nearly all
            holds = self._compare_one(*compare) if one else (yield from self._compare(*compare))
            if not holds:
                break
        taken.append(holds)
        for operation in request[2] if holds else request[3]:
            if operation[0] == "txn":
                yield from self._choose(operation, taken)

    def _compare_one(self, target: int, result: int, key: bytes, value: Any) -> bool:
        """Whether it holds; a key that is not there counts as zeros, and has no value that could be
        compared."""
        record = self._source.current(key)
        if record is None:
            return target != COMPARE_VALUE and _holds(result, 0, value)
        return _holds(result, _compared(target, record), value)

    def _compare(
        self, target: int, result: int, key: bytes, value: Any, range_end: bytes = b""
    ) -> Sliced[bool]:
        """Whether it holds for all keys of the range, as for one that is not there if there are
        none."""
        pairs = yield from self._source.current_pairs(key, range_end)
        if not pairs:
            return target != COMPARE_VALUE and _holds(result, 0, value)
        if self.is_over(len(pairs)):
            yield

        def all_hold(part: Sequence[Pair]) -> list[bool]:
            return [all(_holds(result, _compared(target, record), value) for _, record in part)]

        holds = all((yield from in_parts(pairs, all_hold)))
        yield from discard(pairs)
        return holds

    def _check(
        self, request: Request, taken: Iterator[bool], check: Check
    ) -> errors.WireError | None:
        """The first refusal on the path that is taken (etcd's checkRequests)."""
        for operation in request[2] if next(taken) else request[3]:
            txn = operation[0] == "txn"
            refusal = self._check(operation, taken, check) if txn else check(operation)
            if refusal is not None:
                return refusal
        return None

    def _check_range(self, operation: Request) -> errors.WireError | None:
        if operation[0] != "range":
            return None
        return self._source.check_revision(operation[4] if len(operation) > 4 else 0)

    def _run(self, request: Request, taken: Iterator[bool]) -> Sliced[Result]:
        holds = next(taken)
        results: list[Result] = []
        for operation in request[2] if holds else request[3]:
            name = operation[0]
            if name == "range":
                results.append((yield from self._range(operation)))
            elif name == "txn":
                results.append((yield from self._run(operation, taken)))
            else:
                results.append((yield from self._write(operation)))
        return (0, self._header_revision(), holds, results)

    def _range(self, operation: Request) -> Sliced[Result]:
        if len(operation) == 2:  # nearly all
            found = self._source.range_one(operation[1])
            cost = 1 + sum(len(kv[-1]) for kv in found[-1]) // _VALUE_BYTES
        else:
            found = yield from self._source.range(operation)
            cost = len(found[-1])
        self.found += cost
        if self.is_over(cost):
            yield
        return found


def _compared(target: int, record: bytes) -> Any:
    if target == COMPARE_VALUE:
        return record[HEADER_SIZE:]
    head = read_header(record)
    return head.lease if target == _LEASE else head[_COMPARED[target]]


def _holds(result: int, actual: Any, expected: Any) -> bool:
    """etcd's compareKV: 0 equal, 1 greater, 2 less, 3 not equal."""
    if result == 0:
        return bool(actual == expected)
    if result == 1:
        return bool(actual > expected)
    if result == 2:
        return bool(actual < expected)
    return bool(actual != expected)
