"""Doors with keys: who gets in, who does not, and what changes while they are open."""

import os
import shutil
import time

import pytest
import structlog
import zmq
from hypothesis import given
from hypothesis import strategies as st
from sampan.client.keys import ClientKeys
from sampan.config import keys, limits
from sampan.config.keys import KeyFileError
from sampan.config.model import ConfigError
from sampan.hosts import keys_command, ports
from sampan.hosts.keys import MemberKeys, ServerKeys, made
from sampan.hosts.ports import ClientPort, PeerPort
from sampan.hosts.visitors import Visitors
from sampan.transport.codec import pack
from sampan.transport.curve import new_pair

from .test_ports import Opened

LOG = structlog.get_logger()
NAMES = ("n1", "n2", "n3")


def run(*arguments):
    return keys_command.main([str(each) for each in arguments])


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "keys"
    assert run("new", folder, *NAMES) == 0
    assert run("client", folder, tmp_path / "carol.key", "--user", "carol") == 0
    assert run("client", folder, tmp_path / "nobody.key") == 0
    return folder


@pytest.fixture
def client_port(folder):
    opened = Opened(ClientPort("127.0.0.1:0", LOG, ServerKeys(folder, LOG)))
    yield opened
    opened.close()


@pytest.fixture
def peer_port(folder):
    opened = Opened(PeerPort("127.0.0.1:0", LOG, MemberKeys(folder, "n1", LOG)))
    yield opened
    opened.close()


@pytest.fixture
def make():
    """Makes libzmq's sockets, connected with a pair to whoever has a server's key."""
    context, kept = zmq.Context(), []

    def dealer(address, pair, server):
        kept.append(context.socket(zmq.DEALER))
        socket = kept[-1]
        socket.curve_publickey, socket.curve_secretkey = pair
        socket.curve_serverkey = server
        socket.connect(f"tcp://{address}")
        return socket

    yield dealer
    context.destroy(linger=0)


def pair_of(path):
    return keys.read(path).own[0]


def of_client(folder, name="carol"):
    return pair_of(folder.parent / f"{name}.key")


def of_member(folder, name):
    return pair_of(keys.own_file(folder, name))


def drop_line(folder, key):
    path = folder / keys.AUTHORIZED
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if key.hex() not in line]
    assert len(kept) == len(lines) - 1
    path.write_text("".join(kept))


def says(socket, opened, channel, *frames):
    """What arrives when a dealer says something."""
    before = len(opened.of(channel))
    socket.send_multipart(frames)
    return opened.run_until(lambda: opened.of(channel)[before:])[0]


def refused(opened):
    """Wait until the door has refused somebody, and see that nothing came in."""
    opened.run_until(lambda: opened.port._told_at > 0)
    assert opened.taken == []


# -- clients


def test_a_client_is_the_user_whose_key_it_has(client_port, folder, make):
    server = of_member(folder, "server")[0]
    for name, user in (("carol", b"carol"), ("nobody", b"")):
        socket = make(client_port.port.address, of_client(folder, name), server)
        client, *frames = says(socket, client_port, "clientc", b"header", b"body")
        assert client[8:] == user
        assert frames == [b"header", b"body"]
        client_port.port.replyc(("replyc", (client, b"header", b"reply")))
        client_port.port.send()
        client_port.run_until(lambda: socket.poll(0))  # noqa: B023
        assert socket.recv_multipart() == [b"header", b"reply"]


def test_the_nodes_own_programs_come_with_the_key_of_the_door(client_port, folder, make):
    pair = of_member(folder, "server")
    client, *_ = says(make(client_port.port.address, pair, pair[0]), client_port, "clientc", b"x")
    assert client[8:] == b""


@pytest.mark.parametrize("who", ["a stranger", "a member"])
def test_others_keys_are_refused_at_the_door_for_clients(client_port, folder, make, who):
    pair = new_pair() if who == "a stranger" else of_member(folder, "n1")
    make(client_port.port.address, pair, of_member(folder, "server")[0]).send(b"x")
    refused(client_port)


def test_where_any_key_is_good_a_members_is_not(folder, tmp_path, make):
    assert run("client", folder, tmp_path / "any.key", "--any") == 0
    door = ServerKeys(folder, LOG)
    assert door.name_of(new_pair().public) == ""
    assert door.name_of(of_client(folder)[0]) == "carol"
    assert door.name_of(of_member(folder, "n2")[0]) is None
    (choice,) = ClientKeys.load(tmp_path / "any.key").choices()
    assert choice[0] == of_member(folder, "server")[0]


