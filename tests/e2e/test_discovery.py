"""Members that know themselves and a domain alone."""

import json
import subprocess
import sys

import pytest

from ..dns_server import DnsServer
from .cluster import Cluster, Command, wait_for

DOMAIN = "orders.example"
ASKS_IT = """
import sys, dns.resolver
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = ["127.0.0.1"], int(sys.argv.pop(1))
dns.resolver.default_resolver = resolver
from sampan.__main__ import main
sys.exit(main())
"""


class Found(Cluster):
    """One whose members ask DNS who the others are."""

    dns: DnsServer

    def launch_node(self, name, *flags):
        (own,) = [m for m in self.config["members"] if m["name"] == name]
        own = {key: value for key, value in own.items() if key != "id"}
        path = self.directory / f"{name}.json"
        path.write_text(json.dumps(self.config | {"members": [own], "discovery_srv": DOMAIN}))
        command, log = Command.__new__(Command), self.directory / f"{name}.log"
        with log.open("ab") as output:
            command.child = subprocess.Popen(
                [sys.executable, "-c", ASKS_IT, str(self.dns.port), "node", "--config", str(path)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
        command.pid = command.child.pid
        self._commands[name] = command


@pytest.fixture
def cluster(tmp_path):
    cluster = Found(tmp_path, "fused", separate=True)
    cluster.dns = DnsServer()
    listed = [(peer.split(":")[0], int(peer.split(":")[1])) for peer in cluster.peers]
    cluster.dns.records[f"_sampan-server._tcp.{DOMAIN}"] = listed
    yield cluster
    cluster.destroy()
    cluster.dns.close()


def test_three_that_find_each_other_are_one_cluster(cluster):
    cluster.launch()
    with cluster.client(timeout_s=60) as client:
        client.put("k", "v")
        members = client.member_list().members
        assert sorted(m.peer_urls[0] for m in members) == sorted(cluster.peers)
        wait_for(
            lambda: sorted(m.name for m in client.member_list().members) == cluster.names,
            "all to say their names",
        )
    cluster.wait_equal()
    cluster.dns.records.clear()
    cluster.kill_everything()
    cluster.launch()
    with cluster.client(timeout_s=60) as client:
        assert client.get("k").kvs[0].value == b"v"
