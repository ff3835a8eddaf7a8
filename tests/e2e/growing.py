"""A cluster whose members come and go: each name has its addresses from the beginning."""

import json
import shutil

from sampan.client import Client
from sampan.client.errors import UnhealthyClusterError

from ..ports import free_port
from .cluster import Cluster, wait_for


class GrowingCluster(Cluster):
    """The first members of `names`, one command each; others join, and any may leave."""

    def __init__(self, directory, placement, *, first=3, most=5, **extra):
        extra = {"heartbeat_ms": 50, "election_ms": 500} | extra
        super().__init__(directory, placement, nodes=first, separate=True, **extra)
        self.all = {m["name"]: m for m in self.config["members"]}
        for n in range(first + 1, most + 1):
            self.all[f"n{n}"] = {
                "name": f"n{n}",
                "client": f"127.0.0.1:{free_port()}",
                "peer": f"127.0.0.1:{free_port()}",
            }
        self.ids = {m["name"]: m["id"] for m in self.config["members"]}
        self.everywhere = [m["client"] for m in self.all.values()]
        """The client addresses of all that there ever are."""

    def name_of(self, member_id):
        return next((name for name, known in self.ids.items() if known == member_id), "")

    def anyone(self, timeout_s=60.0):
        """A client of whoever is there."""
        return Client(self.everywhere, timeout_s=timeout_s, keys=self.client_keys)

    def _list(self, names):
        self.names = list(names)
        self.endpoints = [self.all[name]["client"] for name in names]
        self.peers = [self.all[name]["peer"] for name in names]
        members = [
            {key: value for key, value in self.all[name].items() if key != "id"} for name in names
        ]
        self.config = self.config | {"members": members}
        self._config_path.write_text(json.dumps(self.config), encoding="utf-8")

    def added(self, name, member_id):
        """It was added: start it on an empty disk."""
        self.ids[name] = member_id
        self._list([*self.names, name])
        shutil.rmtree(self.data(name), ignore_errors=True)
        self.launch_node(name, "--initial-cluster-state", "existing")

    def add(self, name, **options):
        """Add a member and start it."""
        with self.anyone() as client:
            response = patiently(lambda: client.member_add([self.all[name]["peer"]], **options))
        self.added(name, response.member.id)
        self.wait_announced()

    def wait_announced(self):
        """Wait until all have started, as the log knows it: until then they do not count."""
        with self.anyone() as client:
            wait_for(lambda: all(m.name for m in client.member_list().members), "announcements")

    def removed(self, name):
        """It was removed: it ends by itself, with the reason."""
        command = self._commands.pop(name)
        assert command.wait() == 1
        assert "permanently removed" in self.log(name)
        self.ids.pop(name)
        self._list([each for each in self.names if each != name])

    def remove(self, name):
        """Remove a member that is up."""
        with self.anyone() as client:
            patiently(lambda: client.member_remove(self.ids[name]))
        self.removed(name)

    def lose(self, name):
        """A machine is gone for good, with its disk, and its member is removed."""
        self.kill_node(name)
        with self.anyone() as client:
            patiently(lambda: client.member_remove(self.ids[name]))
        self.ids.pop(name)
        self._list([each for each in self.names if each != name])
        shutil.rmtree(self.data(name))

    def hashes(self):
        """The hash of each member's whole state at the newest revision."""
        with self.anyone() as client:
            revision = client.get(b"any").header.revision
        for name in self.names:
            self.wait_status(name, lambda s: s.get("revision", 0) >= revision, "catching up")
        found = set()
        for name in self.names:
            with self.client(name) as client:
                found.add(client.hash_kv(revision=revision).hash)
        return found


def patiently(call):
    """What it returns, once the cluster is healthy enough."""

    def tried():
        try:
            return call()
        except UnhealthyClusterError:
            return None

    return wait_for(tried, "a healthy cluster")
