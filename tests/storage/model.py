"""etcd's data model in the plainest Python: what the state database is compared with.

Keeps a copy of the whole state for each revision.
`kv` is (key, create, mod, version, lease, value).
"""

from sampan.transport import errors


class Model:
    def __init__(self):
        self.revision = 1
        self.compacted = 0
        self.states = {1: {}}
        self.events = []  # (revision, key, kv or None)

    def apply(self, request):
        revision = self.revision + 1
        now = dict(self.states[self.revision])
        before = len(self.events)
        result = getattr(self, request[0])(now, revision, *request[1:])
        if len(self.events) > before:
            self.revision = revision
            self.states[revision] = now
        return result

    def put(self, now, revision, key, value, lease=0, flags=0):
        old = now.get(key)
        if lease:
            return errors.LEASE_NOT_FOUND
        if flags & 6 and old is None:
            return errors.KEY_NOT_FOUND
        if flags & 2:
            value = old[5]
        create, version = (old[1], old[3] + 1) if old else (revision, 1)
        now[key] = (key, create, revision, version, lease, value)
        self.events.append((revision, key, now[key]))
        return (0, revision, old) if flags & 1 else (0, revision)

    def delete(self, now, revision, key, range_end=b"", flags=0):
        gone = [now.pop(name) for name in self.within(now, key, range_end)]
        self.events += [(revision, kv[0], None) for kv in gone]
        changed = self.events and self.events[-1][0] == revision
        result = (0, revision if changed else revision - 1, len(gone))
        return (*result, gone) if flags & 1 else result

    @staticmethod
    def within(state, key, range_end):
        if not range_end:
            return [key] if key in state else []
        return sorted(k for k in state if key <= k and (range_end == b"\0" or k < range_end))

    def range(
        self, key, range_end=b"", limit=0, revision=0, flags=0, target=0, order=0,
        min_mod=0, max_mod=0, min_create=0, max_create=0,
    ):  # fmt: skip
        if revision > self.revision:
            return errors.FUTURE_REVISION
        if 0 < revision < self.compacted:
            return errors.COMPACTED
        state = self.states[revision or self.revision]
        keys = self.within(state, key, range_end)
        if flags & 2:
            return (0, self.revision, len(keys), False, [])
        filters = min_mod or max_mod or min_create or max_create
        found = [state[k] for k in keys]
        if limit and order == 0 and not filters:
            found = found[: limit + 1]  # etcd fetches no more, and sorts those
        found = [
            kv
            for kv in found
            if min_mod <= kv[2] <= (max_mod or kv[2])
            and min_create <= kv[1] <= (max_create or kv[1])
        ]
        found.sort(key=lambda kv: kv[(0, 3, 1, 2, 5)[target]], reverse=order == 2)
        more = 0 < limit < len(found)
        found = found[:limit] if limit else found
        if flags & 1:
            found = [(*kv[:5], b"") for kv in found]
        return (0, self.revision, len(keys), more, found)
