"""Sampan's client: `AsyncClient` for asyncio, `Client` for threads; both batch by themselves.

`docs/client.md` is the guide, `errors` has the tree of exceptions, `ops` what transactions are made
of. Names are imported on first use, so that a short command does not pay for asyncio.
"""

from typing import TYPE_CHECKING, Any

from .errors import NotAppliedError, SampanError, UnknownOutcomeError

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .sync import Client

__all__ = ["AsyncClient", "Client", "NotAppliedError", "SampanError", "UnknownOutcomeError"]


def __getattr__(name: str) -> Any:
    if name == "AsyncClient":
        from .aio import AsyncClient

        return AsyncClient
    if name == "Client":
        from .sync import Client

        return Client
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
