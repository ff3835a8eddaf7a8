"""The state database together with the writes that are not in it yet."""

from .rocks import Database

Pair = tuple[bytes, bytes]


class Overlay:
    """Reads see `writes` first; `commit` puts them into the database in one batch.

    A key that is written many times before a commit costs one write.
    """

    SCAN_MAX = 256
    """Writes beyond which a range should commit before: `pairs` looks at all of them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.writes: dict[bytes, bytes | None] = {}
        """Key -> value, None for a deletion."""

    def get(self, key: bytes) -> bytes | None:
        """The value of `key`, None when there is none."""
        if key in self.writes:
            return self.writes[key]
        return self.db.get(key)

    def pairs(self, start: bytes, end: bytes, limit: int = 0) -> list[Pair]:
        """The first `limit` pairs (0: all) with `start` <= key < `end`."""
        if not self.writes:
            return self.db.pairs(start, end, limit)
        changed = [key for key in self.writes if start <= key < end]
        if not changed:
            return self.db.pairs(start, end, limit)
        # `limit` stored pairs would not do when some of them are deleted here.
        stored = dict(self.db.pairs(start, end, limit + len(changed) if limit else 0))
        for key in changed:
            value = self.writes[key]
            if value is None:
                stored.pop(key, None)
            else:
                stored[key] = value
        merged = sorted(stored.items())
        return merged[:limit] if limit else merged

    def count(self, start: bytes, end: bytes) -> int:
        """How many keys there are in `start` <= key < `end`."""
        if any(start <= key < end for key in self.writes):
            return len(self.pairs(start, end))
        return self.db.count(start, end)

    def commit(self) -> None:
        """Write everything, or nothing and raise StorageError.

        In order: with the hint in rocks.py each key finds its place from the one before, which
        saves more (0.5 µs a key) than sorting costs (0.3 µs).
        """
        batch = self.db.batch()
        writes = self.writes
        for key in sorted(writes):
            value = writes[key]
            if value is None:
                batch.delete(key)
            else:
                batch[key] = value
        self.db.write(batch)
        self.writes.clear()