def test_a_key_that_is_taken_out_ends_its_session(client_port, folder, make):
    server = of_member(folder, "server")[0]
    carol, nobody = (
        make(client_port.port.address, of_client(folder, name), server)
        for name in ("carol", "nobody")
    )
    gone, *_ = says(carol, client_port, "clientc", b"1")
    stays, *_ = says(nobody, client_port, "clientc", b"1")
    drop_line(folder, of_client(folder)[0])
    client_port.port._keys.stale = True
    client_port.run_until(lambda: client_port.of("gonec"))
    assert client_port.of("gonec") == [gone]
    assert says(nobody, client_port, "clientc", b"2")[0] == stays
    carol.send(b"again")
    client_port.run_until(lambda: client_port.port._told_at > 0)
    assert len(client_port.of("clientc")) == 3


def test_what_is_wrong_with_a_file_changes_nothing(client_port, folder, make):
    socket = make(client_port.port.address, of_client(folder), of_member(folder, "server")[0])
    client, *_ = says(socket, client_port, "clientc", b"1")
    (folder / keys.AUTHORIZED).write_text("client carol 12\n")
    client_port.port._keys.stale = True
    client_port.port.tick()
    assert says(socket, client_port, "clientc", b"2")[0] == client


def test_a_new_pair_of_the_door_beside_the_old_one(client_port, folder, make):
    old = of_member(folder, "server")[0]
    assert run("rotate", folder, "server") == 0
    client_port.port._keys.stale = True
    client_port.port.tick()
    new = of_member(folder, "server")[0]
    assert new != old
    for server in (old, new):
        says(
            make(client_port.port.address, of_client(folder), server), client_port, "clientc", b"x"
        )
    assert run("retire", folder, "server") == 0
    client_port.port._keys.stale = True
    client_port.port.tick()
    says(make(client_port.port.address, of_client(folder), new), client_port, "clientc", b"x")
    late = make(client_port.port.address, of_client(folder), old)
    late.send(b"x")
    client_port.run_until(lambda: not client_port.port._shaking)
    assert len(client_port.of("clientc")) == 3


# -- members


def header(sender, kind="raft"):
    return pack((2, 77, sender, 1, 0, 0, 0, 0, 0, kind))


def test_a_member_speaks_for_itself(peer_port, folder, make):
    port = peer_port.port
    port.linksc(("linksc", {2: ("127.0.0.1:1", "n2"), 3: ("127.0.0.1:1", "n3")}))
    server = of_member(folder, "n1")[0]
    two = make(port.address, of_member(folder, "n2"), server)
    assert says(two, peer_port, "peerc", header(2)) == [header(2)]
    assert says(two, peer_port, "peerc", header(9, "ask")), "who is no peer may ask who they are"
    assert says(two, peer_port, "peerc", b"\xc1"), "the transport counts what is malformed"
    port.linksc(("linksc", {2: ("127.0.0.1:1", "n2"), 3: ("127.0.0.1:1", "")}))
    assert says(two, peer_port, "peerc", header(3)), "a member that has not started has no name"


anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.binary(max_size=4), st.text("ab")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.integers(0, 4), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(st.one_of(st.binary(max_size=300), anything.map(pack)))
def test_whatever_a_member_says_ends_no_door(said):
    assert type(ports._sender_of(said)) in (int, type(None))


def test_a_member_that_speaks_for_another_is_cut(peer_port, folder, make):
    port = peer_port.port
    port.linksc(("linksc", {2: ("127.0.0.1:1", "n2"), 3: ("127.0.0.1:1", "n3")}))
    two = make(port.address, of_member(folder, "n2"), of_member(folder, "n1")[0])
    says(two, peer_port, "peerc", header(2))
    (stream,) = port._streams.values()
    two.send_multipart([header(3)])
    peer_port.run_until(lambda: not stream.open)
    assert peer_port.of("peerc") == [[header(2)]]


@pytest.mark.parametrize("who", ["a stranger", "a client", "the door for clients"])
def test_others_keys_are_refused_at_the_door_for_members(peer_port, folder, make, who):
    pair = {
        "a stranger": new_pair(),
        "a client": of_client(folder),
        "the door for clients": of_member(folder, "server"),
    }[who]
    make(peer_port.port.address, pair, of_member(folder, "n1")[0]).send(b"x")
    refused(peer_port)


@pytest.fixture
def two(folder):
    """Two members' doors in one loop, and how the second calls the first."""
    first = Opened(PeerPort("127.0.0.1:0", LOG, MemberKeys(folder, "n1", LOG)))
    second = PeerPort("127.0.0.1:0", LOG, MemberKeys(folder, "n2", LOG))
    second.open(first.poller, first.taken.append)

    def run_until(condition):
        return first.run_until(lambda: (second.tick(), condition())[1])

    yield first.port, second, run_until
    second.close()
    first.close()


