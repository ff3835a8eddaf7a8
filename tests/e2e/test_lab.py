"""`sampan up --lab`: a real cluster that its pages break and mend, and one that they cannot."""

import json
import re
import urllib.request

import pytest

from ..ports import free_port
from .cluster import wait_for
from .test_commands import refused
from .test_http import get


@pytest.fixture
def placement():
    return "processes"


@pytest.fixture
def cluster(make_cluster):
    made = make_cluster()
    for member in made.config["members"]:
        member["http"] = f"127.0.0.1:{free_port()}"
    return made


def ordering(cluster):
    """Gives orders on the first member's page."""
    address = cluster.config["members"][0]["http"]
    token = re.search('<meta name="lab" content="([^"]+)">', get(address, "/")[1])[1]

    def order(**what):
        request = urllib.request.Request(
            f"http://{address}/lab", json.dumps(what).encode(), {"X-Sampan-Lab": token}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status

    return order


def test_nodes_are_broken_and_mended(cluster):
    cluster.flags = ("--lab",)
    cluster.start()
    order = ordering(cluster)
    leader = cluster.wait_leader()
    others = [name for name in cluster.names if name != leader]

    for other in others:
        order(do="cut", node=leader, to=other)
        order(do="cut", node=other, to=leader)
    second = cluster.wait_leader(others)
    status = wait_for(
        lambda: (s := cluster.wait_status(leader)) and s["role"] != "leader" and s,
        "who hears no majority to step down",
    )
    assert status["term"] < cluster.wait_status(second)["term"]
    order(do="mend")
    wait_for(lambda: cluster.wait_status(leader)["leader"], "the cut off member to follow")

    with cluster.client() as client:
        order(do="put", times=200)
        assert client.get("lab/199").kvs[0].value == b"sampan"
        order(do="slow", node=second, ms=100)
        endpoint = cluster.endpoints[cluster.names.index(second)]

        def fsync_took_s():
            """The bucket of the longest."""
            client.put("ship", "sampan")
            actors = client.metrics(endpoint).fields["actors"]
            first_s, _, counts = actors["wal_writer"]["durations"]["sync"]
            return first_s * 2 ** max(i for i, n in enumerate(counts) if n)

        wait_for(lambda: fsync_took_s() >= 0.1, "a slow fsync")
        order(do="mend")

    before = cluster.pids(others[0])["applier"]
    order(do="kill", node=others[0], process="applier")
    wait_for(lambda: cluster.pids(others[0]).get("applier", before) != before, "a new start")
    order(do="stop", node=others[1])
    cluster.stop()  # who is stopped goes on, and ends in order


def test_a_page_can_do_nothing_without_a_lab(cluster):
    cluster.start()
    address = cluster.config["members"][0]["http"]
    assert '<meta name="lab" content="">' in get(address, "/")[1]
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/lab", "/live", "/trace", "/picture"):
            assert get(address, path, method)[0] == 405
    assert get(address, "/lab")[0] == 404


def test_a_lab_is_refused_where_others_could_use_it(tmp_path):
    config = tmp_path / "cluster.toml"
    config.write_text(
        'cluster = "c"\nallow_insecure = true\n[[members]]\nname = "n1"\n'
        f'client = "0.0.0.0:{free_port()}"\npeer = "127.0.0.1:{free_port()}"\n'
        f'http = "127.0.0.1:{free_port()}"\n'
    )
    why = refused("up", "--lab", "--config", str(config), "--data-dir", str(tmp_path / "data"))
    assert "can be reached from other machines" in why
    assert not (tmp_path / "data").exists()
