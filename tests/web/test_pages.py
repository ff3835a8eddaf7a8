"""Health checks against a client that says what it is told."""

import asyncio
import json
import re

import pytest
from sampan.client import NotAppliedError
from sampan.client.types import ResponseHeader, StatusResponse
from sampan.web.cluster import Cluster
from sampan.web.pages import Pages

NO_LEADER = NotAppliedError(14, "etcdserver: no leader")


class FakeClient:
    """A node of which everything can be said."""

    def __init__(self, *, reads=None, serializable=None, **fields):
        self.fields = {"leader": 1, "alarms": ()} | fields
        self.errors = {False: reads, True: serializable}
        self.asked = 0

    async def status(self, *, timeout_s):
        self.asked += 1
        return StatusResponse(ResponseHeader(1, 1, 1, 1), self.fields)

    async def get(self, key, *, serializable, **options):
        if self.errors[serializable] is not None:
            raise self.errors[serializable]


def ask(client, path, query="", method="GET"):
    pages = Pages(Cluster(client), "{}", tuple)
    return asyncio.run(pages.answer(method, path, query))


@pytest.mark.parametrize(
    ("client", "query", "reason"),
    [
        (FakeClient(), "", ""),
        (FakeClient(leader=0), "", "RAFT NO LEADER"),
        (FakeClient(leader=0), "serializable=true", ""),
        (FakeClient(reads=NO_LEADER), "", "RANGE ERROR:etcdserver: no leader"),
        (FakeClient(alarms=((1, 1),)), "", "ALARM NOSPACE"),
        (FakeClient(alarms=((1, 1),)), "exclude=NOSPACE", ""),
        (FakeClient(alarms=((1, 1), (2, 2))), "exclude=NOSPACE", "ALARM CORRUPT"),
        (FakeClient(alarms=((1, 1), (2, 2))), "exclude=NOSPACE&exclude=CORRUPT", ""),
    ],
)
def test_health(client, query, reason):
    verdict = ask(client, "/health", query)
    assert verdict.status == (503 if reason else 200)
    assert verdict.body == json.dumps(
        {"health": "false" if reason else "true", "reason": reason}, separators=(",", ":")
    )


def test_health_asks_for_the_status_once():
    """What it says of alarms and of the leader is of one moment."""
    client = FakeClient()
    ask(client, "/health")
    assert client.asked == 1


@pytest.mark.parametrize(
    ("client", "path", "failed"),
    [
        (FakeClient(), "/readyz", []),
        (FakeClient(reads=NO_LEADER), "/livez", []),
        (FakeClient(serializable=NO_LEADER), "/livez", ["serializable_read"]),
        (FakeClient(reads=NO_LEADER), "/readyz", ["linearizable_read"]),
        (FakeClient(alarms=((1, 2),)), "/readyz", ["data_corruption"]),
        (FakeClient(is_learner=True), "/readyz", ["non_learner"]),
        (FakeClient(is_learner=True), "/readyz/data_corruption", []),
        (FakeClient(reads=NO_LEADER, is_learner=True), "/readyz",
         ["linearizable_read", "non_learner"]),
    ],
)  # fmt: skip
def test_checks(client, path, failed):
    verdict = ask(client, path)
    assert verdict.status == (503 if failed else 200)
    found = [line[3:].split(" ")[0] for line in verdict.body.splitlines() if line[:3] == "[-]"]
    assert found == failed


def test_a_check_that_is_excluded_is_not_made():
    assert ask(FakeClient(is_learner=True), "/readyz", "exclude=non_learner").status == 200


@pytest.mark.parametrize("path", ["/readyz/other", "/livez/linearizable_read", "/health/x", "/x"])
def test_what_is_not_there(path):
    assert ask(FakeClient(), path).status == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_taken(method):
    assert ask(FakeClient(), "/health", method=method).status == 405


@pytest.mark.parametrize("revision", ["x", "-1", "1.5", "9" * 40])
def test_a_revision_is_a_number(revision):
    assert ask(FakeClient(), "/trace", f"revision={revision}").status == 400
    assert ask(FakeClient(), "/picture", f"revision={revision}").status == 400


def test_the_page_loads_nothing_from_elsewhere():
    page = ask(FakeClient(), "/")
    assert page.status == 200
    assert "http://" not in page.body.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in page.body
    assert not re.search(r"innerHTML|document\.write|\beval\(", page.body), "names come from others"
