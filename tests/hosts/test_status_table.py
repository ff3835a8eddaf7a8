"""What `sampan up` shows of nodes, strangers at their addresses and narrow terminals included."""

import fcntl
import os
import struct
import sys
import termios
import time
from itertools import pairwise
from types import SimpleNamespace

import pyte
import pytest
import zmq
from sampan.hosts.status_table import StatusTable
from sampan.hosts.statuses import Seen, Statuses
from sampan.transport.codec import pack, unpack

STATUS = {"role": "leader", "term": 3, "commit": 9, "applied": 9, "leader": 1, "requests": 5}
WAIT_MS = 180_000


@pytest.fixture
def stranger():
    """Whoever listens at the node's address."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    yield router
    context.destroy(linger=0)


def make_node(number=1, address="127.0.0.1:1", **changes):
    member = SimpleNamespace(
        id=number, name=f"n{number}", client=address, gateway=address[:-1] + "8", http=""
    )
    values = {"failed": "", "restart_at": None, "restarts": 0, "members": 3, "own_token": "own"}
    return SimpleNamespace(member=member, client_here=address, keys=None, **(values | changes))


@pytest.fixture
def statuses_of():
    made = []

    def make(*nodes):
        made.append(Statuses(list(nodes)))
        return made[-1]

    yield make
    for each in made:
        each._ctx.destroy(linger=0)


@pytest.fixture
def asked(stranger, statuses_of):
    """The statuses of a node in whose place the stranger answers."""
    return statuses_of(make_node(address=stranger.last_endpoint.decode().removeprefix("tcp://")))


def answer(statuses, stranger, body):
    """Have a node asked, and be answered."""
    while not stranger.poll(10):
        statuses.ask()  # it asks who is connected
    while stranger.poll(0):
        identity, header, _ = stranger.recv_multipart()
    stranger.send_multipart([identity, pack((1, unpack(header)[1])), body])
    assert statuses._dealers["n1"].poll(WAIT_MS)
    statuses.take()


# -- asking


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        pack([]),
        pack(5),
        pack([(0, 5)]),
        pack([(0, {})]),
        pack([(0, STATUS | {"requests": "many"})]),
        pack([(0, STATUS | {"term": None})]),
    ],
)
def test_an_answer_that_is_no_status_ends_nothing(asked, stranger, body):
    answer(asked, stranger, pack([(0, STATUS)]))
    (node,) = asked.nodes
    assert asked.of(node).status == STATUS
    assert asked.serves(node)
    answer(asked, stranger, body)
    assert asked.of(node) is None
    assert asked.missing() == ["n1 to start"]


def test_what_a_node_said_before_it_died_is_forgotten(asked, stranger):
    answer(asked, stranger, pack([(0, STATUS)]))
    (node,) = asked.nodes
    node.restarts = 1
    assert asked.of(node) is None
    assert not asked.serves(node)


# -- what is waited for


def seen(at=None, restarts=0, **changes):
    return Seen(time.monotonic() if at is None else at, STATUS | changes, 0.0, restarts)


def test_what_nodes_wait_for(statuses_of):
    nodes = [make_node(number) for number in (1, 2, 3)]
    statuses = statuses_of(*nodes)
    assert statuses.missing() == ["n1, n2, n3 to start"]
    statuses._seen = {"n1": seen(leader=0, role="follower")}
    assert statuses.missing() == ["n2, n3 to start", "a leader: 2 of 3 members must be up"]
    nodes[1].restart_at = 0.0
    statuses._seen |= {"n1": seen(), "n3": seen(at=time.monotonic() - 60)}
    assert statuses.missing() == ["n2 to restart", "n3 to answer"]
    nodes[1].restart_at, nodes[1].failed = None, "its disk is broken"
    statuses._seen["n3"] = seen()
    assert statuses.missing() == []


# -- on a terminal


class Terminal:
    """A terminal of a given size: what is printed into it, as a user sees it."""

    def __init__(self, columns, rows=24):
        self.ours, theirs = os.openpty()
        self.output = os.fdopen(theirs, "w", encoding="utf-8")
        self.screen = pyte.Screen(columns, rows)
        self.screen.set_mode(pyte.modes.LNM)  # what the kernel does to \n on its way
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.resize(columns, rows)

    def resize(self, columns, rows=24):
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def shown(self):
        """The lines of the screen after what was printed until now."""
        self.output.write("\0")  # a mark: everything before it is here when it is
        self.output.flush()
        data = b""
        while not data.endswith(b"\0"):
            data += os.read(self.ours, 65536)
        self.raw += data
        self.stream.feed(data.replace(b"\0", b""))
        return [line.rstrip() for line in self.screen.display]

    def close(self):
        self.output.close()
        os.close(self.ours)


@pytest.fixture
def terminal(monkeypatch):
    made = []

    def make(columns, rows=24):
        made.append(Terminal(columns, rows))
        monkeypatch.setattr(sys, "stdout", made[-1].output)
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def three(statuses_of):
    nodes = [make_node(number, f"127.0.0.1:{number}2379") for number in (1, 2, 3)]
    statuses = statuses_of(*nodes)
    statuses._seen = {"n1": seen(), "n2": seen(role="follower", leader=1)}
    return statuses


LOG = "/var/lib/a-rather-long-directory/with-another-one-in-it/sampan-data/sampan.log"


def live_table(statuses, log):
    return StatusTable(statuses, live=True, log_path=LOG, log=log)


@pytest.mark.parametrize("columns", [40, 41, 47, 60, 79, 80, 81, 120, 200])
@pytest.mark.parametrize("rows", [24, 8])
def test_the_screen_shows_one_table(terminal, three, log, columns, rows):
    there = terminal(columns, rows)
    table = live_table(three, log)
    print("$ sampan up")
    for _ in range(30):
        table.show()
        lines = there.shown()
    assert len([line for line in lines if line.startswith("node ")]) == 1, lines
    begin = next(number for number, line in enumerate(lines) if line.startswith("node "))
    for number, name in enumerate(("n1", "n2", "n3"), begin + 1):
        assert lines[number].startswith(name), lines
    assert lines[begin + 1].split()[1] == "leader"
    assert lines[begin + 1].split()[-1] == "up"
    text = " ".join(line.strip() for line in lines)
    assert "starting" in text
    if rows == 24:
        assert lines[0] == "$ sampan up"
        assert "waiting for n3 to start" in text
        assert "Ctrl-C stops" in text
        for node in three.nodes:
            assert node.member.client in text
            assert node.member.gateway in text
        assert LOG in text.replace(" ", "")


def test_more_columns_where_there_is_room(terminal, three, log):
    found = []
    for columns in (40, 60, 80, 100):
        there = terminal(columns)
        live_table(three, log).show()
        found.append(there.shown()[0].split())
    assert found[0] == ["node", "role", "leader", "state"]
    assert all(set(fewer) <= set(more) for fewer, more in pairwise(found))
    assert found[-1] == ["node", "role", "term", "commit", "applied", "leader", "requests/s",
                         "state"]  # fmt: skip


def test_a_terminal_that_is_made_narrower_and_wider(terminal, three, log):
    there = terminal(80)
    table = live_table(three, log)
    for columns in (80, 40, 40, 200, 200, 60):
        there.resize(columns)
        table.show()
        table.show()
        lines = there.shown()
        assert len([line for line in lines if line.startswith("node ")]) == 1, lines


def test_nothing_is_coloured(terminal, three, log):
    there = terminal(80)
    live_table(three, log).show()
    there.shown()
    assert b"\x1b[J" in there.raw
    assert not any(b"\x1b[" + code in there.raw for code in (b"0m", b"1m", b"3", b"4"))


def test_why_a_node_was_given_up_is_told_in_full(terminal, three, log):
    three.nodes[2].failed = "it stopped for good; its log says why"
    there = terminal(40)
    live_table(three, log).show()
    lines = [line.strip() for line in there.shown()]
    assert lines[3].endswith("given up")
    assert "n3 was given up: it stopped for good; its log says why" in " ".join(lines)
    assert "ready" in lines


# -- elsewhere


def test_changes_are_told_once(three, log, capsys):
    table = StatusTable(three, live=False, log_path="", log=log)
    table.show()
    table.show()
    three._seen["n3"] = seen(role="follower")
    table.show()
    assert capsys.readouterr().out.splitlines() == [
        "n1 leader term 3 up; n2 follower term 3 up; n3 - term 0 starting; waiting for n3 to start",
        "n1 leader term 3 up; n2 follower term 3 up; n3 follower term 3 up; ready",
    ]


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def left_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("output", [full_disk, left_reader])
def test_output_that_cannot_be_written_ends_nothing(three, monkeypatch, log, output):
    table = StatusTable(three, live=False, log_path="", log=log)
    with open(output(), "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        table.show()
        table.show()
    assert [event for event, _ in log.events] == ["cannot show the nodes' state any more"]


def test_a_terminal_that_goes_ends_nothing(three, monkeypatch, log):
    table = live_table(three, log)
    ours, theirs = os.openpty()
    with open(theirs, "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        table.show()
        os.close(ours)
        table.show()
        table.show()
    assert [event for event, _ in log.events] == ["cannot show the nodes' state any more"]
