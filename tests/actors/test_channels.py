"""The table of channels is what the actors do."""

import ast
import inspect

import pytest
from sampan.actors import channels
from sampan.actors.actor import Actor
from sampan.actors.applier import Applier
from sampan.actors.channels import CHANNELS
from sampan.actors.node import Node
from sampan.actors.raft_core import RaftCore
from sampan.actors.transport import Transport
from sampan.actors.wal_writer import WalWriter

ACTORS = {actor.name: actor for actor in (Node, RaftCore, WalWriter, Applier, Transport)}
NOT_CHANNELS = {"on_timer", "on_wake"}


def handled(actor):
    return {n[3:] for n in dir(actor) if n.startswith("on_") and n not in NOT_CHANNELS}


def emitted(actor):
    """Channels that an actor's code names in emit(…)."""
    classes = actor.__mro__[: actor.__mro__.index(Actor)]
    trees = [ast.parse(inspect.getsource(inspect.getmodule(each))) for each in classes]
    return {
        node.args[0].value
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "emit"
        and isinstance(node.args[0], ast.Constant)
    }


def test_all_actors_are_in_the_table():
    assert set(channels.ACTORS) == set(ACTORS)
    ends = {end for c in CHANNELS.values() for end in (*c.producers, *c.consumers)}
    assert ends == {*ACTORS, channels.HOST}


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_handles_exactly_the_channels_it_consumes(name):
    consumed = {channel for channel, row in CHANNELS.items() if name in row.consumers}
    assert handled(ACTORS[name]) == consumed


@pytest.mark.parametrize("name", ACTORS)
def test_an_actor_emits_only_on_channels_it_produces(name):
    produced = {channel for channel, row in CHANNELS.items() if name in row.producers}
    assert emitted(ACTORS[name]) <= produced


def test_every_channel_is_used():
    used = set().union(*(emitted(actor) for actor in ACTORS.values()))
    from_actors = {c for c, row in CHANNELS.items() if set(row.producers) & set(ACTORS)}
    assert from_actors == used


def test_every_row_says_what_it_carries():
    for channel, row in CHANNELS.items():
        assert channel.endswith("c")
        assert row.carries
        assert row.producers
        assert row.consumers
