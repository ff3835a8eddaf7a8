"""The order in which a fused node's actors take their turns."""

import os
import signal

import pytest
from sampan.actors import channels
from sampan.actors.actor import Actor
from sampan.actors.host import Fatal, Host


@pytest.fixture
def own_signals():
    """A host takes these over for the rest of its process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


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
