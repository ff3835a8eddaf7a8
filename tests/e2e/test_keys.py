"""A cluster with keys, whatever happens: never an accepted stranger, never a refused friend."""

import shutil
import signal
import socket
import threading

import pytest
import zmq
from sampan.client import SampanError, errors
from sampan.client.keys import ClientKeys
from sampan.client.sync import Client
from sampan.config import keys
from sampan.hosts import keys_command
from sampan.transport.curve import new_pair

from .background import Background
from .cluster import WAIT_S, wait_for
from .growing import GrowingCluster
from .load import Load

SMALL_LOG = {"log_entries_max": 200, "log_bytes_max": 1 << 20}
STRANGER = "127.0.0.66"
"""Where those come from who are to be refused: by it the nodes' logs tell them from friends."""


def run(*arguments):
    assert keys_command.main([str(each) for each in arguments]) == 0


class KeyedCluster(GrowingCluster):
    """Each member has a folder of its own with what belongs there, as on a machine of its own; one
    more has everything, as that of who runs the cluster."""

    def __init__(self, directory, placement, **extra):
        super().__init__(directory, placement, **extra)
        directory.mkdir()
        self.folder = directory / "keys"
        run("new", self.folder, *self.names)
        self.client_keys = directory / "client.key"
        run("client", self.folder, self.client_keys)
        self.reread()
        for name in self.names:
            self.copy(name)

    def reread(self):
        """What those who ask for a status show."""
        self.own_pair = keys.read(keys.own_file(self.folder, keys.SERVER)).own[0]

    def copy(self, name, *files):
        """Copy files to a member, all that are for it by default."""
        to = self.directory / f"keys-{name}"
        to.mkdir(exist_ok=True)
        for file in files or ("authorized", "server.key", f"{name}.key"):
            shutil.copy(self.folder / file, to / f"{file}.new")
            (to / f"{file}.new").rename(to / file)

    def launch_node(self, name, *flags):
        super().launch_node(name, "--keys-dir", str(self.directory / f"keys-{name}"), *flags)

    def reload(self, *files):
        """Copy these files to all members, one after the other, and let them read them."""
        for name in self.names:
            told = [file.replace("NAME", name) for file in files]
            self.copy(name, *told)
            before = self.read_again(name)
            self.command(name).signal(signal.SIGHUP)
            wait_for(lambda: self.read_again(name) >= before + 2, "keys to be read")  # noqa: B023

    def read_again(self, name):
        lines = [line for line in self.log(name).splitlines() if "keys read again" in line]
        return sum('"actor": "supervisor"' not in line for line in lines)

    def add(self, name, **options):
        run("new", self.folder, name)
        self.reload("authorized")
        self.copy(name)
        super().add(name, **options)

    def rotate(self, *names):
        """All get the new public keys first, then each its new pair, then the old ones go."""
        for name in names:
            run("rotate", self.folder, name)
        self.reload("authorized")
        self.reload("NAME.key", "server.key")
        self.reread()
        for name in names:
            run("retire", self.folder, name)
        self.reload("authorized", "NAME.key", "server.key")


class Strangers(Background):
    """Everybody who must not get in knocks at all doors all the time, from an address of theirs."""

    def __init__(self, cluster):
        super().__init__()
        folder = cluster.folder
        server = keys.read(folder / "server.key").own[0]
        member = keys.read(folder / "n1.key").own[0]
        client = keys.read(cluster.client_keys).own[0]
        self._doors = [
            *((at, pair, server[0]) for at in cluster.endpoints for pair in (new_pair(), member)),
            *((at, None, b"") for at in (*cluster.endpoints, *cluster.peers)),
        ]
        for name, at in zip(cluster.names, cluster.peers, strict=True):
            public = keys.read(keys.own_file(folder, name)).own[0][0]
            self._doors += [(at, pair, public) for pair in (new_pair(), client, server)]
        self.let_in = []

    def __exit__(self, *_):
        super().__exit__()
        assert not self.let_in

    def _run(self):
        with zmq.Context() as context:
            context.linger = 0
            sockets = [self._dealer(context, *door) for door in self._doors]
            while not self._stop.wait(0.2):
                for (at, pair, _), (dealer, monitor) in zip(self._doors, sockets, strict=True):
                    while monitor.poll(0):
                        monitor.recv_multipart()
                        self.let_in.append((at, pair))
                    if dealer.poll(0):
                        self.let_in.append((at, pair, dealer.recv_multipart()))
            for dealer, monitor in sockets:
                dealer.disable_monitor()
                monitor.close()
                dealer.close()

    def _dealer(self, context, at, pair, server):
        dealer = context.socket(zmq.DEALER)
        dealer.reconnect_ivl, dealer.reconnect_ivl_max = 500, 2000
        if pair is not None:
            dealer.curve_publickey, dealer.curve_secretkey = pair
            dealer.curve_serverkey = server
        monitor = dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
        dealer.connect(f"tcp://{STRANGER}:0;{at}")
        return dealer, monitor


