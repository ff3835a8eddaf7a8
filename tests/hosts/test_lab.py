"""What a lab lets be done to nodes, and where there may be one."""

import os
import signal
from types import SimpleNamespace

import pytest
from sampan.config.local import cluster as local_cluster
from sampan.config.model import ConfigError, build
from sampan.hosts import lab
from sampan.hosts.lab import Lab
from sampan.hosts.lab_host import Orders, Wrong, pipe_path
from sampan.web.play import OrderError


class FakeNode:
    def __init__(self, number):
        self.member = SimpleNamespace(id=number, name=f"n{number}")
        self.orders = Orders()
        self.labels = ["node", "raft_core"]
        self.restarts = 0
        self.signals = []

    def signal_all(self, number, label=""):
        self.signals.append((number, label))


@pytest.fixture
def nodes():
    return [FakeNode(1), FakeNode(2), FakeNode(3)]


@pytest.fixture
def order(nodes):
    """Gives an order and has it carried out; returns what is wrong then."""
    woken = []
    made = Lab(nodes, lambda: woken.append(1))

    def give(**order):
        done = made.order(order)
        assert woken.pop()
        assert not done.done(), "it is the supervisor's loop that does it"
        made.work()
        done.result()
        return made.told()

    return give


def test_processes_are_signalled(order, nodes):
    order(do="kill", node="n1")
    order(do="kill", node="n2", process="raft_core")
    assert nodes[0].signals == [(signal.SIGKILL, "")]
    assert nodes[1].signals == [(signal.SIGKILL, "raft_core")]


def test_what_was_stopped_is_told_until_it_goes_on_or_starts_again(order, nodes):
    assert order(do="stop", node="n1", process="node")["stopped"] == [("n1", "node")]
    assert order(do="stop", node="n2")["stopped"] == [("n1", "node"), ("n2", "")]
    assert order(do="continue", node="n1")["stopped"] == [("n2", "")]
    nodes[1].restarts += 1
    assert order(do="continue", node="n3")["stopped"] == []


def test_links_are_cut_one_way(order, nodes):
    order(do="cut", node="n1", to="n2")
    told = order(do="cut", node="n1", to="n3")
    assert told["cut"] == [("n1", "n2"), ("n1", "n3")]
    assert nodes[0].orders.wrong == Wrong(cut=(2, 3))
    assert order(do="heal", node="n1", to="n2")["cut"] == [("n1", "n3")]


def test_all_is_mended_at_once(order, nodes):
    order(do="cut", node="n1", to="n2")
    assert order(do="slow", node="n3", ms=250)["slow_ms"] == {"n1": 0, "n2": 0, "n3": 250}
    order(do="stop", node="n2")
    told = order(do="mend")
    assert (told["cut"], told["stopped"]) == ([], [])
    assert set(told["slow_ms"].values()) == {0}
    assert nodes[1].signals[-1] == (signal.SIGCONT, "")


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"do": "burn"}, {"do": ["kill"]}, {"do": "kill"}, {"do": "kill", "node": "n4"},
        {"do": "kill", "node": "n1", "process": "init"}, {"do": "kill", "node": ["n1"]},
        {"do": "cut", "node": "n1"}, {"do": "cut", "node": "n1", "to": "n1"},
        {"do": "slow", "node": "n1"}, {"do": "slow", "node": "n1", "ms": -1},
        {"do": "slow", "node": "n1", "ms": "9"}, {"do": "slow", "node": "n1", "ms": 10**9},
        {"do": "kill", "node": "n1", "process": ["node"]},
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_and_changes_nothing(order, nodes, wrong):
    with pytest.raises(OrderError):
        order(**wrong)
    assert all(node.signals == [] and node.orders.wrong == Wrong() for node in nodes)


def test_a_node_that_starts_again_finds_what_was_wrong(tmp_path):
    orders = Orders()
    orders.give(Wrong(cut=(2,)))  # nobody is there to take it yet
    orders.open(str(tmp_path), ["fused"])
    reader = os.open(pipe_path(str(tmp_path), "fused"), os.O_RDONLY | os.O_NONBLOCK)
    orders.give(Wrong(cut=(2,), sync_pause_s=0.5))
    assert os.read(reader, 4096).decode().splitlines() == ["[[2], 0.0]", "[[2], 0.5]"]
    os.close(reader)
    orders.close()


def config(**member):
    values = local_cluster(3, 7000)
    values["members"][1] |= member
    return build(values | {"allow_insecure": True}, "here")


def test_a_lab_is_for_this_machine_alone():
    lab.check(config())
    for door in ("client", "peer", "gateway", "http"):
        with pytest.raises(ConfigError, match=r"0\.0\.0\.0:99 can be reached from other machines"):
            lab.check(config(**{door: "0.0.0.0:99"}))


def test_a_lab_has_buttons_somewhere():
    values = local_cluster(1, 7000)
    del values["members"][0]["http"]
    with pytest.raises(ConfigError, match="no member has an http address"):
        lab.check(build(values, "here"))
