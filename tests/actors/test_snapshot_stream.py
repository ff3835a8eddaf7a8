"""Snapshots between two stores, over a wire that a test can cut."""

import os

import pytest
from sampan.actors.snapshot_pace import REST, REST_S_MAX, Pace
from sampan.actors.snapshot_stream import SnapshotReceiver, SnapshotSender, parse
from sampan.config import limits
from sampan.storage.snapshot_store import SnapshotStore
from sampan.storage.state_store import StateStore
from sampan.transport.codec import CodecError, pack

SENDER, RECEIVER = 1, 2


class Wire:
    """A sender and a receiver with a queue each way; `run` moves messages until none is left."""

    def __init__(self, directory, bytes_per_s=0):
        self.source = SnapshotStore(directory / "a" / "snapshots")
        self.target = SnapshotStore(directory / "b" / "snapshots")
        self.to_receiver, self.to_sender = [], []
        self.reports, self.delivered = [], []
        self.lose = lambda message: False
        self.down = False
        self.clock = lambda: 0.0
        self.sender = SnapshotSender(
            self.source,
            self._queue(self.to_receiver),
            lambda *report: self.reports.append(report),
            Pace(bytes_per_s),
            lambda: self.clock(),
        )
        self.new_receiver()
        self._state = directory / "a" / "state"
        self.make(4, 12, 29)

    def make(self, *ends):
        """A snapshot of a state that was flushed at these indexes: a file or two each."""
        state = StateStore.open(self._state)
        for end in ends:
            for index in range(state.applied_index + 1, end + 1):
                state.apply(index, 1, [("put", b"key%d" % index, os.urandom(120_000))])
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
    wire.sender.tick(limits.SNAPSHOT_TIMEOUT_S - 0.1)
    assert wire.reports == []
    wire.sender.tick(limits.SNAPSHOT_TIMEOUT_S + 0.1)
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
        wire.sender.tick(now + pause)
        wire.receiver.tick(now + 4 * pause)
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
        assert wire.to_receiver or wire.to_sender
        wire.run(steps=1)
    wire.to_receiver.clear()
    wire.to_sender.clear()
    wire.begin()
    wire.run(steps=1)
    assert open_files() == []


def test_what_came_is_kept_for_a_while_and_then_removed(wire, tmp_path):
    wire.begin()
    wire.run(steps=5)
    wire.new_receiver()
    wire.receiver.tick(1000.0)
    wire.receiver.tick(1000.0 + limits.SNAPSHOT_KEPT_S - 1)
    assert list((tmp_path / "b" / "snapshots").glob("*.receiving"))
    wire.receiver.tick(1000.0 + limits.SNAPSHOT_KEPT_S + 1)
    assert not list((tmp_path / "b" / "snapshots").glob("*.receiving"))


class Carried:
    """Counts the bytes of chunks, and cuts the stream after so many."""

    def __init__(self, wire, cut_after=2**63):
        self.bytes, self.files, self.cut_after = 0, [], cut_after
        wire.lose = self.lose

    def lose(self, message):
        if message[0] != "chunk":
            return False
        self.bytes += len(message[5])
        self.files += [message[3]] if message[4] == 0 else []
        return self.bytes > self.cut_after


def size_of(wire):
    return sum(size for _, size in wire.source.checkpoint(wire.name)[1])


