"""What is often built from transactions, leases and watches: docs/client.md has the guide.

Each is there twice, for `AsyncClient` under a name with `Async` or `async_` and for `Client`.
"""

from .election import AsyncElection, Election
from .lock import AsyncLock, Lock
from .stm import AsyncTransaction, Isolation, Transaction, async_stm, stm

__all__ = [
    "AsyncElection",
    "AsyncLock",
    "AsyncTransaction",
    "Election",
    "Isolation",
    "Lock",
    "Transaction",
    "async_stm",
    "stm",
]
