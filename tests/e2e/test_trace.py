"""The way of one put through three nodes."""

import re
import subprocess
from time import monotonic

import pytest
from sampan.client import NotAppliedError

from .test_backup import SAMPANCTL

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


def test_every_step_is_there_in_its_order(make_cluster):
    cluster = make_cluster().start()
    leader = cluster.names.index(cluster.wait_leader()) + 1
    with cluster.client() as client:
        client.put("warm", "up")
        began = monotonic()
        revision = client.put("ship", "sampan").header.revision
        ended = monotonic()
        trace = client.trace(revision)
        with pytest.raises(NotAppliedError, match="no longer remembered"):
            client.trace(1)
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

    told = subprocess.run(
        [SAMPANCTL, "--endpoints", cluster.endpoints[0], "put", "ship", "sampan", "--trace"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] == "OK"
    assert lines[1].startswith(f"revision {revision + 1}, entry ")
    took, whole, there, back = (float(ms) for ms in re.findall(r"([\d.]+) ms", lines[1]))
    assert there + took + back == pytest.approx(whole, abs=0.003), "as rounded"
    assert any("durable in this member's log" in line for line in lines)
