"""Snapshots between two stores, over a wire that a test can cut."""

import os

import pytest
from sampan.actors.snapshot_stream import SnapshotReceiver, SnapshotSender, parse
from sampan.config import limits
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport.codec import CodecError, pack

SENDER, RECEIVER = 1, 2


class Wire:
    """A sender and a receiver with a queue each way; `run` moves messages until none is left."""

    def __init__(self, directory):
        self.source = SnapshotStore(directory / "a" / "snapshots")
        self.target = SnapshotStore(directory / "b" / "snapshots")
        self.to_receiver, self.to_sender = [], []
        self.reports, self.delivered = [], []
        self.lose = lambda message: False
        self.down = False
        self.sender = SnapshotSender(
            self.source, self._queue(self.to_receiver), lambda *report: self.reports.append(report)
        )
        self.new_receiver()
        state = StateStore.open(directory / "a" / "state")
        for index in range(1, 30):
            state.apply(index, 1, [("put", b"key%d" % index, os.urandom(200_000))])
        state.commit()
        state.flush()
        self.name = self.source.create(state)
        state.close()

    def new_receiver(self):
        """As after a restart of the receiving node."""
        self.target.clean()
        self.receiver = SnapshotReceiver(
            self.target,
            self._queue(self.to_sender),
            lambda *delivery: self.delivered.append(delivery),
        )

    def _queue(self, queue):
        def send(peer, frame):
            if self.down:
                return False
            queue.append(frame)
            return True

        return send

    def begin(self, now=0.0):
        self.sender.begin(RECEIVER, self.name, b"the message", now)

    def run(self, now=0.0, steps=10_000):
        while steps and (self.to_receiver or self.to_sender):
            steps -= 1
            if self.to_receiver:
                message = parse(self.to_receiver.pop(0))
                if not self.lose(message):
                    self.receiver.take(SENDER, message, now)
            else:
                self.sender.take(RECEIVER, parse(self.to_sender.pop(0)), now)


@pytest.fixture
def wire(tmp_path):
    return Wire(tmp_path)


def test_round_trip(wire, tmp_path):
    wire.begin()
    wire.run()
    assert wire.reports == [(RECEIVER, True)]
    assert wire.delivered == [(SENDER, wire.name, b"the message")]
    assert wire.target.finished() == [wire.name]
    wire.target.install(wire.name)
    state = StateStore.open(tmp_path / "b" / "state")
    assert (state.applied_index, state.applied_term, state.revision) == (29, 1, 30)
    state.close()


def test_few_chunks_are_under_way(wire):
    wire.begin()
    assert len(wire.to_receiver) == 1 + limits.SNAPSHOT_WINDOW_CHUNKS
    assert sum(map(len, wire.to_receiver)) < 2 * (
        limits.SNAPSHOT_WINDOW_CHUNKS * limits.SNAPSHOT_CHUNK_BYTES
    )


def test_a_lost_chunk_fails_the_stream_and_a_second_one_succeeds(wire):
    wire.lose = lambda message: message[0] == "chunk" and message[2] == 3
    wire.begin()
    wire.run()
    assert wire.reports == [(RECEIVER, False)]
    assert wire.delivered == []
    assert wire.target.finished() == []
    wire.lose = lambda message: False
    wire.begin()
    wire.run()
    assert wire.reports[-1] == (RECEIVER, True)
    assert wire.target.finished() == [wire.name]


def test_a_restarted_receiver_says_at_once_that_it_knows_nothing(wire):
    """... so that the leader does not wait for the stream's timeout before it sends again."""
    wire.begin()
    wire.run(steps=4)
    wire.new_receiver()
    wire.run()
    assert wire.reports == [(RECEIVER, False)]
    wire.begin()
    wire.run()
    assert wire.reports == [(RECEIVER, False), (RECEIVER, True)]
    assert wire.delivered == [(SENDER, wire.name, b"the message")]


def test_an_unknown_stream_is_refused_once(wire):
    """A refusal for each chunk would also end the next stream, which has the same name."""
    wire.begin()
    frames = [frame for frame in wire.to_receiver if parse(frame)[0] == "chunk"]
    for frame in frames:
        wire.receiver.take(SENDER, parse(frame), 0.0)
    assert [parse(frame)[0] for frame in wire.to_sender] == ["fail"]


