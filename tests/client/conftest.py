from collections.abc import Iterator

import pytest

from .fake_node import FakeNode


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as fake:
        yield fake


@pytest.fixture
def other() -> Iterator[FakeNode]:
    with FakeNode(member_id=2) as fake:
        yield fake
