"""The way of one put through three nodes. `TRACES=2000`, with `-s`, traces as many, and prints in
which share of them the steps add up."""

import asyncio
import os
import re
import subprocess
from time import monotonic

import pytest
from sampan.client import AsyncClient, NotAppliedError
from sampan.client.trace_calls import ASK_S

from .cluster import wait_for
from .test_backup import SAMPANCTL

TRACES = int(os.environ.get("TRACES", "20"))
ELSEWHEN = ("unshare", "--time", "--monotonic")

LEADERS = [
    ("node", "clientc"), ("node", "propc"), ("raft_core", "propose"), ("raft_core", "readyc"),
    ("wal_writer", "write"), ("wal_writer", "fsync"), ("raft_core", "applyc"),
    ("applier", "applied"), ("node", "resultc"),
]  # fmt: skip
FOLLOWERS = [("raft_core", "recvc"), ("raft_core", "readyc"), ("wal_writer", "write"),
             ("wal_writer", "fsync")]  # fmt: skip


def subsequence(wanted, found):
    left = iter(found)
    return all(step in left for step in wanted)


def assert_parts_are_its_latency(trace):
    """With nothing but the clock that all share to say so; returns whether all parts are known."""
    began, ended = trace.called
    assert set(trace.offsets.values()) == {0.0}
    assert began <= trace.began <= trace.began + trace.took_s <= ended
    assert sum(s for _, s in trace.parts()) == pytest.approx(ended - began, rel=0.05)
    # A majority may be faster than the leader's disk: then nothing waits for either.
    return all(s for text, s in trace.parts() if text != "until a majority has it")


def trace_puts(client):
    """Puts until so many are known as a whole: who is too busy to answer in time is left out, and
    what one leader began and another ended is nobody's."""
    asked = known = 0
    while known < TRACES:
        response = client.put("ship", str(asked), prev_kv=True, trace=True)
        assert asked == 0 or response.prev_kv.value == str(asked - 1).encode()
        asked += 1
        trace = response.trace
        if trace and trace.took_s and len(trace.offsets) == 3:
            assert trace.revision == response.header.revision
            is_whole = assert_parts_are_its_latency(trace)
            assert is_whole or trace.term != response.header.raft_term
            known += is_whole
    print(f"{known} of {asked} are known as a whole, and add up")


async def put_asynchronously(endpoints):
    async with AsyncClient(endpoints) as client:
        return await client.put("ship", "sampan", trace=True)


def test_every_step_is_there_in_its_order(make_cluster):
    cluster = make_cluster().start()
    leader = cluster.names.index(cluster.wait_leader()) + 1
    with cluster.client() as client:
        client.put("warm", "up")
        began = monotonic()
        plain = client.put("ship", "sampan")
        ended = monotonic()
        # Who is too busy to answer in time is left out.
        trace = wait_for(
            lambda: (t := client.trace(plain.header.revision)) and len(t.offsets) == 3 and t,
            "a trace of all three",
        )
        with pytest.raises(NotAppliedError, match="no longer remembered"):
            client.trace(1)
    assert plain.trace is None, "as nobody asked for it"
    by_node = {
        member: [(s.actor, s.name) for s in trace.steps if s.member_id == member]
        for member in (1, 2, 3)
    }
    assert trace.member_id == leader
    assert subsequence(LEADERS, by_node[leader])
    followers = [steps for member, steps in by_node.items() if member != leader]
    assert any(subsequence(FOLLOWERS, steps) for steps in followers)
    committed = next(s.at for s in trace.steps if (s.member_id, s.name) == (leader, "applyc"))
    heard = [s.at for s in trace.steps if s.name == "acknowledged" and s.member_id == leader]
    assert min(heard) <= committed, "nothing is committed before a follower has it"
    assert trace.steps[0].at == 0.0

    # One clock on one machine: what the write waited for is all of the time in its node, and that
    # is within the client's.
    assert sum(seconds for _, seconds in trace.parts()) == pytest.approx(trace.took_s, rel=0.05)
    assert began <= trace.began <= trace.began + trace.took_s <= ended

    with cluster.client() as client:
        trace_puts(client)
    put = asyncio.run(put_asynchronously(cluster.endpoints))
    assert put.trace is None or put.trace.revision == put.header.revision

    told = subprocess.run(
        [SAMPANCTL, "--endpoints", cluster.endpoints[0], "put", "ship", "sampan", "--trace"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "OK"
    assert lines[1].startswith("revision ")
    took, whole, there, back = (float(ms) for ms in re.findall(r"([\d.]+) ms", lines[1]))
    assert there + took + back == pytest.approx(whole, abs=0.003), "as rounded"
    assert any("durable in this member's log" in line for line in lines)


@pytest.mark.parametrize("placement", ["fused"])
def test_members_on_other_clocks(make_cluster):
    """Each member in a time namespace of its own, as on a machine of its own."""
    cluster = make_cluster(separate=True)
    ahead = {1: 3600, 2: 500_000, 3: 7200}
    cluster.before = lambda name: (*ELSEWHEN, str(ahead[cluster.names.index(name) + 1]))
    if subprocess.run([*ELSEWHEN, "1", "true"], capture_output=True, check=False).returncode:
        pytest.skip("no time namespaces here")
    cluster.start()
    with cluster.client() as client:
        # Who does not answer in time is left out: ask until all have.
        trace = wait_for(
            lambda: (
                (t := client.put("ship", "sampan", trace=True).trace) and len(t.offsets) == 3 and t
            ),
            "a trace of all three",
        )
    away_s = 2 * ASK_S  # which is as wrong as an estimate by round trips can be
    taker = trace.member_id
    assert trace.ahead == pytest.approx(ahead[taker], abs=away_s)
    expected = {member: ahead[member] - ahead[taker] for member in ahead}
    assert trace.offsets == pytest.approx(expected, abs=away_s)
    assert all(abs(step.at) <= trace.took_s + away_s for step in trace.steps)
    began, ended = trace.called
    assert sum(seconds for _, seconds in trace.parts()) == pytest.approx(ended - began, rel=0.05)
    told = str(trace)
    for member in {1, 2, 3} - {taker}:
        assert f"the clock of {member} was {'+' if expected[member] > 0 else '-'}" in told
    assert "the way there and back is an estimate: this clock was -" in told
