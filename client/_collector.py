"""The garbage collector and large answers."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_BYTES = 64 << 10
"""Answers that are worth it."""


@contextmanager
def collector_paused() -> Iterator[None]:
    """No garbage collection while a large answer is decoded.

    10,000 keys are 20,000 tuples, none of them garbage: Python's collector would look at all of
    them again and again, for half of the time that the answer takes.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
