"""Who looks is told what all members say; nobody asks while nobody looks."""

import asyncio
import json

from sampan.client import NotAppliedError
from sampan.client.types import Member, MemberListResponse, ResponseHeader, StatusResponse
from sampan.web import live
from sampan.web.live import Live

HEADER = ResponseHeader(1, 1, 1, 1)


class FakeCluster:
    """Stands for every client: one of a node, and one of all members."""

    def __init__(self, members, away=()):
        self.members, self.away, self.asked = members, set(away), 0

    async def member_list(self, *, timeout_s):
        return MemberListResponse(HEADER, self.members)

    async def metrics(self, endpoint, *, timeout_s):
        self.asked += 1
        if endpoint in self.away:
            raise NotAppliedError(14, "away")
        return StatusResponse(HEADER, {"status": {"name": endpoint}})

    async def aclose(self):
        pass


MEMBERS = [
    Member(1, "n1", [], ["a:1", "http://a:2"], False),
    Member(10, "", [], ["http://b:2", "b:1"], False),
    Member(3, "new", [], [], True),
]


def test_everybody_is_told_of_every_member_that_has_an_address(monkeypatch):
    cluster = FakeCluster(MEMBERS, away={"b:1"})
    monkeypatch.setattr(live, "AsyncClient", lambda endpoints: cluster)

    async def look():
        told = asyncio.Queue()
        page = Live(cluster)
        assert page.look(told.put_nowait)
        telling = await told.get()
        page.leave(told.put_nowait)
        await page.aclose()
        return telling

    telling = asyncio.run(look())
    assert telling.startswith(b"data: ")
    assert telling.endswith(b"\n\n")
    nodes = json.loads(telling[6:])["nodes"]
    assert nodes == {
        "1": {"name": "n1", "measured": {"status": {"name": "a:1"}}},
        "a": {"name": "a", "measured": None},
    }


def test_nobody_is_asked_while_nobody_looks(monkeypatch):
    cluster = FakeCluster(MEMBERS)
    monkeypatch.setattr(live, "AsyncClient", lambda endpoints: cluster)
    monkeypatch.setattr(live, "EVERY_S", 0.0)

    async def look():
        page, told = Live(cluster), asyncio.Queue()
        assert page.look(told.put_nowait)
        await told.get()
        page.leave(told.put_nowait)
        polling = page._polling
        await polling
        asked = cluster.asked
        assert page._polling is None
        return asked == cluster.asked

    assert asyncio.run(look())


def test_so_many_may_look_and_no_more():
    async def look():
        page = Live(FakeCluster([]))
        sends = [lambda _, n=n: n for n in range(live.VIEWERS_MAX + 1)]
        taken = [page.look(send) for send in sends]
        await page.aclose()
        return taken

    assert asyncio.run(look()) == [True] * live.VIEWERS_MAX + [False]