def reload(*ports):
    for port in ports:
        port._keys.stale = True
        port.tick()


def send(port, what):
    return port.linkc(("linkc", (1, [header(2), what])))


@pytest.mark.parametrize("name", ["n1", ""])
def test_a_link_finds_its_member(two, name):
    """By its name, or, when it has told none yet, by trying whose key it has."""
    first, second, run_until = two
    second.linksc(("linksc", {1: (first.address, name)}))
    run_until(lambda: send(second, b"x"))
    run_until(lambda: first._streams)
    assert next(iter(first._streams.values())).known.name == "n2"


def test_a_link_does_not_take_another_member_for_its_own(two):
    first, second, run_until = two
    second.linksc(("linksc", {3: (first.address, "n3")}))
    link = second._links[3]
    run_until(lambda: link._told)
    assert not second.linkc(("linkc", (3, [header(2)])))


@pytest.mark.parametrize("whose", ["n1", "n2"])
@pytest.mark.parametrize("whoever_is_first", ["others", "itself"])
def test_members_keys_rotate_without_a_stop(two, folder, whose, whoever_is_first):
    """Whoever reads its files first: old and new are both good for a while."""
    first, second, run_until = two
    second.linksc(("linksc", {1: (first.address, "n1")}))
    run_until(lambda: send(second, b"old"))
    old = of_member(folder, whose)[0]
    assert run("rotate", folder, whose) == 0
    order = (
        (first, second) if (whose == "n2") == (whoever_is_first == "others") else (second, first)
    )
    for port in order:
        reload(port)
        assert send(second, b"still"), "what is connected stays"
        next(iter(first._streams.values())).end("cut by the test")
        run_until(lambda: send(second, b"again"))
    assert run("retire", folder, whose) == 0
    for port in order:
        reload(port)
        run_until(lambda: send(second, b"new"))
    links = [link._connection._stream.known.key for link in second._links.values()]
    known = {stream.known.key for stream in first._streams.values()} | set(links)
    assert old not in known


def test_a_member_whose_key_was_taken_out_is_cut(two, folder):
    first, second, run_until = two
    second.linksc(("linksc", {1: (first.address, "n1")}))
    run_until(lambda: send(second, b"x"))
    drop_line(folder, of_member(folder, "n2")[0])
    reload(first)
    assert not [s for s in first._streams.values() if s.ready]
    run_until(lambda: second._links[1]._told.endswith("this end's key"))


# -- how often


def test_an_address_may_knock_so_often_and_so_many_at_once():
    visitors, now = Visitors(), 0.0
    for _ in range(limits.SHAKING_OF_ADDRESS_MAX):
        assert visitors.admits("a", now)
    assert not visitors.admits("a", now)
    assert visitors.admits("b", now)
    visitors.done("a")
    assert visitors.admits("a", now)
    for _ in range(limits.HANDSHAKES_OF_ADDRESS_MAX - limits.SHAKING_OF_ADDRESS_MAX - 1):
        visitors.done("a")
        assert visitors.admits("a", now)
    visitors.done("a")
    assert not visitors.admits("a", now)
    assert visitors.admits("a", now + 1 / limits.HANDSHAKES_OF_ADDRESS_PER_S)
    assert not visitors.admits("a", now + 1 / limits.HANDSHAKES_OF_ADDRESS_PER_S)


def test_whoever_has_a_network_of_addresses_is_one(monkeypatch):
    """A machine has 2^64 of IPv6. Those of IPv4 come as IPv6, too, where a door takes both."""
    monkeypatch.setattr(limits, "HANDSHAKES_OF_ADDRESS_MAX", 2)
    for same, other in (
        (("2001:db8::1", "2001:db8::ffff:1", "2001:db8:0:0:9::"), "2001:db8:0:1::1"),
        (("fe80::1%eth0",) * 3, "fe80::2%eth0"),
        (("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.1"), "::ffff:192.0.2.2"),
        (("?",) * 3, "::1"),
    ):
        visitors = Visitors()
        assert [visitors.admits(host, 0.0) for host in same] == [True, True, False]
        assert visitors.admits(other, 0.0)
        for host in (*same[:2], other):
            visitors.done(host)
        assert not visitors._shaking


