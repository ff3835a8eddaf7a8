"""A client, its nodes and their behaviour, for tests that are one coroutine each."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from sampan.client import AsyncClient

from .fake_node import SILENCE, FakeNode

LONG_S = 120.0
"""A deadline that a test never reaches: what ends earlier did so for another reason."""


def run(
    nodes: list[FakeNode],
    scenario: Callable[[AsyncClient], Awaitable[None]],
    timeout_s: float = 30,
    *,
    exactly_once: bool = True,
) -> None:
    async def main() -> None:
        endpoints = [node.endpoint for node in nodes]
        async with AsyncClient(endpoints, timeout_s=timeout_s, exactly_once=exactly_once) as client:
            await scenario(client)

    asyncio.run(main())


def fail_first(count: int, error: list[Any]) -> Callable[[list[Any], list[Any]], Any]:
    """Behaviour of a node that answers `count` messages other than maintenance with `error`."""
    left = [count]

    def behave(header: list[Any], requests: list[Any]) -> Any:
        if header[2] == "maintenance" or not left[0]:
            return None
        left[0] -= 1
        return [error] * len(requests)

    return behave


def silent(header: list[Any], requests: list[Any]) -> Any:
    return None if header[2] == "maintenance" else SILENCE
