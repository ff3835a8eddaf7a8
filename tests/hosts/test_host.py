"""The order in which a fused node's actors take their turns, and that nothing that came waits."""

import os
import threading

import pytest
import structlog
from sampan.actors import channels
from sampan.actors.actor import Actor
from sampan.config import limits
from sampan.hosts.host import Fatal, Host
from sampan.hosts.pipes import Inbox, Pipe
from sampan.hosts.ports import ClientPort
from sampan.transport import sockets


def make(name, turns, start=(), **answers):
    """An actor that notes its turns, and emits what it is told to."""

    def answer(channel):
        def take(_self, _message):
            turns.append(f"{name} {channel}")
            for emitted in answers[channel]:
                actor.emit(emitted, f"from {name}")

        return take

    methods = {f"on_{channel}": answer(channel) for channel in answers}
    actor = type("Made", (Actor,), {"name": name, **methods})()
    actor.start = lambda: [actor.emit(channel, "first") for channel in start]
    return actor


def test_what_waits_for_the_disk_leaves_before_the_applier_works(own_signals):
    turns = []
    actors = [
        make(channels.RAFT_CORE, turns, start=("applyc", "readyc"), advancec=()),
        make(channels.TRANSPORT, turns, sendc=()),
        make(channels.WAL_WRITER, turns, readyc=("advancec", "sendc")),
        make(channels.APPLIER, turns, applyc=("fatalc",)),
    ]
    host = Host(actors, parent_pid=os.getppid())
    with pytest.raises(Fatal, match="from applier"):
        host.run()
    assert turns == [
        "wal_writer readyc",
        "raft_core advancec",
        "transport sendc",
        "applier applyc",
    ]


class Counting(Actor):
    """A node that answers every message and ends with the last one."""

    name = channels.NODE

    def __init__(self, last):
        super().__init__()
        self.taken = []
        self._last = last

    def on_camec(self, message):
        pass

    def on_clientc(self, message):
        who, *frames = message
        self.emit("replyc", (who, b"", frames[-1]))
        self.on_resultc(frames[-1])

    def on_resultc(self, message):
        self.taken.append(message)
        if message == self._last:
            self.emit("fatalc", "the last one")


SENT = [b"%d" % n for n in range(200)]


def test_everything_that_clients_sent_is_taken_and_answered(own_signals):
    port = ClientPort("127.0.0.1:0", structlog.get_logger())
    answers = []
    with sockets.context() as context, sockets.client_dealer(context, port.address) as dealer:

        def ask():
            for body in SENT:
                dealer.send_multipart((b"", body))
            while len(answers) < len(SENT) and dealer.poll(10_000):
                answers.append(dealer.recv_multipart()[-1])
            dealer.send_multipart((b"", b"end"))

        asker = threading.Thread(target=ask)
        asker.start()
        host = Host([Counting(b"end")], client_port=port, parent_pid=os.getppid())
        with pytest.raises(Fatal, match="the last one"):
            host.run()
        asker.join()
    assert answers == SENT


@pytest.mark.parametrize("messages_max", [1, 1000])
def test_everything_that_came_by_a_pipe_is_taken(own_signals, monkeypatch, messages_max):
    """The inbox's descriptor tells once of many messages."""
    monkeypatch.setattr(limits, "DRAIN_MESSAGES_MAX", messages_max)
    node = Counting(SENT[-1])
    with sockets.context() as context:
        inbox = Inbox(sockets.inbox(context, "inproc://inbox"), channels.NODE)
        pipe = Pipe(sockets.outbox(context, "inproc://inbox"), channels.APPLIER, channels.NODE)
        for body in SENT:
            pipe.put(("resultc", body))
            pipe.send()
        with pytest.raises(Fatal, match="the last one"):
            Host([node], inbox=inbox, parent_pid=os.getppid()).run()
        pipe.close()
    assert node.taken == SENT


@pytest.mark.parametrize("drained_max", [1, 1 << 30])
def test_large_ends_of_messages_come_as_they_were_sent(own_signals, monkeypatch, drained_max):
    """In frames of their own, between any two of which the inbox may stop reading."""
    monkeypatch.setattr(limits, "DRAIN_BYTES_MAX", drained_max)
    monkeypatch.setattr(limits, "LARGE_ANSWER_BYTES", 3)
    ends = (b"", b"abc", b"abcd", bytearray(b"abcde"), b"abcdef", "text", 5)
    sent = [("large", number, end) for number, end in enumerate(ends)] + [b"alone", ()]
    node = Counting(b"the end")
    with sockets.context() as context:
        inbox = Inbox(sockets.inbox(context, "inproc://inbox"), channels.NODE)
        pipe = Pipe(sockets.outbox(context, "inproc://inbox"), channels.APPLIER, channels.NODE)
        for together in (1, 2, 9):
            for begin in range(0, len(sent), together):
                for message in sent[begin : begin + together]:
                    pipe.put(("resultc", message))
                pipe.send()
        pipe.put(("resultc", b"the end"))
        pipe.send()
        with pytest.raises(Fatal, match="the last one"):
            Host([node], inbox=inbox, parent_pid=os.getppid()).run()
        pipe.close()
    assert node.taken == [*sent * 3, b"the end"]


class Reclaiming(Actor):
    """An applier that fails while a job of it goes on until it is cut short."""

    name = channels.APPLIER
    slow_jobs = ("reclaim",)

    def __init__(self):
        super().__init__()
        self.calls = []
        self._cut = threading.Event()

    @property
    def jobs(self):
        return {"reclaim": self.reclaim}

    def start(self):
        self.emit("jobc", "reclaim")
        self.emit("fatalc", "it failed")

    def reclaim(self):
        assert self._cut.wait(60), "nobody cut it short"
        self.calls.append("reclaimed")

    def cut_jobs_short(self):
        self._cut.set()

    def close(self):
        self.calls.append("closed")


def test_a_host_that_ends_cuts_its_jobs_short_and_waits_for_them(own_signals):
    applier = Reclaiming()
    with pytest.raises(Fatal, match="it failed"):
        Host([applier], parent_pid=os.getppid()).run()
    assert applier.calls == ["reclaimed", "closed"]


def test_turns_messages_and_jobs_are_measured(own_signals, log, monkeypatch):
    monkeypatch.setattr(limits, "SLOW_APPLY_S", -1.0)
    monkeypatch.setattr(limits, "SLOW_FSYNC_S", -1.0)
    turns = []
    writer = make(channels.WAL_WRITER, turns, start=("jobc",), donec=("sendc", "advancec"))
    writer.start = lambda: writer.emit("jobc", "sync")
    type(writer).jobs = {"sync": lambda: None}
    applier = make(channels.APPLIER, turns, applyc=("snapreadyc",))
    core = make(channels.RAFT_CORE, turns, advancec=("applyc",), snapreadyc=("fatalc",))
    transport = make(channels.TRANSPORT, turns, sendc=(), snapreadyc=())
    with pytest.raises(Fatal):
        Host([core, transport, writer, applier], parent_pid=os.getppid(), log=log).run()
    assert writer.load.messages == {"donec": 1}
    assert writer.histograms["sync"].told()[2].count(1) == 1
    assert core.load.turns == 1
    assert [event for event, _ in log.events] == ["slow fsync", "slow apply"]
