"""The JSON gateway, above the services and a real node."""

import asyncio
import json
import os

import pytest
from sampan.client import AsyncClient
from sampan.gateway import messages as pb
from sampan.gateway.http import HttpRequest
from sampan.gateway.http_api import VERSIONS, HttpApi
from sampan.gateway.json_messages import JsonError, from_json, read_all, to_json
from sampan.web.cluster import Cluster
from sampan.web.pages import Pages
from sampan.web.process import taken_by


class FakeResponse:
    """An HTTP answer as `gateway/http.py` describes it."""

    def __init__(self):
        self.status = 0
        self.headers = {}
        self.pieces = asyncio.Queue()
        self.over = asyncio.get_running_loop().create_future()
        self.on_gone = self.on_writable = None
        self.writable = True

    def start(self, status, headers=()):
        self.status, self.headers = status, {n.lower(): v for n, v in headers}

    def write(self, data):
        self.pieces.put_nowait(data)

    def end(self):
        self.over.set_result(None)

    def send(self, status, headers, body):
        self.start(status, headers)
        self.write(body)
        self.end()


class Client:
    def __init__(self, services):
        self.services = services
        self.node = AsyncClient([services.endpoint])
        pages = Pages(Cluster(self.node), VERSIONS.decode(), lambda: [os.getpid()])
        self.api = HttpApi(pages, services.methods.values(), services.backend.asks_who)

    def begin(self, method, path, body=b"", query=""):
        response = FakeResponse()
        request = HttpRequest(method, path, query, {}, body, "127.0.0.1:1")
        self.api.serve(request, response)
        return response

    def __call__(self, method, path, body=b"", query=""):
        async def whole():
            response = self.begin(method, path, body, query)
            await response.over
            return response.status, response.headers, response.pieces.get_nowait()

        return self.services.run(whole())

    def post(self, path, **values):
        status, _, body = self("POST", path, json.dumps(values).encode())
        return status, json.loads(body)


@pytest.fixture(scope="module")
def http(services):
    client = Client(services)
    yield client
    services.run(client.node.aclose())


def test_put_and_range(http):
    status, put = http.post("/v3/kv/put", key="anNvbg==", value="MQ==")
    assert status == 200
    assert put["header"]["revision"].isdigit()
    status, headers, body = http("POST", "/v3beta/kv/range", b'{"key":"anNvbg=="}')
    assert headers["content-type"] == "application/json"
    assert headers["grpc-metadata-content-type"] == "application/grpc"
    assert headers["access-control-allow-origin"] == "*"
    found = json.loads(body)
    assert found["count"] == "1"
    assert found["kvs"][0]["version"] == "1"
    assert "lease" not in found["kvs"][0]
    assert b" " not in body


def test_errors(http):
    status, error = http.post("/v3/kv/range")
    text = "etcdserver: key is not provided"
    assert (status, error) == (400, {"error": text, "code": 3, "message": text})
    assert http.post("/v3/lease/revoke", ID="5")[0] == 404
    status, error = http.post("/v3/kv/range", key="_-8=")
    assert (status, error["message"]) == (400, "illegal base64 data at input byte 0")
    status, error = http.post("/v3/watch", create_request={"key": "!!"})
    assert (status, error["code"]) == (500, 2)
    assert http("POST", "/v3/kv/range", b"{bad")[0] == 400


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v3/kv/range", 405),
        ("POST", "/v3/kv/range/", 404),
        ("POST", "/v3/nope", 404),
        ("POST", "/v3alpha/kv/range", 404),
        ("GET", "/v3", 301),
        ("OPTIONS", "/v3/kv/range", 200),
        ("GET", "/", 404),
        ("HEAD", "/health", 405),
        ("POST", "/version", 405),
        ("GET", "/readyz/nope", 404),
        ("GET", "/metrics/nope", 404),
    ],
)
def test_what_is_not_there(http, method, path, status):
    found, headers, _ = http(method, path)
    assert found == status
    assert "access-control-allow-methods" in headers


