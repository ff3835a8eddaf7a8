"""Which processor an actor's process runs on, where several nodes share few.

A message passes many processes of a node, one after the other. Left alone the kernel wakes each of
them on whichever processor happens to sleep, and waking a sleeping one takes longer than what the
message is woken for; worst in a virtual machine. Processes on the same processor just take turns.
"""

import os
import secrets
import sys

from . import channels

FREE = (channels.APPLIER,)
"""Actors with so much to do that they go where there is time for it; nobody's message waits."""


def available() -> list[int]:
    """The processors that this process may use, or none where it cannot choose."""
    return sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else []


def share(processors: list[int], nodes: int) -> list[int | None]:
    """A processor for each of `nodes` nodes, neighbours on the same one, or None to let the kernel
    choose: where each node could have one of its own, and where there is only one.

    The first one is chosen at random, so that several small clusters do not all begin on the same.
    """
    count = len(processors)
    if not 1 < count < nodes:
        return [None] * nodes
    first = secrets.randbelow(count)
    return [processors[(first + node * count // nodes) % count] for node in range(nodes)]


def stay_on(processor: int) -> bool:
    """Keep this process there, and threads that it starts from now on. False where the system
    refuses, as some sandboxes do: that costs time and nothing else."""
    if sys.platform != "linux":
        return False
    try:
        os.sched_setaffinity(0, {processor})
    except OSError:
        return False
    return True
