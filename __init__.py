"""Sampan (舢板, "three planks"): a replicated, strongly consistent key-value store.

etcd's raft and etcd's data model, with every node a troupe of actors joined by ZeroMQ channels.
Start with the README; `docs/design.md` draws the data flow, `docs/protocol.md` the wire.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import AsyncClient, Client, SampanError

__all__ = ["AsyncClient", "Client", "SampanError", "__version__"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The client's names, on first use: a node does without."""
    if name in __all__:
        from . import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
