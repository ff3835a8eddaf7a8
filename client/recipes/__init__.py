"""What is often built from transactions, leases and watches: docs/client.md has the guide.

Each is there twice, for `AsyncClient` under a name with `Async` or `async_` and for `Client`.
"""

from .barrier import AsyncBarrier, AsyncDoubleBarrier, Barrier, DoubleBarrier
from .election import AsyncElection, Election
from .lock import AsyncLock, AsyncRWLock, Lock, RWLock
from .queue import AsyncPriorityQueue, AsyncQueue, PriorityQueue, Queue
from .stm import AsyncTransaction, Isolation, Transaction, async_stm, stm

__all__ = [
    "AsyncBarrier",
    "AsyncDoubleBarrier",
    "AsyncElection",
    "AsyncLock",
    "AsyncPriorityQueue",
    "AsyncQueue",
    "AsyncRWLock",
    "AsyncTransaction",
    "Barrier",
    "DoubleBarrier",
    "Election",
    "Isolation",
    "Lock",
    "PriorityQueue",
    "Queue",
    "RWLock",
    "Transaction",
    "async_stm",
    "stm",
]
