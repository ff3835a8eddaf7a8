"""The examples of the guide's chapter on programs run; of FastAPI and gunicorn only the parts that
are ours, with a double for the rest."""

import asyncio
import re
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import sampan
from sampan.client import Client

TEXT = (Path(sampan.__file__).parent / "docs" / "client.md").read_text()
CHAPTER = TEXT[TEXT.index("\n## In programs\n") :]
FOLLOW, SERVER, FORKING = re.findall(r"^```python\n(.*?)^```", CHAPTER, re.DOTALL | re.MULTILINE)
WAIT_S = 180


def names_of(code, endpoint):
    names = {"ENDPOINTS": [endpoint]}
    exec(code, names)
    return names


def test_reading_and_then_following(real):
    told, everything = [], threading.Event()

    def apply(key, value):
        told.append((key, value))
        if key == b"conf/last":
            everything.set()
            raise StopIteration

    follow = names_of(FOLLOW, real)["follow"]
    with Client([real], timeout_s=WAIT_S) as client:
        client.delete("conf/", prefix=True)
        client.put("conf/a", "1")

        def run():
            with pytest.raises(StopIteration):
                follow(client, "conf/", apply)

        follower = threading.Thread(target=run)
        follower.start()
        client.put("conf/a", "2")
        client.delete("conf/a")
        client.put("conf/last", "3")
        assert everything.wait(WAIT_S)
        follower.join(WAIT_S)
    # When it began is for the scheduler to say; from there on all is told, in order, once.
    history = [(b"conf/a", b"1"), (b"conf/a", b"2"), (b"conf/a", None), (b"conf/last", b"3")]
    assert told == history[-len(told) :]


def test_a_server_with_a_lifespan(real, monkeypatch):
    class FastAPI:
        def __init__(self, lifespan):
            self.lifespan, self.state = lifespan, SimpleNamespace()

        def get(self, _path):
            return lambda function: function

    double = SimpleNamespace(FastAPI=FastAPI, Request=object)
    monkeypatch.setitem(sys.modules, "fastapi", double)
    names = names_of(SERVER, real)

    async def serve():
        app = names["app"]
        async with app.lifespan(app):
            await app.state.sampan.put("ships/a", "sampan")
            request = SimpleNamespace(app=app)
            return [await names["ship"](name, request) for name in ("a", "b")]

    assert asyncio.run(serve()) == [{"value": "sampan"}, {"value": None}]


def test_a_server_that_forks(real):
    names, worker = names_of(FORKING, real), SimpleNamespace()
    names["post_fork"](None, worker)
    assert worker.sampan.get("nothing").count == 0
    names["worker_exit"](None, worker)
