"""Real clusters for tests: `sampan up` or one `sampan node` a member, killed and stopped at will.

Everything runs in sessions of its own, so that whatever is left of a cluster can be found, killed
and complained about. Waiting is polling with generous bounds: these machines are slow and shared.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import zmq
from sampan.actors.channels import ACTORS
from sampan.client import Client, SampanError
from sampan.transport import codec, sockets

from ..ports import free_port

WAIT_S = 180.0
ROUNDS = int(os.environ.get("TEST_ROUNDS", "1"))
"""Repetitions of the tests that kill, for long runs."""
COMMAND = (sys.executable, "-m", "sampan")


def wait_for(condition, what, timeout_s=WAIT_S, pause_s=0.02):
    """Poll until `condition()` is true, and return what it returned."""
    give_up = time.monotonic() + timeout_s
    while not (found := condition()):
        if time.monotonic() > give_up:
            raise AssertionError(f"waited {timeout_s:g} s for {what}")
        time.sleep(pause_s)
    return found


def session_processes(session):
    """The processes of a session that still run, as pid -> command line."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with suppress(OSError, ValueError):
            state, _ppid, _pgrp, sid = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(sid) == session and state != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
    return found


def config_values(directory, placement, nodes=3, **extra):
    """A cluster's configuration on free loopback ports."""
    members = [
        {
            "id": i + 1,
            "name": f"n{i + 1}",
            "client": f"127.0.0.1:{free_port()}",
            "peer": f"127.0.0.1:{free_port()}",
        }
        for i in range(nodes)
    ]
    base = {"cluster": "test", "members": members, "data_dir": str(directory / "data")}
    return base | {"placement": placement} | extra


class Command:
    """One running command in a session of its own."""

    def __init__(self, arguments, log_path, temporary=None, before=()):
        """`before`: the command that runs it."""
        environment = os.environ | ({"TMPDIR": str(temporary)} if temporary else {})
        with log_path.open("ab") as log:
            self.child = subprocess.Popen(
                [*before, *COMMAND, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                env=environment,
            )  # fmt: skip
        self.pid = self.child.pid

    def left(self):
        """Processes of this command that still run."""
        return session_processes(self.pid)

    @property
    def ended(self):
        """Whether it has ended by itself or by a signal."""
        return self.child.poll() is not None

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, timeout_s=WAIT_S):
        return self.child.wait(timeout_s)

    def destroy(self):
        """Kill whatever is left, stopped or not."""
        for pid in self.left():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.child.wait(WAIT_S)
        wait_for(lambda: not self.left(), "killed processes to be gone")


