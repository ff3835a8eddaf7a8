"""Watches under killed leaders, a stopped reader and compaction: every event, once, in order."""

import signal
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from sampan.client import NotAppliedError

from .cluster import WAIT_S
from .watch_load import PREFIX, WatchLoad

EVENTS = 100_000


class Child:
    """A watcher in a process of its own."""

    def __init__(self, endpoints):
        self.process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("watch_child.py"), PREFIX, *endpoints],
            stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def wait_at(self, revision):
        """Read what it says until it is that far."""
        for line in self.process.stdout:
            word, number, *_ = line.split()
            assert word == "at"
            if int(number) >= revision:
                return
        raise AssertionError("the watcher ended")

    def result(self):
        """(checksum, count) of all that it saw."""
        for line in self.process.stdout:
            word, *numbers = line.split()
            if word == "saw":
                return tuple(map(int, numbers))
        raise AssertionError("the watcher ended without a result")


def checksum(truth):
    crc = 0
    for revision, events in truth.items():
        for event in events:
            crc = zlib.crc32(repr((revision, *event)).encode(), crc)
    return crc


def test_every_event_once_and_in_order(make_cluster):
    cluster = make_cluster().start()
    actors = [actor for actor in ("node", "applier", "raft_core") if actor in cluster.actors]
    actors = actors or ["fused"] * 3
    with (
        WatchLoad(cluster.endpoints) as load,
        Child(cluster.endpoints) as child,
    ):
        cluster.kill_actor(cluster.wait_leader(), actors[0])
        early = load.wait_events(EVENTS // 5)
        child.wait_at(early)
        child.process.send_signal(signal.SIGSTOP)
        cluster.kill_actor(cluster.wait_leader(), actors[1])
        load.wait_events(EVENTS * 2 // 5)
        load.wait_told(early)  # or compaction would end a watch that is still on its way there
        with cluster.client(timeout_s=WAIT_S) as client:
            client.compact(early)
        load.begin_late(early)
        load.wait_events(EVENTS * 3 // 5)
        cluster.kill_actor(cluster.wait_leader(), actors[2])
        load.wait_events(EVENTS * 4 // 5)
        child.process.send_signal(signal.SIGCONT)
        load.wait_events(EVENTS)
        load.stop_writing()
        seen_by_child = child.result()
    truth = load.verify()
    assert load.compacted_at == early, "the watch that was not read was told so (6)"
    assert load.seen["whole"][0].bookmarks > 3
    events = sum(map(len, truth.values()))
    assert events >= EVENTS
    assert seen_by_child == (checksum(truth), events)
    cluster.stop()


def member_of(watch, client, key):
    """The name of the member that a watch is on: it tells of a put."""
    client.put(key, b"where")
    return f"n{next(watch).header.member_id}"


def test_a_watch_leaves_a_node_that_stopped(make_cluster):
    """Its connection stands, and nothing comes on it any more."""
    cluster = make_cluster().start()
    with (
        cluster.client(timeout_s=WAIT_S) as client,
        client.watch("k", timeout_s=WAIT_S) as watch,
    ):
        stopped = member_of(watch, client, "k")
        cluster.signal_node(stopped, signal.SIGSTOP)
        put = client.put("k", "while it was stopped")
        response = next(watch)
        assert [e.kv.mod_revision for e in response.events] == [put.header.revision]
        assert f"n{response.header.member_id}" != stopped
        cluster.signal_node(stopped, signal.SIGCONT)
    cluster.stop()


@pytest.mark.parametrize("placement", ["fused"])
def test_a_watch_leaves_a_node_that_lost_its_leader(make_cluster):
    """The majority is gone: the watch does not wait in silence, and goes on when it is back."""
    cluster = make_cluster().start()
    with (
        cluster.client(timeout_s=WAIT_S) as client,
        client.watch("k", timeout_s=WAIT_S) as lasting,
        client.watch("k", timeout_s=1.0) as impatient,
    ):
        left = member_of(lasting, client, "k")
        next(impatient)
        others = [name for name in cluster.names if name != left]
        for name in others:
            cluster.signal_node(name, signal.SIGSTOP)
        with pytest.raises(NotAppliedError):
            next(impatient)
        for name in others:
            cluster.signal_node(name, signal.SIGCONT)
        put = client.put("k", "again")
        response = next(lasting)
        assert [e.kv.mod_revision for e in response.events] == [put.header.revision]
    cluster.stop()
