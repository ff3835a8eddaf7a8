"""Members and endpoints that DNS lists, from a server of the test's own on loopback."""

import io
import json

import pytest
from sampan.config import discovery
from sampan.config.discovery import DiscoveryError
from sampan.config.model import ConfigError
from sampan.ctl import main as ctl
from sampan.hosts import command, etcd_command

from ..dns_server import asked_by_this_process

DOMAIN = "orders.example"
PEERS = [("127.0.0.1", 2380), ("127.0.0.1", 22380), ("127.0.0.1", 32380)]
LISTED = [f"{host}:{port}" for host, port in PEERS]


@pytest.fixture
def server(monkeypatch):
    with asked_by_this_process(monkeypatch) as server:
        server.records = {
            f"_etcd-server._tcp.{DOMAIN}": PEERS,
            f"_etcd-server-blue._tcp.{DOMAIN}": PEERS[:1],
            f"_sampan-server._tcp.{DOMAIN}": PEERS,
            f"_sampan-client._tcp.{DOMAIN}": [("n1.example", 2378), ("127.0.0.1", 1)],
        }
        yield server


def test_all_who_ask_get_the_same_order(server):
    name = f"_sampan-server._tcp.{DOMAIN}"
    expected = sorted(LISTED)
    for turn in range(3):
        server.records[name] = PEERS[turn:] + PEERS[:turn]
        assert sorted(discovery.servers("sampan-server", DOMAIN)) == expected
        assert discovery.servers("sampan-server", DOMAIN)[0] == LISTED[0]


def test_this_member_is_found_by_where_it_is_reached(server):
    found, this = discovery.members("sampan-server", DOMAIN, ["localhost:22380"])
    assert (sorted(found), this) == (sorted(LISTED), "127.0.0.1:22380")
    with pytest.raises(DiscoveryError, match=r"none is reached at 127\.0\.0\.1:9"):
        discovery.members("sampan-server", DOMAIN, ["127.0.0.1:9"])


def test_what_is_not_there_is_named(server):
    with pytest.raises(DiscoveryError, match=r"no DNS SRV records of _sampan-server\._tcp\.no\."):
        discovery.servers("sampan-server", "no.example")


def etcd_flags(**more):
    return {
        "name": "b",
        "initial-advertise-peer-urls": "http://127.0.0.1:22380",
        "listen-peer-urls": "http://127.0.0.1:22380",
        "discovery-srv": DOMAIN,
    } | more


def test_etcds_flag_makes_the_cluster_that_the_names_would(server, tmp_path):
    values = etcd_command.translate(etcd_flags(**{"data-dir": str(tmp_path)}), [])
    others = ",".join(f"x{port}=http://{host}:{port}" for host, port in PEERS if port != 22380)
    named = etcd_flags(**{"initial-cluster": f"{others},b=http://127.0.0.1:22380"})
    del named["discovery-srv"]
    expected = etcd_command.translate(named | {"data-dir": str(tmp_path)}, [])
    assert values["cluster_id"] == expected["cluster_id"]
    assert {m["id"] for m in values["members"]} == {m["id"] for m in expected["members"]}
    (own,) = [m for m in values["members"] if m["name"] == "b"]
    assert own["peer"] == "127.0.0.1:22380"
    with pytest.raises(ConfigError, match="none is reached"):
        etcd_command.translate(etcd_flags(**{"discovery-srv-name": "blue"}), [])
    with pytest.raises(ConfigError, match="multiple discovery or bootstrap flags"):
        etcd_command.translate(etcd_flags(**{"initial-cluster": "b=http://127.0.0.1:1"}), [])


def own_file(tmp_path, **more):
    own = {"name": "b", "client": "127.0.0.1:22378", "peer": "127.0.0.1:22380"}
    values = {"cluster": "c", "members": [own], "discovery_srv": DOMAIN} | more
    path = tmp_path / "own.json"
    path.write_text(json.dumps(values | {"data_dir": str(tmp_path / "data")}))
    return path


def configured(*arguments):
    return command._configure(command.parser().parse_args([str(a) for a in arguments]))[1]


def test_a_file_with_one_member_gets_the_others(server, tmp_path):
    config = configured("node", "--config", own_file(tmp_path))
    assert sorted(m.peer for m in config.members) == sorted(LISTED)
    assert config.member("b").client == "127.0.0.1:22378"
    assert config.node == "b"


def test_a_member_with_data_starts_without_dns(server, tmp_path):
    server.records.clear()
    path = own_file(tmp_path)
    with pytest.raises(ConfigError, match="discovery_srv: no DNS SRV records"):
        configured("node", "--config", path)
    folder = tmp_path / "data" / "b"
    folder.mkdir(parents=True)
    identity = {"format": 2, "cluster_id": 7, "member_id": 9, "incarnation": 1}
    (folder / "identity").write_text(json.dumps(identity))
    config = configured("node", "--config", path)
    assert [m.name for m in config.members] == ["b"]
    assert config.initial_cluster_state == "existing", "it makes no cluster of itself alone"


def test_the_supervisor_of_all_does_not_ask(server, tmp_path):
    with pytest.raises(ConfigError, match="is for `sampan node`"):
        configured("up", "--config", own_file(tmp_path))


def test_sampanctl_asks_for_endpoints(server):
    out, err = io.BytesIO(), io.BytesIO()
    flags = ["--discovery-srv", DOMAIN, "--command-timeout", "100ms"]
    assert ctl.run([*flags, "endpoint", "health"], io.BytesIO(), out, err) == 1
    assert b"127.0.0.1:1 is unhealthy" in err.getvalue() + out.getvalue()
    assert server.asked == [f"_sampan-client._tcp.{DOMAIN}"]
    flags[1] = "no.example"
    assert ctl.run([*flags, "get", "k"], io.BytesIO(), out, err) == 1
    assert b"no DNS SRV records of _sampan-client._tcp.no.example" in err.getvalue()
