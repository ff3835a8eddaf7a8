"""Actors as handlers: what goes in on channels, what comes out on channels, no host around."""

from typing import Any

from sampan.actors.actor import Actor


class Emitted(list[tuple[str, Any]]):
    """What an actor emitted, as (channel, message)."""

    def on(self, channel):
        """The messages on one channel, in order."""
        return [message for name, message in self if name == channel]


def take(actor: Actor) -> Emitted:
    """What the actor emitted since the last call."""
    out, actor.out = Emitted(actor.out), []
    return out


def turn(actor: Actor, *messages, now=None) -> Emitted:
    """One turn as a host runs it: all messages, then flush; what was emitted."""
    if now is not None:
        actor.now = now
    for channel, message in messages:
        actor.handle(channel, message)
    actor.flush()
    return take(actor)


def wake(actor: Actor) -> Emitted:
    """A turn at the time that the actor asked for; what was emitted."""
    actor.on_wake()
    actor.flush()
    return take(actor)


def tick(actor: Actor, now) -> Emitted:
    """A timer's turn at a given time; what was emitted."""
    actor.now = now
    actor.on_timer()
    actor.flush()
    return take(actor)
