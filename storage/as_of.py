"""What a transaction that only reads sees, however long it takes: all versions as they are now."""

from typing import Any

from ..transport import errors
from .mvcc import Result, Versions
from .overlay import Pair
from .records import key_value
from .sliced import Sliced, finish

_REVISION = 4
_BEFORE_REVISION = (b"", 0)
"""Of a range: the defaults of what stands between its key and its revision."""


class AsOf:
    """Versions as they are at this revision. They are there until it is compacted, which whoever
    reads has to look for before each slice.

    Attributes:
        revision: the newest then.
    """

    def __init__(self, versions: Versions) -> None:
        self._versions = versions
        self.revision = versions.revision

    def current(self, key: bytes) -> bytes | None:
        """See Versions."""
        if self.revision == self._versions.revision:
            return self._versions.current(key)
        found = finish(self._versions.past_pairs(self.revision, key, b""))
        return found[0][1] if found else None

    def current_pairs(self, key: bytes, range_end: bytes) -> Sliced[list[Pair]]:
        """See Versions."""
        if self.revision == self._versions.revision:
            return self._versions.current_pairs(key, range_end)
        return self._versions.past_pairs(self.revision, key, range_end)

    def range_one(self, key: bytes) -> Result:
        """See Versions."""
        record = self.current(key)
        kvs = [] if record is None else [key_value(key, record)]
        return (0, self.revision, len(kvs), False, kvs)

    def range(self, request: tuple[Any, ...]) -> Sliced[Result]:
        """See Versions; of this revision if the request names none."""
        before = request[1:_REVISION] + _BEFORE_REVISION[len(request) - 2 :]
        revision, *rest = request[_REVISION:] or (0,)
        asked = (request[0], *before, revision or self.revision, *rest)
        result = yield from self._versions.range(asked)
        return (0, self.revision, *result[2:])

    def check_revision(self, revision: int) -> errors.WireError | None:
        """See Versions."""
        if revision > self.revision:
            return errors.FUTURE_REVISION
        return self._versions.check_revision(revision)