def test_about_the_node(http):
    status, headers, body = http("GET", "/health")
    assert (status, body) == (200, b'{"health":"true","reason":""}')
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert http("GET", "/health", query="serializable=true")[0] == 200
    versions = json.loads(http("GET", "/version")[2])
    assert versions["etcdserver"].startswith("3.6.")
    assert versions["etcdcluster"] == "3.6.0"
    assert "sampan" in versions
    for path in ("/livez", "/readyz", "/readyz/linearizable_read"):
        assert http("GET", path)[::2] == (200, b"ok\n")


def test_metrics_are_those_of_the_node(http):
    status, headers, body = http("GET", "/metrics")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    lines = dict(line.rsplit(" ", 1) for line in body.decode().splitlines() if line[0] != "#")
    assert lines["etcd_server_has_leader"] == "1.0"
    one = taken_by([os.getpid()])
    if one is not None:  # where the kernel tells, the node's own process is among them
        assert float(lines["process_resident_memory_bytes"]) > one.resident_bytes


def test_a_watch_is_a_line_a_message(http):
    async def whole():
        body = b'{"create_request":{"key":"d2F0Y2g=","progressNotify":true}}'
        response = http.begin("POST", "/v3/watch", body)
        created = json.loads(await response.pieces.get())
        assert created["result"]["created"] is True
        assert (response.status, response.over.done()) == (200, False)
        put = http.begin("POST", "/v3/kv/put", b'{"key":"d2F0Y2g=","value":"MQ=="}')
        line = await response.pieces.get()
        (event,) = json.loads(line)["result"]["events"]
        assert line.endswith(b"\n")
        assert event["kv"]["value"] == "MQ=="
        assert "type" not in event
        await put.over
        response.on_gone()

    http.services.run(whole())


def test_keep_alives_end_with_the_answers(http):
    async def whole():
        response = http.begin("POST", "/v3/lease/keepalive", b'{"ID":5}{"ID":6}')
        await response.over
        return [json.loads(response.pieces.get_nowait())["result"]["ID"] for _ in range(2)]

    assert http.services.run(whole()) == ["5", "6"]


def test_names_numbers_and_enumerations_in_both_ways():
    for values in (
        {"compare": [{"key": "YQ==", "target": "MOD", "modRevision": "7", "rangeEnd": "Yg=="}]},
        {"compare": [{"key": "YQ==", "target": 2, "mod_revision": 7, "range_end": "Yg==", "x": 1}]},
    ):
        request = pb.TxnRequest()
        from_json(values, request)
        assert request == pb.TxnRequest(
            compare=[pb.Compare(key=b"a", target=2, mod_revision=7, range_end=b"b")]
        )
    assert to_json(request) == {
        "compare": [{"target": "MOD", "key": "YQ==", "mod_revision": "7", "range_end": "Yg=="}]
    }
    assert to_json(pb.HashKVResponse(hash=7, hash_revision=8)) == {"hash": 7, "hash_revision": "8"}


def test_what_is_in_a_oneof_is_written_even_when_it_is_zero():
    assert to_json(pb.Compare(version=0)) == {"version": "0"}


@pytest.mark.parametrize(
    "values",
    [
        [], {"key": 7}, {"key": "a"}, {"limit": "x"}, {"limit": True}, {"limit": 2**63},
        {"serializable": "maybe"}, {"sort_order": "UP"}, {"sort_order": []}, {"limit": 1.5},
    ],
)  # fmt: skip
def test_values_that_a_field_cannot_have(values):
    with pytest.raises(JsonError):
        from_json(values, pb.RangeRequest())


def test_lists_where_none_belongs():
    with pytest.raises(JsonError):
        from_json({"compare": {}}, pb.TxnRequest())
    with pytest.raises(JsonError):
        list(read_all(b"[" * 100_000))
