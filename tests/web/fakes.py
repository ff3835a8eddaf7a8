"""What stands for a cluster where pages are made."""

import asyncio

from sampan.client import NotAppliedError
from sampan.client.trace import Step, Trace
from sampan.client.types import MemberListResponse, ResponseHeader, StatusResponse

HEADER = ResponseHeader(1, 1, 1, 1)
ACTORS = ("node", "raft_core", "wal_writer", "applier", "transport")


def measured(*, turns=1, busy_s=0.0, messages=(), process=(1, 0.0), durations=(), **status):
    """What a member says of itself when its actors fare alike."""
    actor = {
        "load": {
            "turns": turns, "busy_s": busy_s, "longest_s": 0.0, "queue_longest": 7,
            "messages": dict(messages), "process": process,
        },
        "durations": dict(durations),
        "requests": {"put": status.get("puts", 0)},
    }  # fmt: skip
    told = {"requests": 0, "revision": 0} | status
    return {"status": told, "actors": dict.fromkeys(ACTORS, actor)}


def trace_of(revision=5, *, member=1, took_s=0.010, began=0.0, entry=None):
    """The way of a write that this member took and led."""
    steps = [
        Step(0.0, member, "node", "clientc", 0),
        Step(0.1 * took_s, member, "node", "propc", 0),
        Step(0.2 * took_s, member, "raft_core", "readyc", 0),
        Step(0.3 * took_s, 2, "raft_core", "recvc", member),
        Step(0.5 * took_s, member, "wal_writer", "fsync", 0),
        Step(0.6 * took_s, 2, "wal_writer", "fsync", 0),
        Step(0.8 * took_s, member, "raft_core", "acknowledged", 2),
        Step(0.9 * took_s, member, "raft_core", "applyc", 0),
        Step(took_s, member, "node", "resultc", 0),
    ]
    entry = revision if entry is None else entry
    return Trace(revision, entry, 3, member, steps, {member: 0.0, 2: 0.0}, began)


class FakeClient:
    """Stands for every client: one of a node, and one of all members."""

    def __init__(self, members, away=(), silent=(), **status):
        self.members, self.away, self.silent, self.fields = members, set(away), set(silent), status
        self.asked = 0
        self.traced = []

    async def member_list(self, *, timeout_s):
        return MemberListResponse(HEADER, self.members)

    async def status(self, *, timeout_s):
        return StatusResponse(HEADER._replace(revision=self.fields.get("revision", 0)), self.fields)

    async def metrics(self, endpoint, *, timeout_s):
        self.asked += 1
        if endpoint in self.away:
            raise NotAppliedError(14, "away")
        if endpoint in self.silent:
            await asyncio.Event().wait()
        return StatusResponse(HEADER, measured(name=endpoint, **self.fields))

    async def trace(self, revision):
        self.traced.append(revision)
        return trace_of(revision)

    async def aclose(self):
        pass