def test_what_is_remembered_of_addresses_is_bounded(monkeypatch):
    monkeypatch.setattr(limits, "ADDRESSES_MAX", 10)
    visitors = Visitors()
    for host in range(100):
        assert visitors.admits(str(host), 0.0)
        visitors.done(str(host))
    assert len(visitors._buckets) == 10
    assert not visitors._shaking


def test_who_knocks_too_often_is_closed_unheard(client_port, folder, make, monkeypatch):
    monkeypatch.setattr(limits, "HANDSHAKES_OF_ADDRESS_MAX", 0)
    socket = make(client_port.port.address, of_client(folder), of_member(folder, "server")[0])
    socket.send(b"x")
    until = time.monotonic() + 0.2
    client_port.run_until(lambda: time.monotonic() > until)
    assert client_port.taken == []
    monkeypatch.undo()
    client_port.run_until(lambda: client_port.taken)


# -- files


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda f: (f / "n1.key").chmod(0o640), "others can use it; run `chmod 600"),
        (lambda f: (f / "authorized").chmod(0o666), "others can change it; run `chmod 644"),
        (lambda f: (f / "n1.key").unlink(), "cannot be read: No such file"),
        (lambda f: (f / "n1.key").write_text("# nothing\n"), "has no line `own"),
        (lambda f: (f / "n1.key").write_text("own 12 34\n"), "line 1: is not own PUBLIC SECRET"),
        (lambda f: (f / "authorized").write_text("friend x\n"), "line 1: begins with none of"),
        (lambda f: (f / "authorized").write_text("member n1 *\n"), "is not member NAME PUBLIC"),
        (lambda f: (f / "authorized").write_bytes(b"\xff"), "is no file with keys"),
        (lambda f: shutil.copy(f / "n1.key", f / "authorized"), "for everybody's eyes"),
        (
            lambda f: (f / "n1.key").write_text(keys.line("own", bytes(32), bytes(32))),
            "does not belong to the secret beside it",
        ),
    ],
)
def test_files_that_are_not_good_are_refused(folder, change, text):
    change(folder)
    with pytest.raises(ConfigError) as error:
        made(MemberKeys, folder, "n1", LOG)
    assert text in str(error.value)
    assert "sampan keys --help" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_of_somebody_else_is_refused(folder):
    os.chown(folder / "n1.key", 12345, -1)
    with pytest.raises(KeyFileError, match="belongs to another user"):
        MemberKeys(folder, "n1", LOG)


def test_what_the_command_makes(folder, tmp_path, capsys):
    modes = {p.name: p.stat().st_mode & 0o777 for p in (*folder.iterdir(), tmp_path / "carol.key")}
    secret = {"server.key", "n1.key", "n2.key", "n3.key", "carol.key"}
    assert modes == dict.fromkeys(secret, 0o600) | {"authorized": 0o644}
    assert folder.stat().st_mode & 0o777 == 0o700
    before = {p: p.read_text() for p in folder.iterdir()}
    assert run("new", folder, *NAMES) == 0
    assert {p: p.read_text() for p in folder.iterdir()} == before, "what is there stays"
    assert run("client", folder, tmp_path / "carol.key", "--user", "carol") == 1
    assert "is there already" in capsys.readouterr().err
    assert run("client", folder, tmp_path / "x.key", "--user", "two words") == 1
    assert run("retire", folder, "n1") == 1
    assert "no older pair" in capsys.readouterr().err
    assert run("client", tmp_path / "none", tmp_path / "x.key") == 1
    assert "`sampan keys new`" in capsys.readouterr().err
    assert run("show", folder) == 0
    shown = capsys.readouterr().out
    assert "client carol" in shown
    for name in ("n1", "server"):
        public, secret_key = of_member(folder, name)
        assert public.hex() in shown
        assert secret_key.hex() not in shown


def test_remarks_of_people_stay(folder):
    path = folder / keys.AUTHORIZED
    path.write_text(path.read_text() + "# carol's laptop")
    assert run("rotate", folder, "n1") == 0
    assert run("retire", folder, "n1") == 0
    assert "# carol's laptop\n" in path.read_text()
    assert len(keys.read(path).members) == 3
    assert not list(folder.glob("*.new"))


def test_a_clients_keys():
    key = new_pair()
    assert len(ClientKeys([bytes(32), key.public], [key.secret]).choices()) == 2
    for wrong in (([],), ([b"short"],), ([key.public], [b"short"])):
        with pytest.raises(ValueError, match="32 bytes"):
            ClientKeys(*wrong)


def test_a_file_without_nodes_is_no_clients(folder):
    with pytest.raises(KeyFileError, match="is it a client's"):
        ClientKeys.load(folder / "n1.key")
