"""Nodes that die, come back and misbehave at random: every call ends, and its error is true.

With numbers every write happens once at most, however often it is sent, and with time enough none
ends as unknown.
"""

import asyncio
import random
from typing import Any

import pytest
from sampan.client import AsyncClient, NotAppliedError, UnknownOutcomeError

from .fake_node import (
    LEADER_CHANGED,
    LEADER_FAILED,
    NO_LEADER,
    SILENCE,
    STOPPED,
    TOO_MANY_REQUESTS,
    FakeNode,
    FakeStore,
)

TIMEOUT_S = 1.0
LONG_S = 60.0
"""A deadline that no call reaches."""
SLACK_S = 20.0
"""How late a call may end on a machine that is busy with other things."""
ACKNOWLEDGED_A_ROUND = 5
"""Writes acknowledged between two deaths, however slow the machine is."""


def misbehave(node: FakeNode, rng: random.Random, *, silent: bool) -> None:
    """Answer most messages, and fail the others in every way that the protocol has."""
    failures = [NO_LEADER, STOPPED, TOO_MANY_REQUESTS, LEADER_CHANGED, LEADER_FAILED]

    def behave(header: list[Any], requests: list[Any]) -> Any:
        choice = rng.random()
        if choice < 0.7 or header[2] == "maintenance":
            return None
        if choice < 0.75 and silent:
            return SILENCE
        if choice < 0.8:  # applied, and its answer lost
            node.apply(header, requests)
            return SILENCE if silent else LEADER_FAILED
        failure = rng.choice(failures)
        return failure if choice < 0.9 or len(header) > 5 else [failure] * len(requests)

    node.behave = behave


class Run:
    """Writers with keys of their own over three nodes, one of which dies now and then."""

    def __init__(self, seed: int, *, exactly_once: bool, timeout_s: float = TIMEOUT_S) -> None:
        self.rng = random.Random(seed)
        self.exactly_once = exactly_once
        self.timeout_s = timeout_s
        self.store = FakeStore()
        self.nodes = [self._start(member_id, 0) for member_id in (1, 2, 3)]
        self.outcomes: dict[bytes, Exception | None] = {}
        self.acknowledged = asyncio.Semaphore(0)
        self.over = False

    def _start(self, member_id: int, port: int) -> FakeNode:
        node = FakeNode(member_id, port, self.store)
        node.leader_id, node.opens_sessions = 1, False
        misbehave(node, self.rng, silent=self.timeout_s < LONG_S)
        return node

    async def main(self) -> None:
        endpoints = [node.endpoint for node in self.nodes]
        async with AsyncClient(
            endpoints, timeout_s=self.timeout_s, exactly_once=self.exactly_once
        ) as client:
            writers = [asyncio.ensure_future(self._write(client, i)) for i in range(20)]
            for _ in range(10):
                async with asyncio.timeout(SLACK_S):
                    for _ in range(ACKNOWLEDGED_A_ROUND):
                        await self.acknowledged.acquire()
                await asyncio.sleep(self.rng.uniform(0, 0.2))  # die at any moment of a call
                await asyncio.to_thread(self._replace_one)
            self.over = True
            await asyncio.wait_for(asyncio.gather(*writers), TIMEOUT_S + SLACK_S)

    def _replace_one(self) -> None:
        victim = self.rng.choice(self.nodes)
        self.nodes.remove(victim)
        victim.kill()
        self.nodes.append(self._start(victim.member_id, victim.port))

    async def _write(self, client: AsyncClient, writer: int) -> None:
        count = 0
        while not self.over:
            key = b"%d/%d" % (writer, count)
            count += 1
            try:
                await client.put(key, b"v")
                self.outcomes[key] = None
                self.acknowledged.release()
                await client.get(key, serializable=count % 2 == 0)
            except (NotAppliedError, UnknownOutcomeError) as error:
                self.outcomes.setdefault(key, error)

    def check(self) -> None:
        for key, error in self.outcomes.items():
            times = self.store.data[key][3] if key in self.store.data else 0
            assert times <= 1, "a write was sent again after it was applied"
            if error is None:
                assert times == 1
            elif isinstance(error, NotAppliedError):
                assert times == 0, error


def play(run: Run) -> None:
    try:
        asyncio.run(run.main())
    finally:
        for node in run.nodes:
            node.kill()
    run.check()


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("exactly_once", [True, False])
def test_every_call_ends_and_tells_the_truth(seed, exactly_once):
    play(Run(seed, exactly_once=exactly_once))


@pytest.mark.parametrize("seed", range(2))
def test_with_numbers_and_time_every_write_happens_once(seed):
    run = Run(seed, exactly_once=True, timeout_s=LONG_S)
    play(run)
    assert set(run.outcomes.values()) == {None}
    assert all(kv[3] == 1 for kv in run.store.data.values())
