"""Who may give orders on a page, and what becomes of them."""

import asyncio
import json
import re
from types import SimpleNamespace

import pytest
from sampan.web.cluster import Cluster
from sampan.web.play import BURST_MAX, CLIENTS_MAX, TOKEN_HEADER, OrderError, Play

from .fakes import HEADER, FakeClient

HERE = "127.0.0.1:2381"


class Putting(FakeClient):
    def __init__(self):
        super().__init__([])
        self.puts = []

    async def put(self, key, value):
        self.puts.append((key, len(value)))
        await asyncio.sleep(0)
        return SimpleNamespace(header=HEADER._replace(revision=len(self.puts)))


class Lab:
    """A page with a lab, and what was ordered."""

    def __init__(self):
        self.client, self.ordered = Putting(), []
        self.play = Play(Cluster(self.client), self._order, lambda: {"slow_ms": {}})

    async def _order(self, order):
        if order.get("do") == "fail":
            raise OrderError("no")
        self.ordered.append(order)

    async def ask(self, order="{}", *, method="POST", path="/lab", token=None, **headers):
        token = await self.token() if token is None else token
        headers = {"host": HERE, TOKEN_HEADER: token} | headers
        body = order if isinstance(order, str) else json.dumps(order)
        return await self.play.answer(method, path, headers, body.encode())

    async def token(self):
        page = await self.play.answer("GET", "/", {"host": HERE}, b"")
        return re.search('<meta name="lab" content="([^"]+)">', page.body)[1]


def run(what):
    return asyncio.run(what)


def test_what_the_page_orders_is_done():
    lab = Lab()
    assert run(lab.ask({"do": "kill", "node": "n1"})).status == 200
    assert lab.ordered == [{"do": "kill", "node": "n1"}]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example:2381"}, 421),
        ({"host": "evil.example"}, 421),
        ({"host": ""}, 421),
        ({"host": "127.0.0.1.evil.example:2381"}, 421),
        ({"host": "192.0.2.1:2381"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:9999"}, 403),
        ({TOKEN_HEADER: "guessed"}, 403),
        ({TOKEN_HEADER: ""}, 403),
        ({TOKEN_HEADER: "é"}, 403),
    ],
)
def test_what_others_order_is_not(headers, status):
    lab = Lab()
    assert run(lab.ask({"do": "kill", "node": "n1"}, **headers)).status == status
    assert lab.ordered == []


@pytest.mark.parametrize("host", ["localhost:2381", "127.0.0.1", "[::1]:2381", "127.1.2.3:1"])
def test_this_machine_has_several_names(host):
    assert run(Lab().ask({"do": "x"}, host=host, origin=f"http://{host}")).status == 200


def test_the_token_is_shown_to_nobody_who_asks_by_a_foreign_name():
    async def ask():
        lab = Lab()
        page = await lab.play.answer("GET", "/", {"host": "evil.example"}, b"")
        return page.status, await lab.token() in page.body

    assert run(ask()) == (421, False)


def test_other_paths_are_answered_as_without_a_lab():
    lab = Lab()
    assert run(lab.ask(method="GET", path="/metrics")) is None
    assert run(lab.ask(method="POST", path="/health")) is None
    assert run(lab.ask(method="GET", path="/lab")) is None


@pytest.mark.parametrize(
    "order",
    ["", "[]", "{", "[" * 5000, "7", {"do": "fail"}, {"do": "put"}, {"do": "put", "times": 0},
     {"do": "put", "times": BURST_MAX + 1}, {"do": "put", "times": True},
     {"do": "put", "times": 1.5}, {"do": "load", "clients": CLIENTS_MAX + 1, "bytes": 1},
     {"do": "load", "clients": 1}, {"do": "load", "clients": -1, "bytes": 9}],
)  # fmt: skip
def test_an_order_that_makes_no_sense_is_told_so(order):
    lab = Lab()
    verdict = run(lab.ask(order))
    assert verdict.status == 400
    assert json.loads(verdict.body)["error"]
    assert lab.client.puts == []


def test_puts_and_load_are_made_here():
    async def play():
        lab = Lab()
        told = await lab.ask({"do": "put", "times": 3})
        assert json.loads(told.body) == {"revision": 3}
        alone = len(lab.client.puts)
        await lab.ask({"do": "load", "clients": 4, "bytes": 100})
        clients = lab.play.told()["clients"]
        while len(lab.client.puts) < 40:
            await asyncio.sleep(0)
        await lab.play.aclose()
        puts = len(lab.client.puts)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(lab.client.puts) == puts, "the load has ended"
        return alone, clients, lab.play.told()["clients"], {size for _, size in lab.client.puts[3:]}

    assert run(play()) == (3, 4, 0, {100})
