from collections.abc import Iterator

import pytest

from .fake_node import FakeNode
from .real_node import real_node


@pytest.fixture
def node() -> Iterator[FakeNode]:
    with FakeNode() as fake:
        yield fake


@pytest.fixture
def other(node: FakeNode) -> Iterator[FakeNode]:
    """Another node of its cluster."""
    with FakeNode(member_id=2, store=node.store) as fake:
        yield fake


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The endpoint of a real node, the same one for a whole file of tests."""
    with real_node(tmp_path_factory.mktemp("real")) as endpoint:
        yield endpoint
