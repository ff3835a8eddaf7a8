"""What is often built from transactions, leases and watches: docs/client.md has the guide.

Each is there twice, for `AsyncClient` under a name with `Async` or `async_` and for `Client`.
"""

from .stm import AsyncTransaction, Isolation, Transaction, async_stm, stm

__all__ = ["AsyncTransaction", "Isolation", "Transaction", "async_stm", "stm"]