@pytest.mark.parametrize("restarts", [False, True])
def test_a_stream_that_was_cut_goes_on_where_it_was(wire, tmp_path, restarts):
    whole = size_of(wire)
    Carried(wire, cut_after=whole * 2 // 3)
    wire.begin()
    wire.run()
    wire.sender.lost(RECEIVER)
    assert wire.reports.pop() == (RECEIVER, False)
    if restarts:
        wire.new_receiver()
    again = Carried(wire)
    wire.begin()
    wire.run()
    assert wire.reports == [(RECEIVER, True)]
    assert again.bytes < whole * 3 // 4
    wire.target.install(wire.name)
    state = StateStore.open(tmp_path / "b" / "state")
    assert (state.applied_index, state.count_keys()) == (29, 29)
    state.close()


def test_the_next_snapshot_is_sent_without_the_files_of_the_last(wire, tmp_path):
    Carried(wire, cut_after=size_of(wire) * 2 // 3)
    wire.begin()
    wire.run()
    wire.make(30)
    again = Carried(wire)
    wire.begin()
    wire.run()
    assert wire.reports[-1] == (RECEIVER, True)
    assert again.bytes < size_of(wire)
    wire.target.install(wire.name)
    state = StateStore.open(tmp_path / "b" / "state")
    assert (state.applied_index, state.count_keys()) == (30, 30)
    state.close()


def test_a_sender_that_has_not_read_a_file_sends_it(wire):
    """It may be another member's of the same name: a new leader's."""
    Carried(wire, cut_after=size_of(wire) * 2 // 3)
    wire.begin()
    wire.run()
    wire.sender.forget_digests()
    again = Carried(wire)
    wire.begin()
    wire.run()
    assert wire.reports[-1] == (RECEIVER, True)
    assert again.bytes >= size_of(wire)


def test_what_a_power_failure_leaves_is_sent_again(wire, tmp_path):
    """A line that is cut, and a file that is shorter than it was."""
    Carried(wire, cut_after=size_of(wire) * 2 // 3)
    wire.begin()
    wire.run()
    (cut,) = (tmp_path / "b" / "snapshots").glob("*.receiving")
    lines = (cut / "digests").read_text().splitlines(keepends=True)
    shorter, unsaid, *_ = [line.split()[1] for line in lines if ".sst" in line]
    os.truncate(cut / "files" / shorter, 5)
    kept = [line for line in lines if unsaid not in line]
    (cut / "digests").write_text("".join(kept) + "0123")
    again = Carried(wire)
    wire.begin()
    wire.run()
    assert wire.reports[-1] == (RECEIVER, True)
    assert {shorter, unsaid} <= set(again.files)
    wire.target.install(wire.name)
    state = StateStore.open(tmp_path / "b" / "state")
    assert (state.read_all() > 0, state.count_keys()) == (True, 29)
    state.close()


def test_several_followers_at_once(tmp_path):
    wire = Wire(tmp_path)
    stores = {peer: SnapshotStore(tmp_path / str(peer)) for peer in (2, 3, 4)}
    queues, back, done = {peer: [] for peer in stores}, [], []
    wire.sender._send = lambda peer, frame: queues[peer].append(frame) or True
    receivers = {
        peer: SnapshotReceiver(
            store, lambda to, frame, peer=peer: back.append((peer, frame)) or True, lambda *_: None
        )
        for peer, store in stores.items()
    }
    wire.sender._report = lambda *report: done.append(report)
    for peer in stores:
        wire.sender.begin(peer, wire.name, b"m", 0.0)
    while any(queues.values()) or back:
        for peer, queue in queues.items():
            if queue:
                receivers[peer].take(SENDER, parse(queue.pop(0)), 0.0)
        while back:
            peer, frame = back.pop(0)
            wire.sender.take(peer, parse(frame), 0.0)
    assert sorted(done) == [(peer, True) for peer in stores]
    assert all(store.finished() == [wire.name] for store in stores.values())


def test_a_bound_holds_for_all_streams_together(tmp_path):
    rate = 1 << 20
    wire = Wire(tmp_path, bytes_per_s=rate)
    carried, now = Carried(wire), 100.0
    to_receiver, silent = wire.sender._send, 9

    def send(peer, frame):
        return carried.lose(parse(frame)) or True if peer == silent else to_receiver(peer, frame)

    wire.sender._send = send
    wire.clock = lambda: now
    wire.begin(now)
    wire.sender.begin(silent, wire.name, b"m", now)
    wire.run(now)
    while (RECEIVER, True) not in wire.reports:
        assert now < 200.0
        now += 0.1
        wire.sender.go_on(now)
        wire.run(now)
        most = rate * (now - 100.0 + 0.1) + 2 * limits.SNAPSHOT_CHUNK_BYTES
        assert carried.bytes <= most
        if wire.sender.due_at is not None and carried.bytes < most - limits.SNAPSHOT_CHUNK_BYTES:
            assert wire.sender.due_at <= now + 0.3, "not much less either"


def test_after_each_chunk_there_is_a_rest(wire):
    """Of so many times what it took, but not for ever; none while the log has little room."""
    now, took_s = 100.0, 0.001

    def clock():
        nonlocal now
        now += took_s  # between the beginning and the end of a chunk
        return now

    wire.clock = clock
    wire.begin(now)
    assert len(wire.to_receiver) == 2, "the beginning, and the first chunk"
    assert wire.sender.due_at == pytest.approx(now + REST * took_s)
    wire.sender.go_on(now + REST * took_s * 0.9)
    assert len(wire.to_receiver) == 2
    wire.sender.go_on(now + REST * took_s * 1.1)
    assert len(wire.to_receiver) == 3
    took_s = 10.0
    wire.sender.go_on(now + 1)
    assert wire.sender.due_at == pytest.approx(now + REST_S_MAX)
    wire.sender.hurry(True, now)
    assert len(wire.to_receiver) == 1 + limits.SNAPSHOT_WINDOW_CHUNKS
    assert wire.sender.due_at is None, "an answer has to come first"
    wire.run(now)
    assert wire.reports == [(RECEIVER, True)]


def test_streams_take_turns(wire):
    """With time for a chunk now and then only, the first stream does not take it all."""
    seen, now = [], 100.0

    def clock():
        nonlocal now
        now += 0.001
        return now

    wire.clock = clock
    wire.sender._send = lambda peer, frame: seen.append((peer, parse(frame)[0])) or True
    for peer in (2, 3, 4):
        wire.sender.begin(peer, wire.name, b"m", 100.0)
    for _ in range(9):
        now += REST_S_MAX
        wire.sender.go_on(now)
    chunks = [sum(1 for each in seen if each == (peer, "chunk")) for peer in (2, 3, 4)]
    assert sum(chunks) == 10
    assert max(chunks) - min(chunks) == 1


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
        ("have", "n", (("file", "no digest"),)),
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
