"""etcd's data model in the plainest Python: what the state database is compared with.

Keeps a copy of the whole state for each revision.
`kv` is (key, create, mod, version, lease, value).
"""

import operator

from sampan.transport import errors

COMPARE = (operator.eq, operator.gt, operator.lt, operator.ne)


class Model:
    def __init__(self):
        self.revision = 1
        self.compacted = 0
        self.states = {1: {}}
        self.leases = {}  # id -> (time to live, index of the last renewal)
        self.events = []  # (revision, key, kv or None)

    def apply(self, request, index=0):
        self.index = index
        self.now = dict(self.states[self.revision])
        self.next = self.revision + 1
        self.before = len(self.events)
        result = getattr(self, request[0])(*request[1:])
        if self.changed():
            self.revision = self.next
            self.states[self.revision] = self.now
        return result

    def changed(self):
        return len(self.events) > self.before

    def at(self):
        return self.revision + self.changed()

    def check_put(self, key, value, lease=0, flags=0, in_txn=False):
        leaseless = errors.LEASE_NOT_FOUND if lease and lease not in self.leases else None
        keyless = errors.KEY_NOT_FOUND if flags & 6 and key not in self.now else None
        return keyless or leaseless if in_txn else leaseless or keyless

    def put(self, key, value, lease=0, flags=0):
        if refusal := self.check_put(key, value, lease, flags):
            return refusal
        old = self.now.get(key)
        value = old[5] if flags & 2 else value
        lease = old[4] if flags & 4 else lease
        create, version = (old[1], old[3] + 1) if old else (self.next, 1)
        self.now[key] = (key, create, self.next, version, lease, value)
        self.events.append((self.next, key, self.now[key]))
        return (0, self.next, old) if flags & 1 else (0, self.next)

    def delete(self, key, range_end=b"", flags=0):
        gone = [self.now.pop(name) for name in within(self.now, key, range_end)]
        self.events += [(self.next, kv[0], None) for kv in gone]
        result = (0, self.at(), len(gone))
        return (*result, gone) if flags & 1 else result

    def lease_grant(self, lease, ttl):
        if lease in self.leases:
            return errors.LEASE_EXISTS
        self.leases[lease] = (ttl, self.index)
        return (0, self.revision, lease, ttl)

    def lease_keep_alive(self, lease):
        ttl, _ = self.leases.get(lease, (0, 0))
        if lease in self.leases:
            self.leases[lease] = (ttl, self.index)
        return (0, self.revision, lease, ttl)

    def lease_expire(self, due, keys_max):
        ended, before = 0, len(self.events)
        for lease, renewed in due:
            gone = len(self.events) - before
            if lease in self.leases and self.leases[lease][1] == renewed and gone < keys_max:
                self.apply(("lease_revoke", lease), self.index)
                self.now, self.next = dict(self.states[self.revision]), self.revision + 1
                self.before = len(self.events)
                ended += 1
        return (0, self.revision, ended)

    def lease_revoke(self, lease):
        if lease not in self.leases:
            return errors.LEASE_NOT_FOUND
        del self.leases[lease]
        for key in sorted(key for key, kv in self.now.items() if kv[4] == lease):
            self.delete(key)
        return (0, self.at())

    def txn(self, compares, success, failure):
        txn = self.choose(compares, success, failure)
        return self.check_txn(txn) or self.run_txn(txn)

    def choose(self, compares, success, failure):
        holds = all(self.compare(*compare) for compare in compares)
        return holds, [
            ("txn", self.choose(*op[1:])) if op[0] == "txn" else op
            for op in (success if holds else failure)
        ]

    def compare(self, target, result, key, value, range_end=b""):
        kvs = [self.now[name] for name in within(self.now, key, range_end)]
        if not kvs:
            return target != 3 and COMPARE[result](0, value)
        return all(COMPARE[result](kv[(3, 1, 2, 5, 4)[target]], value) for kv in kvs)

    def check_txn(self, txn):
        path = list(self.flat(txn))
        puts = [options for name, *options in path if name == "put"]
        ranges = [(*options, 0, 0, 0)[3] for name, *options in path if name == "range"]
        refusals = [self.check_put(*put, in_txn=True) for put in puts]
        refusals += map(self.check_revision, ranges)
        return next(filter(None, refusals), None)

    def flat(self, txn):
        for name, *options in txn[1]:
            yield from self.flat(options[0]) if name == "txn" else [(name, *options)]

    def run_txn(self, txn):
        results = [
            self.run_txn(options[0]) if name == "txn" else getattr(self, name)(*options)
            for name, *options in txn[1]
        ]
        return (0, self.at(), txn[0], results)

    def compact(self, revision, physical=0):
        if revision <= self.compacted:
            return errors.COMPACTED
        if revision > self.revision:
            return errors.FUTURE_REVISION
        self.compacted = revision
        return (0, self.revision)

    def check_revision(self, revision):
        if revision > self.at():
            return errors.FUTURE_REVISION
        return errors.COMPACTED if 0 < revision < self.compacted else None

    def read(self, request):
        self.now, self.before = self.states[self.revision], len(self.events)
        return getattr(self, request[0])(*request[1:])

    def range(
        self, key, range_end=b"", limit=0, revision=0, flags=0, target=0, order=0,
        min_mod=0, max_mod=0, min_create=0, max_create=0,
    ):  # fmt: skip
        if refusal := self.check_revision(revision):
            return refusal
        state = self.now if revision in (0, self.at()) else self.states[revision]
        keys = within(state, key, range_end)
        if flags & 2:
            return (0, self.at(), len(keys), False, [])
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
        return (0, self.at(), len(found) if flags & 4 else len(keys), more, found)


def within(state, key, range_end):
    if not range_end:
        return [key] if key in state else []
    return sorted(k for k in state if key <= k and (range_end == b"\0" or k < range_end))
