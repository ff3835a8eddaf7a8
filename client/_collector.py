"""The garbage collector and large answers."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident


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
    _pausing.add(get_ident())
    try:
        yield
    finally:
        _pausing.discard(get_ident())
        gc.enable()


_pausing: set[int] = set()  # threads; only one at a time finds it enabled


def _after_fork() -> None:
    """A child has only the thread that forked: nobody in it would enable collection again."""
    if _pausing:
        _pausing.clear()
        gc.enable()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
