"""Reading a range of any size page by page, all of it as of one revision."""

from collections.abc import Sequence

from . import ops
from .ops import Bytes, Request
from .types import KeyValue, RangeResponse

PAGE_BYTES = 1 << 20
"""What a page should take: some ms of a node's time, so that others do not wait."""
FIRST_PAGE_KEYS = 256
PAGE_KEYS_MAX = 10_000


class ScanOptions(ops.Bounds, total=False):
    """What a scan may also say, besides `ops.Bounds`.

    Attributes:
        revision: as of this revision; 0 for the newest when the scan begins.
        keys_only: leave the values out.
    """

    revision: int
    keys_only: bool


class Scan:
    """The plan of a scan: which page to ask for next. Holds at most one page."""

    def __init__(self, key: Bytes, options: ScanOptions) -> None:
        """Raises ValueError for two of range_end, prefix and from_key."""
        self._revision = options.pop("revision", 0)
        self._keys_only = options.pop("keys_only", False)
        self._next, self._end = ops.key_range(key, options)
        ops.refuse_rest("scan", options)
        self._limit = FIRST_PAGE_KEYS
        self._more = True

    def request(self) -> Request | None:
        """The next page's request, None after the last page."""
        if not self._more:
            return None
        return ops.get(
            self._next,
            range_end=self._end,
            limit=self._limit,
            revision=self._revision,
            keys_only=self._keys_only,
            no_count=True,
        )

    def take(self, page: RangeResponse) -> Sequence[KeyValue]:
        """The keys of the page; the next one begins after them."""
        self._more = page.more
        self._revision = self._revision or page.header.revision
        if page.kvs:
            self._next = page.kvs[-1].key + b"\x00"
            size = sum(len(kv.key) + len(kv.value) + 64 for kv in page.kvs)
            self._limit = next_limit(self._limit, len(page.kvs), size)
        return page.kvs


def next_limit(limit: int, keys: int, size: int) -> int:
    """How many keys to ask for after a page of `keys` keys and `size` bytes, which was asked for
    `limit`: at most twice as many, since the next values may be larger."""
    return max(1, min(PAGE_BYTES * keys // size, 2 * limit, PAGE_KEYS_MAX))
