"""What `sampan up` shows of nodes, strangers at their addresses included."""

import os
import sys
from types import SimpleNamespace

import pytest
import zmq
from sampan.hosts.status_table import StatusTable
from sampan.transport.codec import pack, unpack

STATUS = {"role": "leader", "term": 3, "commit": 9, "applied": 9, "leader": 1, "requests": 5}
WAIT_MS = 10_000


@pytest.fixture
def stranger():
    """Whoever listens at the node's address."""
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.bind("tcp://127.0.0.1:*")
    yield router
    context.destroy(linger=0)


@pytest.fixture
def make_table(stranger, log):
    made = []

    def make(**options):
        address = stranger.last_endpoint.decode().removeprefix("tcp://")
        member = SimpleNamespace(name="n1", client=address)
        node = SimpleNamespace(member=member, failed="", restart_at=None, restarts=0)
        supervisor = SimpleNamespace(nodes=[node])
        options = {"live": False} | options
        made.append(StatusTable(supervisor, log_path="", log=log, **options))
        return made[-1]

    yield make
    for table in made:
        table._ctx.destroy(linger=0)


def answer(table, stranger, body):
    """Have the table ask, be answered, and show what it was told."""
    while not stranger.poll(10):
        table.show()  # it asks who is connected
    while stranger.poll(0):
        identity, header, _ = stranger.recv_multipart()
    stranger.send_multipart([identity, pack((1, unpack(header)[1])), body])
    assert table._dealers["n1"].poll(WAIT_MS)
    table.show()


@pytest.mark.parametrize("live", [False, True])
def test_a_node_is_shown(make_table, stranger, capsys, live):
    answer(make_table(live=live), stranger, pack([(0, STATUS)]))
    shown = capsys.readouterr().out.splitlines()
    assert any(line.split()[:2] == ["n1", "leader"] and "3" in line for line in shown)


@pytest.mark.parametrize("live", [False, True])
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
def test_an_answer_that_is_no_status_ends_nothing(make_table, stranger, capsys, live, body):
    table = make_table(live=live)
    answer(table, stranger, pack([(0, STATUS)]))
    capsys.readouterr()
    answer(table, stranger, body)
    assert "starting" in capsys.readouterr().out


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def left_reader():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("output", [full_disk, left_reader])
def test_output_that_cannot_be_written_ends_nothing(make_table, monkeypatch, log, output, live):
    table = make_table(live=live)
    with open(output(), "w", encoding="utf-8") as file:
        monkeypatch.setattr(sys, "stdout", file)
        table.show()
        table.show()
    assert [event for event, _ in log.events] == ["cannot show the nodes' state any more"]
