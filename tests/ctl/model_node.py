"""A node of one with etcd's data model in a dict: what sampanctl's output is compared through."""

import copy
from typing import Any

from ..client.fake_node import FakeNode


def _never(code: int, text: str) -> list[Any]:
    return [code, f"etcdserver: {text}", "not applied"]


class ModelNode(FakeNode):
    """`FakeNode` with revisions in the past, sorting, limits and etcd's errors."""

    def __init__(self) -> None:
        super().__init__(member_id=0x2E1259D415F2A040)
        self.cluster_id = 0x48276A8F75B6A87
        self.history: dict[int, dict[bytes, list[Any]]] = {1: {}}

    def execute(self, request: list[Any]) -> list[Any]:
        name = request[0]
        if name == "member_list":
            url = f"http://{self.endpoint}"
            return [0, [[self.member_id, "a", [url], [url], False]]]
        if name == "status":
            numbers = dict.fromkeys(("db_size", "commit", "applied", "revision"), 24_000)
            return [0, {"version": "0.1.0", "leader": self.leader_id, **numbers}]
        if name in ("put", "delete", "range") and not request[1]:
            return _never(3, "key is not provided")
        result = self._range(*request[1:]) if name == "range" else super().execute(request)
        self.history[self.revision] = copy.deepcopy(self.data)
        return result

    def _put(self, key: bytes, value: bytes, lease: int = 0, flags: int = 0) -> list[Any]:
        if flags & 2 and value:
            return _never(3, "value is provided")
        if flags & 4 and lease:
            return _never(3, "lease is provided")
        if flags & 6 and key not in self.data:
            return _never(3, "key not found")
        if lease:
            return _never(5, "requested lease not found")
        return super()._put(key, self.data[key][5] if flags & 2 else value, lease, flags)

    def _range(
        self, key: bytes, end: bytes = b"", limit: int = 0, revision: int = 0, *rest: int
    ) -> list[Any]:
        flags, target, order = (*rest, 0, 0, 0)[:3]
        if revision > self.revision:
            return _never(11, "mvcc: required revision is a future revision")
        now, self.data = self.data, self.history[revision or self.revision]
        found, self.data = self._find(key, end), now
        count = len(found)
        if flags & 2:
            return [0, self.revision, count, False, []]
        if target or order:
            found = sorted(found, key=lambda kv: kv[(0, 3, 1, 2, 5)[target]], reverse=order == 2)
        more = 0 < limit < count
        found = found[: limit or None]
        if flags & 1:
            found = [[*kv[:5], b""] for kv in found]
        return [0, self.revision, count, more, found]
