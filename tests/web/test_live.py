"""Who looks is told what all members say; nobody asks while nobody looks."""

import asyncio
import json
from time import monotonic

import pytest
from sampan.client.types import Member
from sampan.web import cluster, live
from sampan.web.cluster import Cluster
from sampan.web.live import Live
from sampan.web.traces import Traces

from .fakes import FakeClient

MEMBERS = [
    Member(1, "n1", [], ["a:1", "http://a:2"], False),
    Member(10, "", [], ["http://b:2", "b:1"], False),
    Member(3, "new", [], [], True),
]


@pytest.fixture
def looked(monkeypatch):
    """Makes a page of a fake client, looks, and returns the first tellings."""

    def look(client, tellings=1):
        monkeypatch.setattr(cluster, "AsyncClient", lambda endpoints, **own: client)

        async def run():
            told = asyncio.Queue()
            page = Live(Cluster(client), Traces())
            assert page.look(told.put_nowait)
            async with asyncio.timeout(120):
                found = [await told.get() for _ in range(tellings)]
            page.leave(told.put_nowait)
            await page.aclose()
            return found

        found = asyncio.run(run())
        assert all(t.startswith(b"data: ") and t.endswith(b"\n\n") for t in found)
        return [json.loads(telling[6:]) for telling in found]

    return look


def test_everybody_is_told_of_every_member_that_has_an_address(looked):
    nodes = looked(FakeClient(MEMBERS, away={"b:1"}))[0]["nodes"]
    assert nodes.keys() == {"1", "a"}
    assert (nodes["1"]["name"], nodes["1"]["away"]) == ("n1", "")
    assert nodes["1"]["figures"]["name"] == "a:1"
    assert nodes["a"] == {"name": "a", "away": "away", "figures": None}


def test_who_does_not_answer_holds_up_nobody(looked):
    began = monotonic()
    nodes = looked(FakeClient(MEMBERS, silent={"b:1"}))[0]["nodes"]
    assert nodes["1"]["figures"]
    assert nodes["a"]["figures"] is None
    assert monotonic() - began < 60  # for ever, if it did


def test_the_newest_write_is_looked_at_once(looked, monkeypatch):
    monkeypatch.setattr(live, "EVERY_S", 0.01)
    client = FakeClient(MEMBERS, revision=9)
    told = looked(client, tellings=5)[-1]
    assert client.traced == [9]
    assert [write[0] for write in told["traces"]["last"]] == []  # it was long ago, by its clock
    assert [write[:3] for write in told["traces"]["slowest"]] == [[9, 1, 0.01]]


def test_nobody_is_asked_while_nobody_looks(monkeypatch):
    client = FakeClient(MEMBERS)
    monkeypatch.setattr(cluster, "AsyncClient", lambda endpoints, **own: client)
    monkeypatch.setattr(live, "EVERY_S", 0.0)

    async def look():
        page, told = Live(Cluster(client), Traces()), asyncio.Queue()
        assert page.look(told.put_nowait)
        async with asyncio.timeout(120):
            await told.get()
        page.leave(told.put_nowait)
        await page._polling
        asked = client.asked
        assert page._polling is None
        await asyncio.sleep(0)
        return asked == client.asked

    assert asyncio.run(look())


def test_so_many_may_look_and_no_more():
    async def look():
        page = Live(Cluster(FakeClient([])), Traces())
        sends = [lambda _, n=n: n for n in range(live.VIEWERS_MAX + 1)]
        taken = [page.look(send) for send in sends]
        await page.aclose()
        return taken

    assert asyncio.run(look()) == [True] * live.VIEWERS_MAX + [False]
