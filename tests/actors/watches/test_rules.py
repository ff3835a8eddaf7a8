"""The rules of watches hold whatever happens in whatever order.

What is under way between applier, node and clients moves one step at a time as hypothesis chooses,
with all limits so small that each of them matters.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from sampan.actors.watches import feed
from sampan.config import limits
from sampan.storage import mvcc, records, sliced
from sampan.transport.watches import prefix_end

from .model import WatchNode

KEYS = st.sampled_from([b"a", b"a/1", b"a/2", b"b", b"b\xff", b"\xff"])
RANGES = st.one_of(
    KEYS.map(lambda key: (key, b"")),
    KEYS.map(lambda key: (key, prefix_end(key))),
    KEYS.map(lambda key: (key, b"\0")),
    st.sampled_from([(b"", b"\0"), (b"a", b"b/"), (b"a/1", b"b")]),
)
VALUES = st.sampled_from([b"", b"v", b"value" * 20])
PUTS = st.tuples(st.just("put"), KEYS, VALUES)
DELETIONS = RANGES.filter(lambda r: r[0]).map(lambda r: ("delete", *r))
TXNS = st.lists(
    st.tuples(st.just("put"), KEYS, VALUES), min_size=1, max_size=5, unique_by=lambda put: put[1]
).map(lambda puts: ("txn", (), tuple(puts), ()))
CLIENTS = st.integers(0, 2)
SMALL = {
    "WATCH_WINDOW_BYTES": 600, "WATCH_WINDOW_MESSAGES": 8, "WATCH_FRAGMENT_BYTES": 150,
    "WATCH_FEED_BYTES": 3_000, "WATCH_TURN_PAIRS": 6, "WATCH_STEP_CHUNKS": 1,
    "WATCH_PROGRESS_S": 0.2,
}  # fmt: skip


class Watching(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.directory = Path(tempfile.mkdtemp(prefix="watch-"))
        self.node = WatchNode(self.directory)

    @rule(requests=st.lists(st.one_of(PUTS, PUTS, DELETIONS, TXNS), min_size=1, max_size=6))
    def write(self, requests):
        self.node.write(*requests)

    @rule(back=st.integers(0, 8))
    def compact(self, back):
        self.node.write(("compact", max(1, self.node.model.revision - back)))

    @rule(
        client=CLIENTS,
        bounds=RANGES,
        start=st.one_of(st.just(None), st.integers(-30, 4)),
        flags=st.integers(0, 31),
        watch_id=st.sampled_from([0, 0, 5]),
    )
    def create(self, client, bounds, start, flags, watch_id):
        first = 0 if start is None else max(1, self.node.model.revision + start)
        self.node.ask(client, ("create", *bounds, first, flags, watch_id))

    @rule(client=CLIENTS, watch_id=st.integers(0, 6))
    def cancel(self, client, watch_id):
        self.node.ask(client, ("cancel", watch_id))

    @rule(client=CLIENTS)
    def progress(self, client):
        self.node.ask(client, ("progress",))

    @rule(client=CLIENTS, bodies=st.integers(1, 5))
    def read(self, client, bodies):
        self.node.clients[client].read(bodies)

    @rule(client=CLIENTS)
    def read_all(self, client):
        self.node.clients[client].read(1000)
        self.node.ask(client, ("ack",))

    @rule(entries=st.integers(1, 3))
    def applier(self, entries):
        self.node.applier_turn(entries)

    @rule(messages=st.integers(0, 4))
    def hub(self, messages):
        self.node.node_turn(messages)

    @rule()
    def both(self):
        self.node.applier_turn()
        self.node.node_turn()

    @rule()
    def timer(self):
        self.node.timer()

    @rule()
    def commit(self):
        self.node.state.commit()

    @precondition(lambda self: self.node.state.compacting)
    @rule()
    def compact_some(self):
        self.node.compact_some()

    @precondition(lambda self: not self.node.snapshots)  # opening a database takes long
    @rule()
    def install_snapshot(self):
        self.node.install_snapshot()

    def teardown(self):
        if hasattr(self, "node"):
            try:
                self.node.check(whole=False)
                self.node.settle()
                self.node.check(whole=True)
            finally:
                self.node.close()
                shutil.rmtree(self.directory)


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    for name, value in SMALL.items():
        monkeypatch.setattr(limits, name, value)
    monkeypatch.setattr(records, "CHUNK_EVENTS_MAX", 3)
    for module, name in ((sliced, "ITEMS"), (mvcc, "_CHUNKS"), (feed, "PREVIOUS_A_SLICE")):
        monkeypatch.setattr(module, name, 2)


def test_the_rules_hold():
    Watching.TestCase.settings = settings(
        max_examples=60, stateful_step_count=60, deadline=None, print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    Watching.TestCase("runTest").runTest()


def test_history_that_is_read_when_a_snapshot_is_installed_is_read_again(tmp_path):
    node = WatchNode(tmp_path)
    node.write(("put", b"a", b""), ("delete", b"a", b""), ("put", b"a", b""))
    node.applier_turn()
    node.node_turn()
    node.ask(0, ("create", b"a", b"", node.model.revision - 2, 0, 0))
    while not node.feed.telling:
        node.node_turn()
        node.applier_turn()
    node.install_snapshot()
    node.settle()
    node.check(whole=True)
    node.close()