def test_a_stream_without_answers_is_given_up(wire):
    wire.begin(now=0.0)
    wire.to_receiver.clear()
    wire.sender.expire(limits.SNAPSHOT_TIMEOUT_S - 0.1)
    assert wire.reports == []
    wire.sender.expire(limits.SNAPSHOT_TIMEOUT_S + 0.1)
    assert wire.reports == [(RECEIVER, False)]


def test_a_stream_that_moves_may_take_as_long_as_it_needs(wire):
    """Both ends count from the last message, not from the first."""
    now, pause = 0.0, 0.4 * limits.SNAPSHOT_TIMEOUT_S
    wire.begin(now)
    while wire.to_receiver:
        now += pause
        wire.receiver.take(SENDER, parse(wire.to_receiver.pop(0)), now)
        while wire.to_sender:
            wire.sender.take(RECEIVER, parse(wire.to_sender.pop(0)), now)
        wire.sender.expire(now + pause)
        wire.receiver.expire(now + 4 * pause)
    assert wire.reports == [(RECEIVER, True)]


def test_an_answer_about_an_earlier_stream_ends_no_other(wire):
    wire.begin()
    wire.sender.take(RECEIVER, ("fail", "snap-0000000000000001-0000000000000001", "late"), 0.0)
    assert wire.reports == []


def test_an_acknowledgement_of_what_was_not_sent_opens_no_window(wire):
    wire.begin()
    wire.sender.take(RECEIVER, ("ack", wire.name, 10**9), 0.0)
    assert len(wire.to_receiver) == 1 + 2 * limits.SNAPSHOT_WINDOW_CHUNKS


def test_chunks_of_another_peer_do_not_disturb_a_stream(wire):
    wire.begin()
    wire.run(steps=1)
    wire.receiver.take(9, parse(wire.to_receiver[0]), 0.0)
    assert parse(wire.to_sender.pop())[0] == "fail"
    wire.run()
    assert wire.reports == [(RECEIVER, True)]


def test_a_stream_that_begins_anew_leaves_no_file_open(wire, tmp_path):
    def open_files():
        numbers = os.listdir("/proc/self/fd")
        paths = [os.path.realpath(f"/proc/self/fd/{number}") for number in numbers]
        return [path for path in paths if path.startswith(f"{tmp_path}/b/snapshots/")]

    wire.begin()
    while not open_files():
        assert wire.to_receiver
        wire.run(steps=1)
    wire.to_receiver.clear()
    wire.to_sender.clear()
    wire.begin()
    wire.run(steps=1)
    assert open_files() == []


def test_a_receiver_gives_up_and_removes_what_came(wire, tmp_path):
    wire.begin()
    wire.run(steps=5)
    assert list((tmp_path / "b" / "snapshots").glob("*.receiving"))
    wire.receiver.expire(2 * limits.SNAPSHOT_TIMEOUT_S + 1)
    assert not list((tmp_path / "b" / "snapshots").glob("*.receiving"))


def test_a_full_link_fails_the_stream(wire):
    wire.begin()
    wire.run(steps=4)
    wire.down = True
    wire.run()
    assert wire.reports == [(RECEIVER, False)]


def test_a_snapshot_that_is_gone_fails_the_stream(wire):
    wire.source.prune(keep=set())
    wire.begin()
    assert wire.reports == [(RECEIVER, False)]


def test_a_snapshot_that_goes_while_it_is_sent_fails_the_stream(wire):
    """Another leader's snapshot arrived meanwhile and was installed: this one was removed."""
    wire.begin()
    wire.source.prune(keep=set())
    wire.run()
    assert wire.reports == [(RECEIVER, False)]


def test_made_keeps_what_is_being_sent(wire):
    wire.begin()
    wire.sender.made("snap-0000000000000009-0000000000000009")
    assert wire.source.finished() == [wire.name]
    wire.run()
    assert wire.reports == [(RECEIVER, True)]


@pytest.mark.parametrize(
    "value",
    [
        (),
        ({},),
        ((),),
        (1,),
        ("begin",),
        ("begin", 1, b"", b""),
        ("chunk", "n", -1, "f", 0, "not bytes"),
        ("ack", "n", True),
        ("done", b"n"),
        "begin",
        5,
        None,
    ],
)
def test_parse_refuses_what_is_not_a_stream_message(value):
    with pytest.raises(CodecError):
        parse(pack(value))


def test_made_keeps_what_was_received_since(wire):
    """It waits for its installation, and a deposed leader's own snapshot comes late."""
    wire.sender.made("snap-0000000000000000-0000000000000001")
    assert wire.source.finished() == [wire.name]