def no_friend_was_refused(cluster):
    lines = [line for name in cluster.all for line in cluster.log(name).splitlines()]
    refused = [line for line in lines if '"refused"' in line]
    assert refused, "nobody knocked"
    assert [line for line in refused if f'"address": "{STRANGER}"' not in line] == []
    assert [line for line in lines if "this end's key" in line] == []


@pytest.fixture
def make_keyed(tmp_path, placement):
    made = []

    def make(**options):
        made.append(KeyedCluster(tmp_path / f"c{len(made)}", placement, **options))
        return made[-1].start()

    yield make
    for cluster in made:
        cluster.destroy()


def test_a_life_with_keys(make_keyed):
    """kill -9, a restart, a snapshot, changes of members and of all keys, under load."""
    cluster = make_keyed(first=3, most=4, **SMALL_LOG)
    load = Load(cluster.everywhere, timeout_s=10.0, client_keys=cluster.client_keys)
    with Strangers(cluster), load:
        load.wait_more()
        away = cluster.followers()[0]
        cluster.kill_and_forget(away)
        cluster.launch_node(away)
        wait_for(lambda: "snapshot installed" in cluster.log(away), "a snapshot")
        cluster.wait_status(away)
        leader = cluster.wait_leader()
        cluster.kill_node(leader)
        load.wait_more()
        cluster.launch_node(leader)
        cluster.wait_leader()
        cluster.rotate("n1", "n2", "n3")
        load.wait_more()
        cluster.add("n4")
        load.wait_more()
        cluster.remove(cluster.followers()[0])
        load.wait_more()
    cluster.wait_leader()
    load.verify()
    assert len(cluster.hashes()) == 1
    no_friend_was_refused(cluster)
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"], indirect=True)
def test_a_key_is_a_user_as_long_as_it_is_accepted(make_keyed):
    """And the nodes' own pages and programs go on, whatever becomes of the key of the door."""
    cluster = make_keyed(first=1, most=1)
    root_file, carol_file = (cluster.directory / f"{name}.key" for name in ("root", "carol"))
    run("client", cluster.folder, root_file, "--user", "root")
    run("client", cluster.folder, carol_file, "--user", "carol")
    run("client", cluster.folder, cluster.directory / "any.key", "--any")
    cluster.reload("authorized")
    with cluster.client() as client:
        client.user_add("root", "rootpw")
        client.user_grant_role("root", "root")
        client.auth_enable()

    def user(file, **who):
        return Client(cluster.endpoints, keys=file, timeout_s=WAIT_S, **who)

    with user(root_file) as root, user(carol_file) as carol:
        with pytest.raises(errors.PermissionDeniedError):
            carol.get("a")  # nobody is called so
        root.user_add("carol", None)
        root.role_add("r")
        root.role_grant_permission("r", "readwrite", "c/", prefix=True)
        root.user_grant_role("carol", "r")
        carol.put("c/1", "x")
        with pytest.raises(errors.PermissionDeniedError):
            carol.put("d", "x")
        with user(cluster.directory / "any.key") as nobody, pytest.raises(errors.UnknownUserError):
            nobody.get("c/1")
        named = {"user": "root", "password": "rootpw"}
        with user(cluster.directory / "any.key", **named) as by_name:
            assert by_name.get("c/1").kvs
        with carol.watch("c/", prefix=True, timeout_s=5) as watch:
            public = keys.read(carol_file).own[0][0].hex()
            path = cluster.folder / "authorized"
            lines = path.read_text().splitlines(keepends=True)
            path.write_text(
                "".join(line for line in lines if public not in line and "*" not in line)
            )
            cluster.reload("authorized")
            with pytest.raises(SampanError, match="this end's key"):
                carol.get("c/1", timeout_s=5)
            root.put("c/2", "unseen")
            with pytest.raises(SampanError):
                next(watch)
        assert root.get("c/2").kvs


@pytest.mark.parametrize("placement", ["fused"], indirect=True)
def test_a_node_starts_with_good_keys_only(make_keyed):
    cluster = make_keyed(first=1, most=1)
    cluster.kill_node("n1")
    file = cluster.directory / "keys-n1" / "n1.key"
    file.chmod(0o644)
    cluster.launch_node("n1")
    assert cluster.command("n1").wait() == 1
    assert f"others can use it; run `chmod 600 {file}`" in cluster.log("n1")


def test_what_the_node_says_to_who_has_none():
    """A door without a cluster behind: what a client makes of it is its error."""
    with socket.create_server(("127.0.0.1", 0)) as door:
        greeting = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\1" + bytes(31)

        def answer():
            for _ in range(2):
                accepted, _ = door.accept()
                with accepted:
                    accepted.sendall(greeting)
                    accepted.recv(64)

        threading.Thread(target=answer, daemon=True).start()
        with (
            Client([f"127.0.0.1:{door.getsockname()[1]}"], timeout_s=WAIT_S) as client,
            pytest.raises(SampanError, match="it asks for keys"),
        ):
            client.get("a")
    with pytest.raises(ValueError, match="cannot be read"):
        ClientKeys.load("absent.key")
