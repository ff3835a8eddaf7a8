"""Entries that a member proposes of itself: leases to end, alarms."""

from typing import Any

from ..transport.codec import pack

NOBODY = 0
"""In place of the member whose clients wait for an entry's results."""


def own_entry(request: tuple[Any, ...]) -> bytes:
    """An entry of one request whose result nobody waits for. It may get lost: whoever proposes it
    looks at the state, and proposes it again."""
    return pack((NOBODY, 0, [pack([request])]))
