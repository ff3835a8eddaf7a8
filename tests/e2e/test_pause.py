"""Leaders that stop and come back, disks that fall silent, and minorities."""

import signal
import threading
from contextlib import suppress

import pytest
import zmq
from sampan.client import SampanError
from sampan.transport import codec, sockets

from .background import Background
from .cluster import ROUNDS, wait_for
from .load import Load


class ReadStorm(Background):
    """Linearizable reads sent to one member whether or not it answers, so that many are sent while
    it is stopped. Each remembers what had been acknowledged to others when it was sent."""

    def __init__(self, endpoint, key):
        super().__init__()
        self._endpoint = endpoint
        self._request = codec.pack([("range", key)])
        self._floors = {}  # message id -> newest acknowledged revision when it was sent
        self.floor = 0
        self.answered = 0
        self.stale = []

    def _run(self):
        with sockets.context() as ctx, sockets.client_dealer(ctx, self._endpoint) as dealer:
            number = received = 0
            while not self._stop.is_set():
                number += 1
                self._floors[number] = self.floor
                header = codec.pack((1, number, "read", 20_000, received))
                with suppress(zmq.Again):
                    dealer.send_multipart((header, self._request), zmq.DONTWAIT)
                while dealer.poll(2):
                    received += self._take(*dealer.recv_multipart())

    def _take(self, header, body):
        floor = self._floors.pop(codec.unpack(header)[1])
        results = codec.unpack(body)
        if type(results[0]) is tuple and results[0][0] == 0:
            self.answered += 1
            if results[0][4][0][2] < floor:
                self.stale.append((results[0], floor))
        return len(body)


def test_stopped_leader_answers_no_stale_read(make_cluster):
    """etcd #20418: reads under way on a leader that is stopped, deposed and continued."""
    cluster = make_cluster().start()
    with cluster.client() as client:
        client.put(b"key", b"0")
    for round_ in range(2 * ROUNDS):
        old = cluster.wait_leader()
        others = [name for name in cluster.names if name != old]
        with ReadStorm(cluster.endpoints[cluster.names.index(old)], b"key") as storm:
            wait_for(lambda s=storm: s.answered > 100, "reads")
            cluster.signal_node(old, signal.SIGSTOP)
            gap_s = cluster.wait_writable(others)
            print(f"writes went on {gap_s:.2f} s after the leader was stopped")
            with cluster.client(*others) as client:
                for n in range(50):
                    value = b"%d-%d" % (round_, n)
                    storm.floor = client.put(b"key", value).header.revision
            before = storm.answered
            cluster.signal_node(old, signal.SIGCONT)
            wait_for(lambda s=storm, b=before: s.answered > b + 300, "reads after the pause")
        assert not storm.stale, f"{len(storm.stale)} stale reads, first {storm.stale[0]}"
    cluster.wait_equal()
    cluster.stop()


@pytest.mark.parametrize("placement", ["processes"])
def test_leader_whose_disk_is_silent_steps_down(make_cluster):
    """Only its WAL writer stops; its heartbeats come from another process that must notice."""
    cluster = make_cluster().start()
    old = cluster.wait_leader()
    others = [name for name in cluster.names if name != old]
    with Load(cluster.endpoints) as load:
        load.wait_more()
        cluster.signal_actor(old, "wal_writer", signal.SIGSTOP)
        new = cluster.wait_leader(others)
        assert new != old
        load.wait_more()
        cluster.signal_actor(old, "wal_writer", signal.SIGCONT)
        cluster.wait_leader()
        load.wait_more()
    load.verify()
    cluster.wait_equal()
    cluster.stop()


@pytest.mark.parametrize("placement", ["processes"])
def test_leader_whose_disk_is_slow_hands_over(make_cluster):
    """Its WAL writer runs for a moment between long stops, so that it is never silent for long."""
    cluster = make_cluster().start()
    old = cluster.wait_leader()
    others = [name for name in cluster.names if name != old]
    stop = threading.Event()

    def pulses():
        while not stop.is_set():
            cluster.signal_actor(old, "wal_writer", signal.SIGSTOP)
            stop.wait(0.8)
            cluster.signal_actor(old, "wal_writer", signal.SIGCONT)
            stop.wait(0.05)

    slow = threading.Thread(target=pulses)
    with Load(cluster.endpoints) as load:
        load.wait_more()
        slow.start()
        try:
            wait_for(lambda: cluster.leader(others), "another leader")
            load.wait_more()
        finally:
            stop.set()
            slow.join()
        load.wait_more()
    load.verify()
    cluster.wait_equal()
    cluster.stop()


def test_minority_acknowledges_nothing(make_cluster):
    """One of three goes on alone, then all come back."""
    cluster = make_cluster().start()
    with cluster.client() as client:
        client.put(b"key", b"before")
    alone = cluster.wait_leader()
    others = [name for name in cluster.names if name != alone]
    for name in others:
        cluster.signal_node(name, signal.SIGSTOP)
    with cluster.client(alone, timeout_s=3) as client:
        outcomes = []
        for call in (lambda: client.put(b"key", b"minority"), lambda: client.get(b"key")):
            try:
                outcomes.append(call())
            except SampanError as error:
                outcomes.append(type(error))
        assert all(isinstance(outcome, type) for outcome in outcomes), outcomes
        assert client.get(b"key", serializable=True).kvs[0].value == b"before"
        wait_for(
            lambda: cluster.wait_status(alone)["leader"] == 0, "a leader without quorum to resign"
        )
        assert client.get(b"key", serializable=True).kvs[0].value == b"before"
    for name in others:
        cluster.signal_node(name, signal.SIGCONT)
    cluster.wait_leader()
    cluster.wait_writable()
    cluster.wait_equal()
    cluster.stop()


@pytest.mark.parametrize("placement", ["processes"])
def test_applier_stopped_catches_up(make_cluster):
    """A follower's state falls behind and comes back; reads there wait, they are not stale."""
    cluster = make_cluster().start()
    slow = cluster.followers()[0]
    with Load(cluster.endpoints) as load:
        load.wait_more()
        cluster.signal_actor(slow, "applier", signal.SIGSTOP)
        load.wait_more(200)
        cluster.signal_actor(slow, "applier", signal.SIGCONT)
        load.wait_more()
    load.verify()
    cluster.wait_equal()
    cluster.stop()
