"""A node with a gateway as users start it, asked by etcd's own client."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import grpc
import pytest
from sampan.client import Client
from sampan.client.errors import UnreachableError
from sampan.gateway import messages as pb

from ..ports import free_port

BIN = Path(sys.executable).parent
WAIT_S = 180.0


class Node:
    """One node that is its cluster."""

    def __init__(self, directory, **options):
        self.client, self.gateway = (f"127.0.0.1:{free_port()}" for _ in range(2))
        member = {"id": 1, "name": "a", "client": self.client, "gateway": self.gateway}
        cluster = {"cluster": "one", "data_dir": str(directory), "placement": "fused"}
        cluster["members"] = [member | {"peer": f"127.0.0.1:{free_port()}"}]
        config = directory / "cluster.json"
        config.write_text(json.dumps(cluster | options))
        self.pids_file = directory / "a" / "pids.json"
        self.log = directory / "log"
        self.command = [BIN / "sampan", "node", "--config", config, "--name", "a"]
        self.start()
        with Client([self.client], timeout_s=WAIT_S) as client:
            client.get("a leader answers this")

    def start(self):
        with self.log.open("a") as log:
            self.process = subprocess.Popen(self.command, stderr=log)

    def pids(self):
        return json.loads(self.pids_file.read_text())

    def channel(self):
        return grpc.insecure_channel(self.gateway)

    def etcdctl(self, *arguments):
        done = subprocess.run(
            [BIN / "etcdctl", "--endpoints", self.gateway, *arguments],
            env=os.environ | {"ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            timeout=WAIT_S,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def stop(self):
        self.process.terminate()
        assert self.process.wait(WAIT_S) == 0


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    node = Node(tmp_path_factory.mktemp("gateway"))
    with node.channel() as channel:
        grpc.channel_ready_future(channel).result(WAIT_S)
    yield node
    node.stop()


def put(channel, key, value):
    call = channel.unary_unary("/etcdserverpb.KV/Put")
    request = pb.PutRequest(key=key, value=value).SerializeToString()
    return pb.PutResponse.FromString(call(request, timeout=WAIT_S))


def test_etcdctl(node):
    assert node.etcdctl("put", "ship", "sampan") == "OK\n"
    assert node.etcdctl("get", "ship") == "ship\nsampan\n"
    assert "is healthy" in node.etcdctl("endpoint", "health")
    (status,) = json.loads(node.etcdctl("endpoint", "status", "-w", "json"))
    assert status["Status"]["header"]["member_id"] == status["Status"]["leader"] == 1
    (member,) = json.loads(node.etcdctl("member", "list", "-w", "json"))["members"]
    with Client([node.client]) as client:
        assert client.member_list().members[0].client_urls == [node.client]
    assert member["clientURLs"] == [f"http://{node.gateway}"]
    assert "granted with TTL(60s)" in node.etcdctl("lease", "grant", "60")
    assert node.etcdctl("lock", "door", "echo", "inside") == "inside\n"


def test_a_range_of_any_size_comes_as_a_stream(node):
    with node.channel() as channel, Client([node.client]) as client:
        for number in range(100):
            client.put(f"streamed/{number:02}", "v" * 50_000)
        request = pb.RangeRequest(key=b"streamed/", range_end=b"streamed0").SerializeToString()
        stream = channel.unary_stream("/etcdserverpb.KV/RangeStream")
        pieces = list(stream(request, timeout=WAIT_S))
    assert len(pieces) > 5
    together = pb.RangeStreamResponse.FromString(b"".join(pieces)).range_response
    assert [pair.key for pair in together.kvs] == [b"streamed/%02d" % n for n in range(100)]
    assert (together.count, together.header.member_id) == (100, 1)


def test_json_is_on_the_same_port(node):
    with urllib.request.urlopen(f"http://{node.gateway}/version", timeout=WAIT_S) as answer:
        assert json.load(answer)["etcdserver"].startswith("3.6.")


def test_what_is_not_there_is_an_unknown_method(node):
    with node.channel() as channel, pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/etcdserverpb.Maintenance/Nope")(b"", timeout=WAIT_S)
    assert raised.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_who_comes_to_the_wrong_door_is_told(node):
    with (
        Client([node.gateway], timeout_s=1.0) as client,
        pytest.raises(UnreachableError, match="is it the port for etcd's clients"),
    ):
        client.get("ship")
    assert node.log.read_text().count("came to the port for etcd's clients") == 1


def test_it_shares_the_fate_of_its_node(node):
    before = node.pids()
    with node.channel() as channel:
        put(channel, b"before", b"1")
        os.kill(before["gateway"], signal.SIGKILL)
        give_up = time.monotonic() + WAIT_S
        while node.pids().keys() != before.keys() or set(node.pids().values()) & {
            before["gateway"], before["fused"]
        }:  # fmt: skip
            assert time.monotonic() < give_up, "the node did not start again"
            time.sleep(0.02)
    with node.channel() as channel:
        grpc.channel_ready_future(channel).result(WAIT_S)
        assert put(channel, b"after", b"1").header.revision > 0


def test_who_comes_first_after_a_restart_finds_everything(tmp_path):
    """A read that asks no leader, and a watch while users are not asked who they are any more."""
    node = Node(tmp_path, bcrypt_cost=4)
    node.etcdctl("put", "ship", "sampan")
    for words in (
        "user add root --new-user-password=r",
        "role add root",
        "user grant-role root root",
        "auth enable",
        "--user root:r auth disable",
    ):
        node.etcdctl(*words.split())
    ready = "ready to serve client requests"
    before = node.log.read_text().count(ready)
    node.process.kill()
    node.process.wait(WAIT_S)
    node.start()
    give_up = time.monotonic() + WAIT_S
    while node.log.read_text().count(ready) == before:
        assert time.monotonic() < give_up, "the node did not start again"
        time.sleep(0.001)
    with node.channel() as channel:
        call = channel.unary_unary("/etcdserverpb.KV/Range")
        asked = pb.RangeRequest(key=b"ship", serializable=True).SerializeToString()
        found = pb.RangeResponse.FromString(call(asked, timeout=WAIT_S))
        assert [kv.value for kv in found.kvs] == [b"sampan"]
        request = pb.WatchRequest()
        request.create_request.key = b"ship"
        request.create_request.start_revision = 1
        watch = channel.stream_stream("/etcdserverpb.Watch/Watch")
        answers = watch(iter([request.SerializeToString()]), timeout=WAIT_S)
        next(answers)
        assert pb.WatchResponse.FromString(next(answers)).events[0].kv.value == b"sampan"
    node.stop()


def test_a_node_without_one_is_what_it_was(tmp_path):
    node = Node(tmp_path, gateway=False)
    assert set(node.pids()) == {"supervisor", "fused"}
    with Client([node.client]) as client:
        give_up = time.monotonic() + WAIT_S
        while not (told := client.member_list().members[0].client_urls):  # soon, by an entry
            assert time.monotonic() < give_up
    assert told == [node.client]
    node.stop()
