"""What recipes are written against, and how the same code serves threads.

A recipe is written once, as coroutines that call an `AsyncClient`. For a `Client` the same
coroutines run on `Blocking`, whose calls block instead of suspending, so that `finish` runs them
from beginning to end in the thread that calls.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol, TypeVar, Unpack

from ..ops import Bytes, Compare, RangeOptions, Request
from ..sync import Client
from ..types import RangeResponse, TxnResponse

T = TypeVar("T")


class Calls(Protocol):
    """The calls of `AsyncClient` that recipes make."""

    async def get(self, key: Bytes, **options: Unpack[RangeOptions]) -> RangeResponse:
        """Read a key or a range of keys."""

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Request], failure: Sequence[Request]
    ) -> TxnResponse:
        """Run one of two branches."""


class Blocking:
    """A `Client` with the calls of an `AsyncClient`, which never suspend."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def get(self, key: Bytes, **options: Unpack[RangeOptions]) -> RangeResponse:
        """See `Client.get`."""
        return self._client.get(key, **options)

    async def txn(
        self, compares: Sequence[Compare], success: Sequence[Request], failure: Sequence[Request]
    ) -> TxnResponse:
        """See `Client.txn`."""
        return self._client.txn(compares, success, failure)


def finish(recipe: Coroutine[Any, Any, T]) -> T:
    """Run a recipe on `Blocking` calls.

    Raises:
        RuntimeError: it waits for something else.
    """
    try:
        recipe.send(None)
    except StopIteration as end:
        result: T = end.value
        return result
    recipe.close()
    raise RuntimeError("a recipe for threads suspended: it may only await Blocking's calls")
