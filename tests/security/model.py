"""An independent model of who may do what: it knows no intervals, only keys one by one.

The keys are few, but stand for all: between any two ends of the ranges in these tests there is one.
"""

from itertools import product

ENDS = (b"a", b"b", b"ba", b"c", b"d")
KEYS = tuple(sorted({b"\x00", *ENDS, *(e + b"\x00" for e in ENDS), *(e + b"m" for e in ENDS)}))
RANGES = [(b"a", b""), (b"ba", b""), (b"\x00", b"\x00")] + [
    (start, end) for start, end in product(ENDS, (*ENDS, b"\x00")) if end == b"\x00" or start < end
]
READ, WRITE, READWRITE = 0, 1, 2
ON_KEYS = ("put", "delete", "range", "txn", "create", "lease_revoke", "lease_keep_alive",
           "lease_time_to_live", "lease_list")  # fmt: skip
LEASES = {1: (), 2: (b"a",), 3: (b"a", b"c"), 4: (b"bm", b"d")}


def inside(key, first, end):
    if end == b"":
        return key == first
    return first <= key and (end == b"\x00" or key < end)


class User:
    """Somebody with these permissions; `root` has all, `exists` tells whether there is such one."""

    def __init__(self, permissions=(), root=False, exists=True):
        self.permissions = permissions
        self.root = root
        self.exists = exists

    def may(self, wanted, key):
        return any(
            kind in (wanted, READWRITE) and inside(key, first, end)
            for kind, first, end in self.permissions
        )

    def may_all(self, wanted, first, end=b""):
        keys = [key for key in KEYS if inside(key, first, end)]
        return all(self.may(wanted, key) for key in keys or [first])

    def may_lease(self, wanted, lease):
        return all(self.may(wanted, key) for key in LEASES.get(lease, ()))

    def permitted(self, request):
        """Of a request whose optional elements are all there."""
        name, *rest = request
        if name == "put":
            key, _, lease, flags = rest
            reads = bool(flags & 1)
            return (
                self.may(WRITE, key)
                and self.may_lease(WRITE, lease)
                and (not reads or self.may(READ, key))
            )
        if name == "delete":
            first, end, flags = rest
            return self.may_all(WRITE, first, end) and (not flags or self.may_all(READ, first, end))
        if name in ("range", "create"):
            return self.may_all(READ, *rest[:2])
        if name == "txn":
            compares, success, failure = rest
            compared = all(self.may_all(READ, c[2], c[4]) for c in compares)
            return compared and all(map(self.permitted, success + failure))
        if name in ("lease_revoke", "lease_keep_alive"):
            return self.may_lease(WRITE, rest[0])
        if name == "lease_time_to_live":
            return not rest[1] or self.may_lease(READ, rest[0])
        if name == "lease_list":
            return all(self.may_lease(READ, lease) for lease in LEASES)
        return name in ("lease_grant", "session_open", "alarm_list", "status", "metrics",
                        "member_list", "cancel", "progress", "ack")  # fmt: skip

    def decide(self, request, known, asked_at, now):
        """`known`: somebody said who asks. The answer in a word, None for yes."""
        if not known:
            return "empty"
        if request[0] in ON_KEYS and asked_at < now:
            return "old"
        if not self.exists:
            return "denied"
        return None if self.root or self.permitted(request) else "denied"
