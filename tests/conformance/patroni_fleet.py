"""Patroni: three PostgreSQL servers that choose their primary by Sampan.

Needs PostgreSQL's server programs (Debian: postgresql); Patroni itself comes from PyPI. Every round
kills the primary, its machine's way: Patroni and PostgreSQL together, and every other round the
leader of Sampan just before. Each time a new primary must be there within Patroni's TTL and ten
seconds, nobody may meet two primaries at any moment, and what was committed stays. TEST_ROUNDS says
how often.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ..ports import free_port
from .members import members, wait_for

PATRONI = "patroni[etcd3,psycopg3]==4.1.5"
ROUNDS = int(os.environ.get("TEST_ROUNDS", "2"))
TTL_S = 20
GRACE_S = 10
WAIT_S = 180.0
ASK_S = 2.0
SUPERUSER = {"username": "postgres", "password": "super"}


def postgres_bin():
    """Where PostgreSQL's server programs are, the newest; None without."""
    found = shutil.which("pg_ctl")
    places = [*sorted(Path("/usr/lib/postgresql").glob("*/bin")), Path(found or "/").parent]
    return next((place for place in places[::-1] if (place / "pg_isready").exists()), None)


def unprivileged():
    """PostgreSQL does not run as root: what is before its command then."""
    if os.geteuid() != 0:
        return []
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("this is root, and there is no user postgres")
    before = ["unshare", "--user", f"--map-user={user.pw_uid}", f"--map-group={user.pw_gid}"]
    if subprocess.run([*before, "true"], capture_output=True).returncode:
        pytest.skip("this is root, and another user cannot be played here")
    return before


class Server:
    """One PostgreSQL under one Patroni."""

    def __init__(self, name, directory, programs, python, etcd_hosts):
        self.name = name
        self._directory = directory
        self._before, self._python = unprivileged(), python
        self.port, self._rest = free_port(), free_port()
        self.data = directory / name
        self.process = None
        at = f"127.0.0.1:{self.port}"
        settings = {
            "scope": "fleet", "name": name,
            "restapi": {"listen": f"127.0.0.1:{self._rest}",
                        "connect_address": f"127.0.0.1:{self._rest}"},
            "etcd3": {"hosts": etcd_hosts},
            "bootstrap": {
                "dcs": {"ttl": TTL_S, "loop_wait": 4, "retry_timeout": 8, "synchronous_mode": True,
                        "postgresql": {"use_pg_rewind": True}},
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": at, "connect_address": at, "data_dir": str(self.data),
                "bin_dir": str(programs), "pgpass": str(directory / f"{name}.pgpass"),
                "authentication": {
                    "superuser": SUPERUSER,
                    "replication": {"username": "replicator", "password": "copy"},
                    "rewind": {"username": "rewinder", "password": "back"},
                },
                "parameters": {"unix_socket_directories": "", "fsync": "off"},
                "pg_hba": ["host all all 127.0.0.1/32 md5",
                           "host replication replicator 127.0.0.1/32 md5"],
            },
        }  # fmt: skip
        self._config = directory / f"{name}.yml"
        self._config.write_text(json.dumps(settings))  # which is YAML, too

    def start(self):
        command = [*self._before, self._python.with_name("patroni"), self._config]
        with (self._directory / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def kill(self):
        """As if its machine had failed."""
        self.process.kill()
        with suppress(FileNotFoundError, ProcessLookupError, IndexError):
            os.kill(int((self.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
        self.process.wait()
        self.process = None

    def ask(self, path):
        """What Patroni answers; None if it does not, or not with 200."""
        url = f"http://127.0.0.1:{self._rest}/{path}"
        with suppress(OSError, ValueError), urllib.request.urlopen(url, timeout=ASK_S) as answer:
            return json.load(answer)
        return None


class Watcher(threading.Thread):
    """Writes at whoever says that it is the primary, and looks for a second one."""

    def __init__(self, servers, python):
        super().__init__(daemon=True)
        command = [python, Path(__file__).with_name("patroni_writer.py")]
        command += [str(server.port) for server in servers]
        self._writer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.committed = 0
        self.two_primaries = []
        self.missing = None

    def run(self):
        for line in self._writer.stdout:
            told = json.loads(line)
            self.committed = told.get("committed", self.committed)
            self.missing = told.get("missing", self.missing)
            if len(told.get("primaries", ())) > 1:
                self.two_primaries.append(told["primaries"])

    def finish(self):
        self._writer.stdin.close()
        self._writer.wait(WAIT_S)
        self.join(WAIT_S)
        self._writer.stdout.close()


class Fleet:
    def __init__(self, servers, watcher):
        self.servers = servers
        self.watcher = watcher

    def primary(self, but=None):
        return next((s for s in self.servers if s is not but and s.ask("primary")), None)

    def is_whole(self):
        """Whether there is a primary, a synchronous standby, and everybody follows."""
        told = self.servers[0].ask("cluster") or {}
        roles = sorted(m["role"] for m in told.get("members", ()) if m["state"] != "stopped")
        up = [m for m in told.get("members", ()) if m["state"] in ("running", "streaming")]
        return roles == ["leader", "replica", "sync_standby"] and len(up) == len(self.servers)

    def wait_written(self):
        more = self.watcher.committed + 5
        wait_for(lambda: self.watcher.committed >= more, "commits", WAIT_S)


@contextmanager
def fleet(directory, programs, python, etcd_hosts):
    servers = [Server(f"p{i}", directory, programs, python, etcd_hosts) for i in range(3)]
    watcher = Watcher(servers, python)
    try:
        for server in servers:
            server.start()
        watcher.start()
        found = Fleet(servers, watcher)
        wait_for(found.is_whole, "a whole fleet", WAIT_S)
        found.wait_written()
        yield found
    finally:
        for server in servers:
            if server.process is not None:
                server.kill()
        watcher.finish()


@pytest.mark.timeout(300 + 120 * ROUNDS)
@pytest.mark.parametrize("which", ["etcd", "sampan"])
def test_failover(which, tmp_path, workshop):
    programs = postgres_bin()
    if programs is None:
        pytest.skip("there is no PostgreSQL")
    python = workshop(PATRONI)
    with (
        members(which, tmp_path) as dcs,
        fleet(tmp_path, programs, python, dcs.endpoints) as found,
    ):
        for number in range(ROUNDS):
            leader = dcs.wait_leader() if number % 2 else None
            primary = found.primary()
            if leader is not None:
                dcs.kill(leader)
            began = time.monotonic()
            primary.kill()
            wait_for(lambda: found.primary(primary), "a new primary", TTL_S + GRACE_S)  # noqa: B023
            took = time.monotonic() - began
            print(f"{which}, round {number}: a new primary after {took:.1f} s")
            found.wait_written()
            primary.start()
            if leader is not None:
                dcs.start(leader)
            wait_for(found.is_whole, "a whole fleet", WAIT_S)
        leader = dcs.wait_leader()
        primary = found.primary()
        dcs.kill(leader)
        found.wait_written()
        time_over = time.monotonic() + TTL_S + GRACE_S
        while time.monotonic() < time_over:
            found.wait_written()
        assert found.primary() is primary, "it has lost its place with a leader of the store"
        watcher = found.watcher
        watcher.finish()
        assert watcher.committed
        print(f"{which}: {watcher.committed} commits, {watcher.missing} missing")
        assert watcher.two_primaries == []
        assert watcher.missing == 0