class Cluster:
    """A cluster in `directory`: one `sampan up`, or with `separate` one `sampan node` a member."""

    def __init__(self, directory, placement, *, nodes=3, separate=False, **extra):
        self.directory = directory
        self.placement = placement
        self.config = config_values(directory, placement, nodes, **extra)
        self.names = [m["name"] for m in self.config["members"]]
        self.endpoints = [m["client"] for m in self.config["members"]]
        self.peers = [m["peer"] for m in self.config["members"]]
        self.actors = ACTORS if placement == "processes" else ("fused",)
        self._separate = separate
        self.flags = ()
        """Of `sampan up`."""
        self._commands = {}  # member name, or "up" -> Command
        self._config_path = directory / "cluster.json"
        self._ctx = sockets.context()
        self.temporary = Path(tempfile.mkdtemp(prefix="e2e-"))
        """Where its nodes keep their local sockets: short, as socket paths must be."""
        self.client_keys = self.own_pair = None
        """What its clients, and those who ask for its status, show where it asks for keys."""

    # -- life

    def start(self):
        """Start it all and wait for a leader."""
        self.launch()
        self.wait_leader()
        return self

    def launch(self):
        """Start it all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._config_path.write_text(json.dumps(self.config), encoding="utf-8")
        if self._separate:
            for name in self.names:
                self.launch_node(name)
        else:
            self._commands["up"] = self._run("up", *self.flags)

    def launch_node(self, name, *flags):
        """Start one member alone."""
        self._commands[name] = self._run("node", "--name", name, *flags)

    def _run(self, *arguments):
        command, *rest = arguments
        label = rest[1] if command == "node" else command
        return Command(
            (command, "--config", str(self._config_path), *rest),
            self.directory / f"{label}.log",
            self.temporary,
            before=self.before(label),
        )

    def before(self, name):
        """The command that runs that of a member."""
        return ()

    def command(self, name="up"):
        """The running command of a member, or of all."""
        return self._commands["up" if "up" in self._commands else name]

    def stop(self):
        """SIGTERM: every command ends with 0 and leaves nothing behind."""
        for command in self._commands.values():
            command.signal(signal.SIGTERM)
        for name, command in self._commands.items():
            code = command.wait()
            assert code == 0, f"{name} ended with {code}: {self.log(name)[-3000:]}"
            wait_for(lambda c=command: not c.left(), f"the processes of {name} to end")
        self._commands.clear()

    def kill_everything(self):
        """kill -9 of all processes of all nodes, supervisors first, as a power cut would."""
        for command in self._commands.values():
            command.destroy()
        self._commands.clear()

    def kill_node(self, name):
        """kill -9 of one member, its supervisor too."""
        self._commands.pop(name).destroy()

    def kill_and_forget(self, away):
        """Kill a member and wait until the log lacks what it needs; returns the leader."""
        self.kill_node(away)
        leader = self.wait_leader([name for name in self.names if name != away])
        # Asked after its death: it may have got more since it was asked itself.
        last = self.wait_status(leader)["raft_index"]
        wait_for(lambda: self.compacted_past(leader, last), "the log to be compacted")
        return leader

    def wait_orphans_gone(self, command):
        """Wait until nothing of a killed command is left."""
        wait_for(lambda: not command.left(), f"orphans to end: {command.left()}")

    def destroy(self):
        """The end of the test, however it went; raises when processes cannot be killed."""
        self.kill_everything()
        self._ctx.destroy(linger=0)
        shutil.rmtree(self.temporary)

    def log(self, name="up"):
        """What a command wrote."""
        path = self.directory / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    # -- processes

    def data(self, name):
        """A member's data directory."""
        return Path(self.config["data_dir"]) / name

    def pids(self, name):
        """A member's processes by actor, with its supervisor."""
        return json.loads((self.data(name) / "pids.json").read_text(encoding="utf-8"))

    def signal_actor(self, name, actor, number):
        """Send a signal to one process of a member."""
        os.kill(self.pids(name)[actor], number)

    def signal_node(self, name, number):
        """Send a signal to all of a member's actors (not to its supervisor)."""
        for actor, pid in self.pids(name).items():
            if actor != "supervisor":
                os.kill(pid, number)

    def kill_actor(self, name, actor):
        """kill -9 of one process of a member; returns when its node has started again."""
        before = self.pids(name)
        os.kill(before[actor], signal.SIGKILL)
        self.wait_restarted(name, before)

    def wait_restarted(self, name, before):
        """Wait until a member has other processes than `before` and answers."""
        labels = [label for label in before if label != "supervisor"]
        wait_for(
            lambda: all(self.pids(name)[label] != before[label] for label in labels),
            f"{name} to start again",
        )
        self.wait_status(name)

    # -- state

    def ask(self, name, kind, requests, timeout_s=1.0, stamp=()):
        """The raw results of one message to one member, None when there is no answer in time."""
        endpoint = self.endpoints[self.names.index(name)]
        dealer = sockets.client_dealer(self._ctx, endpoint, self.own_pair)
        try:
            if not dealer.poll(int(timeout_s * 1000), zmq.POLLOUT):
                return None
            header = codec.pack(
                (1, 1, kind, int(timeout_s * 1000), *((0, *stamp) if stamp else ()))
            )
            dealer.send_multipart((header, codec.pack(requests)), zmq.DONTWAIT)
            if not dealer.poll(int(timeout_s * 1000) + 200):
                return None
            return codec.unpack(dealer.recv_multipart()[1])
        except zmq.Again:
            return None
        finally:
            dealer.close()

    def status(self, name):
        """What a member says of itself; None when it does not answer."""
        results = self.ask(name, "maintenance", [("status",)])
        return results[0][1] if results and type(results[0]) is tuple else None

    def wait_status(self, name, condition=lambda status: True, what="an answer"):
        """Wait until a member's status meets a condition, and return it."""

        def met():
            status = self.status(name)
            return status if status is not None and condition(status) else None

        return wait_for(met, f"{what} of {name}")

    def compacted_past(self, name, index):
        """Whether a member's log begins after an index."""
        status = self.status(name)
        return status and status["raft_index"] - status["log_entries"] > index

    def leader(self, among=None):
        """The name of the member that says it leads, None when none does or two do."""
        names = self.names if among is None else among
        statuses = {name: self.status(name) for name in names}
        leaders = [n for n, s in statuses.items() if s and s["role"] == "leader"]
        return leaders[0] if len(leaders) == 1 else None

    def wait_leader(self, among=None):
        """Wait for a leader that the members in `among` follow; returns its name."""
        names = self.names if among is None else among

        found = []

        def agreed():
            for each in ("up", *names):
                command = self._commands.get(each)
                assert command is None or not command.ended, f"{each} ended"
            found[:] = [self.status(name) for name in names]
            if any(s is None or not s["leader"] for s in found):
                return None
            leaders = {(s["term"], s["leader"]) for s in found}
            name = self.name_of(found[0]["leader"])
            return name if len(leaders) == 1 and name in names else None

        try:
            return wait_for(agreed, f"a leader among {names}")
        except AssertionError as error:
            logs = (f"{each}: {self.log(each)[-4_000:]}" for each in ("up", *names))
            error.add_note("\n".join((str(found), *logs)))
            raise

    def name_of(self, member_id):
        """The name of a member."""
        return f"n{member_id}"

    def followers(self):
        """Names of all members but the leader."""
        leader = self.wait_leader()
        return [name for name in self.names if name != leader]

    def wait_writable(self, among=None, timeout_s=WAIT_S):
        """Wait until a write is acknowledged; returns the seconds it took."""
        chosen = [self.endpoints[self.names.index(n)] for n in (among or self.names)]
        begin = time.monotonic()
        with Client(chosen, keys=self.client_keys) as client:
            while True:
                try:
                    client.put(b"probe", b"", timeout_s=2.0)
                except SampanError:
                    assert time.monotonic() - begin < timeout_s, "no write was acknowledged"
                else:
                    return time.monotonic() - begin

    def client(self, *names, timeout_s=10.0):
        """A client of some members, or of all."""
        chosen = [self.endpoints[self.names.index(n)] for n in (names or self.names)]
        return Client(chosen, timeout_s=timeout_s, keys=self.client_keys)

    def everything(self, name, revision):
        """All of a member's own state at a revision."""
        with self.client(name) as client:
            found = client.get(b"\0", from_key=True, serializable=True, revision=revision)
        return found.kvs

    def wait_equal(self):
        """Wait until all members have applied the same, then compare their whole states."""
        with self.client() as client:
            revision = client.get(b"probe").header.revision
        for name in self.names:
            self.wait_status(name, lambda s: s.get("revision", 0) >= revision, "catching up")
        states = [self.everything(name, revision) for name in self.names]
        assert all(state == states[0] for state in states[1:]), "members differ"
        return revision
