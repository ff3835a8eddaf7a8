"""Nodes that die, come back and misbehave at random: every call ends, and its error is true."""

import asyncio
import random
from typing import Any

import pytest
from sampan.client import AsyncClient, NotAppliedError, UnknownOutcomeError

from .fake_node import LEADER_CHANGED, NO_LEADER, SILENCE, STOPPED, TOO_MANY_REQUESTS, FakeNode

TIMEOUT_S = 1.0
SLACK_S = 20.0
"""How late a call may end on a machine that is busy with other things."""
ACKNOWLEDGED_A_ROUND = 5
"""Writes acknowledged between two deaths, however slow the machine is."""


def misbehave(node: FakeNode, rng: random.Random) -> None:
    """Answer most messages, and fail the others in every way that the protocol has."""
    failures = [NO_LEADER, STOPPED, TOO_MANY_REQUESTS, LEADER_CHANGED]

    def behave(header: list[Any], requests: list[Any]) -> Any:
        choice = rng.random()
        if choice < 0.7:
            return None
        if choice < 0.75:
            return SILENCE
        if choice < 0.8:
            for request in requests:  # applied, and its answer lost
                node.execute(request)
            return SILENCE
        return rng.choice(failures) if choice < 0.9 else [rng.choice(failures)] * len(requests)

    node.behave = behave


class Run:
    """Writers with keys of their own over three nodes, one of which dies now and then."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.nodes = [self._start(member_id, 0) for member_id in (1, 2, 3)]
        self.gone: list[FakeNode] = []
        self.outcomes: dict[bytes, Exception | None] = {}
        self.acknowledged = asyncio.Semaphore(0)
        self.over = False

    def _start(self, member_id: int, port: int) -> FakeNode:
        node = FakeNode(member_id, port)
        node.leader_id = 1
        misbehave(node, self.rng)
        return node

    async def main(self) -> None:
        endpoints = [node.endpoint for node in self.nodes]
        async with AsyncClient(endpoints, timeout_s=TIMEOUT_S) as client:
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
        self.gone.append(victim)
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

    def applied(self) -> list[bytes]:
        """Keys in the order in which nodes applied their puts, each as often as it was applied."""
        nodes = self.gone + self.nodes
        return [kv[0] for node in nodes for kv in node.data.values() for _ in range(kv[3])]


@pytest.mark.parametrize("seed", range(3))
def test_every_call_ends_and_tells_the_truth(seed):
    run = Run(seed)
    try:
        asyncio.run(run.main())
    finally:
        for node in run.nodes:
            node.kill()
    applied = run.applied()
    assert len(applied) == len(set(applied)), "a write was sent again after it was applied"
    for key, error in run.outcomes.items():
        if error is None:
            assert key in applied
        elif isinstance(error, NotAppliedError):
            assert key not in applied, error
