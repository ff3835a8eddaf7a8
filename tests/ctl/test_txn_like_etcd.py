"""Transactions within transactions, which etcdctl cannot write: refused where a real etcd refuses
them, and else with the same outcome."""

import base64
import json
import random
import urllib.error
import urllib.request

import pytest
from sampan.storage.state_store import StateStore
from sampan.transport.requests import WRITE_CHECKS, check_request

ROUNDS = 400
DUPLICATE = "etcdserver: duplicate key given in txn request"
KEYS = [b"a", b"b", b"c"]
RANGES = [(b"a", b"c"), (b"b", b"d"), (b"a", b"d")]


def b64(data):
    return base64.b64encode(data).decode()


def as_json(request):
    """A request as etcd's HTTP gateway takes it."""
    name, *rest = request
    if name == "put":
        return {"requestPut": {"key": b64(rest[0]), "value": b64(rest[1])}}
    if name == "delete":
        end = {"range_end": b64(rest[1])} if len(rest) > 1 else {}
        return {"requestDeleteRange": {"key": b64(rest[0])} | end}
    compares, success, failure = rest
    return {
        "requestTxn": {
            "compare": [
                {"target": "VERSION", "result": "EQUAL", "key": b64(key), "version": version}
                for _target, _result, key, version in compares
            ],
            "success": [as_json(each) for each in success],
            "failure": [as_json(each) for each in failure],
        }
    }


def ask(endpoint, path, body):
    """(answer, error text) of the gateway."""
    request = urllib.request.Request(f"http://{endpoint}{path}", json.dumps(body).encode())
    try:
        with urllib.request.urlopen(request, timeout=180) as answered:
            return json.load(answered), ""
    except urllib.error.HTTPError as error:
        return None, json.load(error)["message"]


def operation(rng, depth):
    kind = rng.choice(["put", "delete", "range delete", "txn"] if depth else ["put", "delete"])
    if kind == "txn":
        branches = [
            tuple(operation(rng, depth - 1) for _ in range(rng.randint(0, 2))) for _ in range(2)
        ]
        compares = tuple((0, 0, rng.choice(KEYS), 0) for _ in range(rng.randint(0, 1)))
        return ("txn", compares, *branches)
    if kind == "put":
        return ("put", rng.choice(KEYS), rng.randbytes(2))
    return ("delete", *(rng.choice(RANGES) if kind == "range delete" else (rng.choice(KEYS),)))


@pytest.fixture
def state(tmp_path):
    store = StateStore.open(tmp_path / "state")
    yield store
    store.close()


def found(state):
    """All keys, as (key, create revision, mod revision, version, value)."""
    kvs = state.range(("range", b"a", b"z"))[4]
    return [(key, create, mod, version, value) for key, create, mod, version, _, value in kvs]


def found_by_etcd(endpoint):
    answer, _ = ask(endpoint, "/v3/kv/range", {"key": b64(b"a"), "range_end": b64(b"z")})
    numbers = ("create_revision", "mod_revision", "version")
    return [
        (base64.b64decode(kv["key"]), *(int(kv[number]) for number in numbers),
         base64.b64decode(kv["value"]))
        for kv in answer.get("kvs", [])
    ]  # fmt: skip


def nested(*branches):
    """A transaction of transactions beside each other, one operation each."""
    return ("txn", (), tuple(("txn", (), (each,), ()) for each in branches), ())


PUT, DELETE = ("put", b"a", b"v"), ("delete", b"a")


def test_nested_transactions(etcd, state):
    rng = random.Random(6)
    requests = [nested(PUT, DELETE), nested(DELETE, PUT)]
    for _ in range(ROUNDS):
        operations = tuple(operation(rng, 2) for _ in range(rng.randint(1, 3)))
        requests.append(("txn", (), operations, ()))
    outcomes = []
    for request in requests:
        answer, error = ask(etcd, "/v3/kv/txn", as_json(request)["requestTxn"])
        refusal = check_request(request, WRITE_CHECKS)
        assert (refusal.text if refusal else "") == error, request
        outcomes.append(error)
        if refusal is None:
            state.apply(state.applied_index + 1, 1, [request])
            state.commit()
            assert state.revision == int(answer["header"]["revision"]), request
            assert found(state) == found_by_etcd(etcd), request
    assert outcomes[:2] == ["", DUPLICATE], "the order decides"
    assert min(map(outcomes.count, ("", DUPLICATE))) > ROUNDS // 10, "both were met often"
